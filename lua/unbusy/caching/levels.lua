--- The levels in which a client's answers are kept, the nearest first.
--
--     near: a part (`unbusy.cache`), of this process or its region        asked at once
--     far:  a Redis server (`unbusy.caching.redis`), where there is one   waited for a little
--
-- What a level cannot give (or not in time) is asked of the next one; what the world does to one of
-- them never fails a call. What the far one gives is kept in the near one too.
local levels = {}
levels.__index = levels

-- Where there is a far level: the same, and that too.
local both = {}
both.__index = both

--- Levels over a part: see `unbusy.cache`, and `unbusy.caching.redis`.
---@param near table|userdata
---@param far table?
function levels.new(near, far)
  return setmetatable({ near = near, far = far, taken = 0 }, far and both or levels)
end

--- What is kept under the key: its bytes, "fresh" or "stale", and for how many seconds they have
--- been there; nil for nothing.
---@param call table who asks, and waits where a level has to be waited for
---@param key userdata see `unbusy.caching.stored`
---@return string? value, "fresh"|"stale"|nil state, number? age
function levels:get(call, key) -- luacheck: ignore call
  return self.near:get(key)
end

--- Keeps bytes under the key.
---@param key userdata
---@param value string
---@param about table? { ttl = seconds, tags = list of strings }
function levels:set(key, value, about)
  return self.near:set(key, value, about and about.ttl, about and about.tags)
end

--- Takes out what is kept under the key. Was there anything near?
---@return boolean
function levels:delete(key)
  return self.near:delete(key)
end

--- Takes everything out.
function levels:clear()
  self.near:clear()
end

--- Takes out what was kept with this tag: how many there were near.
---@param tag string
---@return integer
function levels:purge(tag)
  return self.near:purge(tag)
end

--- Waits, in the loop of whoever calls, until the far level has been told all of it.
---@param seconds number at most
---@return boolean? true, string? message, string? code
function levels:settle(seconds) -- luacheck: ignore
  return true
end

--- Counts of what was asked and kept: those of the near level, and in `redis` those of the far one.
function levels:stats()
  return self.near:stats()
end

--- The client is closed. What other processes share goes on.
function levels:close()
  self.closed = true
  self.near:close()
end

-- {== With a far level ====================================================

-- Of what the far level gives, the near one gets a copy, which is as old, and no fresher. What was
-- kept near meanwhile is younger, and stays.
local function keep_near(self, key, value, state, age, ttl, tags)
  if state == "stale" then ttl = math.min(ttl, age) end
  pcall(self.near.set, self.near, key, value, ttl, tags, nil, age)
end

local found = { fresh = "hit", stale = "stale" } -- as metrics call it

function both:get(call, key)
  local value, state, age = self.near:get(key)
  if state == "fresh" then return value, state, age end
  local taken = self.taken
  local other, its, old, ttl, tags = self.far:get(call, key)
  if self.meter then
    self.meter:note("unbusy_cache_requests_total", 1, "redis", found[its] or "miss")
  end
  if not other or self.closed then return value, state, age end
  if its == "stale" and state and age <= old then return value, state, age end
  if self.taken == taken then keep_near(self, key, other, its, old, ttl, tags) end
  return other, its, old
end

function both:set(key, value, about)
  self.far:set(key, value, about)
  return self.near:set(key, value, about and about.ttl, about and about.tags)
end

-- What is taken out far takes a while, in which it may be read once more: no answer that was on its
-- way then is kept near, and what others have kept meanwhile goes when the far level has done.
local function take_out(self, again)
  self.taken = self.taken + 1
  return function()
    self.taken = self.taken + 1
    if not self.closed then again(self.near) end
  end
end

function both:delete(key)
  self.taken = self.taken + 1
  self.far:delete(key)
  return self.near:delete(key)
end

function both:clear()
  self.far:remove_all(nil, take_out(self, function(near) near:clear() end))
  self.near:clear()
end

function both:purge(tag)
  self.far:remove_all(tag, take_out(self, function(near) near:purge(tag) end))
  return self.near:purge(tag)
end

function both:settle(seconds)
  return self.far:settle(seconds)
end

function both:stats()
  local out = self.near:stats()
  if out then out.redis = self.far:stats() end
  return out
end

function both:close()
  self.closed = true
  self.near:close()
  self.far:close()
end

-- }========================================================================

return levels
