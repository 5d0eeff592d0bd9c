--- What the client's option `cache` takes.
local cache = require "unbusy.cache"
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

caching_options.schema = of_part()

caching_options.schema.temperature = { type = "number", default = 1, min = 0, max = 100,
  doc = "requests with more are not cached" }

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
