--- Policies: scripts that decide what a client does, and are asked before it does it.
--
--     local loaded, message = policy.load "policies/rush_hour.lua"
--
-- A policy is a Lua file that returns a table of functions, each of which may be missing (see
-- `unbusy.policy.decisions`). What it can reach: `unbusy.policy.sandbox`; how much it may take:
-- `unbusy.policy.guest`; who decides when there are several: `unbusy.policy.stack`.
local file = require "unbusy.policy.file"
local guest = require "unbusy.policy.guest"
local options = require "unbusy.options"
local source = require "unbusy.policy.source"

local policy = {}

local function of_table(t)
  local functions, message = source.of_table(t)
  if not functions then return nil, message end
  local made = guest.new "functions of the program"
  made:install(functions)
  return made
end

local function of_file(name, path)
  local made = guest.new(name, path)
  local watched = file.new(made)
  local version, message = watched:prepare()
  if not version then return nil, message end
  watched:accept(version)
  return made, watched
end

--- The names of those that come with the module.
policy.names = { "default", "deepseek", "degrade", "edge", "frugal", "interactive", "patient" }

local called = { policies = "policies", batch = "batch rules" }

local function is_path(what)
  return what:find "/" or what:find "%.lua$"
end

-- What was meant, perhaps.
local function near(name, kind)
  local found = kind == "policies" and options.nearest(name, policy.names)
  return found and (", did you mean '%s'?"):format(found) or ""
end

--- The file that a path or a name leads to. What has a name came with the module, or was put beside
--- those.
---@param what string
---@param kind string? as of `policy.load`
---@return string? path, string? message
function policy.path(what, kind)
  if what:find "[%z\1-\31\127]" then return nil, "a path without control characters expected" end
  if is_path(what) then return what end
  kind = kind or "policies"
  if not what:find "^[%w_-]+$" then
    return nil, "a name, a path (with a / or .lua) or a table of functions expected"
  end
  local module = ("unbusy.%s.%s"):format(kind, what)
  local path = package.searchpath(module, package.path) -- luacheck: ignore 143
  if path then return path end
  return nil, ("there is no '%s' among the %s%s"):format(what, called[kind], near(what, kind))
end

--- Loads a policy.
---@param what string|table a name ("deepseek"), a path (with a slash, or ending in .lua), or a
--- table of functions
---@param kind string? where names are looked for: "policies" by default, or "batch"
---@return table? guest see `unbusy.policy.guest`, table|string|nil file or message: what watches
--- its file, for a path; what is wrong
function policy.load(what, kind)
  if type(what) == "table" then return of_table(what) end
  if type(what) ~= "string" then return nil, "a name, a path or a table of functions expected" end
  local path, message = policy.path(what, kind)
  if not path then return nil, message end
  local made, watched = of_file(what, path)
  if made and not is_path(what) then return made end
  return made, watched
end

return policy
