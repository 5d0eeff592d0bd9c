--- Named numbers: sums, sums over a window of time, and peaks.
--
--     local counters = require "unbusy.counters"
--     local c = counters.new {}
--     c:add("calls")                                  -- a sum, for ever
--     c:add("tokens of a", 250, 60)                   -- over the last minute
--     local fine, seconds = c:take("calls of a", 1, 600, 60) -- a quota of 600 a minute
--     c:peak("rest until", time, 30)                  -- the highest, kept for 30 seconds
--
-- A sum over a window slides: of two fixed windows, the older counts for the share that the
-- sliding one still covers. csrc/parts/counters.h has the source. The table has a bound: when it
-- is full, the name not asked for the longest makes room.
local clocked = require "unbusy.clocked"
local core = require "unbusy.core"
local options = require "unbusy.options"
local region = require "unbusy.region"

local counters = {}

--- Every option of `new`.
counters.schema = {
  counters = { type = "whole", default = 1000, min = 1, max = 1048576, unit = "names",
    doc = "how many are kept at most (about 200 bytes each)" },
  clock = { type = "function", doc = "gives the time in seconds; by default the monotonic clock" },
  seed = { type = "whole", doc = "of the hash of names; by default from the system's entropy" },
  region = region.fields.region,
  name = region.fields.name,
}

local class = clocked.class({ add = 3, take = 4, peak = 3, get = 1, list = 0 },
  { "delete", "stats" })

--- Makes counters. Names are strings of 1 to 128 bytes.
--
-- `c:add(name, n, window) -> sum`: adds n (1 by default; it may be negative) and gives the sum: of
-- all that was ever added, or with `window` (seconds) of what was added within that time.
--
-- `c:take(name, n, most, window) -> true`: adds n to the sum within the window, if there is room
-- for it up to `most`, and for one at least; or false and the seconds until there is, if nobody
-- adds anything.
--
-- `c:peak(name, value, seconds) -> value`: keeps the higher of this value and what is there (0 for
-- nothing), for so many seconds.
--
-- `c:get(name) -> number`: as it is now; 0 for what is not there.
--
-- `c:delete(name) -> boolean`: was it there?
--
-- `c:list() -> { name = number, … }`. `c:stats() -> { counters =, used =, evicted = }`.
--
-- A name that is used in another way, or with another window, begins anew.
--
-- With `region` and `name` they are shared by all processes that open them with the same options.
---@param given table? see `counters.schema`
---@return userdata|table? c, string? message, string? code nil when the region has no room for it
function counters.new(given)
  local o = options.check(counters.schema, given, "counters")
  local wrong = region.contradiction(o)
  if wrong then error("counters: " .. wrong, 2) end
  local c, message, code = core.counters(o, nil, o.region, o.name)
  if not c then return nil, message, code end
  return clocked.wrap(class, c, o.clock)
end

return counters
