--- How many requests and tokens an account takes in a minute.
--
--     local rate = require "unbusy.rate"
--     local r = rate.new { requests = 60, tokens = 100000 }
--     local mark, token_mark = r:take(1200)      -- a request that is thought to take 1200 tokens
--     if mark then
--       local usage = ask()
--       r:correct(1200, usage.total_tokens)
--     end
--
-- A leaky bucket as a meter (ITU-T I.371) for each limit: a tenth of the minute's number may go at
-- once, the rest flows evenly, so that no minute sees more. What a server says of its own limits
-- (`tell`) makes buckets beside these; a request needs room in all. csrc/parts/rate.h has the rules
-- and the source.
local clocked = require "unbusy.clocked"
local core = require "unbusy.core"
local options = require "unbusy.options"
local region = require "unbusy.region"

local rate = {}

--- The largest limit, and the most tokens of a request.
rate.MOST = 1e12

--- Seconds beyond which no reset is believed.
rate.LONGEST = 86400

--- Every option of `new`.
rate.schema = {
  requests = { type = "number", min = 1, max = rate.MOST,
    doc = "in a minute; without it only the server's own limit counts" },
  tokens = { type = "number", min = 1, max = rate.MOST, doc = "in a minute; likewise" },
  clock = { type = "function", doc = "gives the time in seconds; by default the monotonic clock" },
  region = region.fields.region,
  name = region.fields.name,
}

local class = clocked.class({ take = 1, retry_after = 1, correct = 2, tell = 6, left = 1,
  stats = 0 })

--- Makes a meter.
--
-- `r:take(tokens) -> mark, mark`, or nil, message, "full", `{ retry_after = }`: may a request go?
-- The marks, of requests and of tokens, are for `tell`. A request of more tokens than there can be
-- goes when nothing else is in the way.
--
-- `r:retry_after(tokens) -> seconds`: when it may; 0 for now. Takes nothing.
--
-- `r:correct(foreseen, used)`: the request is over, and took so many tokens.
--
-- `r:tell("requests" / "tokens", limit, left, reset, window, mark)`: what the server said in its
-- answer to the request of that mark: its limit, what is left of it, and the seconds until all is
-- there again (evenly until then, or with `window` all at once). Nil for what it did not say. All
-- that was taken since the mark is taken off.
--
-- `r:left("requests" / "tokens") -> left, most`: of the tighter bucket; nothing where none is
-- there. Below 0 is a debt. `r:stats() -> { refused =, requests =, tokens = }`: how often `take`
-- said no, and what is left.
--
-- With `region` and `name` it is one for all processes that open it with the same options.
---@param given unbusy.options_of.rate? see `rate.schema`
---@return unbusy.core.rate? r, string? message, string? code nil: its region is full
function rate.new(given)
  local o = options.check(rate.schema, given, "rate")
  local wrong = region.contradiction(o)
  if wrong then error("rate: " .. wrong, 2) end
  local r, message, code = core.rate(o, o.clock and o.clock(), o.region, o.name)
  if not r then return nil, message, code end
  return clocked.wrap(class, r, o.clock)
end

return rate
