local guard = require "spec.support.leak_guard"
local scheduler = require "unbusy.loops.scheduler"

-- A scheduler in a world of its own: time jumps, nothing comes from outside.
local function new(outside)
  local world = { time = 0, idles = 0 }
  local s = scheduler.new {
    now = function() return world.time end,
    idle = function(seconds)
      world.idles = world.idles + 1
      if outside and outside(world, seconds) then return true end
      if seconds == nil then return false end
      world.time = world.time + seconds
      return true
    end,
  }
  return s, world
end

describe("the scheduler", function()
  guard.watch(before_each, after_each)
  describe("keeps nothing:", function()
    local function kilobytes()
      if jit then jit.flush() end -- luacheck: ignore 113 (compiled code is memory, too)
      collectgarbage()
      collectgarbage()
      return collectgarbage "count"
    end

    -- What is kept makes every batch larger.
    local function assert_flat(batch)
      batch()
      local grown, before = math.huge, kilobytes()
      for _ = 1, 3 do
        batch()
        local now = kilobytes()
        grown, before = math.min(grown, now - before), now
      end
      assert.is_true(grown < 100, ("each batch keeps %.0f KB"):format(grown))
    end

    it("memory is flat over 100,000 tasks", function()
      local s = new()
      s:run_all(function()
        assert_flat(function()
          for _ = 1, 25000 do s:spawn(function(x) return x end, {}):join() end
        end)
      end)
    end)

    it("memory is flat over 100,000 waits under one far deadline", function()
      local s, ev = new(), scheduler.event()
      s:run_all(function()
        local done
        s:spawn(function()
          while not done do
            ev:set()
            s:sleep(0)
          end
        end)
        assert_flat(function()
          for _ = 1, 25000 do
            assert(s:wait({ ev }, 1e9))
            ev:clear()
          end
        end)
        done = true
      end)
    end)

    it("a scheduler that is no longer used is collected, with its tasks", function()
      local weak = setmetatable({}, { __mode = "k" })
      for _ = 1, 10 do
        local s = new()
        weak[s] = true
        s:run_all(function()
          local task = s:spawn(function() s:sleep(1) end)
          weak[task], weak[task.co] = true, true
        end)
      end
      collectgarbage()
      collectgarbage()
      assert.is_nil(next(weak))
    end)

    it("a coroutine of run_one serves the next ones, and keeps nothing of them", function()
      local s, seen, count = new(), {}, 0
      local weak = setmetatable({}, { __mode = "k" })
      for _ = 1, 100 do
        local given = s:run_one(function(box)
          local co = coroutine.running()
          if not seen[co] then seen[co], count = true, count + 1 end
          return box
        end, {})
        weak[given] = true
      end
      collectgarbage()
      collectgarbage()
      assert.equal(1, count)
      assert.is_nil(next(weak))
    end)

    it("a spawned task has a coroutine of its own", function()
      local s, seen, count = new(), {}, 0
      for _ = 1, 10 do
        s:run_all(function()
          s:spawn(function()
            local co = coroutine.running()
            if not seen[co] then seen[co], count = true, count + 1 end
          end)
        end)
      end
      assert.equal(10, count)
    end)
  end)

  it("knows its tasks from other coroutines", function()
    local s = new()
    assert.is_nil(scheduler.current())
    s:run_all(function()
      local task = scheduler.current()
      assert.is_table(task)
      assert.is_nil(coroutine.wrap(function() return scheduler.current() end)())
      assert.equal(task, scheduler.current())
      s:spawn(function() assert.are_not.equal(task, scheduler.current()) end):join()
    end)
    assert.is_nil(scheduler.current())
  end)
end)
