--- The CPU of a cluster's nodes, out of what its API says (as text of `kubectl get --raw`).
--
-- `/api/v1/nodes` says which nodes there are and how much each has to give, `/apis/metrics.k8s.io/
-- v1beta1/nodes` how much is in use. A node that is ready and of which nothing, or nothing of
-- late, is known makes the sum unknown: a sum that lacks one looks like calm.
local json = require "unbusy.json"

local nodes = {}

--- Where the API says it.
nodes.LIST, nodes.USAGE = "/api/v1/nodes", "/apis/metrics.k8s.io/v1beta1/nodes"

-- {== Quantities ==========================================================

local factors = { [""] = 1, n = 1e-9, u = 1e-6, m = 1e-3, k = 1e3, M = 1e6, G = 1e9, T = 1e12,
  P = 1e15, E = 1e18, Ki = 2 ^ 10, Mi = 2 ^ 20, Gi = 2 ^ 30, Ti = 2 ^ 40, Pi = 2 ^ 50, Ei = 2 ^ 60 }

--- The number that a quantity of Kubernetes stands for: "250m" is 0.25, "1e3" 1000; nil for a text
--- that is none. (Kubernetes API Reference, "Quantity".)
---@param text any
---@return number?
function nodes.quantity(text)
  if type(text) == "number" then return text end
  if type(text) ~= "string" then return nil end
  local digits, suffix = text:match "^([+-]?%d*%.?%d*)(%a*)$"
  local n = digits and tonumber(digits)
  if n and factors[suffix] then return n * factors[suffix] end
  local plain = text:match "^[+-]?%d*%.?%d*[eE][+-]?%d+$"
  return plain and tonumber(plain)
end

-- }========================================================================

-- {== Times ===============================================================

local function days_since_1970(year, month, day)
  if month <= 2 then year, month = year - 1, month + 12 end
  local leaps = math.floor(year / 4) - math.floor(year / 100) + math.floor(year / 400)
  return 365 * year + leaps + math.floor((153 * (month - 3) + 2) / 5) + day - 719469
end

--- Unix seconds of a time in UTC as Kubernetes writes it (RFC 3339 with Z); nil for another text.
---@param text any
---@return number?
function nodes.time(text)
  if type(text) ~= "string" then return nil end
  local year, month, day, hour, minute, second =
    text:match "^(%d%d%d%d)%-(%d%d)%-(%d%d)T(%d%d):(%d%d):(%d%d)%.?%d*Z$"
  if not year then return nil end
  local n = tonumber
  return days_since_1970(n(year), n(month), n(day)) * 86400 + n(hour) * 3600 + n(minute) * 60
    + n(second)
end

-- }========================================================================

local function object_of(text)
  local value = type(text) == "string" and json.decode(text)
  return type(value) == "table" and value or nil
end

local function items_of(text)
  local list = object_of(text)
  return list and type(list.items) == "table" and list.items or nil
end

local function name_of(item)
  local meta = type(item) == "table" and item.metadata
  return type(meta) == "table" and type(meta.name) == "string" and meta.name or nil
end

local function is_ready(item)
  local status = item.status
  for _, c in ipairs(type(status) == "table" and type(status.conditions) == "table"
      and status.conditions or {}) do
    if type(c) == "table" and c.type == "Ready" then return c.status == "True" end
  end
  return false
end

local function cpu_of(table_or_nil)
  local n = type(table_or_nil) == "table" and nodes.quantity(table_or_nil.cpu)
  return n and n >= 0 and n * 1000 or nil
end

-- By name: { cpu = millicores in use, at = Unix seconds }.
local function usage_by_name(items)
  local out = {}
  for _, item in ipairs(items) do
    local name = name_of(item)
    if name then out[name] = { cpu = cpu_of(item.usage), at = nodes.time(item.timestamp) } end
  end
  return out
end

-- What is lacking of a node that is ready; nil where nothing is.
local function lack(name, whole, use, o)
  if not whole then return ("how much CPU node %s has"):format(name) end
  if not use or not use.cpu then return ("the CPU of node %s"):format(name) end
  if not use.at then return ("when the CPU of node %s was measured"):format(name) end
  local age = o.now - use.at
  if age > o.fresh then
    return ("the CPU of node %s of late (it is of %.0f s ago)"):format(name, age)
  end
end

--- Their CPU in sum.
---@param list string? the body of LIST
---@param usage string? the body of USAGE
---@param o table { now = Unix seconds, fresh = seconds that a measurement is good for }
---@return table seen { cpu =, cpu_whole = millicores, nodes = how many } or { lacks = what }
function nodes.sum(list, usage, o)
  local items, used = items_of(list), items_of(usage)
  if not items then return { lacks = "the list of nodes" } end
  if not used then return { lacks = "the nodes' CPU (is there a metrics server?)" } end
  local by_name, out = usage_by_name(used), { cpu = 0, cpu_whole = 0, nodes = 0 }
  for _, item in ipairs(items) do
    local name = name_of(item)
    if not name then return { lacks = "a node's name" } end
    if is_ready(item) then
      local whole, use = cpu_of(item.status.allocatable), by_name[name]
      local lacks = lack(name, whole, use, o)
      if lacks then return { lacks = lacks } end
      out.cpu, out.cpu_whole, out.nodes = out.cpu + use.cpu, out.cpu_whole + whole, out.nodes + 1
    end
  end
  if out.nodes == 0 then return { lacks = "a node that is ready" } end
  return out
end

return nodes
