--- Stops calling a target that has stopped answering.
--
--     local breaker = require "unbusy.breaker"
--     local b = breaker.new { failure_rate = 0.5, open_for = 5 }
--     local ticket, message, code, detail = b:allow()
--     if not ticket then return nil, message, code, detail end -- detail.retry_after: seconds
--     local reply = call()
--     b:report(ticket, reply and "ok" or "fail", seconds_to_the_first_token)
--
-- closed → open, when the window holds `min_calls` and too many of them failed or were slow, or
-- after `consecutive` failures in a row; open → half_open, when the open time is over (nothing
-- wakes up: the next call sees it); half_open → closed or open, by the same rates over
-- min(min_calls, permits) probes. A ticket is good for the state it was given in: a call begun
-- before the breaker opened cannot close it.
local clocked = require "unbusy.clocked"
local core = require "unbusy.core"
local options = require "unbusy.options"
local region = require "unbusy.region"
require "unbusy.ffi.breaker"

local breaker = {}

--- Every option of `new`.
breaker.schema = {
  window = { type = "number", default = 10, min = 0.001, max = 1e9, unit = "s",
    doc = "how far back calls count; with `count` they count by number, and this only says how " ..
      "long an earlier call in flight speaks for a busy target" },
  buckets = { type = "whole", default = 10, min = 1, max = 1000,
    doc = "steps in which the window moves on" },
  count = { type = "whole", min = 1, max = 100000,
    doc = "judges the last so many calls, however old, in place of the last seconds" },
  min_calls = { type = "whole", min = 1, max = 1e9,
    doc = "no rate is judged over fewer calls; 20 by default, or `count` where that is less" },
  failure_rate = { type = "number", default = 0.5, above = 0, max = 1,
    doc = "opens when this share of the calls failed" },
  slow_after = { type = "number", above = 0, max = 1e9, unit = "s",
    doc = "a call reported with as many seconds or more is slow; none is by default" },
  slow_rate = { type = "number", above = 0, max = 1,
    doc = "opens when this share of the calls was slow; never by default" },
  consecutive = { type = "whole", min = 1, max = 1e9,
    doc = "opens after so many failures in a row; never by default" },
  open_for = { type = "number", default = 5, min = 0.001, max = 1e9, unit = "s",
    doc = "how long it stays open" },
  open_growth = { type = "number", default = 1, min = 1, max = 1e6,
    doc = "growth of the open time each time the probes fail in a row" },
  open_cap = { type = "number", default = 1e9, min = 0.001, max = 1e9, unit = "s",
    doc = "longest open time, chance apart" },
  open_jitter = { type = "number", default = 0, min = 0, max = 1,
    doc = "share of the open time that chance may add, so that not all clients wake at once" },
  permits = { type = "whole", default = 1, min = 1, max = 65534,
    doc = "probes that may be out at once when half-open" },
  slots = { type = "whole", default = 1024, min = 1, max = 65534,
    doc = "calls in flight that are told apart; beyond, a double report may not be seen, nor " ..
      "(in a region) that the process died" },
  clock = { type = "function",
    doc = "gives the time in seconds; by default the system's monotonic clock" },
  seed = { type = "whole",
    doc = "repeats the chance in open times; by default from the system's entropy" },
  region = region.fields.region,
  name = region.fields.name,
}

-- What one field alone cannot say: gives a message, or nothing.
local function contradiction(o, given)
  if o.slow_rate and not o.slow_after then
    return "slow_rate needs slow_after, which says which calls are slow"
  elseif o.count and given.buckets then
    return "buckets belong to a window of seconds, but count is given"
  elseif o.count and o.min_calls > o.count then
    return ("min_calls: a number at most count (%d) expected, got %d"):format(o.count, o.min_calls)
  elseif o.open_cap < o.open_for then
    return ("open_cap: a number at least open_for (%g) expected, got %g")
      :format(o.open_for, o.open_cap)
  elseif o.permits > o.slots then
    return ("permits: a number at most slots (%d) expected, got %d"):format(o.slots, o.permits)
  end
  return region.contradiction(o)
end

local class = clocked.class {
  allow = 0, report = 3, record = 2, state = 0, retry_after = 0, force = 2, stats = 0,
}

--- Makes a breaker. Its methods:
--
-- `b:allow() -> ticket`, or `nil, message, "open", { retry_after = seconds }`. A refusal is not a
-- call; it is only counted as `refused`.
--
-- `b:report(ticket, outcome, seconds) -> boolean`: what became of the call, once per ticket.
-- `ok`; `fail`; `neutral`, which says nothing about the target and gives a probe's permit back;
-- `busy`, which is `neutral` for a closed breaker while its window holds a success or an earlier
-- call, younger than the window, is in flight (the target is full, not broken), else `fail`.
-- `seconds` is how long it took, for a stream to its first token; nil or negative: not known.
-- False: the ticket is unknown, was returned before, or is of an earlier generation.
--
-- `b:record(ticket, "fail") -> boolean`: the later cut of a stream whose ticket was reported. One
-- failure more, no call more; false unless the ticket is of this generation and the breaker is
-- closed (or metrics_only). Once per ticket.
--
-- `b:state()`: closed, open, half_open, forced_open, disabled or metrics_only: what a call made now
-- would find, so that an open time that is over shows as half_open. Asking changes nothing.
--
-- `b:retry_after()`: seconds until it may be asked, unless a probe comes back sooner; 0 when it
-- may be asked now, `math.huge` when it is forced open without an end.
--
-- `b:force(state, seconds)`: any state but half_open, whatever was counted. `open` lasts for
-- `seconds` (of a Retry-After, say; `open_jitter` comes on top) or its own open time. `closed`
-- forgets the window and takes no seconds. `forced_open`, `disabled` (counts nothing) and
-- `metrics_only` (counts, never opens) last until the next `force`, or for `seconds`: then the
-- first becomes half_open, the others closed.
--
-- `b:stats() -> { state =, calls =, successes =, failures =, slow =, failure_rate =, refused =,
-- opened =, outstanding = }`: of the window, or when half-open of its probes; calls `refused` and
-- how often it `opened` since the start; `outstanding` are the tickets of this generation not yet
-- reported.
--
-- With `region` and `name` the breaker lives in shared memory: all processes that open it with the
-- same options see one state. What a process that died had in flight is taken back as `neutral`.
---@param given unbusy.options_of.breaker? see `breaker.schema`
---@return unbusy.core.breaker? b, string? message, string? code nil: its region is full
function breaker.new(given)
  local o = options.check(breaker.schema, given, "breaker")
  o.min_calls = o.min_calls or math.min(20, o.count or 20)
  local message = contradiction(o, given or {})
  if message then error("breaker: " .. message, 2) end
  local b, why, code = core.breaker(o, o.clock and o.clock(), o.region, o.name)
  if not b then return nil, why, code end
  return clocked.wrap(class, b, o.clock)
end

return breaker
