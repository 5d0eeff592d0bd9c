--- How many calls an account takes at once, found by trying.
--
--     local limiter = require "unbusy.limiter"
--     local l = limiter.new {}
--     local ticket, message, code, detail = l:allow()
--     if ticket then
--       local outcome, seconds = ask()        -- "fail" is 429, 503, nothing but keep-alives
--       l:report(ticket, outcome, seconds)
--     end
--
-- Key it by account and model: keys of one account share one limit. `aimd` cuts the limit to
-- `ratio` of itself at a drop, once a round trip, and lets it grow while it is in use and nothing
-- is dropped; csrc/parts/limiter.h has the rules and their reasons. It starts at 20: an account
-- that takes less has said so within half a second, one that takes 500 is full after some 21
-- round trips under load. `gradient` is for servers that refuse nobody and answer later: its limit
-- grows and shrinks by the time to the first token (`started`; a call without one moves nothing),
-- and drops cut it, too. `fixed` stays at `initial`.
--
-- **Throttled.** Whatever the limit, in the long run no more than `throttle` calls are sent for
-- each that is let in: where fewer are let in for long, one a second besides. That is the
-- client-side throttling of the book "Site Reliability Engineering" (ch. 21); here a call waits.
--
-- **With breakers.** When a breaker opens, `freeze` stops the limit; when it closes, `restore` goes
-- back to the limit before the trouble and lets it in by steps. Where several targets, each with
-- its breaker, share an account, freeze when the *last* of them opens and restore when the *first*
-- closes: as long as one answers, its calls are measured and the limit must move. Both may be
-- called again and again (by every worker, at every look at the breakers): the first one counts.
local clocked = require "unbusy.clocked"
local core = require "unbusy.core"
local options = require "unbusy.options"
local region = require "unbusy.region"
require "unbusy.ffi.limiter"

local limiter = {}

--- Every option of `new`.
limiter.schema = {
  kind = { type = "string", default = "aimd", one_of = { "aimd", "gradient", "fixed" },
    doc = "what moves the limit: drops; the time to the first token, too; nothing" },
  initial = { type = "whole", min = 1, max = 65534, unit = "calls",
    doc = "the limit at the start (of 'fixed', always); 20 by default, or the nearest bound" },
  min = { type = "whole", min = 1, max = 65534, unit = "calls",
    doc = "the limit never falls below; 1 by default (aimd)" },
  max = { type = "whole", min = 1, max = 65534, unit = "calls",
    doc = "the limit never grows above (40 bytes each); 1000 by default, or 'initial' if more" },
  ratio = { type = "number", default = 0.9, above = 0, max = 0.99,
    doc = "what a cut leaves of the limit" },
  throttle = { type = "number|boolean", default = 2, min = 1, max = 1000000,
    doc = "calls sent for each that is let in, in the long run; false: any number" },
  clock = { type = "function", doc = "gives the time in seconds; by default the monotonic clock" },
  region = region.fields.region,
  name = region.fields.name,
}

local class = clocked.class({
  allow = 0, report = 3, started = 2, limit = 0, retry_after = 0, freeze = 1, restore = 0,
  stats = 0,
}, { "in_flight" })

-- Where the limit starts and what bounds it, or nil and a message. A fixed one is its own bound.
local function place(o)
  if o.kind == "fixed" then
    if o.min or o.max then return nil, "a fixed limit has no 'min' and 'max', only 'initial'" end
    local initial = o.initial or 20
    return initial, initial, initial
  end
  local min = o.min or 1
  local max = o.max or math.max(1000, o.initial or min)
  if min > max then return nil, ("min: %d is above max, %d"):format(min, max) end
  local initial = o.initial or math.max(min, math.min(20, max))
  if initial < min or initial > max then
    return nil, ("initial: %d is not within %d and %d"):format(initial, min, max)
  end
  return initial, min, max
end

--- Makes a limiter.
--
-- `l:allow() -> ticket`, or nil, message, "full", `{ retry_after = }`: may a call start?
-- `retry_after` is as below.
--
-- `l:report(ticket, "ok" / "fail" / "neutral", seconds) -> boolean`: the call is over. "fail" is a
-- refusal for load: it cuts the limit, and its slot rests a round trip. "neutral" says nothing of
-- load. `seconds` is how long the call took, of a stream to its first answer byte; left out, it is
-- counted from `allow`. False for a ticket that is not out (reported before, or unknown).
--
-- `l:started(ticket, seconds) -> boolean`: the call's first token has come, so long after it was
-- sent. False for a ticket that is not out, or the second time.
--
-- `l:limit() -> number`: the limit now in force; a fraction counts for nothing yet.
--
-- `l:in_flight() -> integer`: tickets that are out; slots that rest are not among them.
--
-- `l:retry_after() -> seconds or nil`: when time alone makes room (a rest ends, a ramp steps up): 0
-- for now, nil when only a report can. A report may make room sooner.
--
-- `l:freeze(window) -> boolean`: the breaker opened: the limit stands still, nothing rests, and the
-- limit of `window` seconds ago (10 by default, at most 63) is kept. False when frozen already.
--
-- `l:restore() -> boolean`: the breaker closed: back to the kept limit, of which 10, 25, 50 and
-- then 100 % are in force for 2 s each, never less than `min`. False when it was not frozen.
--
-- `l:stats() -> { limit =, in_flight =, resting =, round_trip =, drops =, refused =, frozen =,
-- answered =, credit =, base = }`: the round trip in seconds, how many calls were dropped and how
-- many refused, and whether one has gone well; what is left of the 100 drops that `throttle` leaves
-- to be paid for; of `gradient`, the seconds to a first token when little is going on, once known.
--
-- With `region` and `name` the limit is one for all processes that open it with the same options;
-- what a process that died had in flight comes back as `neutral`.
---@param given unbusy.options_of.limiter? see `limiter.schema`
---@return unbusy.core.limiter? l, string? message, string? code nil: its region is full
function limiter.new(given)
  local o = options.check(limiter.schema, given, "limiter")
  local initial, min, max = place(o)
  if not initial then error("limiter: " .. min, 2) end
  local wrong = region.contradiction(o)
  if wrong then error("limiter: " .. wrong, 2) end
  if o.throttle == true then error("limiter: throttle: a number or false expected", 2) end
  o.initial, o.min, o.max = initial, min, max
  o.throttle, o.gradient = o.throttle or nil, o.kind == "gradient"
  local l, message, code = core.limiter(o, o.clock and o.clock(), o.region, o.name)
  if not l then return nil, message, code end
  return clocked.wrap(class, l, o.clock)
end

return limiter
