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

local schema = of_part()
caching_options.schema = schema

schema.temperature = { type = "number", default = 1, min = 0, max = 100,
  doc = "requests with more are not cached" }
schema.jitter = { type = "number", default = 0.1, min = 0, max = 1,
  doc = "share of `ttl` by which an answer's own is shorter, at most, by chance" }
schema.revalidate = { type = "number", default = 0, min = 0, max = 1e9, unit = "s",
  doc = "how long an answer that is no longer fresh is still given at once, while the question is "
    .. "asked anew behind it" }
schema.replay = { type = "boolean|number", default = true, above = 0, max = 1000,
  doc = "streams are kept with their pieces and given so again: at once (true), or so many times "
    .. "as fast as they came; false: as one piece" }
schema.per = { type = "string|table", one_of = { "user", "tenant" },
  fields = { header = { type = "string", required = true, doc = "a request header's name" } },
  optional = true, doc = "whose answers are kept apart: each `user`'s, each `tenant`'s (of a call; "
    .. "in the gateway its client key's), or by a header, `{ header = \"x-team\" }`; who does not "
    .. "say who it is, is served without a cache" }

--- What is wrong with them, or nil; a header's name is put into lower case.
---@param o table checked by the schema
---@return string? message
function caching_options.fault(o)
  if o.revalidate > o.stale then
    return ("cache.revalidate: at most `stale` (%.14g) expected, got %.14g"):format(o.stale,
      o.revalidate)
  end
  local per = o.per
  if type(per) ~= "table" then return nil end
  if not per.header:find "^[%w!#$%%&'*+.^_`|~-]+$" then
    return "cache.per.header: a header's name expected"
  end
  per.header = per.header:lower()
end

caching_options.schema.redis = redis_options.field

return caching_options
