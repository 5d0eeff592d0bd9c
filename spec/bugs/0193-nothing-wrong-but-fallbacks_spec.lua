-- Where a fallback is configured, calls that fail get its text, and count as answered: of a gateway
-- whose target refused everybody `unbusy diagnose --metrics` said that nothing was wrong. The log
-- has the code of what stood behind a fallback; the metrics have those of the tries and the line.
local judge = require "unbusy.diagnose.judge"
local metrics = require "unbusy.diagnose.metrics"

local QUIET = [[
unbusy_calls_total{kind="chat",source="upstream",code=""} 100
unbusy_tries_total{target="a",code="",status="200"} 100
]]

local function of(text)
  local f = assert(metrics.read(QUIET .. text, QUIET, { span = 10 }))
  local first = judge.of(f)[1]
  return f, first and first.cause
end

describe("metrics of calls that got a fallback", function()
  it("say what the targets have refused", function()
    local f, cause = of [[
unbusy_calls_total{kind="chat",source="fallback",code=""} 40
unbusy_tries_total{target="a",code="limited",status="429"} 90
unbusy_tries_total{target="a",code="timeout",status="none"} 30
unbusy_tries_total{target="a",code="cancelled",status="none"} 500
]]
    assert.same({ 40, 40 }, { f.trouble.calls, f.trouble.bad })
    assert.same({ limited = 30, timeout = 10 }, f.trouble.codes)
    assert.equal("account", cause)
  end)

  it("say that our own line was full", function()
    local f, cause = of [[
unbusy_calls_total{kind="chat",source="fallback",code=""} 40
unbusy_calls_total{kind="chat",source="none",code="full"} 10
unbusy_queue_refused_total{code="full"} 50
]]
    assert.same({ 50, { full = 50 } }, { f.trouble.bad, f.trouble.codes })
    assert.equal("pool", cause)
  end)

  it("say that nobody was to be asked", function()
    local f = of 'unbusy_calls_total{kind="chat",source="fallback",code=""} 40\n'
    assert.same({ 40, { open = 40 } }, { f.trouble.bad, f.trouble.codes })
  end)

  it("are none where there was no fallback", function()
    assert.is_nil(metrics.read(QUIET:gsub("100", "200"), QUIET, { span = 10 }).trouble)
  end)
end)
