--- JSON to be read and compared by people: sorted names, two blanks a level, short lists and
--- objects on one line.
local pretty = { null = {} }

local WIDTH = 100

local escapes = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n" }

local function text(s) return '"' .. s:gsub('["\\\n]', escapes) .. '"' end

local function names_of(t)
  local out = {}
  for name in pairs(t) do out[#out + 1] = name end
  table.sort(out)
  return out
end

local encode

-- The items of a list or an object as text, and its brackets.
local function items_of(t, indent)
  local out = {}
  if #t > 0 or next(t) == nil then
    for i, item in ipairs(t) do out[i] = encode(item, indent) end
    return out, "[", "]"
  end
  for i, name in ipairs(names_of(t)) do
    out[i] = text(name) .. ": " .. encode(t[name], indent)
  end
  return out, "{", "}"
end

function encode(value, indent)
  if value == pretty.null then return "null" end
  if type(value) == "string" then return text(value) end
  if type(value) ~= "table" then return tostring(value) end
  local inner = indent .. "  "
  local items, open, close = items_of(value, inner)
  local line = table.concat(items, ", ")
  if #indent + #line < WIDTH and not line:find "\n" then
    return open .. (line == "" and "" or open == "{" and " " .. line .. " " or line) .. close
  end
  return ("%s\n%s%s\n%s%s"):format(open, inner, table.concat(items, ",\n" .. inner), indent, close)
end

--- Writes a value as JSON; an empty table is an empty list.
---@param value any `pretty.null` is null
---@return string
function pretty.encode(value)
  return encode(value, "")
end

return pretty
