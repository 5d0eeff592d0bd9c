--- What the client's option `cache` takes.
local cache = require "unbusy.cache"
local redis_options = require "unbusy.caching.redis_options"
local hot = require "unbusy.caching.hot"

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
  if o.path and (o.path == "" or o.path:find "%z") then
    return "cache.path: a file's name expected"
  end
  local per = o.per
  if type(per) ~= "table" then return nil end
  if not per.header:find "^[%w!#$%%&'*+.^_`|~-]+$" then
    return "cache.per.header: a header's name expected"
  end
  per.header = per.header:lower()
end

caching_options.schema.redis = redis_options.field

caching_options.schema.coalesce = { type = "boolean", default = true,
  doc = "calls that ask the same at the same time share one (docs/single_flight.md)" }

caching_options.schema.top = { type = "table|boolean", default = false, fields = hot.schema,
  doc = "counts which questions are asked most (docs/warm_up.md); off by default" }

caching_options.schema.warm = { type = "table", optional = true,
  doc = "asks ahead of time, by itself (docs/warm_up.md)", fields = {
    questions = { type = "list", max = 100000, doc = "texts and requests, asked on start" },
    file = { type = "string", doc = "of such, a text or a JSON object in each line" },
    keep = { type = "boolean", default = false,
      doc = "the list stays warm, though nobody asks; else only what is hot does" },
    top = { type = "whole", default = 20, min = 0, max = 1000,
      doc = "so many of the hottest questions stay warm, where `cache.top` counts them" },
    before = { type = "number", default = 60, min = 0, max = 1e7, unit = "s",
      doc = "an answer is asked for anew when it is fresh for no longer than that" },
    every = { type = "number", default = 60, min = 1, max = 1e6, unit = "s",
      doc = "how often it looks what is to be asked" },
    at_once = { type = "whole", default = 1, min = 1, max = 100,
      doc = "questions asked at a time" },
    deadline = { type = "number", above = 0, max = 1e7, unit = "s",
      doc = "for each question; the clock `total` by default" },
    model = { type = "string", doc = "for the questions that name none" },
    off_peak = { type = "boolean", default = false,
      doc = "not while the policy's `peak` says that these are busy hours" },
  } }

return caching_options
