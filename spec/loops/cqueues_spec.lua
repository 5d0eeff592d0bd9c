-- Calls inside cqueues (Debian: lua-cqueues), which is no choice of the client's but of the place.
local calls = require "spec.support.host_calls"
local condition = require "cqueues.condition"
local cqueues = require "cqueues"
local direct = require "spec.support.direct"
local files = require "spec.support.files"
local hosted = require "unbusy.loops.hosted"
local loops = require "unbusy.loops"
local ours = require "unbusy.loops.cqueues"
local unbusy = require "unbusy"
local wire = require "unbusy.loops.wire"

local question = calls.question

local function collect()
  collectgarbage()
  collectgarbage()
end

describe("in cqueues", function()
  local cq
  local h = { sleep = cqueues.sleep, go = function(f) cq:wrap(f) end,
    run = function() assert(cq:loop()) end }
  function h.new(o)
    if o.loop == false then o.loop = nil end
    return unbusy.new(o)
  end
  after_each(function() cq = nil end) -- before the guard looks
  local up = calls.describe(h, { it = it, setup = setup, teardown = teardown,
    before_each = before_each, after_each = after_each })
  before_each(function() cq = cqueues.new() end)

  it("a call belongs to a controller where that resumes its coroutine itself", function()
    local client, names = h.new(), {}
    up():programme { reset = true }
    local function note(key)
      loops.enter(nil, function(loop) names[key] = loop.name end)
      assert(client:chat(question "q"))
    end
    note "outside"
    local ticks, during = 0, nil
    cq:wrap(function()
      note "inside"
      local before = ticks
      coroutine.wrap(function() note "within" end)() -- not to be yielded through: all stands still
      during = ticks - before
      names.over = true
    end)
    cq:wrap(function()
      while not names.over do
        ticks = ticks + 1
        cqueues.sleep(0)
      end
    end)
    assert(cq:loop())
    assert.same({ outside = "tasks", inside = "cqueues", within = "tasks", over = true }, names)
    assert.equal(0, during)
    assert.is_true(ticks > 0)
  end)

  it("by name, a call elsewhere raises at its line", function()
    local client = h.new { loop = "cqueues" }
    local ok, message = pcall(function() client:chat(question "q") end)
    assert.is_false(ok)
    assert.matches("cqueues_spec%.lua:%d+: unbusy: the loop 'cqueues' waits only in", message)
    cq:wrap(function()
      ok, message = pcall(coroutine.wrap(function() client:chat(question "q") end))
      assert(client:chat(question "q"))
    end)
    assert(cq:loop())
    assert.is_false(ok)
    assert.matches("cqueues_spec%.lua:%d+: unbusy: the loop 'cqueues' waits only in", message)
  end)

  it("several controllers are moved by whoever runs", function()
    local client, done = h.new(), {}
    local other, outer = cqueues.new(), cqueues.new()
    up():programme { reset = true, latency = 0.05 }
    for i, controller in ipairs { cq, other, outer, cq, other } do
      controller:wrap(function()
        for _ = 1, 3 do assert(client:chat(question "q")) end
        done[i] = true
      end)
    end
    outer:wrap(function() assert(cq:loop()) end) -- one inside of another's coroutine
    while not (outer:empty() and other:empty()) do -- and one beside it
      assert(outer:step(0.01))
      assert(other:step(0.01))
    end
    assert.same({ true, true, true, true, true }, done)
    assert.is_true(cq:empty())
  end)

  it("one client serves a controller and plain Lua, in one line", function()
    local client, got = h.new { limiter = { kind = "fixed", initial = 1 } }, {}
    up():programme { reset = true, latency = 0.05 }
    cq:wrap(function()
      local stream = assert(client:stream(question "q"))
      cqueues.sleep(0.02)
      got[1] = assert(stream:reply()).text
    end)
    cq:wrap(function() got[2] = assert(client:chat(question "w")).text end)
    unbusy.run(function()
      unbusy.spawn(function()
        unbusy.sleep(0.01)
        got[3] = assert(client:chat(question "p")).text
      end)
      while not cq:empty() do
        assert(cq:step(0.001))
        unbusy.sleep(0.001)
      end
    end)
    assert.same({ "echo: q", "echo: w", "echo: p" }, got)
  end)

  it("a controller that is closed or dropped in mid-call ends its calls when collected", function()
    local client = h.new { limiter = { kind = "fixed", initial = 4 }, cache = { coalesce = false } }
    up():programme { reset = true, capacity = 0, queue = 100 }
    local ended = false
    for round = 1, 2 do
      local controller = cqueues.new()
      for _ = 1, 4 do
        controller:wrap(function()
          client:chat(question "q")
          ended = true
        end)
      end
      controller:wrap(function() client:warm { "x" } end)
      controller:wrap(function()
        unbusy.spawn(client.stream, client, question "q")
        unbusy.sleep(100)
      end)
      repeat assert(controller:step(0.05)) until up():counts().queued == 5
      assert.is_true(client:status().waiting > 0)
      if round == 1 then controller:close() end
      controller = nil -- luacheck: ignore 311
      collect()
      collect()
      local status = client:status()
      assert.same({ 0, 0, 0 }, { status.active, status.waiting, hosted.live() })
      while up():counts().queued > 0 do direct.pause(0.02) end -- the server has seen it
    end
    assert.is_false(ended)
    up():programme { reset = true }
    cq:wrap(function() assert(client:chat(question "q")) end)
    assert(cq:loop())
  end)

  it("a stream whose reader has failed ends with it", function()
    local client, got = h.new(), nil
    up():programme { reset = true, token_interval = 0.02, answer = { tokens = 10 } }
    cq:wrap(function()
      for _ in assert(client:stream(question "q")):pieces() do error("thrown in mid-stream", 0) end
    end)
    cq:wrap(function() got = assert(client:stream(question "q"):reply()).text end)
    local thrown = {}
    for message in cq:errors() do thrown[#thrown + 1] = message end
    assert.same({ "thrown in mid-stream" }, thrown)
    assert.is_truthy(got)
    collect()
    assert.equal(0, client:status().active)
    assert.is_false(wire.busy())
  end)

  it("tasks are coroutines of the controller, and tell what nobody has joined", function()
    local client, got = h.new { retry = false }, {}
    up():programme { reset = true }
    cq:wrap(function()
      got[1] = unbusy.run(function(x) return x end, "plain call")
      local task = unbusy.spawn(function(text)
        unbusy.sleep(0.01)
        return assert(client:chat(question(text))).text
      end, "spawned")
      got[2] = task:join()
      unbusy.spawn(error, "lost", 0)
    end)
    assert.same({ false, "lost" }, { (cq:loop()), select(2, cq:loop()) or "lost" })
    assert(cq:loop())
    assert.same({ "plain call", "echo: spawned" }, got)
  end)

  it("a task is joined in its own controller only", function()
    local other, task, message = cqueues.new(), nil, nil
    cq:wrap(function() task = unbusy.spawn(unbusy.sleep, 0.05) end)
    assert(cq:step())
    other:wrap(function() message = select(2, pcall(task.join, task)) end)
    assert(other:loop())
    assert.matches("here its loop cannot wait for it", message)
    assert(cq:loop())
    task:join()
  end)

  it("wakes first come first served, from wherever the event is set", function()
    local order, ev = {}, nil
    local go = condition.new()
    for i = 1, 5 do
      cq:wrap(function()
        ours.enter(function(loop)
          ev = ev or loop.event()
          loop.wait { ev }
          order[#order + 1] = i
        end)
      end)
    end
    local entered = {}
    cq:wrap(function()
      go:wait()
      for i, waiter in ipairs(ev) do entered[i] = waiter end
      ev:set()
    end)
    assert(cq:step())
    go:signal()
    -- A controller begins the last coroutine first: so that is the order in which they wait.
    assert(cq:loop())
    assert.same({ 5, 4, 3, 2, 1 }, order)
    assert.equal(5, #entered)
  end)

  it("a controller begins anew after it has ended, and with another engine", function()
    local client = h.new()
    up():programme { reset = true }
    for _ = 1, 3 do
      cq:wrap(function() assert(client:chat(question "q")) end)
      assert(cq:loop())
      wire.close_idle() -- the next one may get the same descriptor
    end
  end)

  it("sleeping lets the others run, and a deadline is kept with nothing under way", function()
    local steps, sleeps = 0, 0
    cq:wrap(function()
      local stop = cqueues.monotime() + 0.1
      while cqueues.monotime() < stop do
        unbusy.sleep(0)
        sleeps = sleeps + 1
      end
      steps = -steps
    end)
    cq:wrap(function()
      while steps >= 0 do
        steps = steps + 1
        cqueues.sleep(0)
      end
    end)
    assert(cq:loop())
    assert.is_true(steps < -5 and sleeps > 5)
    local woken
    cq:wrap(function()
      ours.enter(function(loop) woken = loop.wait({ loop.event() }, loop.now() + 0.01) == nil end)
    end)
    assert(cq:loop())
    assert.is_true(woken)
  end)
end)

describe("without cqueues", function()
  local guard = require "spec.support.leak_guard"
  guard.watch(before_each, after_each)

  -- Runs Lua in a process of its own, with modules that cannot be loaded.
  local function run(text)
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write(text)
    file:close()
    local out = files.output((os.getenv "UNBUSY_LUA" or "lua5.4") .. " " .. path .. " 2>&1")
    os.remove(path)
    return out
  end

  it("nothing of it is loaded, and asked for by name it is missing at the caller's line", function()
    local out = run [[
      for _, name in ipairs { "cqueues", "luv" } do
        package.preload[name] = function() error("is not there", 0) end
      end
      local unbusy = require "unbusy"
      assert(not package.loaded.cqueues and not package.loaded.luv)
      unbusy.sleep(0)
      assert(not package.loaded.cqueues and not package.loaded.luv)
      for _, name in ipairs { "cqueues", "luv", "nginx", "tasks" } do
        print(pcall(function()
          return unbusy.new {
            targets = { { name = "a", url = "http://a.test" } }, loop = name } ~= nil
        end))
      end
      print(select(2, pcall(unbusy.new, { targets = { { name = "a", url = "http://a.test" } },
        loop = "cqueue" })))
    ]]
    local lines = {}
    for line in out:gmatch "[^\n]+" do
      lines[#lines + 1] = line:gsub("^(%a+\t).*(:%d+: )", "%1%2")
    end
    assert.same({
      "false\t:10: unbusy: loop: cqueues cannot be loaded: is not there",
      "false\t:10: unbusy: loop: luv cannot be loaded: is not there",
      "false\t:10: unbusy: loop: this is not nginx",
      "true\ttrue",
    }, { lines[1], lines[2], lines[3], lines[4] })
    assert.matches("cqueues", lines[5])
  end)
end)
