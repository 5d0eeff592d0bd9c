--- How long things take: quantiles of many durations, in 20 KB however many they are.
--
--     local histogram = require "unbusy.histogram"
--     local h = histogram.new {}
--     h:record(1.25)
--     print(h:quantile(0.5), h:quantile(0.99))
--
-- Log-linear buckets, 64 to each power of two, from 1 µs to 3 days: a quantile is at most 1/128
-- (0.78 %) off. Below 1 µs it is less than 1 µs off; what took more than 3 days (2^18 s) lies in
-- one bucket, for which the greatest value stands. Count, min and max are exact, and no quantile
-- lies outside of min and max.
local core = require "unbusy.core"
local options = require "unbusy.options"

local histogram = {}

--- There are no options: all histograms have the same buckets, and any two can be merged.
histogram.schema = {}

--- Makes a histogram.
--
-- `h:record(seconds) -> true`: counts a finite number; a negative one counts as 0, since a clock
-- may slip back. A histogram holds 2^53 values; then it is nil, message, "full".
--
-- `h:quantile(q) -> seconds`: the value that a share `q` (0 to 1) of all values does not pass: 0.5
-- is the median, 0 gives the least and 1 the greatest. Nil when there is none.
--
-- `h:merge(other) -> true`: adds all values of another histogram, which stays as it is; or nil,
-- message, "full", with nothing changed.
--
-- `h:stats() -> { count =, sum =, min =, max =, mean = }`: in seconds; the last three are nil when
-- there is no value.
--
-- `h:clear()` forgets all values.
---@param given table? has no options
---@return unbusy.core.histogram h
function histogram.new(given)
  options.check(histogram.schema, given, "histogram")
  return core.histogram()
end

return histogram
