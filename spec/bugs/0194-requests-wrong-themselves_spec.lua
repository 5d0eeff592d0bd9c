-- One application whose requests are wrong makes failures that say nothing of the service. They
-- counted as failures of it: `unbusy diagnose` took them for trouble of no clear cause, and where
-- there was one, they hid it, since no cause explained enough of what went wrong.
local judge = require "unbusy.diagnose.judge"
local metrics = require "unbusy.diagnose.metrics"
local text = require "unbusy.diagnose.text"

local function of(before, after)
  local function page(p)
    return ('unbusy_calls_total{code="",source="upstream"} %d\n'
      .. 'unbusy_calls_total{code="invalid",source="none"} %d\n'
      .. 'unbusy_calls_total{code="limited",source="none"} %d\n'
      .. 'unbusy_tries_total{target="a",code="limited",status="429"} %d\n'):format(p[1], p[2], p[3],
      p[3])
  end
  local f = assert(metrics.read(page(after), page(before), { span = 10 }))
  return f, f.trouble and judge.of(f)
end

describe("requests that are wrong themselves", function()
  it("are no trouble", function()
    local f = of({ 100, 0, 0 }, { 200, 50, 0 })
    assert.is_nil(f.trouble)
    assert.same({ "Nothing is wrong in it",
      "  0 % of 100 calls went wrong; 50 more were wrong in themselves" },
      text.lines(f, {}))
  end)

  it("do not hide what is", function()
    local f, causes = of({ 100, 0, 0 }, { 200, 90, 20 })
    assert.same({ "account", 1 }, { causes[1].cause, causes[1].weight })
    assert.same({ 210, 20, 90 }, { f.trouble.calls, f.trouble.bad, f.trouble.gone })
    f, causes = of({ 100, 100, 0 }, { 200, 200, 60 })
    assert.is_truthy(f.trouble)
    assert.equal("account", causes[1].cause)
  end)
end)
