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

local function log_into(list)
  return function(x) list[#list + 1] = x end
end

describe("the scheduler", function()
  guard.watch(before_each, after_each)

  describe("runs", function()
    it("a function and gives all it gives, nils too", function()
      local s = new()
      local function f(...) return select("#", ...), nil, (...), nil end
      assert.same({ n = 4, 2, nil, "a", nil },
        { n = select("#", s:run_all(f, "a", nil)), s:run_all(f, "a", nil) })
      assert.equal(0, select("#", s:run_one(function() end)))
      assert.equal(0, scheduler.live())
    end)

    it("tasks in the order of their spawning, each when the others wait", function()
      local s, seen = new(), {}
      local note = log_into(seen)
      s:run_all(function()
        for i = 1, 3 do
          s:spawn(function(name)
            note(name .. 1)
            s:sleep(0)
            note(name .. 2)
          end, i .. ".")
        end
        note "main"
      end)
      assert.same({ "main", "1.1", "2.1", "3.1", "1.2", "2.2", "3.2" }, seen)
    end)

    it("in turns: one that never sleeps long does not starve the others", function()
      local s = new()
      local turns, done = { 0, 0, 0 }, false
      s:run_all(function()
        for i = 1, 3 do
          s:spawn(function()
            while not done do
              turns[i] = turns[i] + 1
              s:sleep(0)
            end
          end)
        end
        for _ = 1, 100 do s:sleep(0) end
        done = true
      end)
      for i = 1, 3 do assert.is_true(turns[i] >= 99 and turns[i] <= 101, turns[i]) end
    end)

    it("a spinning task, and timers and the outside world still get their turn", function()
      local s, world = new(function(w) w.time = w.time + 0.01 return true end)
      local slept, spun = false, 0
      s:run_all(function()
        s:spawn(function() s:sleep(1) slept = true end)
        while not slept do spun = spun + 1 s:sleep(0) end
      end)
      assert.is_true(spun > 50 and spun < 200, spun)
      assert.is_true(world.idles >= spun)
    end)

    it("sleepers by their deadlines, equal ones in the order of sleeping", function()
      local s, seen = new(), {}
      s:run_all(function()
        for i, t in ipairs { 3, 1, 2, 1, 0, -5, 2 } do
          s:spawn(function() s:sleep(t) seen[#seen + 1] = i end)
        end
      end)
      assert.same({ 5, 6, 2, 4, 3, 7, 1 }, seen)
    end)

    it("one function, and leaves the others where they are", function()
      local s, seen = new(), {}
      local other = s:spawn(function()
        seen[1] = "begun"
        s:sleep(10)
        seen[2] = "ended"
        return 7
      end)
      assert.same({}, seen)
      assert.equal("x", s:run_one(function() s:sleep(5) return "x" end))
      assert.same({ "begun" }, seen)
      assert.is_falsy(other.done)
      assert.has_error(function() other:join() end,
        "join: the task has not ended, and this is no task")
      s:run_one(function() s:sleep(5) end)
      assert.equal(7, other:join())
      assert.same({ "begun", "ended" }, seen)
    end)

    it("1,000 tasks", function()
      local s = new()
      local sum = 0
      s:run_all(function()
        local tasks = {}
        for i = 1, 1000 do
          tasks[i] = s:spawn(function() s:sleep((i * 7919) % 100) return i end)
        end
        assert.equal(1001, scheduler.live())
        for i = 1, 1000 do sum = sum + tasks[i]:join() end
      end)
      assert.equal(500500, sum)
    end)

    it("10,000 who wait for one event", function()
      local s, ev, order = new(), scheduler.event(), {}
      s:run_all(function()
        for i = 1, 10000 do s:spawn(function() s:wait { ev } order[#order + 1] = i end) end
        s:sleep(1)
        ev:set()
      end)
      assert.equal(10000, #order)
      for i = 1, 10000 do assert(order[i] == i) end
    end)
  end)

  describe("an event", function()
    it("wakes all its waiters, stays set, and can be cleared", function()
      local s, ev, woken = new(), scheduler.event(), 0
      s:run_all(function()
        for _ = 1, 5 do
          s:spawn(function()
            assert.equal(ev, s:wait { ev })
            woken = woken + 1
          end)
        end
        s:sleep(1)
        assert.equal(0, woken)
        ev:set()
        s:sleep(0)
        assert.equal(5, woken)
        assert.equal(ev, s:wait({ ev }, 0)) -- at once, though the deadline has passed
        ev:clear()
        assert.is_nil(s:wait({ ev }, s.now() + 1))
        ev:set()
        ev:set()
        assert.equal(ev, s:wait { ev })
      end)
    end)

    it("that is set and cleared in one go has woken those who waited then", function()
      local s, ev, woken = new(), scheduler.event(), 0
      s:run_all(function()
        for _ = 1, 3 do s:spawn(function() s:wait { ev } woken = woken + 1 end) end
        s:sleep(0)
        ev:set()
        ev:clear()
        assert.is_nil(s:wait({ ev }, s.now() + 1))
        assert.equal(3, woken)
      end)
    end)

    it("of several: the first in the list that is set, and nothing is left behind", function()
      local s, a, b = new(), scheduler.event(), scheduler.event()
      s:run_all(function()
        b:set()
        assert.equal(b, s:wait { a, b })
        a:set()
        assert.equal(a, s:wait { a, b })
        a:clear()
        b:clear()
        s:spawn(function() s:sleep(1) b:set() end)
        assert.equal(b, s:wait { a, b, a, b }) -- the same twice
        b:clear()
        assert.equal(0, #a)
        assert.equal(0, #b)
        a:set() -- wakes nobody
        assert.is_nil(s:wait({ b }, s.now() + 1))
      end)
    end)

    it("and its deadline: who comes first is given, the other is forgotten", function()
      local s, world = new()
      local ev = scheduler.event()
      s:run_all(function()
        s:spawn(function() s:sleep(2) ev:set() end)
        assert.is_nil(s:wait({ ev }, 1))
        assert.equal(1, world.time)
        assert.equal(0, #ev)
        assert.equal(ev, s:wait({ ev }, 100))
        assert.equal(2, world.time)
        ev:clear()
        assert.is_nil(s:wait({ ev }, 2)) -- a deadline that has passed still lets the others run
        assert.is_nil(s:wait({ ev }, -1))
        assert.is_nil(s:wait({}, 3))
      end)
      assert.equal(3, world.time)
      assert.is_nil(s.timers:next())
    end)

    it("set from outside every task", function()
      local ev = scheduler.event()
      local s = new(function(_, seconds)
        if seconds == nil then ev:set() return true end
      end)
      assert.equal(ev, s:run_all(function() return s:wait { ev } end))
    end)
  end)

  it("ends a task that yields by itself, and no later run knows of it", function()
    local s = new()
    local ok, message = pcall(s.run_all, s, function() coroutine.yield() end)
    assert.is_false(ok)
    assert.matches("yielded by itself", message)
    assert.equal("later", s:run_all(function() s:sleep(1) return "later" end))
  end)

  describe("an error", function()
    it("of the function that runs is raised as it is, and the others end", function()
      local s, thrown = new(), {}
      local ended
      local ok, err = pcall(s.run_all, s, function()
        s:spawn(function()
          local _, why = pcall(s.sleep, s, 100)
          ended = why
        end)
        s:sleep(1)
        error(thrown)
      end)
      assert.is_false(ok)
      assert.equal(thrown, err)
      assert.equal(scheduler.cancelled, ended)
      assert.equal(0, scheduler.live())
      assert.equal(5, s:run_all(function() return 5 end)) -- and nothing of it comes again
    end)

    it("of a task that nobody joined ends the others and is raised", function()
      local s = new()
      local reached = false
      assert.has_error(function()
        s:run_all(function()
          s:spawn(function() s:sleep(1) error("lost", 0) end)
          s:sleep(5)
          reached = true
        end)
      end, "lost")
      assert.is_false(reached)
      assert.equal(0, scheduler.live())
    end)

    it("of a task that is being joined goes to whoever joins", function()
      local s = new()
      assert.equal("mine: 2", s:run_all(function()
        local task = s:spawn(function() s:sleep(1) error("mine", 0) end)
        local caught = 0
        local other = s:spawn(function()
          if not pcall(task.join, task) then caught = caught + 1 end
        end)
        local ok, err = pcall(task.join, task)
        if not ok then caught = caught + 1 end
        other:join()
        s:sleep(10)
        return err .. ": " .. caught
      end))
    end)

    it("is joined, and another one in the same turn is not: that one is raised", function()
      local s = new()
      assert.has_error(function()
        s:run_all(function()
          local joined = s:spawn(function() s:sleep(1) error("joined", 0) end)
          s:spawn(function() s:sleep(1) error("unjoined", 0) end)
          pcall(joined.join, joined)
          s:sleep(10)
        end)
      end, "unjoined")
      assert.equal(0, scheduler.live())
    end)

    it("may be nil or false", function()
      for _, value in ipairs { "nil", "false" } do
        local s = new()
        local thrown
        if value == "false" then thrown = false end
        local ok, err = pcall(s.run_all, s, function() error(thrown) end)
        assert.is_false(ok)
        if value == "false" then assert.is_false(err) else assert.is_nil(err) end
        assert.equal(0, scheduler.live())
      end
    end)

    it("while cleaning up behind another is not raised by a later run", function()
      local s = new()
      assert.has_error(function()
        s:run_all(function()
          s:spawn(function()
            pcall(s.sleep, s, 100)
            error("second", 0)
          end)
          s:sleep(1)
          error("first", 0)
        end)
      end, "first")
      assert.equal(0, scheduler.live())
      assert.equal(1, s:run_all(function() s:sleep(1) return 1 end))
    end)

    it("of one call is not raised by a later run", function()
      local s = new()
      assert.has_error(function() s:run_one(function() error("wrong", 0) end) end, "wrong")
      assert.equal(1, s:run_all(function() s:sleep(1) return 1 end))
    end)

    it("of a single call does not hide an unjoined one", function()
      local s = new()
      pcall(s.run_one, s, function() error("call", 0) end)
      assert.has_error(function()
        s:run_all(function()
          s:spawn(function() error("unjoined", 0) end)
          s:sleep(1)
        end)
      end, "unjoined")
    end)
  end)

  describe("waiting for what never comes", function()
    local STUCK = "every task waits and nothing is left that could wake one"

    it("is an error, and ends all who wait", function()
      local s, cleaned = new(), 0
      assert.has_error(function()
        s:run_all(function()
          for _ = 1, 3 do
            s:spawn(function()
              pcall(s.wait, s, { scheduler.event() })
              cleaned = cleaned + 1
            end)
          end
          s:wait { scheduler.event() }
        end)
      end, STUCK)
      assert.equal(3, cleaned)
      assert.equal(0, scheduler.live())
      assert.equal(1, s:run_all(function() s:sleep(1) return 1 end))
    end)

    it("in one call ends that call, and leaves the others alone", function()
      local s, ev = new(), scheduler.event()
      local other = s:spawn(function() s:wait { ev } return "went on" end)
      assert.has_error(function() s:run_one(function() s:wait { scheduler.event() } end) end, STUCK)
      assert.equal(1, scheduler.live())
      assert.is_falsy(other.done)
      ev:set()
      s:run_one(function() s:sleep(0) s:sleep(0) end)
      assert.equal("went on", other:join())
    end)

    it("again while cleaning up ends in the same error, without a hang", function()
      local s = new()
      local function stubborn()
        for _ = 1, 3 do pcall(s.wait, s, { scheduler.event() }) end
      end
      assert.has_error(function() s:run_all(stubborn) end, STUCK)
      assert.equal(0, scheduler.live())
      assert.has_error(function() s:run_one(stubborn) end, STUCK)
      assert.equal(0, scheduler.live())
      assert.equal(1, s:run_all(function() s:sleep(1) return 1 end))
    end)

    it("of oneself is the same", function()
      local s = new()
      assert.has_error(function()
        s:run_all(function()
          local task
          task = s:spawn(function() task:join() end)
        end)
      end, STUCK)
      assert.equal(0, scheduler.live())
    end)
  end)

  describe("cancel", function()
    -- Runs `f` as a task, lets it get as far as it can, and cancels it; gives what became of it.
    local function cancel_one(f, seconds)
      local s = new()
      return s:run_all(function()
        local task = s:spawn(f, s)
        if seconds then s:sleep(seconds) end
        scheduler.cancel(task)
        local ok, err = pcall(task.join, task)
        return ok, err, s.now()
      end)
    end

    it("ends a sleeper at once", function()
      local ok, err, at = cancel_one(function(s) s:sleep(100) end, 1)
      assert.is_false(ok)
      assert.equal(scheduler.cancelled, err)
      assert.equal("cancelled", tostring(err))
      assert.equal(1, at)
    end)

    it("ends a waiter, and the event forgets it", function()
      local ev = scheduler.event()
      local ok, err = cancel_one(function(s) s:wait({ ev, ev }, 100) end, 1)
      assert.is_false(ok)
      assert.equal(scheduler.cancelled, err)
      assert.equal(0, #ev)
    end)

    it("ends one not yet begun where it first waits", function()
      local reached = 0
      local ok, err, at = cancel_one(function(s)
        reached = 1
        s:sleep(5)
        reached = 2
      end)
      assert.is_false(ok)
      assert.equal(scheduler.cancelled, err)
      assert.equal(0, at)
      assert.is_true(reached < 2)
    end)

    it("ends one that has been woken and did not yet run", function()
      local s, ev = new(), scheduler.event()
      s:run_all(function()
        local task = s:spawn(function() s:wait { ev } return "went on" end)
        s:sleep(1)
        ev:set()
        scheduler.cancel(task)
        local ok, err = pcall(task.join, task)
        assert.is_false(ok)
        assert.equal(scheduler.cancelled, err)
      end)
    end)

    it("of oneself ends where one next waits, even for what is there already", function()
      local s, ev = new(), scheduler.event()
      ev:set()
      local reached
      s:run_all(function()
        local task = s:spawn(function()
          scheduler.cancel(scheduler.current())
          reached = "on"
          s:wait { ev }
          reached = "too far"
        end)
        assert.is_false(pcall(task.join, task))
      end)
      assert.equal("on", reached)
    end)

    it("twice, or of one that has ended, is nothing", function()
      local s = new()
      s:run_all(function()
        local task = s:spawn(function() return 5 end)
        s:sleep(0)
        scheduler.cancel(task)
        scheduler.cancel(task)
        assert.equal(5, task:join())
        assert.equal(5, task:join())
        local raised = 0
        task = s:spawn(function()
          for _ = 1, 3 do
            if not pcall(s.sleep, s, 1) then raised = raised + 1 end
          end
        end)
        s:sleep(0)
        scheduler.cancel(task)
        scheduler.cancel(task)
        s:sleep(0)
        scheduler.cancel(task)
        task:join()
        assert.equal(1, raised) -- what cleans up may wait
        assert.equal(2, s.now())
      end)
    end)

    it("lets clean-up code wait, and gives what it gives", function()
      local ok, value, at = cancel_one(function(s)
        local fine = pcall(s.sleep, s, 100)
        s:sleep(2)
        assert(s:wait({ scheduler.event() }, s.now() + 3) == nil)
        return fine and "slept" or "cleaned up"
      end, 1)
      assert.is_true(ok)
      assert.equal("cleaned up", value)
      assert.equal(6, at)
    end)

    it("of one who joins leaves the joined alone", function()
      local s = new()
      s:run_all(function()
        local worker = s:spawn(function() s:sleep(5) return "done" end)
        local joiner = s:spawn(function() return worker:join() end)
        s:sleep(1)
        scheduler.cancel(joiner)
        assert.is_false(pcall(joiner.join, joiner))
        assert.equal("done", worker:join())
      end)
    end)

    it("of a task is no fault of the run", function()
      local s = new()
      assert.equal(2, s:run_all(function()
        local task = s:spawn(function() s:sleep(100) end)
        s:sleep(1)
        scheduler.cancel(task)
        s:sleep(1)
        return s.now()
      end))
    end)

    it("at the moment of the deadline wakes once", function()
      local s, world = new()
      s:run_all(function()
        local task
        s:spawn(function() s:sleep(1) scheduler.cancel(task) end)
        task = s:spawn(function()
          local ok = pcall(s.sleep, s, 1)
          s:sleep(1)
          return ok
        end)
        task:join()
      end)
      assert.equal(2, world.time)
    end)
  end)
end)
