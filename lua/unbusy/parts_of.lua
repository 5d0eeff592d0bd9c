--- What clients make their parts with.
local backoff = require "unbusy.backoff"

local parts_of = {}

--- What a part itself takes of the options given for it; `given` where they are none.
---@param part table with a `schema`
---@param given table|false|nil
---@param clock function?
---@return table|false|nil
function parts_of.options(part, given, clock)
  if not given then return given end
  local out = { clock = clock }
  for name in pairs(part.schema) do
    if given[name] ~= nil then out[name] = given[name] end
  end
  return out
end

--- Numbers of 0 to 1: those of a seed, where there is one.
---@param seed integer?
---@return fun(): number
function parts_of.chance(seed)
  if not seed then return math.random end
  local b = backoff.new { kind = "full", base = 1, factor = 1, cap = 1, seed = seed }
  return function() return b:delay(1) end
end

--- A part of the client itself, in the region where there is one; nil for none, and a failure.
---@param client table
---@param part table
---@param name string in the region
---@param given table|false|nil
---@param clock function?
---@return table|userdata|nil made, string? message, string? code
function parts_of.make(client, part, name, given, clock)
  if not given then return nil end
  local o = parts_of.options(part, given, clock)
  return part.new(client.common and client.common:part(o, name) or o)
end

return parts_of
