--- Options are data: a schema names each one, this file checks them all.
--
-- A schema is a table of name -> field. A field:
--
--     { type = "number", default = 5, min = 0, max = 10, unit = "s", doc = "…" }
--
-- `type` is one word or several joined by "|": number, whole (a whole number), string, boolean,
-- table, function, list, any. `min` and `max` bound a number or a list's length. `above`
-- bounds a number from below, the bound itself left out. `one_of` lists the words of a string.
-- `fields` is the schema of a table; `each` is the field that every item of a list obeys.
-- `required = true` does what it says.
local options = {}

local is = {
  number = function(v) return type(v) == "number" and v == v end,
  whole = function(v) return type(v) == "number" and v == math.floor(v) and v - v == 0 end,
  list = function(v) return type(v) == "table" end,
  any = function(v) return v ~= nil end,
}

local words_of = {} -- "number|string" -> { "number", "string" }; the types of schemas are few

local function words(types)
  local list = words_of[types]
  if list then return list end
  list = {}
  for word in types:gmatch("[^|]+") do list[#list + 1] = word end
  words_of[types] = list
  return list
end

local function matches(value, types)
  for _, word in ipairs(words(types)) do
    local test = is[word]
    if test and test(value) or not test and type(value) == word then return word end
  end
end

-- Schema -> its names, sorted.
local names_of = setmetatable({}, { __mode = "k" })

local function sorted_names(schema)
  local names = names_of[schema]
  if names then return names end
  names = {}
  for name in pairs(schema) do names[#names + 1] = name end
  table.sort(names)
  names_of[schema] = names
  return names
end

-- Edit distance of two short strings (Levenshtein, one row at a time).
local function distance(a, b)
  local row = {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local corner = row[0]
    row[0] = i
    for j = 1, #b do
      local cost = a:byte(i) == b:byte(j) and 0 or 1
      local best = math.min(row[j] + 1, row[j - 1] + 1, corner + cost)
      corner, row[j] = row[j], best
    end
  end
  return row[#b]
end

--- The name of `names` nearest to `word`, or nil when none is near.
---@param word string
---@param names string[]
---@return string?
function options.nearest(word, names)
  local best, least = nil, math.max(2, math.floor(#word / 3)) + 1
  if #word > 64 then return nil end
  for _, name in ipairs(names) do
    local d = distance(word:lower(), name)
    if d < least then best, least = name, d end
  end
  return best
end

local function show(value)
  if type(value) == "number" then return tostring(value) end
  return "a " .. type(value)
end

local function bounds(field, n, where, what)
  if field.min and n < field.min then
    return ("%s: %s at least %s expected, got %s"):format(where, what, field.min, n)
  elseif field.above and n <= field.above then
    return ("%s: %s above %s expected, got %s"):format(where, what, field.above, n)
  elseif field.max and n > field.max then
    return ("%s: %s at most %s expected, got %s"):format(where, what, field.max, n)
  end
end

local check_fields

local function check_list(field, value, where)
  local out, n = {}, 0
  for k in pairs(value) do
    n = n + 1
    if type(k) ~= "number" then
      return nil, ("%s: a list expected, got key '%s'"):format(where, tostring(k))
    end
  end
  for i = 1, n do -- `#value` may lie when there is a hole
    if value[i] == nil then return nil, ("%s: a list without holes expected"):format(where) end
  end
  local wrong = bounds(field, n, where, "a list of length")
  if wrong then return nil, wrong end
  if not field.each then return value end
  for i = 1, n do
    local item, message = options.field(field.each, value[i], ("%s[%d]"):format(where, i))
    if message then return nil, message end
    out[i] = item
  end
  return out
end

--- Checks one value against one field. Gives the value to use (a filled copy for a table with
--- a schema), or nil and a message.
---@return any value, string? message
function options.field(field, value, where)
  if value == nil then
    if field.required then return nil, where .. " is missing" end
    if not field.fields or field.optional or field.default ~= nil then return field.default end
    value = {}
  end
  local word = matches(value, field.type)
  if not word then
    return nil, ("%s: %s expected, got %s"):format(where, field.type:gsub("|", " or "), show(value))
  end
  if word == "number" or word == "whole" then
    local wrong = bounds(field, value, where, "a number")
    if wrong then return nil, wrong end
  elseif word == "string" and field.one_of then
    for _, choice in ipairs(field.one_of) do
      if value == choice then return value end
    end
    local near = options.nearest(value, field.one_of)
    return nil, ("%s: one of %s expected%s"):format(where, table.concat(field.one_of, ", "),
      near and (", did you mean '%s'?"):format(near) or "")
  elseif word == "list" then
    return check_list(field, value, where)
  elseif word == "table" and field.fields then
    return check_fields(field.fields, value, where .. ".")
  end
  return value
end

-- Schema -> those of its names that count also when they are not given.
local filled_of = setmetatable({}, { __mode = "k" })

local function filled_names(schema)
  local names = filled_of[schema]
  if names then return names end
  names = {}
  for _, name in ipairs(sorted_names(schema)) do
    local field = schema[name]
    if field.required or field.default ~= nil or field.fields and not field.optional then
      names[#names + 1] = name
    end
  end
  filled_of[schema] = names
  return names
end

local function unknown(schema, name, prefix)
  local near = type(name) == "string" and options.nearest(name, sorted_names(schema))
  return ("unknown option '%s%s'%s"):format(prefix, tostring(name),
    near and (", did you mean '%s'?"):format(near) or "")
end

-- Something is wrong: of an unknown name that is said first, else of the first by the alphabet.
local function first_fault(schema, given, prefix)
  for name in pairs(given) do
    if type(name) ~= "string" or not schema[name] then return unknown(schema, name, prefix) end
  end
  for _, name in ipairs(sorted_names(schema)) do
    local _, message = options.field(schema[name], given[name], prefix .. name)
    if message then return message end
  end
end

function check_fields(schema, given, prefix)
  local out = {}
  for name, value in pairs(given) do -- mostly few, out of many that there are
    local field = type(name) == "string" and schema[name]
    if not field then return nil, first_fault(schema, given, prefix) end
    local checked, message = options.field(field, value, prefix .. name)
    if message then return nil, first_fault(schema, given, prefix) end
    out[name] = checked
  end
  for _, name in ipairs(filled_names(schema)) do
    if given[name] == nil then
      local message
      out[name], message = options.field(schema[name], nil, prefix .. name)
      if message then return nil, first_fault(schema, given, prefix) end
    end
  end
  return out
end

--- Checks `given` against `schema`: gives a filled copy, or raises at the line of whoever called
--- the function that called us.
---@param schema table
---@param given table? nil counts as {}
---@param what string name of the module or call, which opens every message
---@param level integer? of `error`; 3 is the caller's caller
---@return table
function options.check(schema, given, what, level)
  level = (level or 3)
  if given ~= nil and type(given) ~= "table" then
    error(("%s: a table of options expected, got %s"):format(what, show(given)), level)
  end
  local out, message = check_fields(schema, given or {}, "")
  if not out then error(what .. ": " .. message, level) end
  return out
end

return options
