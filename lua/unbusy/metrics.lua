--- Series of numbers for a monitoring system, in which all processes count without a lock.
--
--     local metrics = require "unbusy.metrics"
--     local m = metrics.new {}
--     local set = m:set { { "counter", 'jobs_total{queue="a"}' }, { "seconds", "job_seconds" } }
--     set:note(1, 0.25)
--     print(m:text "jobs_total") -- jobs_total{queue="a"} 1
--
-- A client has one of its own, where its option `metrics` says so; `unbusy.metrics.families` lists
-- what it counts. What a series is, and what of it is exact, says csrc/parts/metrics.h.
local core = require "unbusy.core"
local options = require "unbusy.options"
local region = require "unbusy.region"
require "unbusy.ffi.metrics"

local metrics = {}

--- Every option of `new`.
metrics.schema = {
  bytes = { type = "whole", default = 1024 * 1024, min = 16384, max = 2 ^ 30, unit = "bytes",
    doc = "for the series: about 130 for a counter, 300 for a histogram" },
  seed = { type = "whole", doc = "of the hash of names; by default from the system's entropy" },
  region = region.fields.region,
  name = region.fields.name,
}

--- Makes room for series.
--
-- A series is named by its key: `name`, or `name{label="value",other="value"}`, as it is to be
-- shown; up to 1024 bytes. Its kind is one of
--
-- - `counter`: a sum; what is noted is added to it;
-- - `level`: what is going on just now; what is noted (whole, under 2^32) is so from then on. Each
--   process of a region has its own (64 at a time), and the sum is shown; that of a process that
--   has died goes;
-- - `seconds`, `moments`, `tokens`, `sizes`: histograms of durations (up to ten minutes), of
--   durations of our own work (from 10 µs on), of tokens, and of how many went together.
--
-- `m:open(kind, key, quiet) -> true`: makes the series where it is missing. A `quiet` one is not
-- shown as long as it is 0. Or nil, message and a code: "full", no room is left; "invalid", it is
-- there and of another kind.
--
-- `m:set { { kind, key, other }, … } -> set`: 1 to 12 series that are counted together, made where
-- they are missing. Where there is no room for one, `other` takes its place, if that is there, or
-- it is left out. `from = n` in one of these lists: the series takes the n-th value of those that
-- are noted, not that of its own place; 0: it takes 1 each time.
--
-- `set:note(value, …) -> boolean`: notes a value in each series of the set, in their order; nil,
-- what is below 0 or not finite is left out. False when they are not there any more: the metrics
-- were closed, or another process has made them anew; then a new set is needed.
--
-- `m:text(name) -> string`: all series of that name as lines of Prometheus' text format.
-- `m:text(name, from) -> string, next`: some 16 KB of them, `from` = 0 for the first; `next` is
-- where to go on, nil at the end.
--
-- `m:list(name) -> { { labels = '{…}' or "", value = number }, … }`; a histogram has `count` and
-- `sum` in place of `value`.
--
-- `m:stats() -> { bytes =, used =, series =, refused =, began = }`: the room, how much of it is
-- taken, by how many series, how many found none, and since when is counted (seconds since 1970).
--
-- `m:close()` gives the memory back at once; it may be called twice, the other methods raise then.
--
-- With `region` and `name` they are shared by all processes that open them with the same options.
---@param given table? see `metrics.schema`
---@return userdata? m, string? message, string? code nil when there is no memory or room for it
function metrics.new(given)
  local o = options.check(metrics.schema, given, "metrics")
  local wrong = region.contradiction(o)
  if wrong then error("metrics: " .. wrong, 2) end
  return core.metrics(o, nil, o.region, o.name)
end

return metrics
