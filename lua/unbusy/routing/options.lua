--- What a client is told about routing: its options `route` and `pools`.
local options = require "unbusy.options"

local routing = {}

--- The option `route`.
routing.route = {
  balance = { type = "string", one_of = { "order", "weighted", "p2c" },
    doc = "among targets of one priority: as they are listed, shares by `weight`, or the better of "
      .. "two by load; by default `weighted` where one of them has a weight, else `order`" },
  sticky = { type = "string|boolean", default = false, one_of = { "prefix", "user" },
    doc = "calls with the same beginning (up to the first words of the user), or of the same "
      .. "`user`, go to the same target, whose cache knows them" },
  start = { type = "number", above = 0, max = 1e6, unit = "s",
    doc = "a target whose answers take longer to begin gets no more calls than begin in time, "
      .. "while others are left; none by default" },
  decay = { type = "number", default = 10, min = 0.001, max = 1e6, unit = "s",
    doc = "after so long a third (1/e) of a slow time counts (p2c)" },
}

--- Of a pool: when its calls go on to the next one.
routing.spill = {
  start = { type = "number", above = 0, max = 1e6, unit = "s",
    doc = "its answers take longer to begin; none by default" },
  queue = { type = "number", default = 0, min = 0, max = 1e6, unit = "s",
    doc = "how long a call waits for a place there first" },
  hold = { type = "number", default = 5, min = 0.1, max = 1e6, unit = "s",
    doc = "how long no call may have been sent on before it counts as back" },
}

--- One of the option `pools`.
routing.pool = {
  priority = { type = "whole", default = 1, min = 1, max = 1000,
    doc = "lower is asked first; before the `priority` of targets" },
  spill = { type = "table", fields = routing.spill, optional = true,
    doc = "when calls go on to the next pool beside when it is full or broken" },
}

local function check_pool(known, name, given)
  if type(name) ~= "string" then return nil, "pools: names of pools expected as keys" end
  if not known[name] then
    local names = {}
    for other in pairs(known) do names[#names + 1] = other end
    table.sort(names)
    local near = options.nearest(name, names)
    return nil, ("pools: no target is in the pool '%s'%s"):format(name,
      near and (", did you mean '%s'?"):format(near) or "")
  end
  return options.field({ type = "table", fields = routing.pool }, given, "pools." .. name)
end

--- The checked option `pools`: each pool that there is, with what it was given; nil where none is.
---@param given table<string, table>?
---@param known table<string, any> pools that have targets
---@return table<string, table>? pools, string? message
function routing.read_pools(given, known)
  if given == nil then return nil end
  local out = {}
  for name, pool in pairs(given) do
    local checked, message = check_pool(known, name, pool)
    if not checked then return nil, message end
    out[name] = checked
  end
  for name in pairs(known) do
    out[name] = out[name] or options.field({ type = "table", fields = routing.pool }, nil, name)
  end
  return out
end

return routing
