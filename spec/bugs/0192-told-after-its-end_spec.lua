-- What `unbusy scale` tells Alertmanager ended five minutes after it happened. deploy/prometheus
-- keeps what is of severity info for five minutes before it tells anybody, and Alertmanager tells
-- of nothing that has ended before: nobody heard of a change. Neither of what happened while
-- Alertmanager was down for longer than that.
local files = require "spec.support.files"
local json = require "unbusy.json"
local nodes = require "unbusy.scaling.nodes"
local notice = require "unbusy.scaling.notice"

local NOW = 1767225600

-- Seconds for which an event lasts once it is told, and its severity.
local function lasts(kind, told)
  local alert = json.decode(notice.body({ kind = kind, deployment = "d", namespace = "n", from = 3,
    to = 6, why = "w", at = NOW }, told))[1]
  assert.equal(NOW, nodes.time(alert.startsAt))
  return nodes.time(alert.endsAt) - told, alert.labels.severity
end

-- Seconds that Alertmanager waits before it tells somebody: of all, and by severity.
local function waits()
  local text, units = files.text "deploy/prometheus/alertmanager.yml", { s = 1, m = 60 }
  local function read(part)
    local n, unit = part:match "group_wait: (%d+)([sm])"
    return tonumber(n) * units[unit]
  end
  local out = { warning = read(text:match "\nroute:(.-)\n  routes:") }
  for severity, part in text:gmatch "matchers: %[severity = (%l+)%]\n(.-)repeat_interval" do
    out[severity] = read(part)
  end
  return out
end

describe("what Alertmanager is told of scaling", function()
  it("lasts until somebody has heard of it, however late it is told", function()
    local wait = waits()
    for _, kind in ipairs { "scaled", "ceiling", "blind", "failed" } do
      for _, late in ipairs { 0, 3600 } do
        local seconds, severity = lasts(kind, NOW + late)
        assert.is_true(seconds > wait[severity] + 60, kind)
      end
    end
  end)
end)
