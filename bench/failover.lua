-- The primary of two servers is killed under load, and comes back: 90 % and 10 % of the calls, two
-- retries, half a second for each try, as a service mesh is set up. Over real HTTP.
--
-- A process makes the calls, another one kills the primary's nginx and starts it again on the same
-- port. Beside each other, with the same servers and the same kill:
--
--   unbusy          the recipe of docs/routing.md: breakers, ramps
--   retries alone   the same without breakers: what is left where a mesh only retries
--   one server      the primary alone, with the same retries
local busyd = require "spec.support.busyd"
local core = require "unbusy.core"
local measure = require "bench.support.measure"
local rate = require "bench.support.rate"
local unbusy = require "unbusy"

local RATE = 40        -- calls a second of each
local KILL, BACK = 5, 12
local SECONDS = 32
local RAMP = 8         -- four steps of 2 s
local OPEN = 5

-- {== Calling =============================================================

local function new_client(urls, options)
  local seen = {}
  local o = {
    targets = { { name = "primary", url = urls[1], key = "k", weight = 90 },
      { name = "secondary", url = urls[2], key = "k", weight = 10 } },
    retry = { attempts = 3, kind = "full", base = 0.025, cap = 0.25 }, clocks = { try = 0.5 },
    breaker = { consecutive = 5, open_for = OPEN },
    on_event = function(e)
      if e.type == "try" or e.type == "state" then seen[#seen + 1] = e end
    end,
  }
  for name, value in pairs(options or {}) do o[name] = value end
  return unbusy.new(o), seen
end

-- The share of the primary among the tries of some seconds.
local function share(seen, from, to)
  local all, primary = 0, 0
  for _, e in ipairs(seen) do
    if e.type == "try" and e.at >= from and e.at < to then
      all = all + 1
      if e.target == "primary" then primary = primary + 1 end
    end
  end
  return all > 0 and primary / all or 0 / 0
end

local function closed_at(seen)
  local at
  for _, e in ipairs(seen) do
    if e.type == "state" and e.target == "primary" and e.to == "closed" then at = e.at end
  end
  return at
end

local function most_tries(calls)
  local most, sum = 0, 0
  for _, call in ipairs(calls) do most, sum = math.max(most, call.tries), sum + call.tries end
  return most, sum / #calls
end

local function tell(name, calls, seen, began)
  local most, mean = most_tries(calls)
  local outage = rate.between(calls, KILL, BACK)
  local _, mean_out = most_tries(outage)
  local closed = closed_at(seen)
  print(("  %-14s %5d %6d %5d %7.2f %7.2f %6.0f ms %7.1f %% %6.1f %% %6.1f %%  %s"):format(name,
    #calls, rate.count(calls, function(c) return not c.target end), most, mean, mean_out,
    rate.quantile(outage, 0.99) * 1000, share(seen, began, began + KILL - 1) * 100,
    share(seen, began + KILL + 1, began + BACK) * 100,
    share(seen, began + SECONDS - 6, began + SECONDS) * 100,
    closed and ("%.1f s"):format(closed - began - BACK) or "-"))
  return most, closed
end

local function goals(calls, most, seen, closed, began)
  measure.goal("failed calls", rate.count(calls, function(c) return not c.target end), 0, "")
  measure.goal("tries of one call", most, 2, "")
  measure.goal("primary asked again after", closed and closed - began - BACK or 1 / 0, OPEN + 1,
    "s")
  local from = (closed or 0) + RAMP
  measure.goal("share of the primary behind its ramp", share(seen, from, from + 5), 0.87, "", true)
end

local function call(urls)
  local clients, events = {}, {}
  clients[1], events[1] = new_client(urls)
  clients[2], events[2] = new_client(urls, { breaker = false })
  clients[3], events[3] = new_client(urls, { targets = { { name = "primary", url = urls[1],
    key = "k" } }, breaker = false })
  local names, list = { "unbusy", "retries alone", "one server" }, {}
  for i, name in ipairs(names) do list[i] = { name = name, client = clients[i], rate = RATE } end
  local calls, began = rate.run(list, SECONDS)
  print("                                    tries         in the outage      primary's share"
    .. "   closed")
  print("                 calls failed  most    mean    mean   p99      before  outage    end"
    .. "    after")
  local most, closed
  for i, name in ipairs(names) do
    local m, c = tell(name, calls[name], events[i], began)
    if i == 1 then most, closed = m, c end
  end
  goals(calls.unbusy, most, events[1], closed, began)
end

-- }========================================================================

local function sleep(seconds) os.execute(("sleep %.2f"):format(seconds)) end

-- This very bench, in a process that makes the calls.
local function start_caller(urls)
  local lua = arg[-1] or "lua5.4"
  return assert(io.popen(("UNBUSY_FAILOVER='%s %s' %s bench/failover.lua"):format(urls[1],
    urls[2], lua)))
end

local function main()
  print(("failover: %d calls a second each; the primary is killed at %d s and back at %d s (%s)")
    :format(RATE, KILL, BACK, rawget(_G, "jit") and rawget(_G, "jit").version or _VERSION))
  local programme = { latency = 0.05 }
  local primary = busyd.start { workers = 1, programme = programme }
  local secondary = busyd.start { workers = 1, programme = programme }
  local port = tonumber(primary.url:match ":(%d+)")
  local began = core.now()
  local caller = start_caller { primary.url, secondary.url }
  sleep(KILL)
  primary:stop()
  sleep(BACK - (core.now() - began))
  primary = busyd.start { workers = 1, port = port, programme = programme }
  io.write(caller:read "*a")
  caller:close()
  primary:stop()
  secondary:stop()
end

local given = os.getenv "UNBUSY_FAILOVER"
if given then call { given:match "^(%S+) (%S+)$" } else main() end
