--- How the workers of one nginx come to share one state.
--
-- A gateway whose configuration says nothing of a region has one of a name that stays the same over
-- reloads:
--
--     gateway-<place>-<size>
--
-- Its place is the configuration file's path, or nginx's prefix and which one of its gateways this
-- is. The size is told by what decides it. A reload that changes that makes another region, and
-- what was in the old one begins anew; its file is removed by the master, since the workers, who
-- use it last, are often another user. `region = false` keeps each worker apart.
local cache = require "unbusy.cache"
local client = require "unbusy.client"
local core = require "unbusy.core"

local workers = {}

local function hash_of(...)
  return tostring(assert(cache.key(...))):match ": (%x+)"
end

-- What of the cache decides how large the region is. A list of what is asked most counts in full:
-- there is no room for another one beside it, until those who use the old one have gone.
local function size_of(given)
  local c = given == true and {} or given
  if type(c) ~= "table" then return hash_of(false) end
  local top = c.top == true and {} or c.top
  if type(top) ~= "table" then top = nil end
  return hash_of { entries = c.entries, bytes = c.bytes, in_file = c.path ~= nil,
    top = top and { counters = top.counters, half_life = top.half_life,
      question_bytes = top.question_bytes, apart = c.per ~= nil } }
end

-- How the names of all regions of a place begin.
local function prefix_of(where)
  return ("gateway-%s-"):format(hash_of(where))
end

local function region_for(given, where)
  return { name = prefix_of(where) .. size_of(given.cache) }
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

local sweepers = {} -- place -> what removes regions of it that nobody uses; till the very end

-- A client whose workers share one region, where that can be had; the third result says why not.
local function sharing(given, path)
  if given.region ~= nil or not ngx then return new(given) end
  local place = place_of(path)
  local made, message = new(with(given, "region", region_for(given, place)))
  sweepers[place] = sweepers[place] or core.sweeper(prefix_of(place))
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
