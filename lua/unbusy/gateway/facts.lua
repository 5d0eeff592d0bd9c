--- What goes on, as data: what /status tells, its page shows, and `unbusy top` draws.
--
-- That is `client:status()`, with what happened lately (`hour`, and of each target its `start`; see
-- `unbusy.recent`), what is asked most (`questions`), and the region that the processes share.
local core = require "unbusy.core"
local json = require "unbusy.json"
local unbusy = require "unbusy"

local facts = {}

-- Numbers as JSON can say them, and nothing that it could not.
local function sayable(value)
  local kind = type(value)
  if kind == "number" then return value - value == 0 and value or json.null end
  if kind == "string" or kind == "boolean" or value == json.null then return value end
  if kind ~= "table" then return nil end
  local out = json.is_array(value) and json.array() or {}
  for name, item in pairs(value) do
    if type(name) == "number" or type(name) == "string" then out[name] = sayable(item) end
  end
  return out
end

local function add_recent(told, recent)
  local start_of
  told.hour, start_of = recent:status()
  for _, t in ipairs(told.targets) do t.start = start_of(t.name) end
end

--- What goes on with a client.
---@param client table
---@param n integer so many questions
---@param show boolean? the questions themselves; they must be allowed to be shown
---@return table told as JSON can say it
function facts.of(client, n, show)
  local told = client:status()
  if client.recent then add_recent(told, client.recent) end
  if core.is_region(client.region) then told.region = client.region:stats() end
  told.version = unbusy.version
  told.questions = client.hot and json.array(client:top(n, { show = show }) or {}) or json.null
  return sayable(told)
end

return facts
