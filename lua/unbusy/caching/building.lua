--- Makes what a client keeps answers with.
local cache = require "unbusy.cache"
local flights = require "unbusy.caching.flights"
local hot = require "unbusy.caching.hot"
local lasting = require "unbusy.caching.lasting"
local levels = require "unbusy.caching.levels"
local parts_of = require "unbusy.parts_of"
local redis = require "unbusy.caching.redis"
local shared = require "unbusy.shared"
local warm = require "unbusy.caching.warm"
local warmer = require "unbusy.caching.warmer"

local building = {}

-- Where the client's answers come from: a cache may be shared with others, or outlive a reload, and
-- another account, provider or header of a target may mean another answer.
local function sources_of(targets)
  local from = {}
  for i, t in ipairs(targets) do
    from[i] = { t.name, t.url, t.models, t.account_name, t.provider.name, t.extra_headers() }
  end
  return shared.tag("from", from)
end

-- A second level in a Redis server, if there is one; simulated time has none.
local function build_far(self, o)
  if not o.redis or self.loop and self.loop.name == "virtual" then return nil end
  return redis.new(o.redis, { ttl = o.ttl, stale = o.stale, loop = self.loop,
    tell = function(event) self:level_changed(event) end })
end

-- What is asked most, and ahead of time.
local function build_warming(self, o, clock)
  self.warming = warm.new_state()
  local message, code
  if o.top then
    self.hot, message, code = hot.new(o.top, o.per ~= nil, self.sources, self.common, clock)
    if code then return nil, message, code end
  end
  if not o.warm then return true end
  self.warmer, message, code = warmer.new(self, o.warm)
  return self.warmer, message, code
end

--- Where answers are kept, if they are; of a client whose targets are there.
---@param self table client
---@param o table its checked options
---@param clock function?
---@return table|true|nil, string? message, string? code
function building.build(self, o, clock)
  local near, message, code
  if o.cache and o.cache.path then
    near, message, code = lasting.open(parts_of.options(cache, o.cache, clock))
    self.cache_fault = near and message
  else
    near, message, code = parts_of.make(self, cache, "cache", o.cache, clock)
  end
  if code then return nil, message, code end
  if near then
    self.cache, self.caching = levels.new(near, build_far(self, o.cache)), o.cache
    self.caching.chance = parts_of.chance(o.seed)
    self.sources = sources_of(self.targets)
    self.flights = flights.new(self, o.cache.coalesce, clock)
    return build_warming(self, o.cache, clock)
  end
  return true
end

return building
