--- How many second tries a client may afford: one budget for retries and hedges.
--
--     local budget = require "unbusy.budget"
--     local b = budget.new {}
--     b:begin()                                     -- a call starts
--     local permit, message, code = b:take "retry"  -- its first try failed: is there another?
--     if permit then b:give(permit, ask() and "ok" or "fail") end
--     b:finish "fail"                               -- the call ends
--
-- A second try needs a permit, of which at most max(ratio × calls under way, floor) are out at
-- once, and pays tokens, which a success pays back. Take the permit before the retry sleeps:
-- sleepers count. The tokens know no time: an outage uses them up, good calls earn them again.
--
-- The permits are Envoy's retry budget, the tokens those of the AWS SDKs' standard retry mode; see
-- also gRPC's proposal A6, the retry budgets of Finagle and Linkerd, and the chapter "Handling
-- Overload" of "Site Reliability Engineering" (2016).
local core = require "unbusy.core"
local options = require "unbusy.options"
local region = require "unbusy.region"
require "unbusy.ffi.budget"

local budget = {}

--- Every option of `new`.
budget.schema = {
  ratio = { type = "number", default = 0.2, min = 0, max = 100,
    doc = "permits that may be out, as a share of the calls under way" },
  floor = { type = "number", default = 3, min = 0, max = 1024,
    doc = "permits that may be out however few calls there are" },
  tokens = { type = "number", default = 500, min = 0, max = 1e9,
    doc = "the quota, full at the start and never above" },
  retry_cost = { type = "number", default = 14, min = 0, max = 1e9,
    doc = "tokens a retry or a hedge costs, until it succeeds" },
  throttle_cost = { type = "number", default = 5, min = 0, max = 1e9,
    doc = "tokens a retry after 'slow down' costs, until it succeeds" },
  region = region.fields.region,
  name = region.fields.name,
}

--- Makes a budget, for all the calls of one client.
--
-- `b:begin()`: a call starts.
--
-- `b:take("retry" / "throttle" / "hedge") -> permit`, or nil, message, "budget": may there be a
-- second try? "throttle" is a retry after a refusal that only means "slow down". A hedge costs
-- what a retry does: it is the same load on a server.
--
-- `b:give(permit, "ok" / "fail") -> boolean`: the second try is over. "ok" pays its tokens back: it
-- gave the answer, or was never sent (cancelled in its sleep). Everything else is "fail", also a
-- hedge that lost the race. False for a permit that is not out; nothing changes then.
--
-- `b:finish("ok" / "fail") -> boolean`: the call is over. "ok" is for a call that its first try
-- answered with no permit taken, and earns a token. Everything else is "fail", also a success that
-- took a retry: its refund came with the permit. False when no call is under way.
--
-- `b:stats() -> { active =, permits =, tokens =, refused = }`: calls under way, permits out, tokens
-- left, and how often `take` said no.
--
-- With `region` and `name` it is one budget for all processes that open it with the same options;
-- the calls of a process that died end, and its permits come back unpaid.
---@param given unbusy.options_of.budget? see `budget.schema`
---@return unbusy.core.budget? b, string? message, string? code nil: its region is full
function budget.new(given)
  local o = options.check(budget.schema, given, "budget")
  local wrong = region.contradiction(o)
  if wrong then error("budget: " .. wrong, 2) end
  return core.budget(o, nil, o.region, o.name)
end

return budget
