-- Of two files with metrics `unbusy diagnose` compared the one with the other, and then said that
-- there was no quiet time to compare with. What is not known is in how many seconds the calls came.
local judge = require "unbusy.diagnose.judge"
local metrics = require "unbusy.diagnose.metrics"

describe("two files with metrics", function()
  it("do not say how many calls come a second", function()
    local before = 'unbusy_calls_total{code=""} 100\nunbusy_calls_total{code="busy"} 0\n'
    local f = assert(metrics.read(before:gsub(" 0\n", " 50\n"), before))
    local cause = judge.of(f)[1]
    assert.equal(100, f.quiet.calls)
    assert.equal("how many calls came a second is not known: a burst, or less room than usual",
      cause.evidence[#cause.evidence])
    f = assert(metrics.read((before:gsub(" 0\n", " 50\n"))))
    cause = judge.of(f)[1]
    assert.equal("there is no quiet time to compare with: a burst, or less room than usual",
      cause.evidence[#cause.evidence])
  end)
end)
