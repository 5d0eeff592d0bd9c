-- The simulator and the world agree: a piece of the recorded outage, five times as fast, in
-- simulated time and over real HTTP to busy upstreams, with the same client.
--
-- What is compared is what became of the calls, not how long anything took. But a machine that
-- stands still for a while makes another outage of it: then it is played once more.
local both = require "examples.replay.both"
local guard = require "spec.support.leak_guard"
local piece = require "examples.replay.piece"
local real = require "examples.replay.real"
local simulate = require "unbusy.simulate"

describe("a piece of a trace", function()
  local t = assert(simulate.read "examples/traces/outage.csv")

  it("is that part of it, faster", function()
    local made = piece.cut(t, { from = 80, to = 150, speed = 5, every = 1 })
    local calls = 0
    for i = 1, t.rows do
      if t.times[i] >= 80 and t.times[i] < 150 then calls = calls + t.arrivals[i] end
    end
    assert.equal(calls, made.asked)
    assert.is_true(made.times[1] >= 0 and made.times[made.rows] < 14)
    assert.equal(6, made.calls.deadline)
    local phases = made.targets[1].phases
    assert.same({ 20, 8, 0 }, { phases[1].capacity, phases[2].capacity, phases[3].capacity })
    assert.near((84 - 80) / 5, phases[2].at, 1e-9)
    assert.near(1 / 5, phases[1].latency.mean, 1e-9)
    assert.same({ "deepseek", "backup" }, { made.targets[1].name, made.targets[2].name })
  end)

  it("may be of one target, and of one call out of several", function()
    local made = piece.cut(t, { from = 80, to = 150, speed = 1, every = 10, only = "backup" })
    local whole = piece.cut(t, { from = 80, to = 150, speed = 1, every = 1 })
    assert.equal(math.floor(whole.asked / 10), made.asked)
    assert.equal(1, #made.targets)
    for _, o in ipairs { { from = 500, to = 600 }, { from = 1, to = 9, only = "x" } } do
      o.speed, o.every = 1, 1
      assert.is_false((pcall(piece.cut, t, o)))
    end
  end)

  it("is a programme of the busy upstream", function()
    local made = piece.cut(t, { from = 80, to = 190, speed = 10, every = 1 })
    local programme = real.programme(made.targets[1], 3)
    assert.same({ 20, 0, 503, 3 }, { programme.capacity, programme.queue,
      programme.when_full.status, programme.seed })
    assert.same({ 8, 0, 10 }, { programme.schedule[1].capacity, programme.schedule[2].capacity,
      programme.schedule[3].capacity })
    assert.equal(500, programme.schedule[1].faults[1].answer.status)
  end)
end)

describe("the simulator", function()
  guard.watch(before_each, after_each)

  it("is within 10 % of real calls, in what was answered and what that took", function()
    local t, told = assert(simulate.read "examples/traces/outage.csv"), {}
    for _ = 1, 3 do
      local r = both.play(t, { from = 70, to = 150, speed = 5, every = 1 })
      if r.agrees then return end
      told[#told + 1] = ("answered %.3f and %.3f, calls each %.3f and %.3f, %.0f ms late"):format(
        r.simulated.availability, r.real.availability, r.simulated.calls_each, r.real.calls_each,
        r.real.late * 1000)
    end
    error(table.concat(told, "\n"))
  end)
end)
