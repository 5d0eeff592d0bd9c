-- Members that leave: nobody else is hurt, and with the last one the flight ends.
local coalesced = require "spec.support.coalesced"
local guard = require "spec.support.leak_guard"
local scheduler = require "unbusy.loops.scheduler"
local unbusy = require "unbusy"
local world = require "spec.support.world"

local ask, told, idle = coalesced.ask, coalesced.told, coalesced.assert_idle
local good, status = world.good, world.status

describe("a member of a flight", function()
  guard.watch(before_each, after_each)

  it("ends at its own deadline; the others go on until theirs", function()
    local w = coalesced.world { good("hello", 5) }
    local out = ask(w, { { given = { deadline = 1 } }, { given = { deadline = 2 } }, {} })
    assert.same({ "timeout", "timeout" }, { out[1].code, out[2].code })
    assert.near(1, out[1].at, 1e-9)
    assert.near(2, out[2].at, 1e-9)
    assert.equal("a: coalesced: nothing for 1 s", out[1].message)
    assert.same({ "total", "a", 1 }, { out[1].detail.phase, out[1].detail.target,
      out[1].detail.tries })
    assert.same({ "upstream", "hello" }, { out[3].reply.source, out[3].reply.text })
    assert.near(5, out[3].at, 1e-9)
    assert.equal(1, #w.log)
    assert.equal(1, w.client:status().cache.stored) -- though whoever began it has left
    idle(w)
  end)

  it("hears what the server did where it is the last to go", function()
    local w = coalesced.world { good("hello", 50) }
    local out = ask(w, { { given = { deadline = 1 } }, { given = { deadline = 7 } } })
    assert.near(7, out[2].at, 1e-9)
    assert.equal("timeout", out[2].code)
    assert.equal("a: total: nothing for 7 s", out[2].message)
    assert.is_true(w.log[1].exchange.closed)
    idle(w)
  end)

  it("ends the call that is made for it when it is the last", function()
    local w, c = coalesced.world { good("hello", 5) }, unbusy.canceller()
    local codes = {}
    w.loop.run(function()
      for i = 1, 2 do
        w.loop.spawn(function()
          codes[i] = select(3, w.client:chat(coalesced.request(), { cancel = c }))
        end)
      end
      w.loop.sleep(1)
      assert.is_nil(w.log[1].exchange.closed)
      assert.equal(2, w.client:status().active)
      c:cancel()
      for _ = 1, 3 do w.loop.sleep(0) end
      assert.is_true(w.log[1].exchange.closed)
      assert.equal(0, w.client:status().active)
    end)
    assert.same({ "cancelled", "cancelled" }, codes)
    assert.equal(0, w.client:status().cache.stored)
    idle(w)
  end)

  it("is cancelled at once, and nobody else is", function()
    local w, c = coalesced.world { good("hello", 5) }, unbusy.canceller()
    local out
    w.loop.spawn(function()
      w.loop.sleep(1)
      c:cancel()
    end)
    out = ask(w, { { given = { cancel = c } }, {}, { given = { cancel = c } } })
    assert.same({ "cancelled", "cancelled" }, { out[1].code, out[3].code })
    assert.near(1, out[1].at, 1e-9)
    assert.same({ "upstream", 5 }, { out[2].reply.source, out[2].at })
    idle(w)
  end)

  it("may leave before anything was sent", function()
    local w, c = coalesced.world { good("hello", 5) }, unbusy.canceller()
    local code
    w.loop.run(function()
      w.loop.spawn(function()
        code = select(3, w.client:chat(coalesced.request(), { cancel = c }))
      end)
      w.loop.spawn(function() c:cancel() end)
    end)
    assert.equal("cancelled", code)
    assert.equal(0, #w.log)
    idle(w)
  end)

  it("is not joined any more when it was the last, and has left", function()
    local w, c = coalesced.world { good("hello", 5) }, unbusy.canceller()
    local late
    w.loop.run(function()
      w.loop.spawn(function() w.client:chat(coalesced.request(), { cancel = c }) end)
      w.loop.sleep(1)
      w.loop.spawn(function() late = w.client:chat(coalesced.request()) end)
      c:cancel()
    end)
    assert.equal("upstream", late.source)
    assert.equal(2, #w.log)
    idle(w)
  end)

  it("may change its request when it has gone", function()
    local w = coalesced.world({ status(500, nil, nil, 2), good "late" },
      { retry = { attempts = 2, base = 0.1, jitter = 0 } })
    local request = coalesced.request()
    local late
    w.loop.run(function()
      w.loop.spawn(function()
        w.client:chat(request, { deadline = 1 })
        request.messages[1].content = "something else"
        request.model = nil
      end)
      w.loop.spawn(function() late = w.client:chat(coalesced.request()) end)
    end)
    assert.equal("late", late.text)
    assert.equal(w.log[1].request.body, w.log[2].request.body)
    assert.equal(1, w.client:status().cache.stored)
    idle(w)
  end)

  it("whose task is cancelled leaves the others alone", function()
    local w = coalesced.world { good("hello", 5) }
    local ended, reply
    w.loop.run(function()
      local task = w.loop.spawn(function()
        local ok, raised = pcall(w.client.chat, w.client, coalesced.request())
        ended = not ok and raised
      end)
      w.loop.spawn(function() reply = w.client:chat(coalesced.request()) end)
      w.loop.sleep(1)
      w.loop.cancel(task)
    end)
    assert.equal(scheduler.cancelled, ended)
    assert.same({ "upstream", "hello" }, { reply.source, reply.text })
    idle(w)
  end)

  -- What there is of an answer when the first one's time is up, after 3 s.
  local body = good("hello").body
  local whole, piece = { ["content-type"] = "application/json" }, world.chunk { content = "hello" }
  local last = { 0, world.chunk({}, "stop") .. world.DONE }
  local slow = {
    ["nothing"] = good("hello", 5),
    ["its head"] = { status = 200, headers = whole, steps = { { 5, body } } },
    ["blank bytes"] = { status = 200, headers = whole,
      steps = { { 1, " " }, { 1, " " }, { 1.5, " " }, { 1.4, body } } },
    ["a part"] = { status = 200, headers = whole,
      steps = { { 0.4, body:sub(1, 20) }, { 2, body:sub(21, 40) }, { 2.6, body:sub(41) } } },
    ["keep-alives of a stream"] = world.streamed { { 1, world.KEEP_ALIVE }, { 4, piece }, last },
    ["a part of a stream"] = world.streamed { { 0.4, piece }, { 4.5, world.chunk { content = "" } },
      last },
  }
  for there, answer in pairs(slow) do
    it("leaves its try to those who have more time, of which there is so far: " .. there, function()
      local w = coalesced.world({ answer }, { upstream_stream = answer.headers ~= whole })
      -- The try's clock is set before the second one comes.
      local out = ask(w, { { given = { deadline = 3 } }, { given = { deadline = 20 }, after = 1 },
        { given = { deadline = 21 }, after = 2 } })
      assert.equal("timeout", out[1].code)
      assert.near(3, out[1].at, 0.11)
      assert.equal("coalesced: 1, timeout: 1, upstream: 1", told(out))
      assert.near(5, out[3].at, 0.2)
      assert.same({ 1, 1, 0 }, { #w.log, out[3].reply.tries, w.client:status().coalesce.again })
      assert.equal("closed", w.client:status().targets[1].breaker.state)
      idle(w)
    end)
  end

  it("has more time, but a try of the flight's not", function()
    local w = coalesced.world({ { status = 200, hang = 100 }, good("hello", 1) },
      { retry = { attempts = 3 }, clocks = { try = 4 } })
    local out = ask(w, { { given = { deadline = 3 } }, { given = { deadline = 20 }, after = 1 },
      { given = { deadline = 21 }, after = 2 } })
    assert.equal("timeout", out[1].code)
    assert.equal("coalesced: 1, timeout: 1, upstream: 1", told(out))
    assert.same({ 2, 2, 0 }, { #w.log, out[3].reply.tries, w.client:status().coalesce.again })
    idle(w)
  end)

  it("is ended when the client is closed, as all others", function()
    local w = coalesced.world { good("hello", 5) }
    w.loop.spawn(function()
      w.loop.sleep(1)
      w.client:close()
    end)
    local out = ask(w, 3)
    assert.equal("closed: 3", told(out))
    assert.near(1, out[3].at, 1e-9)
    assert.is_true(w.log[1].exchange.closed)
    assert.equal(0, scheduler.live())
  end)

  it("goes alone where the loop has no room for a task more", function()
    local w = coalesced.world { good("hello", 1) }
    local spawn = w.loop.spawn
    local out = {}
    w.loop.run(function()
      for i = 1, 2 do
        spawn(function() out[i] = { reply = w.client:chat(coalesced.request()) } end)
      end
      w.loop.nursery = function() return nil, "no room", "full" end
    end)
    assert.equal("upstream: 2", told(out))
    assert.equal(2, #w.log)
    w.loop.nursery = nil
    idle(w)
  end)

  it("goes on where the task of its flight is ended by its host", function()
    local w = coalesced.world { good("hello", 5) }
    local tasks, spawn = {}, w.loop.spawn
    function w.loop.nursery(f)
      tasks[#tasks + 1] = spawn(f)
      return true
    end
    w.loop.spawn(function()
      w.loop.sleep(1)
      w.loop.cancel(tasks[1])
    end)
    local out = ask(w, 3)
    assert.equal("coalesced: 2, upstream: 1", told(out))
    assert.equal(2, #w.log) -- one took over for all
    assert.near(6, out[3].at, 1e-9)
    w.loop.nursery = nil
    idle(w)
  end)

  it("hears what has been raised for it", function()
    local w = coalesced.world { good "hello" }
    local way = w.client.router.order
    function w.client.router.order() error("a fault of ours", 0) end
    local raised = {}
    w.client.targets[2] = w.client.targets[1] -- so that the router is asked
    w.client.pools.ordinary[2] = w.client.targets[1]
    w.loop.run(function()
      for i = 1, 3 do
        w.loop.spawn(function()
          raised[i] = select(2, pcall(w.client.chat, w.client, coalesced.request()))
        end)
      end
    end)
    w.client.router.order = way
    assert.same({ "a fault of ours", "a fault of ours", "a fault of ours" }, raised)
    assert.equal(0, w.client:status().active)
    assert.equal(0, scheduler.live())
  end)
end)

describe("members that come and go", function()
  guard.watch(before_each, after_each)

  it("at random times leave nothing, and each ends once, in its time", function()
    local random = require("spec.support.random").new(7)
    local w = coalesced.world(function(_, n)
      if n % 5 == 0 then return status(503, nil, nil, 0.3) end
      return good("hello", 0.2 + 0.1 * (n % 4))
    end, { cache = { ttl = 0.5, stale = 0 }, retry = { attempts = 2, base = 0.1 } })
    local list = {}
    for i = 1, 600 do
      list[i] = { after = random:float() * 20, text = "q" .. random:int(4),
        given = { deadline = 0.05 + random:float() } }
    end
    local out, ended = ask(w, list), 0
    for i, o in ipairs(out) do
      assert.is_truthy(o.reply or o.code)
      assert.is_true(o.at <= list[i].after + list[i].given.deadline + 0.11)
      if o.reply then assert.equal("hello", o.reply.text) end
      ended = ended + 1
    end
    assert.equal(600, ended)
    idle(w)
  end)
end)
