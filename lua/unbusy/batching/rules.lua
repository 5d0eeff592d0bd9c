--- Rules of what goes together: where they come from, and how they are asked.
--
-- A rule is a script with three functions, run as a policy is (see `unbusy.policy`), which checks
-- what they say (see `unbusy.policy.decisions`):
--
--   batch(request) -> { key =, max =, window = }   or nil: it is none of this rule's;
--                                                  `endpoint = true`: to a target's `batch`
--   merge(requests) -> request, path               with a path: a POST there
--   split(body, requests) -> answers               in the order of the requests; { error = … }
--
-- A function that fails, or says what it should not, has a fault: it is counted, told once in an
-- event, and the calls go alone.
local options = require "unbusy.options"
local plain = require "unbusy.policy.plain"
local policy = require "unbusy.policy"

local rules = {}

--- The names of those that are shipped.
rules.names = { "completions", "embeddings", "endpoint" }

--- One entry of the client's option `batch`.
rules.schema = {
  rule = { type = "string|table", doc = "`embeddings`, `completions`, `endpoint`, the path of a "
    .. "Lua file, or a table of functions" },
  max = { type = "whole", default = 16, min = 1, max = 10000,
    doc = "calls in one batch at most, where the rule does not say" },
  window = { type = "number", default = 0.02, min = 0, max = 1e6, unit = "s",
    doc = "how long the first of a batch waits for others, where the rule does not say" },
}

-- {== Asking ==============================================================

-- What all kinds of rules have. `ask(call, name, …)` gives true and what was decided.
local rule = {}
rule.__index = rule

--- How a call goes together with others; nil where this rule does not take it.
---@param call table
---@return table? plan { key =, max =, window =, endpoint = }
function rule:plan(call)
  local decided, said = self.ask(call, "batch", call:shown_request())
  if not decided or not said or said.key == nil then return nil end
  return { rule = self, key = said.key, max = said.max or self.max,
    window = said.window or self.window, endpoint = said.endpoint }
end

--- Several requests as one.
---@param call table one of those that ask
---@param requests table[]
---@return table? request nil for a fault; string? path
function rule:merge(call, requests)
  local decided, merged, path = self.ask(call, "merge", plain.lenient(requests))
  if decided then return merged, path end
end

--- The answers of one body: a body or `{ error = … }` for each request.
---@return table[]? answers nil for a fault
function rule:split(call, body, requests)
  local decided, list = self.ask(call, "split", body, plain.lenient(requests))
  if not decided or #list ~= #requests then return nil end -- as many as it has left in its list
  return list
end

-- }========================================================================

-- {== Where they come from ================================================

local functions = { "batch", "merge", "split" }

-- The script that an entry names; or nil and what is wrong.
local function load(what)
  local guest, watched = policy.load(what, "batch")
  if not guest then
    local near = type(what) == "string" and options.nearest(what, rules.names)
    return nil, near and ("%s (did you mean '%s'?)"):format(watched, near) or watched
  end
  for _, name in ipairs(functions) do
    if not guest.functions[name] then return nil, ("no function '%s'"):format(name) end
  end
  return guest, watched
end

-- Makes a rule of one checked entry; or nil and what is wrong.
local function new(entry)
  local guest, watched = load(entry.rule)
  if not guest then return nil, watched end
  return setmetatable({ name = guest.name, guest = guest, watched = watched or false,
    max = entry.max, window = entry.window,
    ask = function(call, name, ...) return guest:decide(call, name, ...) end }, rule)
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

--- A shipped rule by its name.
---@param name string
---@return table? rule, string? message
function rules.shipped(name)
  return read_one(name, "batch")
end

--- What a call's own policies say of batches: they merge and split too, or name a shipped rule.
---@return table rule
function rules.of_policies()
  return setmetatable({ name = "policy", guest = false, watched = false,
    max = rules.schema.max.default, window = rules.schema.window.default,
    ask = function(call, name, ...) return call.policy:ask(call, name, nil, ...) end }, rule)
end

-- }========================================================================

return rules
