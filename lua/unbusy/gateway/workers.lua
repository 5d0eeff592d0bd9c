--- How the workers of one nginx come to share one state.
--
-- A gateway whose configuration says nothing of a region has one of a name that stays the same over
-- reloads. It is made of the configuration file's path, or of nginx's prefix and which one of its
-- gateways this is, and of what decides how large it is. `region = false` keeps each worker apart.
local cache = require "unbusy.cache"
local client = require "unbusy.client"

local workers = {}

-- What of the cache decides how large it is, and what is kept in it.
local function sizes_of(given)
  if type(given.cache) ~= "table" then return given.cache or false end
  local out = {}
  for name, value in pairs(given.cache) do
    if name ~= "warm" then out[name] = value end
  end
  return out
end

local function region_for(given, where)
  local key = assert(cache.key(where, sizes_of(given)))
  return { name = "gateway-" .. tostring(key):match ": (%x+)" }
end

local without_file = 0 -- gateways that were made of tables: after a reload, in the same order

-- Two gateways are never of one place: they would answer with each other's answers.
local function place_of(path)
  if path then return path:find "^/" and path or ngx.config.prefix() .. path end
  without_file = without_file + 1
  return ("%s %d"):format(ngx.config.prefix(), without_file)
end

local function with(given, name, value)
  local out = {}
  for key, other in pairs(given) do out[key] = other end
  out[name] = value
  return out
end

-- What is wrong with the configuration is raised without a place: the caller knows a better one.
local function new(given)
  local ok, made, message = pcall(client.new, given)
  if not ok then error(made, 0) end
  return made, message
end

--- The region that the gateway of a configuration file has by default.
---@param given table the configuration
---@param path string from the root on
---@return table region
function workers.region(given, path)
  return region_for(given, path)
end

-- A client whose workers share one region, where that can be had; the third result says why not.
local function sharing(given, path)
  if given.region ~= nil or not ngx then return new(given) end
  local made, message = new(with(given, "region", region_for(given, place_of(path))))
  if made then return made end
  local warning = "workers do not share their state: " .. message
  made, message = new(given)
  return made, message, warning
end

-- Does a gateway count what goes on, though nobody has said so?
local function counts(given)
  local own = given.gateway
  return given.metrics == nil and not (type(own) == "table" and own.metrics == false)
end

--- The gateway's client. Where the default region cannot be had it does without, and so with the
--- metrics that a gateway has by default; then the third result says why.
---@param given table the configuration
---@param path string? the file it came from
---@return table? client, string? message, string? warning
function workers.client(given, path)
  if not counts(given) then return sharing(given, path) end
  local made, message, warning = sharing(with(given, "metrics", true), path)
  if made or not message:find "for a metrics" then return made, message, warning end
  made, warning = sharing(given, path), "nothing is counted: " .. message
  return made, message, warning
end

return workers
