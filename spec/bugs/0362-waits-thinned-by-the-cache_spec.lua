-- How long calls waited in our line was shared out over all calls, those too that the cache had
-- answered and that never came there. Where nine of ten are answered so, a line of five seconds was
-- one of half a second: no trouble at all. In metrics that half second, and not the five, was taken
-- off how long whole answers took: a line of ours was "slow inference".
local diagnosed = require "spec.support.diagnosed"
local judge = require "unbusy.diagnose.judge"
local metrics = require "unbusy.diagnose.metrics"

-- What a gateway has counted: nine of ten calls are answered by the cache; those that ask took one
-- second at their target, and waited so long before.
local function scrape(asked, waited)
  return ([[
unbusy_calls_total{source="upstream",code=""} %d
unbusy_calls_total{source="cache",code=""} %d
unbusy_calls_total{source="coalesced",code=""} %d
unbusy_call_duration_seconds_sum{source="upstream"} %g
unbusy_call_duration_seconds_count{source="upstream"} %d
unbusy_queue_wait_seconds_sum{priority="normal"} %g
unbusy_tries_total{target="a",code="",status="200"} %d
unbusy_start_time_seconds 1000
]]):format(asked, 8 * asked, asked, asked + waited, asked, waited, asked)
end

-- The facts of a log of 100 s: nine of ten calls are answered by the cache; from the 50th second on
-- the others wait.
local function facts_of(waits)
  local calls = {}
  for second = 0, 99 do
    for _ = 1, 9 do calls[#calls + 1] = { second, '"source":"cache","seconds":0' } end
    local queued = second >= 50 and waits or 0
    calls[#calls + 1] = { second, ('"target":"a","source":"upstream","tries":1,"queued":%g,'
      .. '"start":1,"seconds":%g'):format(queued, queued + 1) }
  end
  return diagnosed.facts(calls)
end

describe("a line of ours behind a cache", function()
  it("is seen in metrics, and is no slow inference", function()
    local f = assert(metrics.read(scrape(200, 500), scrape(100, 0), { span = 60, at = 1090 }))
    assert.truthy(f.trouble)
    assert.near(5, f.trouble.queued, 1e-9)
    assert.near(1, f.trouble.took, 1e-9)
    local causes = judge.of(f)
    assert.equal("pool", causes[1].cause)
    assert.is_nil(causes[2])
  end)

  it("is seen in a log", function()
    local f = facts_of(5)
    assert.truthy(f.trouble)
    assert.near(5, f.trouble.queued, 1)
    assert.equal("pool", judge.of(f)[1].cause)
  end)

  it("is none where hardly anybody waits", function()
    assert.is_nil(facts_of(0.3).trouble)
    assert.is_nil(metrics.read(scrape(200, 30), scrape(100, 0), { span = 60, at = 1090 }).trouble)
  end)
end)
