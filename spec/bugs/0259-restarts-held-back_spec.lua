-- While no target may be asked, Alertmanager holds back the warnings that follow from that. A
-- gateway that crashes and starts again and again was one of them, though no server can make it do
-- so: each start forgets the breakers and the cache, and nobody was told of what was ours to mend.
local files = require "spec.support.files"

-- The severity of each alert.
local function alerts()
  local out, name = {}, nil
  for line in files.read "deploy/prometheus/unbusy.alerts.yml":gmatch "[^\n]+" do
    name = line:match "%- alert: (%w+)" or name
    local severity = line:match "severity: (%w+)"
    if name and severity then out[name] = severity end
  end
  return out
end

describe("while no target may be asked", function()
  it("what does not follow from that is told all the same", function()
    local text = files.read "deploy/prometheus/alertmanager.yml"
    local told = {}
    for word in text:match 'alertname !~ "Unbusy%(([%w|]+)%)"':gmatch "%w+" do
      told[#told + 1] = "Unbusy" .. word
    end
    assert.same({ "UnbusyPolicyFaults", "UnbusyTargetRefused", "UnbusyOverheadHigh",
      "UnbusyCostHigh", "UnbusyCostJumps", "UnbusyRestarts" }, told)
    local known = alerts()
    for _, name in ipairs(told) do assert.equal("warning", known[name], name) end
  end)
end)
