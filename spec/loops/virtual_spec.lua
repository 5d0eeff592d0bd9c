local core = require "unbusy.core"
local guard = require "spec.support.leak_guard"
local scheduler = require "unbusy.loops.scheduler"
local virtual = require "unbusy.loops.virtual"

-- Reads an exchange to its end in the loop it was opened in.
local function read_all(loop, x)
  local out = { body = "" }
  while true do
    local kind, a, b, c = x:take()
    if not kind then
      x.event:clear()
      loop.wait { x.event }
    elseif kind == "head" then
      out.status, out.headers, out.head_at = a, b, loop.now()
    elseif kind == "data" then
      out.body = out.body .. a
    else
      out.code, out.message, out.phase, out.at = a, b, c.phase, loop.now()
      return out
    end
  end
end

describe("virtual time", function()
  guard.watch(before_each, after_each)

  it("jumps to the next deadline, and costs nothing", function()
    local loop = virtual.new()
    local cpu = os.clock()
    assert.equal(0, loop.now())
    loop.run(function()
      for _ = 1, 1000 do loop.sleep(3600) end
    end)
    assert.equal(3600000, loop.now())
    assert.is_true(os.clock() - cpu < 1)
  end)

  it("stands still while anybody can run, and outside of runs", function()
    local loop = virtual.new { start = 100 }
    assert.equal(100, loop.now())
    loop.run(function()
      for _ = 1, 1000 do loop.sleep(0) end
      assert.equal(100, loop.now())
      loop.sleep(-5)
      assert.equal(100, loop.now())
      local ev = loop.event()
      loop.spawn(function() ev:set() end)
      loop.wait({ ev }, 1000)
    end)
    assert.equal(100, loop.now())
    loop.run(function() loop.sleep(0.25) end)
    assert.equal(100.25, loop.now())
  end)

  it("passes in the order of the deadlines, for all tasks alike", function()
    local loop, seen = virtual.new(), {}
    loop.run(function()
      for _, t in ipairs { 30, 10, 20 } do
        loop.spawn(function()
          loop.sleep(t)
          seen[#seen + 1] = loop.now()
          loop.sleep(100 - t)
          seen[#seen + 1] = t
        end)
      end
    end)
    assert.same({ 10, 20, 30, 10, 20, 30 }, seen)
    assert.equal(100, loop.now())
  end)

  it("has its own time in each loop", function()
    local a, b = virtual.new(), virtual.new { start = 5 }
    a.run(function() a.sleep(10) end)
    assert.equal(10, a.now())
    assert.equal(5, b.now())
  end)

  it("repeats itself exactly", function()
    local function play()
      local loop, log = virtual.new(), {}
      local seed = 7
      local function random() seed = (seed * 16807) % 2147483647 return seed / 2147483647 end
      loop.run(function()
        for i = 1, 50 do
          loop.spawn(function()
            for _ = 1, 20 do
              loop.sleep(random())
              log[#log + 1] = ("%d@%.9f"):format(i, loop.now())
            end
          end)
        end
      end)
      return table.concat(log, " ")
    end
    assert.equal(play(), play())
  end)

  it("is entered from outside, and from a task of its own", function()
    local loop = virtual.new()
    assert.equal("x", loop.enter(function(given, x)
      assert.equal(loop, given)
      given.sleep(5)
      return given.enter(function(again) again.sleep(5) return x end)
    end, "x"))
    assert.equal(10, loop.now())
    loop.run(function()
      local here = scheduler.current()
      loop.enter(function() assert.equal(here, scheduler.current()) end)
    end)
  end)

  it("a run inside a run is a plain call", function()
    local loop, order = virtual.new(), {}
    loop.run(function()
      loop.spawn(function() loop.sleep(3) order[#order + 1] = "other" end)
      assert.equal(1, loop.run(function()
        loop.sleep(1)
        order[#order + 1] = "inner"
        return 1
      end))
      order[#order + 1] = "outer"
    end)
    assert.same({ "inner", "outer", "other" }, order)
  end)

  it("works in a coroutine of somebody else's", function()
    local loop = virtual.new()
    local co = coroutine.wrap(function()
      coroutine.yield(loop.enter(function() loop.sleep(2) return "first" end))
      return loop.enter(function() loop.sleep(3) return "second" end)
    end)
    assert.equal("first", co())
    assert.equal("second", co())
    assert.equal(5, loop.now())
  end)

  it("works in a task of another loop, which stands still meanwhile", function()
    local a, b, moved = virtual.new(), virtual.new(), false
    a.run(function()
      a.spawn(function() a.sleep(0) moved = true end)
      assert.equal(7, b.run(function() b.sleep(7) return b.now() end))
      assert.equal(8, b.enter(function() b.sleep(1) return b.now() end))
      assert.is_false(moved)
    end)
    assert.is_true(moved)
    assert.equal(0, a.now())
  end)

  it("ends with an error when all wait for ever", function()
    local loop = virtual.new()
    assert.has_error(function()
      loop.run(function() loop.wait { loop.event() } end)
    end, "every task waits and nothing is left that could wake one")
    assert.equal(0, scheduler.live())
    assert.equal(1, loop.run(function() loop.sleep(1) return 1 end))
  end)

  it("opens nothing in the core", function()
    local before = core.stats()
    local loop = virtual.new { serve = function(_, x) x:head(200) x:data "x" end }
    loop.run(function() read_all(loop, loop.open { url = "http://x/" }) end)
    assert.same(before, core.stats())
  end)

  describe("exchanges", function()
    it("give what is served, in order, each in its time", function()
      local asked
      local loop = virtual.new { serve = function(request, answer, loop)
        asked = request
        loop.sleep(2)
        answer:head(200, { a = "b" })
        for i = 1, 3 do
          loop.sleep(1)
          answer:data(i .. ",")
        end
        answer:data "end"
        answer:finish()
      end }
      loop.run(function()
        local request = { url = "http://x/" }
        local x = loop.open(request)
        assert.is_nil(x:take())
        local got = read_all(loop, x)
        assert.equal(request, asked)
        assert.same({ status = 200, headers = { a = "b" }, head_at = 2, body = "1,2,3,end", at = 5,
          phase = "body" }, got)
        assert.same({ "end", "closed" }, { x:take(), (select(2, x:take())) })
      end)
    end)

    it("many at once, each with its own answer", function()
      local loop = virtual.new { serve = function(request, answer, loop)
        loop.sleep(request.n % 7)
        answer:head(200)
        answer:data(tostring(request.n))
      end }
      local sum = 0
      loop.run(function()
        for n = 1, 200 do
          loop.spawn(function()
            local got = read_all(loop, loop.open { n = n })
            sum = sum + got.body
          end)
        end
      end)
      assert.equal(20100, sum)
      assert.equal(6, loop.now())
    end)

    it("end when the server returns, with what it says otherwise", function()
      local loop = virtual.new { serve = function(request, answer)
        if request.quiet then return end
        assert.is_true(answer:head(200))
        assert.is_true(answer:finish("network", "broken", "headers"))
        assert.is_false(answer:finish "tls")
        assert.is_false(answer:data "late")
        assert.is_false(answer:head(500))
      end }
      loop.run(function()
        local got = read_all(loop, loop.open { quiet = true })
        assert.is_nil(got.status)
        assert.is_nil(got.code)
        assert.equal("body", got.phase)
        got = read_all(loop, loop.open {})
        assert.same({ "network", "broken", "headers", "" }, { got.code, got.message, got.phase,
          got.body })
        assert.same({}, got.headers)
      end)
    end)

    it("that are closed tell the server, and give nothing more", function()
      local told, closed
      local loop = virtual.new { serve = function(_, answer, loop)
        answer:head(200)
        loop.sleep(5)
        closed = answer.closed
        told = answer:data "x"
      end }
      loop.run(function()
        local x = loop.open {}
        loop.sleep(1)
        assert.equal("head", (x:take()))
        x:close()
        x:close()
        local kind, code, _, info = x:take()
        assert.same({ "end", "closed", "connect" }, { kind, code, info.phase })
        loop.sleep(10)
        assert.equal("end", (x:take()))
      end)
      assert.is_true(closed)
      assert.is_false(told)
    end)

    it("that are aborted wake whoever waits", function()
      local loop = virtual.new { serve = function(_, _, loop) loop.sleep(100) end }
      loop.run(function()
        local x = loop.open {}
        loop.spawn(function() loop.sleep(1) x:abort() end)
        local got = read_all(loop, x)
        assert.equal("closed", got.code)
        assert.equal(1, got.at)
        x:abort()
        x:close()
      end)
    end)

    it("an error of the server's is an error of the run", function()
      local loop = virtual.new { serve = function() error("the script is wrong", 0) end }
      assert.has_error(function()
        loop.run(function() read_all(loop, loop.open {}) end)
      end, "the script is wrong")
      assert.equal(0, scheduler.live())
    end)

    it("move on between calls made outside of a run", function()
      local served = 0
      local loop = virtual.new { serve = function(_, answer, loop)
        loop.sleep(1)
        answer:head(200)
        served = served + 1
        loop.sleep(10)
        answer:data "late"
      end }
      local x = loop.enter(function() return loop.open {} end)
      assert.equal(0, served)
      loop.enter(function() loop.sleep(1) loop.sleep(0) end)
      assert.equal(1, served)
      local got = loop.enter(function() return read_all(loop, x) end)
      assert.equal("late", got.body)
      assert.equal(11, loop.now())
    end)
  end)

  it("lets a world move that has no tasks, each thing at its time", function()
    local seen, at = {}, { 5, 1.5, 3 }
    local loop
    local world = {}
    function world.next() -- luacheck: ignore 212
      local least
      for _, time in ipairs(at) do least = math.min(least or time, time) end
      return least
    end
    function world.step(_, now)
      for i = #at, 1, -1 do
        if at[i] <= now then
          seen[#seen + 1] = { now, loop.now() }
          table.remove(at, i)
        end
      end
    end
    loop = virtual.new { world = world }
    loop.run(function()
      loop.sleep(2) -- a task's own time comes in between
      assert.same({ { 1.5, 1.5 } }, seen)
      loop.sleep(8)
    end)
    assert.same({ { 1.5, 1.5 }, { 3, 3 }, { 5, 5 } }, seen)
    assert.equal(10, loop.now())
  end)

  it("takes exchanges as they are given, which the world wakes", function()
    local world = { at = nil }
    function world.next(self) return self.at end
    function world.step(self)
      self.at = nil
      self.x.event:set()
    end
    local asked
    local loop = virtual.new { world = world, open = function(request, body)
      asked = { request, body }
      local news = { { "head", 200, {} }, { "data", "hi" },
        { "end", nil, nil, { phase = "body" } } }
      world.x = { event = scheduler.event(), take = function()
        if world.at then return nil end
        return (table.unpack or unpack)(table.remove(news, 1), 1, 4) -- luacheck: ignore
      end }
      world.at = 4
      return world.x
    end }
    local r = loop.run(function() return read_all(loop, loop.open({ url = "u" }, "b")) end)
    assert.same({ { url = "u" }, "b" }, asked)
    assert.same({ 200, "hi", 4 }, { r.status, r.body, r.at })
  end)

  it("is stuck where neither a task nor the world has a time", function()
    local loop = virtual.new { world = { next = function() end, step = error } }
    assert.has_error(function()
      loop.run(function() loop.wait { loop.event() } end)
    end, "every task waits and nothing is left that could wake one")
  end)
end)
