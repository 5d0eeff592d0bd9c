local guard = require "spec.support.leak_guard"
local loops = require "unbusy.loops"
local scheduler = require "unbusy.loops.scheduler"
local tasks = require "unbusy.loops.tasks"
local virtual = require "unbusy.loops.virtual"

-- Sleeps in whatever loop the caller is in.
local function sleep(seconds)
  tasks.enter(function(loop) loop.sleep(seconds) end)
end

describe("tasks", function()
  guard.watch(before_each, after_each)

  it("run a function and all it spawns", function()
    local seen = {}
    local a, b = tasks.run(function(x)
      for i = 1, 3 do
        tasks.spawn(function()
          sleep(0.01 * i)
          seen[#seen + 1] = i
        end)
      end
      return x, nil
    end, "x")
    assert.equal("x", a)
    assert.is_nil(b)
    assert.same({ 1, 2, 3 }, seen)
  end)

  it("a run inside a run, or in a task, is a plain call", function()
    local order = {}
    tasks.run(function()
      local value = tasks.run(function()
        tasks.spawn(function() order[#order + 1] = "spawned" end)
        order[#order + 1] = "inner"
        return 5
      end)
      order[#order + 1] = "outer " .. value
    end)
    assert.same({ "inner", "outer 5", "spawned" }, order)
  end)

  it("spawned before any run begin with the next one", function()
    local begun = false
    local task = tasks.spawn(function() begun = true return "x" end)
    assert.is_false(begun)
    tasks.run(function() end)
    assert.is_true(begun)
    assert.equal("x", task:join())
  end)

  it("calls in the main thread move the other tasks on, and only until they have ended", function()
    local steps = 0
    local task = tasks.spawn(function()
      for _ = 1, 50 do
        sleep(0)
        steps = steps + 1
      end
    end)
    assert.equal("reply", tasks.enter(function(loop) loop.sleep(0) return "reply" end))
    assert.is_true(steps < 50, steps)
    assert.is_falsy(task.done)
    local before = steps
    sleep(0)
    assert.is_true(steps > before)
    tasks.run(function() end)
    assert.is_true(task.done)
    assert.equal(50, steps)
  end)

  it("a call in a task runs right there, in that task's loop", function()
    tasks.run(function()
      local here = scheduler.current()
      tasks.enter(function(loop)
        assert.equal(here, scheduler.current())
        assert.equal("tasks", loop.name)
        assert.equal(here.scheduler, loop.scheduler)
        local child = loop.spawn(function() loop.sleep(0) return 3 end)
        assert.equal(3, child:join())
        local ev = loop.event()
        assert.is_nil(loop.wait({ ev }, loop.now()))
        child = loop.spawn(function() loop.sleep(100) end)
        loop.sleep(0)
        loop.cancel(child)
        assert.is_false(pcall(child.join, child))
      end)
    end)
  end)

  it("errors come out of enter and run as they were thrown, and nothing is left", function()
    local thrown = {}
    local ok, err = pcall(tasks.enter, function() error(thrown) end)
    assert.is_false(ok)
    assert.equal(thrown, err)
    ok, err = pcall(tasks.run, function()
      tasks.spawn(function() sleep(100) end)
      tasks.spawn(function() sleep(0) error(thrown) end)
      sleep(100)
    end)
    assert.is_false(ok)
    assert.equal(thrown, err)
    assert.equal(0, scheduler.live())
    assert.equal(1, tasks.run(function() sleep(0) return 1 end))
  end)

  it("that wait for nothing are an error, and the next run is none the worse", function()
    assert.has_error(function()
      tasks.run(function()
        tasks.enter(function(loop) loop.wait { loop.event() } end)
      end)
    end, "every task waits and nothing is left that could wake one")
    assert.has_error(function()
      tasks.enter(function(loop) loop.wait { loop.event() } end)
    end, "every task waits and nothing is left that could wake one")
    assert.equal(0, scheduler.live())
    assert.equal(1, tasks.run(function() sleep(0) return 1 end))
  end)

  it("do not burn the processor while they sleep", function()
    local cpu = os.clock()
    tasks.run(function()
      for i = 1, 20 do tasks.spawn(sleep, 0.4 + i / 200) end
      sleep(0.5)
    end)
    cpu = os.clock() - cpu
    assert.is_true(cpu < 0.1, cpu)
  end)

  it("1,000 of them", function()
    local sum = 0
    tasks.run(function()
      for i = 1, 1000 do
        tasks.spawn(function()
          for _ = 1, 3 do sleep(0.001 * (i % 5)) end
          sum = sum + i
        end)
      end
    end)
    assert.equal(500500, sum)
  end)

  describe("in a coroutine of somebody else's", function()
    it("a call outside of tasks is pumped inside it", function()
      local co = coroutine.wrap(function()
        for i = 1, 3 do
          coroutine.yield(tasks.enter(function(loop)
            local child = loop.spawn(function() loop.sleep(0.001) return i end)
            return child:join()
          end))
        end
      end)
      assert.equal(1, co())
      assert.equal(2, co())
      assert.equal(3, co())
    end)

    it("a call inside a task is pumped too, while the other tasks stand still", function()
      local moved, during = 0, nil
      tasks.run(function()
        local done = false
        tasks.spawn(function()
          while not done do
            moved = moved + 1
            sleep(0)
          end
        end)
        sleep(0)
        local before = moved
        local generator = coroutine.wrap(function()
          tasks.enter(function(loop)
            for _ = 1, 20 do loop.sleep(0.001) end
          end)
          during = moved - before
          coroutine.yield "value"
        end)
        assert.equal("value", generator())
        sleep(0)
        assert.is_true(moved > before)
        done = true
      end)
      assert.equal(0, during)
    end)

    it("a run has a scheduler of its own, and its spawns stay in it", function()
      local main_task = scheduler
      tasks.run(function()
        main_task = scheduler.current()
        local co = coroutine.wrap(function()
          return tasks.run(function()
            local inner = scheduler.current()
            assert.are_not.equal(main_task.scheduler, inner.scheduler)
            local child = tasks.spawn(function() sleep(
              0.001) return scheduler.current().scheduler end)
            assert.equal(inner.scheduler, child:join())
            return "ended"
          end)
        end)
        assert.equal("ended", co())
      end)
    end)

    it("events of the standing tasks are not lost", function()
      local got
      tasks.run(function()
        local ev
        tasks.enter(function(loop) ev = loop.event() end)
        tasks.spawn(function()
          tasks.enter(function(loop) got = loop.wait { ev } end)
        end)
        sleep(0)
        coroutine.wrap(function()
          tasks.enter(function(loop)
            loop.sleep(0.001)
            ev:set()
            loop.sleep(0.001)
          end)
        end)()
        assert.is_nil(got)
      end)
      assert.is_truthy(got)
    end)

    it("nested in one another, as deep as anybody would", function()
      local function nest(n)
        if n == 0 then
          sleep(0.001)
          return 0
        end
        return coroutine.wrap(function()
          return tasks.enter(function(loop)
            loop.sleep(0)
            return 1 + nest(n - 1)
          end)
        end)()
      end
      assert.equal(20, nest(20))
      assert.equal(20, tasks.run(nest, 20))
    end)

    it("errors come out of it", function()
      local co = coroutine.create(function()
        tasks.enter(function(loop) loop.sleep(0) error("wrong", 0) end)
      end)
      local ok, err = coroutine.resume(co)
      assert.is_false(ok)
      assert.equal("wrong", err)
      co = coroutine.create(function() tasks.enter(function(loop) loop.wait {
        loop.event() } end) end)
      assert.is_false(coroutine.resume(co))
    end)

    it("ends what a call leaves running: nobody would move it again", function()
      local cleaned
      coroutine.wrap(function()
        tasks.enter(function(loop)
          loop.spawn(function()
            pcall(loop.sleep, 100)
            cleaned = true
          end)
          loop.sleep(0)
        end)
      end)()
      assert.is_true(cleaned)
      assert.equal(0, scheduler.live())
    end)

    it("memory stays flat over thousands of calls", function()
      local function batch()
        for _ = 1, 2000 do
          coroutine.wrap(function() tasks.enter(function(loop) loop.sleep(0) end) end)()
        end
        collectgarbage()
        collectgarbage()
        return collectgarbage "count"
      end
      local first = batch()
      local last
      for _ = 1, 3 do last = batch() end
      assert.is_true(last < first + 100, ("%.0f KB, then %.0f KB"):format(first, last))
    end)
  end)

  describe("loops", function()
    it("take a loop that was chosen by hand", function()
      local given
      local chosen = { enter = function(f, ...) given = { ... } return f("loop", ...) end }
      assert.same({ "loop", 1 }, { loops.enter(chosen, function(...) return ... end, 1) })
      assert.same({ 1 }, given)
      assert.equal("tasks", loops.enter(nil, function(loop) return loop.name end))
    end)

    it("know their names", function()
      assert.is_nil(loops.of(nil))
      assert.equal(tasks, loops.of "tasks")
      local own = virtual.new()
      assert.equal(own, loops.of(own))
      own.sleep = nil
      assert.same({ nil, "loop: no 'sleep'" }, { loops.of(own) })
    end)
  end)
end)
