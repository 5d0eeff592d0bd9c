--- Which keys come most often, out of a stream that no table could hold.
--
--     local topk = require "unbusy.topk"
--     local t = topk.new { counters = 1000, half_life = 3600 }
--     t:add(prompt)
--     for _, hot in ipairs(t:top(10)) do print(hot.count, hot.error, hot.key) end
--
-- Space-Saving (Metwally, Agrawal, El Abbadi, 2005), in memory that never grows:
--
-- - a listed key came at most `count` times and at least `count - error` times;
-- - a key that came more than `total / counters` times is listed;
-- - a key that is not listed came at most `stats().least` times.
--
-- With `half_life`, what came so long ago counts half, twice as long ago a quarter, and so on; all
-- of the above then holds for these sums. Without it, what came counts for ever.
--
-- Keys are bytes and are told apart whole, however long. Of those longer than `key_bytes` only the
-- beginning is kept to be shown; two that begin alike are two entries.
local clocked = require "unbusy.clocked"
local core = require "unbusy.core"
local options = require "unbusy.options"
local region = require "unbusy.region"

local topk = {}

--- Every option of `new`.
topk.schema = {
  counters = { type = "whole", default = 1000, min = 1, max = 2 ^ 20,
    doc = "how many keys are listed; each takes `key_bytes`, `note_bytes` and up to 88 bytes" },
  key_bytes = { type = "whole", default = 1024, min = 1, max = 2 ^ 20, unit = "bytes",
    doc = "what is kept of a key, to be shown" },
  note_bytes = { type = "whole", default = 0, min = 0, max = 2 ^ 20, unit = "bytes",
    doc = "how long a note beside a key may be" },
  half_life = { type = "number", min = 0.001, max = 1e9, unit = "s",
    doc = "what came so long ago counts half; for ever by default" },
  clock = { type = "function", doc = "gives the time in seconds; by default the monotonic clock" },
  seed = { type = "whole", doc = "of the hashes, which no result depends on; by default from the "
    .. "system's entropy" },
  region = region.fields.region,
  name = region.fields.name,
}

local class = clocked.class({ add = 2, top = 2, stats = 0 }, { "note", "clear", "close" })

--- Makes a list of the keys that come most often; nil, message, "nomem" without the memory.
--
-- `t:add(key, n) -> boolean`: the key (a string, or one of `cache.key`) came, or came `n` times: a
-- whole number above 0. Counts end at 2^53: what comes then changes nothing. True when a note of it
-- is wanted: with `note_bytes`, of one that came twice for certain and has none yet.
--
-- `t:note(key, text) -> boolean`: keeps a text beside a key that is listed, as long as it is; false
-- where it is not, or the text is empty or longer than `note_bytes` (then none is wanted any more).
-- When the key goes, the text is wiped out of the memory.
--
-- `t:top(n, more) -> { { key =, count =, error = }, … }`: the `n` greatest counts, or all that are
-- listed; the greatest first, of equal ones that with the smaller error, then the one that has been
-- listed longer. `cut = true` stands in an entry whose `key` is only the beginning, cut to whole
-- UTF-8 characters where it is UTF-8. With `more` an entry has a `hash` of its key besides (of a
-- key of `cache.key` that which `tostring` shows), and its `note`, if there is one.
--
-- `t:stats() -> { counters =, used =, total =, least =, replaced =, bytes = }`: counters that there
-- are and that have a key; all that was added; how often a key that is not listed may have come;
-- how often one took the place of another; and the memory, all taken at the start.
--
-- `t:clear()` forgets all keys. `t:close()` gives the memory back at once, not only when `t` is
-- collected; it may be called twice, and nothing else afterwards.
--
-- With `region` and `name` it is one list for all processes that open it with the same options.
-- One that dies while it adds a key has cleared it.
---@param given unbusy.options_of.topk? see `topk.schema`
---@return unbusy.core.topk? t, string? message, string? code
function topk.new(given)
  local o = options.check(topk.schema, given, "topk")
  local wrong = region.contradiction(o)
  if wrong then error("topk: " .. wrong, 2) end
  local t, message, code = core.topk(o, o.clock and o.clock(), o.region, o.name)
  if not t then return nil, message, code end
  return clocked.wrap(class, t, o.clock)
end

return topk
