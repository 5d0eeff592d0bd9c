-- option_types.lua: the options' types for editors, made from the schemas.
--
--   lua5.4 tools/option_types.lua   writes lua/unbusy/options_….meta.lua
local batch_list = require "unbusy.batching.list"
local batch_rules = require "unbusy.batching.rules"
local config = require "unbusy.config"
local routing = require "unbusy.routing.options"
local warm = require "unbusy.caching.warm"

local option_types = {}

local HEAD = [[
---@meta _
-- luacheck: ignore 211

-- %s, for language servers: never loaded.
-- Made from the schemas: lua5.4 tools/option_types.lua
]]

local COLUMNS = 98

-- {== One schema ==========================================================

local plain = { whole = "integer", list = "any[]", ["function"] = "function" }

-- What a field's name says better than its type; where two fields have that name, by its type.
local better = {
  on_event = "fun(event: unbusy.event)", cancel = "unbusy.canceller", clock = "fun(): number",
  policy = "string|unbusy.policy", on_progress = "fun(progress: table)",
  region = "unbusy.core.region|unbusy.options.region|boolean",
  pools = "table<string, unbusy.options.pool>",
  headers = { table = "table<string, string|string[]>|string[]" },
  models = { table = "table<string, string>" },
  batch = { ["string|table|boolean"] =
    "string|boolean|unbusy.options.batch|(string|unbusy.options.batch)[]" },
}

local of_parts = { region = "unbusy.core.region" }

local function choices(field)
  local out = {}
  for i, word in ipairs(field.one_of) do out[i] = ('"%s"'):format(word) end
  return table.concat(out, "|")
end

-- The type that is known by the field's name; nil where there is none.
local function known_type(name, field, special)
  local known = special and special[name] or better[name]
  if type(known) == "table" then return known[field.type] end
  return known
end

-- The type of a field; `inner` names the class of its own fields.
local function type_of(name, field, inner, special)
  local known = known_type(name, field, special)
  if known then return known end
  local out = {}
  for one in field.type:gmatch "[^|]+" do
    if one == "table" and field.fields then
      one = inner
    elseif one == "list" and field.each then
      local each = field.each.fields and inner or type_of("", field.each, inner)
      one = (each:find("|", 1, true) and "(%s)[]" or "%s[]"):format(each)
    elseif one == "string" and field.one_of and name ~= "loop" then
      one = choices(field)
    end
    out[#out + 1] = plain[one] or one
  end
  return table.concat(out, "|")
end

local function default_of(field)
  local value = field.default
  if type(value) == "number" then return (" (%.14g)"):format(value) end
  if type(value) == "string" or value == true then return (" (%s)"):format(tostring(value)) end
  return ""
end

-- A text as lines of a comment.
local function comment(out, text)
  local line = "---"
  for word in text:gmatch "%S+" do
    if #line + 1 + #word > COLUMNS then
      out[#out + 1], line = line, "---"
    end
    line = line .. " " .. word
  end
  out[#out + 1] = line
end

local function sorted(schema)
  local names = {}
  for name in pairs(schema) do names[#names + 1] = name end
  table.sort(names)
  return names
end

-- "unbusy.options.cache" and "top" is "unbusy.options.cache.top"; of the client's own, and of lists
-- of it, "unbusy.options.cache" and "unbusy.options.target".
local function inner_name(class, name, field)
  if field.type:find "list" then name = name:gsub("s$", "") end
  return class .. "." .. name
end

local add_class

local function add_fields(out, class, schema, special)
  for _, name in ipairs(sorted(schema)) do
    local field = schema[name]
    local unit = field.unit and (", in %s"):format(field.unit == "s" and "seconds" or field.unit)
    comment(out, (field.doc or "") .. (unit or "") .. default_of(field))
    local kind = type_of(name, field, inner_name(class, name, field), special)
    out[#out + 1] = ("---@field %s%s %s"):format(name, field.required and "" or "?", kind)
  end
  out[#out + 1] = ""
  for _, name in ipairs(sorted(schema)) do
    local field = schema[name]
    local fields = field.fields or field.each and field.each.fields
    if fields and not known_type(name, field, special) then
      add_class(out, inner_name(class, name, field), fields)
    end
  end
end

function add_class(out, class, schema, special)
  out[#out + 1] = "---@class " .. class
  add_fields(out, class, schema, special)
end

-- }========================================================================

-- {== The files ===========================================================

local function text_of(about, out)
  while out[#out] == "" do out[#out] = nil end
  return HEAD:format(about) .. "\n" .. table.concat(out, "\n") .. "\n"
end

local function of_client(wanted)
  local out, client, rest = {}, config.client, {}
  for name, field in pairs(client) do
    if name == "gateway" or name == "cache" or name == "targets" then rest[name] = field end
  end
  if wanted == "client" then
    local shown = {}
    for name, field in pairs(client) do
      shown[name] = rest[name] and { type = field.type, doc = field.doc, default = field.default,
        required = field.required } or field
    end
    local special = { targets = "unbusy.options.target[]", gateway = "unbusy.options.gateway",
      cache = "unbusy.options.cache|boolean" }
    out[1] = "---@class unbusy.options"
    add_fields(out, "unbusy.options", shown, setmetatable(special, { __index = better }))
    add_class(out, "unbusy.options.region", client.region.fields)
    add_class(out, "unbusy.options.pool", routing.pool)
    add_class(out, "unbusy.options.batch", batch_rules.schema)
    return text_of("The options of `unbusy.new`", out)
  end
  for _, name in ipairs(sorted(rest)) do
    local field = rest[name]
    add_class(out, inner_name("unbusy.options", name, field),
      field.fields or field.each.fields)
  end
  return text_of("The options of targets, the cache and the gateway", out)
end

local function beyond_calls(schema)
  local out = {}
  for name, field in pairs(schema) do
    if field ~= config.call[name] then out[name] = field end
  end
  return out
end

local function of_calls()
  local out = {}
  add_class(out, "unbusy.options.call", config.call)
  add_class(out, "unbusy.options.pass", config.pass)
  out[#out + 1] = "---@class unbusy.options.batches : unbusy.options.call"
  add_fields(out, "unbusy.options.batches", beyond_calls(batch_list.schema))
  add_class(out, "unbusy.options.warm", warm.schema)
  return text_of("The options of calls", out)
end

local PARTS = { "backoff", "balancer", "breaker", "budget", "cache", "limiter", "rate",
  "retry_after", "sse", "topk" }

local function of_parts_alone()
  local out = {}
  for _, name in ipairs(PARTS) do
    add_class(out, "unbusy.options_of." .. name, require("unbusy." .. name).schema, of_parts)
  end
  return text_of("The options of the parts", out)
end

--- The files, each with its text.
---@return table<string, string>
function option_types.files()
  return {
    ["lua/unbusy/options_client.meta.lua"] = of_client "client",
    ["lua/unbusy/options_targets.meta.lua"] = of_client "rest",
    ["lua/unbusy/options_calls.meta.lua"] = of_calls(),
    ["lua/unbusy/options_parts.meta.lua"] = of_parts_alone(),
  }
end

-- }========================================================================

if ... ~= "tools.option_types" then -- run, not required
  for path, text in pairs(option_types.files()) do
    local file = assert(io.open(path, "wb"))
    file:write(text)
    file:close()
  end
end

return option_types
