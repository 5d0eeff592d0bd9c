--- How long to wait before the n-th retry.
--
--     local backoff = require "unbusy.backoff"
--     local b = backoff.new { kind = "full", base = 0.5, cap = 20 }
--     sleep(b:delay(1))
--
-- The defaults are 1 s, doubled each time, at most 30 s, and up to 10 % of chance on top.
-- The random kinds: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
local core = require "unbusy.core"
local options = require "unbusy.options"

local backoff = {}

--- Every option of `new`.
backoff.schema = {
  kind = { type = "string", default = "exponential",
    one_of = { "exponential", "full", "equal", "decorrelated", "constant", "linear" },
    doc = "how the delays grow and where chance comes in" },
  base = { type = "number", default = 1, min = 0, max = 1e6, unit = "s",
    doc = "delay before the first retry" },
  factor = { type = "number", default = 2, min = 1, max = 1e6,
    doc = "growth from one retry to the next" },
  cap = { type = "number", default = 30, min = 0, max = 1e9, unit = "s",
    doc = "longest delay, chance apart" },
  jitter = { type = "number", default = 0.1, min = 0, max = 1,
    doc = "share of the delay that chance may add (exponential, constant, linear)" },
  seed = { type = "whole", doc = "repeats a run; by default from the system's entropy" },
}

--- Makes a backoff. `b:delay(n, previous) -> seconds`: `n` is 1 before the first retry;
--- `previous` is the delay before this one, which only `decorrelated` takes note of.
---@param given unbusy.options_of.backoff? see `backoff.schema`
---@return unbusy.core.backoff b
function backoff.new(given)
  local o = options.check(backoff.schema, given, "backoff")
  return core.backoff(o)
end

return backoff
