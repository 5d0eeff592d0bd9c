--- JSON whose members stand in the same order each time: that of a list of names, then by the
--- alphabet. (Lua's own order changes from run to run.)
local json = require "unbusy.json"

local ordered = {}

local function rank_of(names)
  local rank = {}
  for i, name in ipairs(names) do rank[name] = i end
  return rank
end

local function members_of(value, rank)
  local names = {}
  for name in pairs(value) do names[#names + 1] = name end
  table.sort(names, function(a, b)
    local left, right = rank[a] or math.huge, rank[b] or math.huge
    if left ~= right then return left < right end
    return a < b
  end)
  return names
end

-- A text as JSON. A file's name, or what a script says, may be no UTF-8; a slash need not be
-- escaped.
local function text_of(text)
  if not json.is_utf8(text) then text = text:gsub("[\128-\255]", "?") end
  return (assert(json.encode(text)):gsub("\\/", "/"))
end

local write

local function write_list(out, value, rank)
  out[#out + 1] = "["
  for i, item in ipairs(value) do
    if i > 1 then out[#out + 1] = "," end
    write(out, item, rank)
  end
  out[#out + 1] = "]"
end

local function write_object(out, value, rank)
  out[#out + 1] = "{"
  for i, name in ipairs(members_of(value, rank)) do
    if i > 1 then out[#out + 1] = "," end
    out[#out + 1] = text_of(tostring(name)) .. ":"
    write(out, value[name], rank)
  end
  out[#out + 1] = "}"
end

function write(out, value, rank)
  if type(value) == "string" then
    out[#out + 1] = text_of(value)
  elseif type(value) ~= "table" then
    out[#out + 1] = assert(json.encode(value))
  elseif json.is_array(value) or value[1] ~= nil then
    write_list(out, value, rank)
  else
    write_object(out, value, rank)
  end
end

--- Writes a value.
---@param value any tables as `unbusy.json` takes them
---@param names string[]? members that go first, in this order
---@return string
function ordered.encode(value, names)
  local out = {}
  write(out, value, rank_of(names or {}))
  return table.concat(out)
end

return ordered
