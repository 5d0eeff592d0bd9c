-- Shared streams where they are read: in tasks, in coroutines of somebody else's, in two loops.
local core = require "unbusy.core"
local guard = require "spec.support.leak_guard"
local unbusy = require "unbusy"
local world = require "spec.support.world"

-- A loop over ours, each request of which is answered with these pieces, a short time apart.
local function loop_of(steps, seen)
  local tasks = require "unbusy.loops.tasks"
  local loop, known = {}, {}
  local function over(inner)
    if known[inner] then return known[inner] end
    local out = setmetatable({}, { __index = inner })
    known[inner] = out
    function out.open()
      local x, news = { event = inner.event() }, {}
      seen[#seen + 1] = x
      local function add(...)
        news[#news + 1] = { ... }
        x.event:set()
      end
      tasks.spawn(function()
        add("head", 200, { ["content-type"] = "text/event-stream" })
        for _, step in ipairs(steps) do
          unbusy.sleep(0.002)
          if x.closed then return end
          add("data", step)
        end
        add("end", nil, nil, { phase = "body" })
        seen.written = true
      end)
      function x.take()
        if x.closed then return "end", "closed", "the transfer is over", { phase = "body" } end
        local item = table.remove(news, 1)
        if item then return item[1], item[2], item[3], item[4] end
      end
      function x.close() x.closed = true end
      function x.abort()
        x.closed = true
        x.event:set()
      end
      return x
    end
    return out
  end
  for _, verb in ipairs { "sleep", "wait", "event", "spawn", "cancel", "open" } do
    loop[verb] = function() error "never called" end
  end
  loop.now = core.now
  function loop.enter(f, value)
    return tasks.enter(function(inner, v) return f(over(inner), v) end, value)
  end
  return loop
end

local steps = {}
for i = 1, 20 do steps[i] = world.chunk { content = i .. " " } end
steps[21] = world.chunk({}, "stop")
steps[22] = world.DONE

local WHOLE = ""
for i = 1, 20 do WHOLE = WHOLE .. i .. " " end

local question = { model = "m", messages = { { role = "user", content = "x" } } }

describe("a shared stream in plain Lua", function()
  local client, seen
  after_each(function() client:close() end)
  guard.watch(before_each, after_each)
  before_each(function()
    seen = {}
    client = assert(unbusy.new { loop = loop_of(steps, seen), cache = true, retry = false,
      targets = { { name = "a", url = "http://a.test" } } })
  end)

  local function read(s)
    local text = ""
    for piece in s:pieces() do text = text .. (piece.text or "") end
    return text
  end

  it("is read by tasks", function()
    local texts = {}
    unbusy.run(function()
      for i = 1, 5 do
        unbusy.spawn(function() texts[i] = read(assert(client:stream(question))) end)
      end
    end)
    assert.same({ WHOLE, WHOLE, WHOLE, WHOLE, WHOLE }, texts)
    assert.equal(1, #seen)
  end)

  it("is read in a coroutine of somebody else's, where all tasks stand still", function()
    local texts = {}
    unbusy.run(function()
      for i = 1, 3 do
        unbusy.spawn(function()
          local s = assert(client:stream(question))
          if i ~= 2 then
            texts[i] = read(s)
            return
          end
          repeat unbusy.sleep(0.01) until seen.written -- the server is a task, too
          local text = ""
          for piece in coroutine.wrap(function()
            for piece in s:pieces() do coroutine.yield(piece.text or "") end
          end) do text = text .. piece end
          texts[i] = text
        end)
      end
    end)
    assert.same({ WHOLE, WHOLE, WHOLE }, texts)
    assert.equal(1, #seen)
  end)

  it("is read after the tasks have ended", function()
    local streams = {}
    unbusy.run(function()
      for i = 1, 2 do
        unbusy.spawn(function() streams[i] = assert(client:stream(question)) end)
      end
    end)
    assert.equal(WHOLE, read(streams[1]))
    assert.equal(WHOLE, read(streams[2]))
    assert.equal("coalesced", streams[2].source)
    assert.equal(1, #seen)
  end)

  it("costs nothing where nobody could join", function()
    assert.equal(WHOLE, read(assert(client:stream(question))))
    assert.equal(0, client:status().coalesce.flights)
  end)
end)
