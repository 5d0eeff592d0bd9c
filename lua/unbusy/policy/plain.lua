--- Copies of plain data: what JSON can say, and nothing else.
--
-- What goes to a script and what comes back from one is copied, so that neither side can change
-- what the other holds. Metatables are left behind, but for the mark of `json.array`.
local cjson = require "cjson"
local json = require "unbusy.json"

local plain = {}

local MOST = 1e6 -- values in one copy; a table that holds itself several times would never end

local scalars = { string = true, number = true, boolean = true }
local wires = { [json.null] = true } -- as cjson writes them
if cjson.empty_array then wires[cjson.empty_array] = true end

local copy_table

local function copy_value(value, depth, left, strict)
  local kind = type(value)
  if scalars[kind] or wires[value] then return value end
  if kind == "table" then return copy_table(value, depth, left, strict) end
  if strict then return nil, "a " .. kind end
end

function copy_table(t, depth, left, strict)
  if depth == 0 then return nil, "tables nested too deep" end
  local out = json.is_array(t) and json.array() or {}
  for key, value in next, t do
    left.count = left.count - 1
    if left.count < 0 then return nil, "too many values" end
    local copied, wrong = copy_value(value, depth - 1, left, strict)
    if not wrong and strict and type(key) ~= "string" and type(key) ~= "number" then
      wrong = "a key that is a " .. type(key)
    end
    if wrong then return nil, wrong end
    out[key] = copied
  end
  return out
end

--- A copy of what JSON could say; nil and what is in the way of one.
---@param value any
---@param most number? of values in it
---@return any copy, string? wrong
function plain.strict(value, most)
  return copy_value(value, json.max_depth, { count = most or MOST }, true)
end

--- A copy without what JSON could not say; nil where even that cannot be made.
---@param value any
---@return any copy
function plain.lenient(value)
  return (copy_value(value, json.max_depth, { count = MOST }, false))
end

return plain
