--- The options of scaling as the command line has them, out of the schemas of the parts.
local governor = require "unbusy.scaling.governor"
local options = require "unbusy.options"
local rules = require "unbusy.scaling.rules"

local scaling_options = {}

local ORDER = { "least", "most", "cool_down", "calm", "down", "down_every", "step", "cpu",
  "cpu_down", "millicores", "places", "full", "full_down", "wait" }

local units = { s = "SECONDS" }

--- What the rule `load` has by default where the governor's default is another: a wish that counts
--- who waits does not grow by itself while new replicas start.
scaling_options.cool_down_of_load = 30

local function as_argument(name, field)
  local value = field.type == "whole" and "N" or units[field.unit or ""] or "NUMBER"
  return { name = (name:gsub("_", "-")), value = value, type = field.type, min = field.min,
    max = field.max, above = field.above, default = field.default, doc = field.doc }
end

--- The list of arguments, see `unbusy.cli.arguments`.
---@return table[]
function scaling_options.arguments()
  local out = {}
  for i, name in ipairs(ORDER) do
    out[i] = as_argument(name, governor.schema[name] or rules.schema[name])
  end
  return out
end

-- The values of a schema that were given, checked and filled up.
local function of(schema, values)
  local given = {}
  for name in pairs(schema) do given[name] = values[name] end
  return options.check(schema, given, "scale")
end

--- The options of a rule and of the governor.
---@param values table by name, as of the command line
---@param rule "cpu"|"load"
---@return table? rule_options, table|string governor_options or the message
function scaling_options.read(values, rule)
  local r, g = of(rules.schema, values), of(governor.schema, values)
  if rule == "load" and values.cool_down == nil then
    g.cool_down = scaling_options.cool_down_of_load
  end
  local fault = rules.fault(r) or governor.fault(g)
  if fault then return nil, "--" .. fault:gsub("_", "-") end
  return r, g
end

return scaling_options
