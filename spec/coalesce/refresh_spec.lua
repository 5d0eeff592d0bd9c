-- Asking in the background, once.
local coalesced = require "spec.support.coalesced"
local guard = require "spec.support.leak_guard"
local scheduler = require "unbusy.loops.scheduler"
local world = require "spec.support.world"

local idle, good, status = coalesced.assert_idle, world.good, world.status

-- A world in which whoever asks for `text` begins a refresh of it by `begin(text)`.
local function new(script, options)
  local w = coalesced.world(script, options)
  local stage = require "unbusy.stages.coalesce"
  local flow = require "unbusy.flow"
  local begun = {}
  local function refreshing(next, client)
    local below = stage(next, client)
    return function(call)
      if call.options.language ~= "refresh" then return below(call) end
      begun[#begun + 1] = client.flights:refresh(call, call.key, below)
      return nil, "begun", "invalid", {}
    end
  end
  local stages = {}
  for i, name in ipairs(flow.order) do
    stages[i] = name == "coalesce" and refreshing or require("unbusy.stages." .. name)
  end
  w.client.flow = flow.chain(stages, w.client)
  w.begun = begun
  return w
end

local function refresh(w, text)
  w.client:chat(coalesced.request(text), { language = "refresh", cache = "refresh" })
  return w.begun[#w.begun]
end

describe("a refresh", function()
  guard.watch(before_each, after_each)

  it("asks behind whoever calls, and puts the answer into the cache", function()
    local w = new { good("new", 2) }
    local at
    w.loop.run(function()
      assert.is_true(refresh(w))
      at = w:now()
    end)
    assert.equal(0, at)
    local reply = w.client:chat(coalesced.request())
    assert.same({ "cache", "new" }, { reply.source, reply.text })
    assert.equal(1, #w.log)
    assert.equal(1, w.client:status().coalesce.refreshed)
    idle(w)
  end)

  it("is made once, and shared by those who ask meanwhile", function()
    local w = new { good("new", 2) }
    local reply
    w.loop.run(function()
      assert.is_true(refresh(w))
      assert.is_false(refresh(w))
      w.loop.sleep(1)
      assert.is_false(refresh(w))
      w.loop.spawn(function() reply = w.client:chat(coalesced.request()) end)
    end)
    assert.same({ "upstream", "new" }, { reply.source, reply.text })
    assert.equal(1, #w.log)
    idle(w)
  end)

  it("goes on when those who have joined it have left", function()
    local w = new { good("new", 2) }
    w.loop.run(function()
      refresh(w)
      w.loop.sleep(0.5)
      w.loop.spawn(function() w.client:chat(coalesced.request(), { deadline = 0.1 }) end)
    end)
    assert.equal(1, w.client:status().cache.stored)
    idle(w)
  end)

  it("is not made while somebody asks the same anyway", function()
    local w = new { good("new", 2) }
    w.loop.run(function()
      w.loop.spawn(function() w.client:chat(coalesced.request()) end)
      w.loop.spawn(function() assert.is_false(refresh(w)) end)
    end)
    assert.equal(1, #w.log)
  end)

  it("waits behind all others", function()
    local w = new({ good("new", 1) }, { limiter = { kind = "fixed", initial = 1 } })
    w.loop.run(function()
      w.loop.spawn(function() w.client:chat(coalesced.request "first") end)
      w.loop.sleep(0.1)
      refresh(w)
      w.loop.sleep(0.1)
      w.loop.spawn(function() w.client:chat(coalesced.request "last") end)
    end)
    assert.matches("first", w.log[1].request.body)
    assert.matches("last", w.log[2].request.body)
    assert.equal(3, #w.log)
    idle(w)
  end)

  it("that has failed is not made again at once", function()
    local w = new { status(500), status(500), good "new" }
    w.loop.run(function()
      assert.is_true(refresh(w))
      w.loop.sleep(1)
      assert.is_false(refresh(w))
      assert.is_true(refresh(w, "y"))
      w.loop.sleep(5)
      assert.is_true(refresh(w))
    end)
    assert.equal(3, #w.log)
    assert.equal(1, w.client:status().coalesce.refused)
    idle(w)
  end)

  it("has bounds: so many at a time, and so many that rest", function()
    local w = new { good("new", 1) }
    w.loop.run(function()
      for i = 1, 20 do refresh(w, "q" .. i) end
      w.loop.sleep(3)
      assert.is_true(refresh(w, "q20"))
    end)
    assert.equal(17, #w.log)
    w = new({ status(500, nil, nil, 0.001) }, { breaker = false })
    w.loop.run(function()
      for i = 1, 1200 do
        refresh(w, "q" .. i)
        w.loop.sleep(0.002)
      end
    end)
    assert.equal(1200, #w.log)
    local n = 0
    for _ in pairs(w.client.flights.resting) do n = n + 1 end
    assert.is_true(n <= 1000)
    assert.equal(0, w.client.flights.behind)
    idle(w)
  end)

  it("has its own request, which nobody else can change", function()
    local w = new({ status(500, nil, nil, 1), good "new" },
      { retry = { attempts = 2, base = 0.1 } })
    local request = coalesced.request()
    w.loop.run(function()
      w.client:chat(request, { language = "refresh" })
      request.messages[1].content = "something else"
    end)
    assert.equal(2, #w.log)
    assert.equal(w.log[1].request.body, w.log[2].request.body)
    assert.matches('"x"', w.log[2].request.body)
    assert.equal(1, w.client:status().cache.stored)
  end)

  it("ends with its client", function()
    local w = new { good("new", 5) }
    w.loop.run(function()
      refresh(w)
      w.loop.sleep(1)
      w.client:close()
      for _ = 1, 3 do w.loop.sleep(0) end
      assert.is_true(w.log[1].exchange.closed)
      assert.is_false(w.client.flights:refresh({ loop = w.loop }, "", nil))
    end)
    assert.equal(0, scheduler.live())
    assert.equal(0, w.client.flights.behind)
  end)
end)
