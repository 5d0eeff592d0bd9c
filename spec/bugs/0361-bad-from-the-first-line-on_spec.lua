-- Trouble was only where three times as much went wrong as usually. Where more than a third went
-- wrong all along, nothing could be: of a log of the worst minute, or of a gateway that was started
-- in the midst of an outage, it said "nothing is wrong in it: 100 % of 50 calls went wrong", and
-- ended with 0. Of two scrapes, what lay before them was called the quiet time, whatever it was:
-- a burst that went on since the start was no burst, for "no more calls come than before".
local diagnosed = require "spec.support.diagnosed"
local judge = require "unbusy.diagnose.judge"
local metrics = require "unbusy.diagnose.metrics"
local text = require "unbusy.diagnose.text"

local GOOD, BUSY = diagnosed.GOOD, diagnosed.BUSY

-- The facts of a log of 50 s with ten calls in each; so many of them fail.
local function facts_of(bad_in)
  local calls = {}
  for second = 0, 49 do
    for i = 1, 10 do calls[#calls + 1] = { second, i <= bad_in(second) and BUSY or GOOD } end
  end
  return diagnosed.facts(calls)
end

-- What a gateway has counted: so many calls that were answered, and that failed.
local function scrape(good, busy)
  return ('unbusy_calls_total{source="upstream",code=""} %d\n'
    .. 'unbusy_calls_total{source="none",code="busy"} %d\n'
    .. 'unbusy_tries_total{target="a",code="",status="200"} %d\n'
    .. 'unbusy_tries_total{target="a",code="busy",status="503"} %d\n'
    .. "unbusy_start_time_seconds 1000\n"):format(good, busy, good, busy)
end

describe("what goes wrong all along", function()
  it("is trouble in a log, without a quiet time", function()
    local f = facts_of(function() return 10 end)
    assert.same({ 500, 500 }, { f.trouble.calls, f.trouble.bad })
    assert.is_nil(f.quiet)
    assert.equal("It is a burst over their capacity", text.lines(f, judge.of(f))[1])
    assert.equal(200, facts_of(function() return 4 end).trouble.bad)
  end)

  it("is trouble besides a worse one, too", function()
    local f = facts_of(function(second) return second < 25 and 4 or 10 end)
    assert.equal(350, f.trouble.bad)
  end)

  it("but for a little, is what is usual", function()
    assert.is_nil(facts_of(function() return 1 end).trouble)
    local f = facts_of(function(second) return second < 25 and 1 or 10 end)
    assert.equal(250, f.trouble.calls)
  end)

  it("is trouble between two scrapes, and what lay before is no quiet time", function()
    local f = assert(metrics.read(scrape(0, 800), scrape(0, 500), { span = 10, at = 1060 }))
    assert.equal(300, f.trouble.bad)
    assert.is_nil(f.quiet)
    local told = table.concat(text.lines(f, judge.of(f)), "\n")
    assert.truthy(told:find("there is no quiet time to compare with", 1, true))
  end)

  it("has ended, where the later scrape has none of it", function()
    local f = assert(metrics.read(scrape(300, 500), scrape(0, 500), { span = 10, at = 1060 }))
    assert.is_nil(f.trouble)
    assert.equal(300, f.quiet.calls)
  end)
end)
