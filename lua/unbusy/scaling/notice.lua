--- What Alertmanager is told: the body of a `POST /api/v2/alerts`.
--
-- | alert | severity | when |
-- |---|---|---|
-- | `UnbusyScaled` | info | the number of replicas was changed |
-- | `UnbusyScaleCeiling` | warning | there should be more, and may not |
-- | `UnbusyScaleBlind` | warning | what the rule goes by is not known |
-- | `UnbusyScaleFailed` | critical | the change was refused |
--
-- Each ends by itself after some time: an event, not a state that somebody has to take back.
local json = require "unbusy.json"

local notice = {}

local LASTS = 300 -- seconds

local kinds = {
  scaled = { "UnbusyScaled", "info" }, ceiling = { "UnbusyScaleCeiling", "warning" },
  blind = { "UnbusyScaleBlind", "warning" }, failed = { "UnbusyScaleFailed", "critical" },
}

local function time_text(unix)
  return os.date("!%Y-%m-%dT%H:%M:%SZ", unix)
end

--- An event as Alertmanager's API has it.
---@param event table { kind = see above, deployment =, namespace =, from =, to =, why =, at =
--- Unix seconds }
---@return string body
function notice.body(event)
  local name, severity = kinds[event.kind][1], kinds[event.kind][2]
  local labels = { alertname = name, severity = severity, deployment = event.deployment,
    namespace = event.namespace, service = "unbusy-scale" }
  if event.kind == "scaled" then labels.direction = event.to > event.from and "up" or "down" end
  local summary = event.deployment
  if event.kind == "scaled" then
    summary = ("%s: %d to %d replicas"):format(summary, event.from, event.to)
  end
  return assert(json.encode(json.array { { labels = labels,
    annotations = { summary = summary, description = event.why },
    startsAt = time_text(event.at), endsAt = time_text(event.at + LASTS) } }))
end

return notice
