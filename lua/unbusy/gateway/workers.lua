--- How the workers of one nginx come to share one state.
--
-- A gateway whose configuration says nothing of a region has one of a name that stays the same over
-- reloads: made of the configuration file's path, or of nginx's prefix, and of what decides how
-- large it is. `region = false` keeps each worker apart.
local cache = require "unbusy.cache"
local client = require "unbusy.client"

local workers = {}

local function region_for(given, where)
  local key = assert(cache.key(where, given.cache or false))
  return { name = "gateway-" .. tostring(key):match ": (%x+)" }
end

local function with(given, region)
  local out = {}
  for name, value in pairs(given) do out[name] = value end
  out.region = region
  return out
end

-- What is wrong with the configuration is raised without a place: the caller knows a better one.
local function new(given)
  local ok, made, message = pcall(client.new, given)
  if not ok then error(made, 0) end
  return made, message
end

--- The gateway's client. Where the default region cannot be had it does without, and the third
--- result says why.
---@param given table the configuration
---@param path string? the file it came from
---@return table? client, string? message, string? warning
function workers.client(given, path)
  if given.region ~= nil or not ngx then return new(given) end
  local where = path and path:find "^/" and path or ngx.config.prefix() .. (path or "")
  local made, message = new(with(given, region_for(given, where)))
  if made then return made end
  local warning = "workers do not share their state: " .. message
  made, message = new(given)
  return made, message, warning
end

return workers
