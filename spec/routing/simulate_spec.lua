-- Routing in the simulator, where the real stages run.
local guard = require "spec.support.leak_guard"
local simulate = require "unbusy.simulate"
local trace = require "unbusy.simulate.trace"

local function traced(lines, calls)
  local t = trace.new()
  for _, line in ipairs(lines) do assert.is_nil(trace.declare(t, line)) end
  for i = 0, calls.seconds * calls.rate - 1 do
    local at = i / calls.rate
    local times = calls.peak and at >= calls.peak[1] and at < calls.peak[2] and calls.peak[3] or 1
    trace.add(t, at, 1, times, false, 0)
  end
  return t
end

-- The figures of a client with these options, and the calls that each target got.
local function meet(t, config)
  local report = assert(simulate.compare(t, { { name = "it" } }, { config = config, seed = 2 }))
  local c, calls = report.clients[1], {}
  for _, up in ipairs(c.record.ups) do calls[up.name] = up.received end
  return c, calls
end

describe("in the simulator", function()
  guard.watch(before_each, after_each)

  it("weights are exact", function()
    local t = traced({ { target = "a", latency = 0.2 }, { target = "b", latency = 0.2 } },
      { seconds = 20, rate = 50 })
    local c, calls = meet(t, { targets = { { name = "a", weight = 90 },
      { name = "b", weight = 10 } } })
    assert.equal(1000, c.answered)
    assert.same({ a = 900, b = 100 }, calls)
  end)

  it("a target that comes back takes its share by steps", function()
    local t = traced({ { target = "a", latency = 0.05 },
      { target = "a", at = 5, capacity = 0, when_full = { status = 0, latency = 0.01 } },
      { target = "a", at = 10, capacity = 1000, when_full = { status = 503 } },
      { target = "b", latency = 0.05 } }, { seconds = 30, rate = 40 })
    local config = { targets = { { name = "a", weight = 90 }, { name = "b", weight = 10 } },
      breaker = { consecutive = 5 } }
    local c, calls = meet(t, config)
    assert.equal(1200, c.answered)
    assert.is_true(c.calls_each < 1.02, c.calls_each)
    -- all of its share before and behind, nothing in between, and the steps
    local steps = 80 * (9 / 19 + 22.5 / 32.5 + 45 / 55) -- of the calls of two seconds each
    local most = 0.9 * 40 * (5 + 14) + steps
    assert.is_true(calls.a < most + 30 and calls.a > most - 0.9 * 40 * 5 - 30, calls.a)
  end)

  it("p2c avoids the slow one", function()
    local t = traced({ { target = "a", latency = 3 }, { target = "b", latency = 0.2 },
      { target = "c", latency = 0.2 } }, { seconds = 30, rate = 30 })
    local targets = { { name = "a" }, { name = "b" }, { name = "c" } }
    local c, calls = meet(t, { targets = targets, route = { balance = "p2c" } })
    assert.is_true(calls.a < 90, calls.a)
    assert.near(calls.b, calls.c, 90)
    assert.is_true(c.total.p50 < 0.3)
  end)

  it("pools spill in the peak, and are told what it cost", function()
    local t = traced({ { target = "near", capacity = 10, latency = 0.5,
      price = { input = 1, output = 1 } }, { target = "far", latency = 0.5,
      price = { input = 10, output = 10 } } }, { seconds = 60, rate = 10, peak = { 20, 40, 6 } })
    local config = { targets = { { name = "near", pool = "near" }, { name = "far", pool = "far" } },
      pools = { near = { priority = 1 }, far = { priority = 2 } } }
    local c, calls = meet(t, config)
    assert.equal(1600, c.answered)
    -- 20 a second are its capacity: 400 in the peak, and 400 beside it
    assert.is_true(calls.near > 0.9 * 800 and calls.far < 1.1 * 800, calls.near)
    config.targets, config.pools = { { name = "far" } }, nil
    local dear = meet(t, config)
    assert.is_true(c.cost < 0.65 * dear.cost)
  end)
end)
