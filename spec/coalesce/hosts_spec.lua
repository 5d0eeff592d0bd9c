-- Shared calls in loops of others, over real HTTP; and coroutines that are never resumed.
local busyd = require "spec.support.busyd"
local cqueues = require "cqueues"
local guard = require "spec.support.leak_guard"
local regions = require "spec.support.regions"
local unbusy = require "unbusy"

local HELD = { reset = true, capacity = 0, queue = 100 }

describe("calls of the same in loops of others", function()
  local up, client
  setup(function()
    up = busyd.start { workers = 1 }
    local ok, uv = pcall(require, "luv")
    if not ok then return end
    uv.new_timer():close() -- its loop has descriptors from now on, and keeps them
    uv.run()
  end)
  teardown(function() up:stop() end)
  after_each(function()
    client:close()
    client = nil
  end)
  guard.watch(before_each, after_each)
  before_each(function() up:programme(HELD) end)

  local function new(more)
    local o = { cache = true, retry = false,
      clocks = { total = 60, start = 60, headers = 60, connect = 60 },
      targets = { { name = "a", url = up.url .. "/v1" } } }
    for name, value in pairs(more or {}) do o[name] = value end
    client = assert(unbusy.new(o))
  end

  local function ask(kind, out, i)
    local reply, message = client[kind](client,
      { model = "m", messages = { { role = "user", content = "one two" } } })
    if reply and kind == "stream" then reply, message = reply:reply() end
    out[i] = reply and reply.source .. " " .. reply.text or message
  end

  local function members(n)
    return client:status().coalesce.members == n
  end

  for _, kind in ipairs { "chat", "stream" } do
    it(("share one: %s, in cqueues"):format(kind), function()
      new()
      local out, cq = {}, cqueues.new()
      for i = 1, 5 do cq:wrap(ask, kind, out, i) end
      cq:wrap(function()
        while not members(5) do cqueues.sleep(0.005) end
        up:programme { capacity = 10 }
      end)
      assert(cq:loop())
      table.sort(out)
      assert.same({ "coalesced echo: one two", "upstream echo: one two" }, { out[1], out[5] })
      assert.equal(1, up:counts().received)
    end)
  end

  it("share one in luv", function()
    local ok, uv = pcall(require, "luv")
    if not ok then pending "no luv here" return end
    new { loop = "luv" }
    local out = {}
    for i = 1, 4 do coroutine.wrap(function() ask("chat", out, i) end)() end
    local timer = uv.new_timer()
    timer:start(5, 5, function()
      if not members(4) then return end
      timer:close()
      up:programme { capacity = 10 }
    end)
    uv.run()
    table.sort(out)
    assert.same({ "coalesced echo: one two", "upstream echo: one two" }, { out[1], out[4] })
    assert.equal(1, up:counts().received)
  end)

  it("go on when the controller in which they began is collected", function()
    new()
    local out, other = {}, cqueues.new()
    do
      local lost = cqueues.new()
      lost:wrap(ask, "chat", out, 1)
      regions.wait_for(function()
        lost:step(0.001)
        return up:counts().received == 1
      end, "the call")
      other:wrap(ask, "chat", out, 2)
      other:wrap(ask, "chat", out, 3)
      regions.wait_for(function()
        other:step(0.001)
        return members(3)
      end, "the others")
      lost = nil -- luacheck: ignore 311
    end
    regions.wait_for(function()
      regions.collect()
      other:step(0.001)
      return up:counts().received == 2
    end, "who takes over")
    up:programme { capacity = 10 }
    assert(other:loop())
    local theirs = { out[2], out[3] }
    table.sort(theirs)
    assert.same({ "coalesced echo: one two", "upstream echo: one two" }, theirs)
    assert.is_nil(out[1])
    assert.equal(2, up:counts().received)
  end)

  it("are not joined in a forked process, where nothing of them would come", function()
    new()
    local out = {}
    unbusy.run(function()
      for i = 1, 2 do unbusy.spawn(ask, "chat", out, i) end
      while not members(2) or up:counts().received == 0 do unbusy.sleep(0.005) end
      local child = regions.fork(function(say)
        unbusy.spawn(function()
          ask("chat", out, 3)
          say(out[3])
        end)
        while not out[3] do unbusy.sleep(0.005) end
        return out[3]
      end)
      while up:counts().received < 2 do unbusy.sleep(0.005) end
      up:programme { capacity = 10 }
      assert.equal("upstream echo: one two", child:wait())
    end)
    table.sort(out)
    assert.same({ "coalesced echo: one two", "upstream echo: one two" }, out)
    assert.equal(2, up:counts().received)
  end)
end)
