-- interactive: an answer comes sooner where one of two targets has become slow, and what cannot be
-- answered is given up soon.
local outage = require "spec.support.outage"
local world = require "spec.support.world"

local SLOW_FROM, SLOW_TO, OVER = 60, 180, 300

-- Two targets, of which the first takes six times as long for two minutes.
local function brown_out(seed, policy, from)
  return outage.run { seed = seed, policy = policy,
    servers = {
      { name = "main", phases = { { capacity = 50, latency = 1 },
        { at = SLOW_FROM, latency = 6 }, { at = SLOW_TO, latency = 1 } } },
      { name = "backup", phases = { { capacity = 50, latency = 1.2 } } },
    },
    calls = { { name = "well", rate = 5, to = SLOW_FROM, deadline = 30 },
      { name = "slow", rate = 5, from = SLOW_FROM, to = SLOW_TO, deadline = 30 },
      { name = "again", rate = 5, from = from or SLOW_TO, to = OVER, deadline = 30 } },
  }
end

describe("the policy interactive", function()
  for seed = 1, 3 do
    it("answers sooner than default in a brown-out of one of two targets, seed " .. seed, function()
      local default, mine = brown_out(seed, "default"), brown_out(seed, "interactive")
      local theirs, ours = default.by_name.slow, mine.by_name.slow
      assert.equal(1, theirs.share)
      assert.equal(1, ours.share)
      assert.is_true(theirs.mean > 5, theirs.mean)
      assert.is_true(ours.mean < 2, ours.mean)
      assert.is_true(ours.median < 1.5, ours.median)
      assert.is_true(mine.by_name.well.mean <= default.by_name.well.mean * 1.02)
      assert.is_true(mine.received <= default.received * 1.01) -- no more is asked for it
    end)
  end

  it("goes back to the first target when that is quick again", function()
    local before = brown_out(1, "interactive", OVER).servers.main.received -- nobody calls again
    local mine = brown_out(1, "interactive")
    local at_main = mine.servers.main.received - before
    assert.is_true(at_main > 0.5 * mine.by_name.again.calls,
      ("%d of %d"):format(at_main, mine.by_name.again.calls))
  end)

  local function alone(answer, options, deadline)
    local w = world.new { script = { a = { answer } }, random = function() return 0.5 end,
      options = { policy = "interactive", fallback = "later", budget = false, limiter = false,
        breaker = false, retry = options } }
    local reply = w:chat { deadline = deadline or 30 }
    return w, reply
  end

  it("gives up soon, and the fallback stands in", function()
    local w, reply = alone(world.status(503))
    assert.equal("fallback", reply.source)
    assert.equal(3, #w.log)
    assert.near(0.375 + 0.75 + 3 * 0.1, w:now(), 1e-9)
  end)

  it("does not wait for a server that asks for long", function()
    local w, reply = alone(world.status(429, { ["retry-after"] = "20" }))
    assert.equal("fallback", reply.source)
    assert.equal(1, #w.log)
  end)

  it("does not try where the time is nearly over", function()
    local w = alone(world.status(503, nil, "", 3), nil, 3.9)
    assert.equal(1, #w.log)
  end)

  it("asks the others first, also in a call's second try", function()
    local w = world.new { script = { a = { world.status(500) }, b = { world.good() } },
      random = function() return 0.5 end, options = { policy = "interactive" } }
    assert.equal("b", w:chat().target)
    assert.near(0.2, w:now(), 1e-9)
  end)

  -- Two targets, each of which lets one call in 33 wait for 12 s before it says a word.
  local function slow_tail(seed, policy)
    local function latency(mean) return { kind = "bimodal", mean = mean, slow = 12, p = 0.03 } end
    return outage.run { seed = seed, policy = policy,
      servers = {
        { name = "main", phases = { { capacity = 50, latency = latency(0.6), writing = 1 } } },
        { name = "backup", phases = { { capacity = 50, latency = latency(0.8), writing = 1 } } },
      },
      calls = { { rate = 5, to = 600, deadline = 60, stream = true } },
    }
  end

  -- The first of two targets has a tenth of its places for a minute, and a queue with keep-alives.
  local function long_queue(seed, policy)
    return outage.run { seed = seed, policy = policy,
      servers = {
        { name = "main", target = { priority = 1 }, phases = {
          { capacity = 50, latency = 0.6, writing = 2, queue = 500, queue_sign = "keepalive" },
          { at = 60, capacity = 5 }, { at = 120, capacity = 50 } } },
        { name = "backup", target = { priority = 2 }, phases = {
          { capacity = 50, latency = 0.8, writing = 2 } } },
      },
      calls = { { rate = 5, to = 180, deadline = 120, stream = true } },
      options = { clocks = { start = 100 } },
    }
  end

  for seed = 1, 3 do
    it("cuts a slow tail off by few second tries, seed " .. seed, function()
      local default, mine = slow_tail(seed, "default"), slow_tail(seed, "interactive")
      assert.equal(12, default.p99)
      assert.is_true(mine.p99 < 2.5, mine.p99)
      assert.equal(1, mine.share)
      local hedge = mine.status.hedge
      assert.is_true(hedge.begun <= 0.05 * mine.calls)
      assert.equal(mine.calls + hedge.begun, mine.received)
      assert.is_true(hedge.won > 0.9 * hedge.begun)
    end)

    it("does not stand in a server's queue while somebody is free, seed " .. seed, function()
      local default, mine = long_queue(seed, "default"), long_queue(seed, "interactive")
      assert.is_true(default.p99 > 20, default.p99)
      assert.is_true(mine.p99 < 4, mine.p99)
      assert.is_true(mine.mean < default.mean / 4)
      assert.is_true(mine.received < 1.1 * mine.calls)
      assert.is_true(mine.status.hedge.switched > 10)
    end)
  end

  it("asks for a second try where it can help", function()
    local policy = assert(require("unbusy.policy").load "interactive")
    local call = { loop = { wall = function() return 0 end } }
    local function hedge(try)
      return (select(2, policy:decide(call, "hedge", try)))
    end
    assert.equal(1.5, hedge { untried = true, stream = true })
    assert.equal(2.2, hedge { untried = true, stream = true, p95 = 2.2 })
    assert.equal(3, hedge { untried = true, stream = true, p95 = 20 })
    assert.equal(20, hedge { untried = true, p95 = 20 })
    assert.is_nil(hedge { untried = true })
    assert.is_nil(hedge { untried = false, stream = true, p95 = 1 })
  end)

  it("does what its page says of second tries and queues", function()
    for which, play in pairs { tail = slow_tail, queue = long_queue } do
      local rows = {}
      for i, name in ipairs { "default", "interactive" } do
        local seen = play(1, name)
        rows[i] = { name, ("%.2f s"):format(seen.mean), ("%.2f s"):format(seen.p99),
          ("%.1f %%"):format(100 * (seen.received / seen.calls - 1)) }
      end
      assert.same(rows, outage.page("interactive", which))
    end
  end)

  it("does what its page says", function()
    local rows = {}
    for i, name in ipairs { "default", "interactive" } do
      local seen = brown_out(1, name)
      rows[i] = { name, ("%.2f s"):format(seen.by_name.slow.mean),
        ("%.2f s"):format(seen.by_name.slow.p99), tostring(seen.received) }
    end
    assert.same(rows, outage.page "interactive")
  end)
end)
