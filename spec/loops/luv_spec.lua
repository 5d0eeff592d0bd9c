-- Calls inside luv (Debian: lua-luv), by name. What Neovim makes of it: neovim_spec.lua.
local calls = require "spec.support.host_calls"
local files = require "spec.support.files"
local hosted = require "unbusy.loops.hosted"
local ours = require "unbusy.loops.luv"
local unbusy = require "unbusy"
local uv = require "luv"
local wire = require "unbusy.loops.wire"

local question = calls.question

-- Handles of libuv that are open.
local function open_handles()
  local count = 0
  uv.walk(function(handle) if not handle:is_closing() then count = count + 1 end end)
  return count
end

-- Sleeps as a program of luv's would.
local function sleep(seconds)
  local co, timer = coroutine.running(), uv.new_timer()
  timer:start(math.ceil(seconds * 1000), 0, function()
    timer:close()
    coroutine.resume(co)
  end)
  coroutine.yield()
end

describe("in luv", function()
  local thrown, on_error = {}, ours.on_error
  local h = { sleep = sleep, loop = ours }
  function h.go(f)
    local co = coroutine.create(f)
    local ok, message = coroutine.resume(co)
    if not ok then error(message, 0) end
  end
  function h.run()
    uv.run()
    if thrown[1] ~= nil then error(thrown[1], 0) end
  end
  function h.new(o)
    if o.loop == nil or o.loop == false then o.loop = "luv" end
    return unbusy.new(o)
  end

  before_each(function()
    thrown = {}
    ours.on_error = function(message) thrown[#thrown + 1] = message end
  end)
  after_each(function()
    ours.on_error = on_error
    assert.equal(0, open_handles())
    uv.run() -- those that are closing
  end)
  local up = calls.describe(h, { it = it, setup = setup, teardown = teardown,
    before_each = before_each, after_each = after_each })

  it("the main thread is told at its line to take a coroutine, and so is a comparison", function()
    local client = h.new()
    local ok, message = pcall(function() client:chat(question "q") end)
    assert.is_false(ok)
    assert.matches("luv_spec%.lua:%d+: unbusy: in luv's loop a call waits in a coroutine", message)
    ok, message = pcall(function() h.new({ cache = true }):warm { "x" } end)
    assert.is_false(ok)
    assert.matches("luv_spec%.lua:%d+: unbusy: in luv's loop a call waits in a coroutine", message)
    h.go(function()
      ok, message = pcall(table.sort, { 1, 2 }, function() client:chat(question "q") end)
    end)
    assert.is_false(ok)
    assert.matches("luv_spec%.lua:%d+: unbusy: in luv's loop a call waits in a coroutine", message)
  end)

  it("holds handles only while somebody waits", function()
    local client = h.new()
    up():programme { reset = true, token_interval = 0.05, answer = { tokens = 10 } }
    local stream, during
    h.go(function()
      stream = assert(client:stream(question "q"))
      during = open_handles()
    end)
    assert.is_true(open_handles() > 0)
    uv.run()
    assert.is_true(during > 0)
    assert.equal(0, open_handles())
    assert.is_true(wire.busy())
    stream:close()
  end)

  it("what a consumer throws ends its coroutine and nothing else", function()
    local client, got = h.new(), nil
    up():programme { reset = true, token_interval = 0.02, answer = { tokens = 10 } }
    h.go(function()
      for _ in assert(client:stream(question "q")):pieces() do error("in mid-stream", 0) end
    end)
    h.go(function() got = assert(client:stream(question "q"):reply()).text end)
    uv.run()
    assert.same({ "in mid-stream" }, thrown)
    assert.is_truthy(got)
    collectgarbage()
    collectgarbage()
    assert.equal(0, client:status().active)
    assert.is_false(wire.busy())
  end)

  it("whoever hears of errors may fail itself", function()
    local heard = 0
    ours.on_error = function()
      heard = heard + 1
      error "again"
    end
    for _ = 1, 2 do ours.spawn(error, "thrown") end
    uv.run()
    assert.equal(2, heard)
  end)

  it("a coroutine that somebody else resumes meanwhile waits on", function()
    local client, got = h.new(), nil
    up():programme { reset = true, latency = 0.1 }
    local co = coroutine.create(function() got = assert(client:chat(question "q")).text end)
    assert(coroutine.resume(co))
    for _ = 1, 3 do assert(coroutine.resume(co)) end
    assert.is_nil(got)
    uv.run()
    assert.equal("echo: q", got)
    assert.same({}, thrown)
  end)

  it("one that has gone on to wait for something else is left alone", function()
    local order, ev = {}, nil
    local co = coroutine.create(function()
      ours.enter(function(loop)
        ev = loop.event()
        loop.wait { ev }
      end)
      order[#order + 1] = coroutine.yield "its own"
    end)
    assert(coroutine.resume(co))
    ev:set()
    assert.same({ true, "its own" }, { coroutine.resume(co) }) -- before its turn comes
    uv.run()
    assert.same({}, order)
    assert(coroutine.resume(co, "mine"))
    assert.same({ "mine" }, order)
  end)

  it("sleeping for no time starves nobody", function()
    local client, replied, naps = h.new(), false, 0
    up():programme { reset = true }
    h.go(function() replied = client:chat(question "q") ~= nil end)
    h.go(function()
      ours.enter(function(loop)
        while not replied do
          loop.sleep(0)
          naps = naps + 1
        end
      end)
    end)
    h.run()
    assert.is_true(naps > 0)
  end)

  it("goes on in the order in which the events were set, and never inside who sets them", function()
    local order, events = {}, {}
    for i = 1, 4 do
      h.go(function()
        ours.enter(function(loop)
          events[i] = loop.event()
          loop.wait({ events[i] }, loop.now() + 100)
          order[#order + 1] = i
        end)
      end)
    end
    for _, i in ipairs { 3, 1, 4, 2 } do events[i]:set() end
    assert.same({}, order)
    h.run()
    assert.same({ 3, 1, 4, 2 }, order)
  end)

  it("deadlines come in their order, over one timer", function()
    local order, most = {}, 0
    for _, i in ipairs { 5, 1, 4, 2, 3 } do
      h.go(function()
        ours.enter(function(loop)
          loop.sleep(i * 0.01)
          order[#order + 1] = i
          most = math.max(most, open_handles())
        end)
      end)
    end
    h.run()
    assert.same({ 1, 2, 3, 4, 5 }, order)
    assert.is_true(most <= 3, most)
  end)

  it("tasks begin in the next turn, also from the main thread, and are joined there", function()
    local seen = {}
    local task = ours.spawn(function(a)
      ours.enter(function(loop) loop.sleep(0.01) end)
      return a, "b"
    end, "a")
    assert.has_error(function() task:join() end,
      "join: the task has not ended, and here its loop cannot wait for it")
    h.go(function() seen = { task:join() } end)
    h.run()
    assert.same({ "a", "b" }, seen)
    assert.equal(0, hosted.live())
    local cancelled = ours.spawn(function() ours.enter(function(loop) loop.sleep(100) end) end)
    h.go(function()
      ours.enter(function(loop)
        loop.sleep(0.01)
        loop.cancel(cancelled)
      end)
    end)
    h.run()
    assert.is_false(cancelled.ok)
  end)

  it("says errors on standard error by default, and its process goes on", function()
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write [[
      local uv, luv = require "luv", require "unbusy.loops.luv"
      luv.spawn(function() error("thrown here") end)
      uv.run()
      print "and on"
    ]]
    file:close()
    local out = files.output((os.getenv "UNBUSY_LUA" or "lua5.4") .. " " .. path .. " 2>&1")
    os.remove(path)
    assert.matches("^unbusy: .*:2: thrown here\nstack traceback:\n.*and on\n$", out)
  end)
end)
