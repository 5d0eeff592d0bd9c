--- What the client's option `cache` takes.
local cache = require "unbusy.cache"
local redis_options = require "unbusy.caching.redis_options"

local caching_options = {}

-- The part's options but for those that the client fills in.
local function of_part()
  local out = {}
  for name, field in pairs(cache.schema) do
    if name ~= "clock" and name ~= "seed" and name ~= "region" and name ~= "name" then
      out[name] = field
    end
  end
  return out
end

caching_options.schema = of_part()

caching_options.schema.temperature = { type = "number", default = 1, min = 0, max = 100,
  doc = "requests with more are not cached" }

caching_options.schema.redis = redis_options.field

return caching_options
