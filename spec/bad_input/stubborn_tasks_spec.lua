-- Tasks that swallow their cancellation: they get time to clean up, are told again, and in the end
-- are left behind. No run is kept from its end by one.
local guard = require "spec.support.leak_guard"
local scheduler = require "unbusy.loops.scheduler"
local world = require "spec.support.world"

-- A scheduler with a time that jumps.
local function new()
  local time = 0
  return scheduler.new {
    now = function() return time end,
    idle = function(seconds)
      if seconds == nil then return false end
      time = time + seconds
      return true
    end,
  }
end

describe("a task that swallows its cancellation", function()
  guard.watch(before_each, after_each)

  -- Runs `stubborn(s)` beside a task that fails after one second; gives when the run has ended.
  local function end_of(stubborn)
    local s = new()
    local ok, message = pcall(s.run_all, s, function()
      s:spawn(stubborn, s)
      s:sleep(1)
      error("mine", 0)
    end)
    assert.same({ false, "mine", 0 }, { ok, message, scheduler.live() })
    return s.now()
  end

  it("does not keep a run from its end", function()
    local steps = 0
    local time = end_of(function(s)
      while true do
        pcall(s.sleep, s, 3)
        steps = steps + 1
      end
    end)
    assert.equal(1 + scheduler.CLEAN_UP, time)
    assert.is_true(steps > 4 and steps < 200, steps)
  end)

  it("does not do so either with waits longer than its time", function()
    assert.equal(1 + scheduler.CLEAN_UP, end_of(function(s)
      while true do pcall(s.sleep, s, 1e6) end
    end))
  end)

  it("does not do so without a limit to its waits, nor by waiting for itself", function()
    assert.equal(1, end_of(function(s)
      while true do pcall(s.wait, s, { scheduler.event() }) end
    end))
    assert.equal(1 + scheduler.CLEAN_UP, end_of(function(s)
      while true do
        local other = s:spawn(function() s:sleep(1) end)
        pcall(other.join, other)
      end
    end))
  end)

  it("does not do so by beginning others, as stubborn as itself", function()
    assert.equal(1 + scheduler.CLEAN_UP, end_of(function(s)
      local function stubborn()
        pcall(s.sleep, s, 4)
        s:spawn(stubborn)
        while true do pcall(s.sleep, s, 1e6) end
      end
      stubborn()
    end))
  end)

  it("may wait again to clean up, as long as its time lasts", function()
    local s, cleaned = new(), nil
    s:run_all(function()
      local task = s:spawn(function()
        pcall(s.sleep, s, 100)
        for _ = 1, 9000 do s:sleep(0.001) end
        cleaned = s.now()
        return "clean"
      end)
      s:sleep(1)
      scheduler.cancel(task)
      assert.equal("clean", task:join())
    end)
    assert.is_true(cleaned >= 10 - 1e-6 and cleaned < 11, cleaned)
  end)

  it("ends whoever joins it, too", function()
    local s = new()
    assert.equal("over", s:run_all(function()
      local task = s:spawn(function() while true do pcall(s.sleep, s, 1) end end)
      s:sleep(1)
      scheduler.cancel(task)
      local ok, err = pcall(task.join, task)
      assert.same({ false, scheduler.cancelled }, { ok, err })
      return "over"
    end))
  end)

  it("has what it holds by <close> closed", function()
    if _VERSION ~= "Lua 5.4" then return end
    local code = [[
      local s, closed = ...
      local held <close> = setmetatable({}, { __close = closed })
      while true do pcall(s.sleep, s, 1) end
    ]]
    local times = 0
    end_of(function(s) load(code)(s, function() times = times + 1 end) end)
    assert.equal(1, times)
  end)

  it("leaves no call behind", function()
    local w = world.new { script = { a = { world.good("hi", 2) } } }
    local calls = 0
    local ok, message = pcall(w.loop.run, function()
      w.loop.spawn(function()
        while true do
          pcall(w.chat, w)
          calls = calls + 1
        end
      end)
      w.loop.sleep(5)
      error("mine", 0)
    end)
    assert.same({ false, "mine" }, { ok, message })
    assert.is_true(calls > 3 and calls < 200, calls)
    assert.equal(5 + scheduler.CLEAN_UP, w:now())
    w:assert_clean()
  end)

  it("leaves no stream behind", function()
    local w = world.new { script = { a = { world.words({ "a", "b", "c", "d", "e", "f" }, 1) } } }
    assert.is_false(pcall(w.loop.run, function()
      w.loop.spawn(function()
        while true do
          pcall(function() for _ in w:stream():pieces() do w.loop.sleep(0.1) end end)
        end
      end)
      w.loop.sleep(5)
      error("mine", 0)
    end))
    assert.equal(5 + scheduler.CLEAN_UP, w:now())
    collectgarbage() -- what nobody reads any more
    collectgarbage()
    w:assert_clean()
  end)
end)
