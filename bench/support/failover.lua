--- The primary of two servers is killed under load, and comes back: 90 % and 10 % of the calls, two
--- retries, half a second for each try, as a service mesh is set up. Over real HTTP. Beside each
--- other, with the same servers and the same kill:
--
--   unbusy          the recipe of docs/routing.md: breakers, ramps
--   retries alone   the same without breakers: what is left where a mesh only retries
--   one server      the primary alone, with the same retries
local busyd = require "spec.support.busyd"
local killed = require "bench.support.killed"
local rate = require "bench.support.rate"
local unbusy = require "unbusy"

local failover = {}

--- Seconds that a breaker is open, and those of the four steps by which a target comes back.
failover.OPEN, failover.RAMP = 5, 8

--- Those that are compared.
failover.names = { "unbusy", "retries alone", "one server" }

local function new_client(urls, options)
  local seen = {}
  local o = {
    targets = { { name = "primary", url = urls[1], key = "k", weight = 90 },
      { name = "secondary", url = urls[2], key = "k", weight = 10 } },
    retry = { attempts = 3, kind = "full", base = 0.025, cap = 0.25 }, clocks = { try = 0.5 },
    breaker = { consecutive = 5, open_for = failover.OPEN },
    on_event = function(e)
      if e.type == "try" or e.type == "state" then seen[#seen + 1] = e end
    end,
  }
  for name, value in pairs(options or {}) do o[name] = value end
  return unbusy.new(o), seen
end

local function contestants(urls, per_second)
  local alone = { { name = "primary", url = urls[1], key = "k" } }
  local options = { {}, { breaker = false }, { targets = alone, breaker = false } }
  local list, events = {}, {}
  for i, name in ipairs(failover.names) do
    local client
    client, events[name] = new_client(urls, options[i])
    list[i] = { name = name, client = client, rate = per_second }
  end
  return list, events
end

--- The share of the primary among the tries of some seconds.
---@param seen table[] events of a client
---@param from number on the monotonic clock
---@param to number
function failover.share(seen, from, to)
  local all, primary = 0, 0
  for _, e in ipairs(seen) do
    if e.type == "try" and e.at >= from and e.at < to then
      all = all + 1
      if e.target == "primary" then primary = primary + 1 end
    end
  end
  return all > 0 and primary / all or 0 / 0
end

--- When the primary's breaker closed for the last time; nil where it did not.
function failover.closed_at(seen)
  local at
  for _, e in ipairs(seen) do
    if e.type == "state" and e.target == "primary" and e.to == "closed" then at = e.at end
  end
  return at
end

--- The most tries of a call, and the mean.
function failover.most_tries(calls)
  local most, sum = 0, 0
  for _, call in ipairs(calls) do most, sum = math.max(most, call.tries), sum + call.tries end
  return most, sum / #calls
end

--- How many calls failed.
function failover.failed(calls)
  return rate.count(calls, function(call) return not call.target end)
end

--- Runs all three beside each other.
---@param o table { rate = calls a second of each, kill =, back =, seconds = }
---@return table<string, table[]> calls, table<string, table[]> events, number began
function failover.run(o)
  local programme = { latency = 0.05 }
  local primary = killed.start { kill = o.kill, back = o.back, programme = programme }
  local ok, secondary = pcall(busyd.start, { workers = 1, programme = programme })
  local calls, events, began
  if ok then
    local list
    list, events = contestants({ primary.url, secondary.url }, o.rate)
    primary:go()
    calls, began = rate.run(list, o.seconds)
    secondary:stop()
  end
  primary:stop()
  if not ok then error(secondary, 0) end
  return calls, events, began
end

return failover
