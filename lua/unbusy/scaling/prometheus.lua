--- Figures out of a Prometheus server: one instant query each.
--
-- An answer with no series is "not known", and so is one with several, or with NaN: neither is 0.
-- The queries add up what all gateways say. Series that have stopped coming are Prometheus' matter:
-- it forgets them after five minutes, and at once where a target's scrape fails.
local json = require "unbusy.json"

local prometheus = {}

local function quoted(text)
  return '"' .. text:gsub('[\\"\n]', { ["\\"] = "\\\\", ['"'] = '\\"', ["\n"] = "\\n" }) .. '"'
end

--- What the rule `load` goes by. A gateway that is not scraped makes the sums too small, so `down`
--- comes first: how many of the job's targets are down.
---@param job string Prometheus' job of the gateways
---@param target string? only what is under way at that target; without it at all of them
---@return table queries { down =, in_flight =, waiting =, wait = }
function prometheus.queries(job, target)
  local of = ("job=%s"):format(quoted(job))
  local what = ("unbusy_in_flight{%s}"):format(of)
  if target then what = ("unbusy_target_in_flight{%s,target=%s}"):format(of, quoted(target)) end
  return { down = ("sum(up{%s} == bool 0)"):format(of),
    in_flight = ("sum(avg_over_time(%s[1m]))"):format(what),
    waiting = ("sum(avg_over_time(unbusy_queue_waiting{%s}[1m]))"):format(of),
    wait = ("histogram_quantile(0.95, sum by (le) (rate(%s{%s}[2m])))"):format(
      "unbusy_queue_wait_seconds_bucket", of) }
end

-- The one value of an instant vector or scalar; nil and why it is not known.
local function value_of(data)
  if type(data) ~= "table" then return nil, "no data" end
  local pair = data.resultType == "scalar" and data.result
  if data.resultType == "vector" and type(data.result) == "table" then
    if #data.result == 0 then return nil, "no series" end
    if #data.result > 1 then return nil, "more than one series" end
    pair = type(data.result[1]) == "table" and data.result[1].value
  end
  local text = type(pair) == "table" and pair[2]
  local n = type(text) == "string" and tonumber(text)
  if not n or n - n ~= 0 then return nil, "not a number" end
  return n
end

--- The value of a query; nil and why it is not known.
---@param body string? of /api/v1/query
---@return number? value, string? message
function prometheus.read(body)
  local answer = type(body) == "string" and json.decode(body)
  if type(answer) ~= "table" then return nil, "not Prometheus' answer" end
  if answer.status ~= "success" then
    local why = type(answer.error) == "string" and answer.error:sub(1, 200) or "no success"
    return nil, (why:gsub("%c", " "))
  end
  return value_of(answer.data)
end

local function escaped(text)
  return (text:gsub("[^%w_.~-]", function(c) return ("%%%02X"):format(c:byte()) end))
end

--- The path of a query.
---@param query string
---@return string
function prometheus.path(query)
  return "/api/v1/query?query=" .. escaped(query)
end

-- The value of a query, or nil and why not.
local function ask(get, query)
  local body, message = get(prometheus.path(query))
  if not body then return nil, message end
  return prometheus.read(body)
end

--- What the rule `load` goes by. How long calls wait may be unknown: it is while none does.
---@param get fun(path: string): string? body, string? message
---@param queries table as of `prometheus.queries`
---@return table seen { in_flight =, waiting =, wait = } or { lacks = }
function prometheus.look(get, queries)
  local seen = {}
  for _, name in ipairs { "down", "in_flight", "waiting" } do
    local message
    seen[name], message = ask(get, queries[name])
    if not seen[name] then
      return { lacks = ("%s (%s): %s"):format(name, queries[name], message) }
    end
  end
  if seen.down > 0 then
    return { lacks = ("what %.0f gateways do, which are not scraped"):format(seen.down) }
  end
  seen.wait = ask(get, queries.wait)
  return seen
end

return prometheus
