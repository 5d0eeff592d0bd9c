-- The primary of two servers is killed under load, and comes back (bench/support/failover.lua): how
-- many calls fail, how many tries they take, and how soon the primary has its share again.
--
-- Another process kills the primary's nginx and starts it again on the same port.
local failover = require "bench.support.failover"
local measure = require "bench.support.measure"
local rate = require "bench.support.rate"

local RATE = 40        -- calls a second of each
local KILL, BACK = 5, 12
local SECONDS = 32

local share = failover.share

local function tell(name, calls, seen, began)
  local most, mean = failover.most_tries(calls)
  local outage = rate.between(calls, KILL, BACK)
  local _, mean_out = failover.most_tries(outage)
  local closed = failover.closed_at(seen)
  print(("  %-14s %5d %6d %5d %7.2f %7.2f %6.0f ms %7.1f %% %6.1f %% %6.1f %%  %s"):format(name,
    #calls, failover.failed(calls), most, mean, mean_out,
    rate.quantile(outage, 0.99) * 1000, share(seen, began, began + KILL - 1) * 100,
    share(seen, began + KILL + 1, began + BACK) * 100,
    share(seen, began + SECONDS - 6, began + SECONDS) * 100,
    closed and ("%.1f s"):format(closed - began - BACK) or "-"))
end

local function goals(calls, seen, began)
  local closed = failover.closed_at(seen)
  measure.goal("failed calls", failover.failed(calls), 0, "")
  measure.goal("tries of one call", (failover.most_tries(calls)), 2, "")
  measure.goal("primary asked again after", closed and closed - began - BACK or 1 / 0,
    failover.OPEN + 1, "s")
  local from = (closed or 0) + failover.RAMP
  measure.goal("share of the primary behind its ramp", share(seen, from, from + 5), 0.87, "", true)
end

print(("failover: %d calls a second each; the primary is killed at %d s and back at %d s (%s)")
  :format(RATE, KILL, BACK, rawget(_G, "jit") and rawget(_G, "jit").version or _VERSION))
local calls, events, began = failover.run { rate = RATE, kill = KILL, back = BACK,
  seconds = SECONDS }
print("                                    tries         in the outage      primary's share"
  .. "   closed")
print("                 calls failed  most    mean    mean   p99      before  outage    end"
  .. "    after")
for _, name in ipairs(failover.names) do tell(name, calls[name], events[name], began) end
goals(calls.unbusy, events.unbusy, began)
