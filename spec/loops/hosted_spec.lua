local collect = require "unbusy.collect"
local guard = require "spec.support.leak_guard"
local hosted = require "unbusy.loops.hosted"
local scheduler = require "unbusy.loops.scheduler"

-- A host with a time that jumps: its coroutines go on in the order in which they became ready.
local function new_host(more)
  local self = { time = 0, ready = {}, sleepers = {}, errors = {} }
  local parked = {} -- waiter -> coroutine
  local host = { now = function() return self.time end }
  function host.park(waiter, seconds)
    parked[waiter] = coroutine.running()
    if seconds then
      self.sleepers[#self.sleepers + 1] = { at = self.time + seconds, waiter = waiter }
    end
    coroutine.yield()
    parked[waiter] = nil
  end
  function host.unpark(waiter) table.insert(self.ready, waiter) end
  function host.spawn(f) table.insert(self.ready, { co = coroutine.create(f) }) end
  for name, value in pairs(more or {}) do host[name] = value end

  local function go_on(waiter)
    local co = waiter.co or parked[waiter]
    if not co then return end
    local ok, message = coroutine.resume(co)
    if not ok then table.insert(self.errors, message) end
  end
  local function next_sleeper()
    local best
    for i, s in ipairs(self.sleepers) do
      if not best or s.at < self.sleepers[best].at then best = i end
    end
    return best and table.remove(self.sleepers, best)
  end
  -- Runs until nobody can go on.
  function self.run()
    repeat
      while self.ready[1] do go_on(table.remove(self.ready, 1)) end
      local sleeper = next_sleeper()
      if sleeper then
        self.time = math.max(self.time, sleeper.at)
        go_on(sleeper.waiter)
      end
    until not sleeper and not self.ready[1]
  end
  -- Begins a coroutine of the host's own.
  function self.go(f) host.spawn(f) end
  -- Lets go of all coroutines.
  function self.drop() parked, self.ready, self.sleepers = {}, {}, {} end
  self.loop, self.host = hosted.new(host), host
  return self
end

describe("a hosted loop", function()
  guard.watch(before_each, after_each)

  it("wakes those who wait for one event first come first served", function()
    local h, order = new_host(), {}
    local ev = h.loop.event()
    for i = 1, 5 do
      h.go(function()
        assert(h.loop.wait { ev } == ev)
        order[#order + 1] = i
      end)
    end
    h.go(function() ev:set() end)
    h.run()
    assert.same({ 1, 2, 3, 4, 5 }, order)
  end)

  it("wakes those who wait for several events in the order in which these were set", function()
    local h, order, events = new_host(), {}, {}
    for i = 1, 4 do
      events[i] = h.loop.event()
      h.go(function()
        h.loop.wait({ events[i] }, 100)
        order[#order + 1] = i
      end)
    end
    h.go(function() for _, i in ipairs { 3, 1, 4, 2 } do events[i]:set() end end)
    h.run()
    assert.same({ 3, 1, 4, 2 }, order)
  end)

  it("gives the event that was set, nothing at the deadline, and a set one at once", function()
    local h, got = new_host(), {}
    local a, b = h.loop.event(), h.loop.event()
    h.go(function()
      got[1] = h.loop.wait({ a, b }, 5) == nil and h.time
      h.go(function() b:set() end)
      got[2] = h.loop.wait({ a, b }, 10) == b and h.time
      got[3] = h.loop.wait({ a, b }, 0) == b
      b:clear()
      got[4] = h.loop.wait({ a, b }, 7) == nil and h.time
    end)
    h.run()
    assert.same({ 5, 5, true, 7 }, got)
    assert.same({ is_set = false }, { is_set = a.is_set, a[1] }) -- nobody is left in it
    assert.equal(0, #b)
  end)

  it("lets the others run, also where the time is up already", function()
    for _, nap in ipairs { function(loop) loop.sleep(0) end, function(loop) loop.sleep(-1) end,
      function(loop) loop.wait({ loop.event() }, 0) end,
      function(loop) loop.wait({}, -5) end } do
      local h, order = new_host(), {}
      for i = 1, 2 do
        h.go(function()
          for step = 1, 3 do
            order[#order + 1] = i .. "." .. step
            nap(h.loop)
          end
        end)
      end
      h.run()
      assert.same({ "1.1", "2.1", "1.2", "2.2", "1.3", "2.3" }, order)
      assert.equal(0, h.time)
    end
  end)

  it("waits on when its host looks in too early", function()
    local early = 0
    local h = new_host()
    local park = h.host.park
    function h.host.park(waiter, seconds)
      early = early + 1
      park(waiter, seconds and seconds / 2)
    end
    local woken_at
    h.go(function()
      h.loop.wait({ h.loop.event() }, 1)
      woken_at = h.time
    end)
    h.run()
    assert.is_true(early > 10)
    assert.is_true(woken_at >= 1 and woken_at < 1.001)
  end)

  it("passes on what its host raises, and waits for nothing any more", function()
    local h = new_host { park = function() error("no memory", 0) end }
    local ev = h.loop.event()
    h.go(function() h.loop.wait { ev } end)
    h.run()
    assert.same({ "no memory" }, h.errors)
    assert.equal(0, #ev)
    ev:set()
  end)

  describe("has tasks that", function()
    it("give what their function gives, or raise it, to all who join", function()
      local h, got = new_host(), {}
      local thrown = {}
      h.go(function()
        local good = h.loop.spawn(function(a, b) h.loop.sleep(3) return a, nil, b, nil end, 1, 2)
        local bad = h.loop.spawn(function() h.loop.sleep(1) error(thrown) end)
        h.go(function() got.other = select("#", good:join()) end)
        got.good = { n = select("#", good:join()), good:join() }
        local ok, err = pcall(bad.join, bad)
        got.bad = not ok and err == thrown
      end)
      h.run()
      assert.same({ other = 4, good = { n = 4, 1, nil, 2, nil }, bad = true },
        got)
      assert.same({ thrown }, h.errors) -- it had ended before anybody joined it
      assert.equal(0, hosted.live())
    end)

    it("raise in their host what nobody has joined them for, but for their cancellation", function()
      local h = new_host()
      h.go(function()
        h.loop.spawn(error, "lost", 0)
        local joined = h.loop.spawn(function() h.loop.sleep(1) error("joined", 0) end)
        local task = h.loop.spawn(h.loop.sleep, 5)
        h.loop.sleep(0)
        h.loop.cancel(task)
        pcall(joined.join, joined)
      end)
      h.run()
      assert.same({ "lost" }, h.errors)
    end)

    it("are cancelled where they wait, once, and may wait again to clean up", function()
      local h, seen, task = new_host(), {}, nil
      h.go(function()
        task = h.loop.spawn(function()
          local ok, err = pcall(h.loop.wait, { h.loop.event() })
          seen[1] = not ok and err == scheduler.cancelled and h.time
          h.loop.sleep(2)
          seen[2] = h.time
          return "cleaned up"
        end)
        h.loop.sleep(1)
        h.loop.cancel(task)
        h.loop.cancel(task)
        seen[3] = task:join()
        h.loop.cancel(task)
      end)
      h.run()
      assert.same({ 1, 3, "cleaned up" }, seen)
    end)

    it("end before they begin, when they were cancelled by then", function()
      local h, begun = new_host(), false
      local task = h.loop.spawn(function() begun = true end)
      h.loop.cancel(task)
      h.run()
      assert.is_false(begun)
      assert.same({ false, scheduler.cancelled }, { pcall(task.join, task) })
    end)

    it("have some time to clean up and no more, whatever their deadlines", function()
      local h, times = new_host(), {}
      local task = h.loop.spawn(function()
        pcall(h.loop.sleep, 100)
        for _ = 1, 3 do
          pcall(h.loop.wait, { h.loop.event() }, h.time + 1000)
          times[#times + 1] = h.time
        end
        h.loop.sleep(0)
      end)
      h.go(function()
        h.loop.sleep(1)
        h.loop.cancel(task)
      end)
      h.run()
      local limit = 1 + scheduler.CLEAN_UP
      assert.same({ limit, limit, limit }, times)
      assert.is_true(task.done)
    end)

    it("are left where they stand when they swallow every error", function()
      local h, ended, steps = new_host(), nil, 0
      h.go(function()
        local task = h.loop.spawn(function()
          while true do
            pcall(h.loop.sleep, 1)
            steps = steps + 1
          end
        end)
        h.loop.sleep(1)
        h.loop.cancel(task)
        ended = { pcall(task.join, task) }
      end)
      h.run()
      assert.same({ false, scheduler.cancelled }, ended)
      assert.is_true(steps < 200)
      assert.equal(0, hosted.live())
    end)

    it("are none when the host has no room for them", function()
      local h = new_host { spawn = function() error("no room", 0) end }
      assert.same({ false, "no room" }, { pcall(h.loop.spawn, print) })
      assert.equal(0, hosted.live())
    end)

    it("are joined where their loop can wait, or once they have ended", function()
      local h = new_host { is_here = function() return false end }
      local task = h.loop.spawn(function() return 1 end)
      local ok, message = pcall(function() task:join() end)
      assert.is_false(ok)
      assert.matches("^%.?/?spec/loops/hosted_spec%.lua:%d+: join: the task has not ended", message)
      h.run()
      assert.equal(1, task:join())
    end)
  end)

  describe("ends what its host has let go", function()
    it("without a word: what it adopted leaves, a task among it", function()
      local adopted, result = {}, nil
      local h = new_host { adopt = function(thing)
        adopted[thing] = true
        return adopted
      end }
      local task = h.loop.spawn(function() h.loop.wait { h.loop.event() } end)
      local good = h.loop.spawn(function() end)
      h.go(function() result = { pcall(task.join, task) } end)
      h.run()
      assert.same({ true, nil }, { adopted[task], adopted[good] })
      assert.is_nil(h.loop.own) -- such a host holds finalizers back itself
      task:leave()
      task:leave()
      h.run()
      assert.same({ false, scheduler.cancelled }, result)
      assert.same({}, adopted)
    end)

    it("by dropping it: what it owned is closed once it has been collected", function()
      local h, closed = new_host { drops = true }, 0
      local marks = {}
      h.go(function()
        local ev = h.loop.event()
        local thing = { close = function() closed = closed + 1 end }
        local mark = h.loop.own(thing)
        h.loop.wait { ev }
        h.loop.disown(mark)
      end)
      local task = h.loop.spawn(function() h.loop.wait { h.loop.event() } end)
      h.go(function()
        local watched = { watch = {}, close = error } -- it has a watch of its own
        marks[1] = h.loop.own(watched)
        h.loop.disown()
      end)
      h.run()
      assert.equal(0, closed)
      h.drop()
      collectgarbage()
      collectgarbage()
      assert.equal(1, closed)
      assert.is_true(task.done)
      assert.same({}, marks)
    end)
  end)

  it("holds finalizers back where our code runs, and lets them run where it waits", function()
    local h, seen = new_host(), {}
    local function leave_garbage(word)
      local _ = { collect.watch(function() seen[#seen + 1] = word end) }
    end
    h.go(function()
      local thing = { close = error }
      local mark = h.loop.own(thing)
      leave_garbage "collected"
      collectgarbage()
      collectgarbage()
      seen[#seen + 1] = "worked"
      h.loop.own(thing)
      h.loop.sleep(0)
      h.loop.disown()
      seen[#seen + 1] = "waited"
      h.loop.disown(mark)
    end)
    h.run()
    assert.same({ "worked", "collected", "waited" }, seen)
    leave_garbage "at once"
    collectgarbage()
    collectgarbage()
    assert.equal("at once", seen[4])
  end)
end)
