--- Where a command's client options come from.
--
--     --url URL      one target, named by its host, with the key of $UNBUSY_KEY or none
--     --config FILE  a Lua file that returns the options; else $UNBUSY_CONFIG; else
--                    ./unbusy.conf.lua
--     neither        the provider whose key is in the environment
local shell = require "unbusy.cli.shell"

local settings = {}

--- The file that is read when nothing else is said.
settings.file = "unbusy.conf.lua"

-- Providers known by the key's variable; the first whose key is there is asked.
local known = {
  { name = "deepseek", url = "https://api.deepseek.com", key = "DEEPSEEK_API_KEY" },
  { name = "openai", url = "https://api.openai.com/v1", key = "OPENAI_API_KEY" },
}

-- A variable of the environment; an empty one is none.
local function variable(name)
  local value = os.getenv(name)
  return value ~= "" and value or nil
end

-- What the URL points at, without user and password.
local function host_of(url)
  local authority = url:match "^%a+://([^/?#]+)" or ""
  return authority:match "([^@]*)$":sub(1, 64)
end

local function of_url(url)
  local name = host_of(url)
  if name == "" then return nil, "--url: http:// or https:// and a host expected" end
  local key = variable "UNBUSY_KEY"
  return { targets = { { name = name, url = url, keys = { key } } } },
    key and "the key came from UNBUSY_KEY" or "no key was sent: UNBUSY_KEY is not set"
end

--- The table that a Lua file returns, as a copy that may be changed.
---@param path string
---@return table? options, string? message
function settings.read(path)
  local chunk, message = loadfile(path, "t")
  if not chunk then -- its last word may be a key
    message = message:gsub(" near '[\"'%[].*$", " near a text")
    return nil, (message:gsub("^cannot open ", "cannot read "))
  end
  local ok, given = pcall(chunk)
  if not ok then
    if tostring(given):find "interrupted!$" then error(given, 0) end
    return nil, ("%s: %s"):format(path, tostring(given))
  end
  if type(given) ~= "table" then
    return nil, ("%s: it must return a table, it returned a %s"):format(path, type(given))
  end
  local copy = {}
  for name, value in pairs(given) do copy[name] = value end
  return copy
end

local NOTHING = "no one to ask: set DEEPSEEK_API_KEY or OPENAI_API_KEY, "
  .. "or name a server (--url) or a configuration (--config)"

-- One provider only: a model's name means nothing to the other, and a question is not sent to
-- somebody whom nobody named.
local function of_environment(target)
  for _, one in ipairs(known) do
    if variable(one.key) and (target or one.name) == one.name then
      return { targets = { { name = one.name, url = one.url } } }, "the key came from " .. one.key
    end
  end
  for _, one in ipairs(known) do
    if target == one.name then return nil, ("--target %s: set %s"):format(target, one.key) end
  end
  if target then return nil, "--target: without a configuration there are deepseek and openai" end
  return nil, NOTHING
end

--- The configuration file: the one that is named, or UNBUSY_CONFIG, or ./unbusy.conf.lua.
---@param named string?
---@return string?
function settings.path(named)
  return named or variable "UNBUSY_CONFIG" or shell.exists(settings.file) and settings.file or nil
end

--- The options for `unbusy.new`, a table of our own that may be changed.
---@param values table url, config and target of the command's options
---@return table? options, string? the failure, or else a hint about the key, string? the file read
function settings.find(values)
  if values.url and values.config then return nil, "--url or --config, not both" end
  if values.url then return of_url(values.url) end
  local path = settings.path(values.config)
  if not path then return of_environment(values.target) end
  local given, message = settings.read(path)
  return given, message, path
end

return settings
