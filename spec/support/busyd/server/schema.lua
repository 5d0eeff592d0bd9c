--- Checks for JSON values. A check is a function (value, where): nil when it fits, else a message.
local null = require("cjson").null

local schema = {}

local function show(value)
  if value == null then return "null" end
  if type(value) == "table" then return #value > 0 and "a list" or "an object" end
  if type(value) == "string" then return ("%q"):format(value) end
  return tostring(value)
end

local function wrong(where, expected, value)
  return ("%s: expected %s, got %s"):format(where, expected, show(value))
end

--- A number of at least 'min' and at most 'max'.
function schema.number(min, max)
  local expected = "a number from " .. min .. (max and " to " .. max or " up")
  return function(value, where)
    if type(value) ~= "number" or value < min or value > (max or math.huge) then
      return wrong(where, expected, value)
    end
  end
end

--- A whole number of at least 'min' and at most 'max'.
function schema.integer(min, max)
  local expected = "a whole number from " .. min .. (max and " to " .. max or " up")
  return function(value, where)
    if type(value) ~= "number" or value < min or value > (max or 2 ^ 53) or value % 1 ~= 0 then
      return wrong(where, expected, value)
    end
  end
end

function schema.string(value, where)
  if type(value) ~= "string" then return wrong(where, "a string", value) end
end

function schema.boolean(value, where)
  if type(value) ~= "boolean" then return wrong(where, "true or false", value) end
end

--- Whatever JSON can say.
function schema.any() end

--- One of the given strings.
function schema.one_of(...)
  local expected, known = "one of " .. table.concat({ ... }, ", "), {}
  for _, word in ipairs { ... } do known[word] = true end
  return function(value, where)
    if not known[value] then return wrong(where, expected, value) end
  end
end

--- A value that fits one of the checks.
function schema.either(expected, ...)
  local checks = { ... }
  return function(value, where)
    for _, check in ipairs(checks) do
      if not check(value, where) then return end
    end
    return wrong(where, expected, value)
  end
end

--- A list whose items fit 'check'.
function schema.list(check)
  return function(value, where)
    if type(value) ~= "table" or (next(value) ~= nil and #value == 0) then
      return wrong(where, "a list", value)
    end
    for i, item in ipairs(value) do
      local problem = check(item, where .. "[" .. i .. "]")
      if problem then return problem end
    end
  end
end

--- An object with free names whose values fit 'check'.
function schema.map(check)
  return function(value, where)
    if type(value) ~= "table" or #value > 0 then return wrong(where, "an object", value) end
    for name, item in pairs(value) do
      local problem = check(item, where .. "." .. name)
      if problem then return problem end
    end
  end
end

local function names_of(fields)
  local names = {}
  for name in pairs(fields) do names[#names + 1] = name end
  table.sort(names)
  return table.concat(names, ", ")
end

--- An object with these fields, all optional; 'nullable' lets null stand for any of them.
function schema.object(fields, nullable)
  return function(value, where)
    if type(value) ~= "table" or #value > 0 then return wrong(where, "an object", value) end
    for name, item in pairs(value) do
      local at = where == "" and name or where .. "." .. name
      local check = fields[name]
      if not check then return at .. ": unknown field (known: " .. names_of(fields) .. ")" end
      local problem = not (nullable and item == null) and check(item, at)
      if problem then return problem end
    end
  end
end

return schema
