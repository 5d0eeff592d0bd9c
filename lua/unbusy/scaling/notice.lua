--- What Alertmanager is told: the body of a `POST /api/v2/alerts`.
--
-- | alert | severity | when |
-- |---|---|---|
-- | `UnbusyScaled` | info | the number of replicas was changed |
-- | `UnbusyScaleCeiling` | warning | there should be more, and may not |
-- | `UnbusyScaleBlind` | warning | what the rule goes by is not known |
-- | `UnbusyScaleFailed` | critical | the change was refused |
--
-- Each ends by itself some time after it is told: an event, not a state that somebody has to take
-- back. Alertmanager tells nobody of what has ended before its turn has come (`group_wait`; five
-- minutes for info in deploy/prometheus), so it must last for longer than that.
local json = require "unbusy.json"

local notice = {}

--- Each kind of event: its alert's name, its severity, and the seconds that it lasts.
notice.kinds = {
  scaled = { "UnbusyScaled", "info", 900 }, ceiling = { "UnbusyScaleCeiling", "warning", 300 },
  blind = { "UnbusyScaleBlind", "warning", 300 }, failed = { "UnbusyScaleFailed", "critical", 300 },
}

local function time_text(unix)
  return os.date("!%Y-%m-%dT%H:%M:%SZ", unix)
end

--- An event as Alertmanager's API has it.
---@param event table { kind = see above, deployment =, namespace =, from =, to =, why =, at =
--- Unix seconds }
---@param now number Unix seconds: when it is told, which may be long after
---@return string body
function notice.body(event, now)
  local kind = notice.kinds[event.kind]
  local labels = { alertname = kind[1], severity = kind[2], deployment = event.deployment,
    namespace = event.namespace, service = "unbusy-scale" }
  if event.kind == "scaled" then labels.direction = event.to > event.from and "up" or "down" end
  local summary = event.deployment
  if event.kind == "scaled" then
    summary = ("%s: %d to %d replicas"):format(summary, event.from, event.to)
  end
  return assert(json.encode(json.array { { labels = labels,
    annotations = { summary = summary, description = event.why },
    startsAt = time_text(event.at), endsAt = time_text(math.max(event.at, now) + kind[3]) } }))
end

return notice
