-- How many calls came in a second was counted over those pieces of a log in which there was one. Of
-- a quiet time in which a call came every four seconds that made one a second, four times as many:
-- a burst of just so many was no burst any more, but "less room on their side than usual".
local diagnosed = require "spec.support.diagnosed"
local judge = require "unbusy.diagnose.judge"
local period = require "unbusy.diagnose.period"

local GOOD, BUSY = diagnosed.GOOD, diagnosed.BUSY

local function add(calls, from, to, step, how)
  for second = from, to, step do calls[#calls + 1] = { second, how } end
end

describe("seconds in which nobody called", function()
  it("count where it is told how many calls came in one", function()
    local calls = {}
    add(calls, 0, 76, 4, GOOD)
    add(calls, 80, 99, 1, BUSY)
    local f = diagnosed.facts(calls)
    assert.same({ 20, 20 }, { f.quiet.calls, f.trouble.calls })
    assert.near(0.25, period.rate(f.quiet), 0.02)
    assert.near(1, period.rate(f.trouble), 0.1)
    assert.equal("burst", judge.of(f)[1].cause)
  end)

  it("are of the trouble in the midst of it", function()
    local calls = {}
    add(calls, 0, 39, 1, GOOD)
    add(calls, 40, 60, 4, BUSY) -- one of four
    add(calls, 64, 99, 1, GOOD)
    local f = diagnosed.facts(calls)
    assert.near(1, period.rate(f.quiet), 0.1)
    assert.near(0.25, period.rate(f.trouble), 0.1)
    assert.equal("capacity", judge.of(f)[1].cause)
  end)
end)
