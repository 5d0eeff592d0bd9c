--- The levels in which a client's answers are kept, the nearest first.
--
-- What a level cannot give (or not in time) is asked of the next one; what the world does to one of
-- them never fails a call.
local levels = {}
levels.__index = levels

--- Levels over a part: see `unbusy.cache`.
---@param near table|userdata
function levels.new(near)
  return setmetatable({ near = near }, levels)
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
---@param about table? { ttl = seconds }
function levels:set(key, value, about)
  return self.near:set(key, value, about and about.ttl)
end

--- Counts of what was asked and kept.
function levels:stats()
  return self.near:stats()
end

--- The client is closed. What other processes share goes on.
function levels:close()
  self.near:close()
end

return levels
