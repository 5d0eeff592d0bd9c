--- Caches for specs.
local cache = require "unbusy.cache"

local caches = {}

--- A cache in time of its own: `t.now` is the clock, `t.c` the cache.
---@param o table? its options
function caches.timed(o)
  local t = { now = 1000 }
  o = o or {}
  o.clock = function() return t.now end
  t.c = assert(cache.new(o))
  function t.forward(seconds) t.now = t.now + seconds end
  return t
end

--- Those of the keys that are in it, in one line.
function caches.keys_in(c, keys)
  local out = {}
  for _, key in ipairs(keys) do
    if c:get(key) then out[#out + 1] = key end
  end
  return table.concat(out, " ")
end

return caches
