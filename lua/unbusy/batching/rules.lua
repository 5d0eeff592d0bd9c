--- Rules of what goes together: where they come from, and what they may say.
--
-- A rule has three functions:
--
--   batch(request) -> { key =, max =, window = }   or nil: it is none of this rule's;
--                                                  `endpoint = true`: to a target's `batch`
--   merge(requests) -> request, path               with a path: a POST there
--   split(body, requests) -> answers               in the order of the requests; { error = … }
--
-- What they give is checked here. A function that fails, or gives what it should not, has a fault:
-- it is counted, told once in an event, and the calls go alone.
local guest = require "unbusy.batching.guest"
local json = require "unbusy.json"
local options = require "unbusy.options"

local rules = {}

--- The names of those that are shipped.
rules.names = { "completions", "embeddings", "endpoint" }

--- One entry of the client's option `batch`.
rules.schema = {
  rule = { type = "string|table", doc = "`embeddings`, `completions`, `endpoint`, the path of a "
    .. "Lua file, or a table of functions" },
  max = { type = "whole", default = 16, min = 1, max = 10000,
    doc = "calls in one batch at most, where the rule does not say" },
  window = { type = "number", default = 0.02, min = 0, max = 60, unit = "s",
    doc = "how long the first of a batch waits for others, where the rule does not say" },
}

local functions = { "batch", "merge", "split" }

-- {== Checks ==============================================================

-- What `batch` gives, with what the rule's options say of the rest; or nil and what is wrong.
local function plan_of(given, max, window)
  if type(given) ~= "table" then return nil, "batch: a table or nil expected" end
  local plan = { key = given.key, max = max, window = window, endpoint = given.endpoint == true }
  if given.key == nil then return nil, "batch: key: a value expected" end
  for _, name in ipairs { "max", "window" } do
    if given[name] ~= nil then
      local value, wrong = options.field(rules.schema[name], given[name], "batch: " .. name)
      if wrong then return nil, wrong end
      plan[name] = value
    end
  end
  return plan
end

local function is_path(path)
  return path == nil or type(path) == "string" and path:match "^/[^%c%s#]*$" ~= nil
end

local function wrong_merge(request, path)
  if type(request) ~= "table" then return "merge: a request expected" end
  if not is_path(path) then return "merge: a path that starts with / expected" end
end

local function wrong_split(list, count)
  if type(list) ~= "table" then return "split: a list of answers expected" end
  local n = 0
  for _ in pairs(list) do n = n + 1 end
  for i = 1, count do
    if type(list[i]) ~= "table" then n = -1 end
  end
  if n ~= count then return ("split: %d answers expected"):format(count) end
end

-- }========================================================================

local rule = {}
rule.__index = rule

local function fault(self, message)
  self.faults = self.faults + 1
  self.told(self, message)
  return nil
end

local function ask(self, name, ...)
  return guest.call(self.functions[name], ...)
end

--- How a request goes together with others; nil where this rule does not take it.
---@param request table a copy
---@return table? plan { key =, max =, window = }
function rule:plan(request)
  local ok, given = ask(self, "batch", request)
  if not ok then return fault(self, given) end
  if given == nil or given == false then return nil end
  local plan, wrong = plan_of(given, self.max, self.window)
  if not plan then return fault(self, wrong) end
  return plan
end

--- Several requests as one.
---@param requests table[] copies
---@return table? request nil for a fault; string? path
function rule:merge(requests)
  local ok, merged, path = ask(self, "merge", requests)
  if not ok then return fault(self, merged) end
  local wrong = wrong_merge(merged, path)
  if wrong then return fault(self, wrong) end
  return merged, path
end

--- The answers of one body, a body or `{ error = … }` for each request.
---@return table[]? answers nil for a fault
function rule:split(body, requests)
  local ok, list = ask(self, "split", body, requests)
  if not ok then return fault(self, list) end
  local wrong = wrong_split(list, #requests)
  if wrong then return fault(self, wrong) end
  return list
end

-- {== Where they come from ================================================

local function read_file(path)
  local file, message = io.open(path, "rb")
  if not file then return nil, message end
  local text = file:read "*a"
  file:close()
  return text, message
end

local function find_shipped(name)
  for template in package.path:gmatch "[^;]+" do
    local path = template:gsub("%?", "unbusy/batch/" .. name)
    local text = read_file(path)
    if text then return text, path end
  end
end

local function load_rule(given)
  if type(given) == "table" then return given end
  local text, path
  if given:find "/" or given:find "%.lua$" then
    text, path = read_file(given), given
    if not text then return nil, ("%s cannot be read"):format(given) end
  else
    text, path = find_shipped(given)
    if not text then
      local near = options.nearest(given, rules.names)
      return nil, ("no rule is named '%s'%s"):format(given,
        near and (", did you mean '%s'?"):format(near) or "")
    end
  end
  return guest.load(text, "@" .. path)
end

local function nothing() end

-- Makes a rule of one entry; or nil and what is wrong.
local function new(entry)
  local made, message = load_rule(entry.rule)
  if not made then return nil, message end
  for _, name in ipairs(functions) do
    if type(made[name]) ~= "function" then return nil, ("no function '%s'"):format(name) end
  end
  return setmetatable({ name = type(entry.rule) == "string" and entry.rule or "own",
    functions = made, max = entry.max, window = entry.window, faults = 0, told = nothing }, rule)
end

-- One entry of the option, whatever form it has, as `rules.schema` knows it.
local function entry_of(given)
  if type(given) ~= "table" then return { rule = given } end
  if given.rule ~= nil or given.batch == nil then return given end
  return { rule = given, max = given.max, window = given.window }
end

local function read_one(given, where)
  local entry, message = options.field({ type = "table", fields = rules.schema }, entry_of(given),
    where)
  if not entry then return nil, message end
  if entry.rule == nil then return nil, where .. ".rule is missing" end
  local made
  made, message = new(entry)
  if not made then return nil, ("%s: %s"):format(where, message) end
  return made
end

--- The rules of the option `batch`: one, or a list of them.
---@param given string|table|false|nil
---@param where string
---@return table[]? list, string? message
function rules.read(given, where)
  if given == nil or given == false then return {} end
  if type(given) ~= "table" or given[1] == nil then
    local made, message = read_one(given, where)
    return made and { made }, message
  end
  local list, message = options.field({ type = "list", min = 1, max = 100 }, given, where)
  if not list then return nil, message end
  local out = {}
  for i, item in ipairs(list) do
    out[i], message = read_one(item, ("%s[%d]"):format(where, i))
    if not out[i] then return nil, message end
  end
  return out
end

-- }========================================================================

--- A copy of a request, down to the last table: what a rule does to it, it does to itself.
---@param value any
function rules.copy(value)
  if type(value) ~= "table" then return value end
  local out = {}
  for k, v in next, value do out[k] = rules.copy(v) end
  return json.is_array(value) and json.array(out) or out
end

--- A shipped rule by its name.
---@param name string
---@return table? rule, string? message
function rules.shipped(name)
  return read_one(name, "batch")
end

return rules
