--- What single items of a request meet: the programme's `items`, by what their text holds.
local cjson = require "cjson"

local items = {}

local INVALID = { message = "This item is not valid.", type = "invalid_request_error",
  param = cjson.null, code = "invalid_item" }

-- The first of the programme's entries of that kind whose `match` is in the text.
local function entry(list, field, text)
  for _, item in ipairs(list or {}) do
    local fits = item[field] ~= nil or field == "error" and item.whole == nil
    if fits and text:find(item.match, 1, true) then return item end
  end
end

--- The error that stands in the place of one item's answer, in JSON; nil for a good answer. A
--- request with one item is no batch, and has none, but for the batch endpoint's.
---@param call table
---@param text string
---@return string?
function items.error(call, text)
  if not call.inputs[2] and call.kind ~= "batch" then return nil end
  local found = entry(call.items, "error", text)
  return found and cjson.encode(found.error or INVALID)
end

--- The answer spec that a whole request gets since one of its items is in it; nil mostly.
---@param fields table  the programme
---@param call table
---@return table?
function items.whole(fields, call)
  if not fields.items[1] then return nil end
  for _, text in ipairs(call.inputs or { call.question }) do
    local found = entry(fields.items, "whole", text)
    if found then return found.whole end
  end
end

return items
