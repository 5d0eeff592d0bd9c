--- A client's second tries beside the first: whether, when and how many.
--
-- The stage is `unbusy.stages.hedge`, a single pair of tries a `unbusy.race`; here is what all
-- calls of a client have in common: its options, how long answers take to begin, and the cap. The
-- cap is a bucket: each call puts `most` into it (up to a bound, so that a long quiet time does not
-- buy a burst), each second try takes 1 out. So of n calls at most `most` × n are made twice.
local options = require "unbusy.options"
local starts = require "unbusy.starts"

local hedges = {}
hedges.__index = hedges

local QUANTILES = { p50 = 0.5, p75 = 0.75, p90 = 0.9, p95 = 0.95, p99 = 0.99 }

--- Options of `hedge`.
hedges.schema = {
  after = { type = "number|string", default = "p95", one_of = { "p50", "p75", "p90", "p95", "p99" },
    min = 0, max = 1e6, unit = "s",
    doc = "a second try starts so long after the first was sent: seconds, or the time within "
      .. "which that share of the target's answers begins" },
  most = { type = "number", default = 0.05, above = 0, max = 1,
    doc = "calls with a second try, as a share of all" },
  samples = { type = "whole", default = 20, min = 1, max = 1000,
    doc = "answers of a target that must have been seen before their share counts" },
  price = { type = "string", one_of = { "lower", "any" },
    doc = "where a second try may go: to a target with a lower price or none (`lower`), or to "
      .. "`any`; by default `lower`, and `any` where a policy wants the second try" },
}

local SPAN = 200 -- calls whose share may be saved up

--- What a client's option says: nil leaves it to its policies, false forbids it.
---@param given table|false|nil
function hedges.new(given)
  local o = given or options.check(hedges.schema, {}, "hedge")
  local self = setmetatable({ on = given and true or false, never = given == false,
    most = o.most, price = o.price, after = false, quantile = false, room = 0,
    most_room = math.max(1, SPAN * o.most), starts = starts.new(o.samples),
    counts = { calls = 0, begun = 0, won = 0, lost = 0, failed = 0, switched = 0 },
    refused = { most = 0, budget = 0, nobody = 0 } }, hedges)
  if given then
    self.quantile = QUANTILES[o.after] or false
    self.after = not self.quantile and o.after
  end
  return self
end

--- Seconds after which the client's own option wants a second try; nil for none yet.
---@param target string
---@param model string?
---@param way string
---@param now number
---@return number?
function hedges:delay(target, model, way, now)
  if not self.on then return nil end
  if self.after then return self.after end
  return self.starts:quantile(target, model, way, self.quantile, now)
end

--- A call comes that may have a second try.
function hedges:count_call()
  self.counts.calls = self.counts.calls + 1
  self.room = math.min(self.room + self.most, self.most_room)
end

local ALMOST = 1e-9 -- sums of shares are not exact

--- Is there room for one more?
function hedges:has_room()
  return self.room >= 1 - ALMOST
end

--- There is one more; or, with -1, one less: it was not sent.
---@param by integer
function hedges:count_begun(by)
  self.counts.begun, self.room = self.counts.begun + by, math.max(0, self.room - by)
end

--- A policy has left a server's queue for another target.
function hedges:count_switched()
  self.counts.switched = self.counts.switched + 1
end

--- What has come of them.
---@param now number
function hedges:stats(now)
  local c, r = self.counts, self.refused
  return { calls = c.calls, begun = c.begun, won = c.won, lost = c.lost, failed = c.failed,
    switched = c.switched, share = c.calls > 0 and c.begun / c.calls or 0,
    refused = { most = r.most, budget = r.budget, nobody = r.nobody },
    starts = self.starts:list(self.quantile or QUANTILES.p95, now) }
end

return hedges
