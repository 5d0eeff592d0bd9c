-- A private server that is cheap, a cloud that is dear, and a peak of three times what the private
-- one can do: who answers, how soon, and what it costs. Over real HTTP.
--
-- The private server can do 40 calls a second (10 places, 0.25 s each). Two kinds of it: one that
-- lets the others wait in a line of its own, which nobody sees, and refuses nobody; and one that
-- refuses them. Beside each other, each with servers of its own: pools that spill, the cloud alone,
-- the private server alone.
local busyd = require "spec.support.busyd"
local measure = require "bench.support.measure"
local rate = require "bench.support.rate"
local unbusy = require "unbusy"

local PLACES, LATENCY = 10, 0.25
local CAPACITY = PLACES / LATENCY
local LOW, PEAK = 0.5 * CAPACITY, 3 * CAPACITY
local FROM, TO, SECONDS = 8, 20, 28
local LINE = 1 -- seconds until an answer begins
local PRICE = { private = { input = 1, output = 1 }, cloud = { input = 5, output = 5 } }

local function load(now)
  return now >= FROM and now < TO and PEAK or LOW
end

-- {== The three ===========================================================

local function target(name, url)
  return { name = name, url = url, key = "k", pool = name, price = PRICE[name] }
end

-- Clients of which each has servers of its own, so that they do not meet.
local function contestants(programme, ups)
  local function up(p)
    ups[#ups + 1] = busyd.start { workers = 1, programme = p }
    return ups[#ups].url
  end
  local cloud = { latency = LATENCY }
  local spills = {}
  local list = {
    { name = "spill", options = {
      targets = { target("private", up(programme)), target("cloud", up(cloud)) },
      pools = { private = { priority = 1, spill = { start = LINE } }, cloud = { priority = 2 } },
      on_event = function(e)
        if e.type == "spill" then spills[#spills + 1] = e end
      end } },
    { name = "cloud alone", options = { targets = { target("cloud", up(cloud)) } } },
    { name = "private alone", options = { targets = { target("private", up(programme)) } } },
  }
  for _, who in ipairs(list) do
    who.rate, who.client = load, unbusy.new(who.options)
    who.options = nil
  end
  return list, spills
end

-- }========================================================================

local function cost_of(calls)
  local sum = 0
  for _, call in ipairs(calls) do sum = sum + (call.cost or 0) end
  return sum
end

local function of_private(calls)
  return rate.count(calls, function(c) return c.target == "private" end)
end

local function tell(name, calls, dear)
  local low = rate.between(calls, 0, FROM)
  local peak = rate.between(calls, FROM + 2, TO)
  local after = rate.between(calls, TO + 4, SECONDS)
  local failed = rate.count(calls, function(c) return not c.target end)
  local line = "  %-14s %5d %6d %7.0f ms %7.0f ms %8.1f %% %6.1f %% %6.1f %% %8.1f %%"
  print(line:format(name, #calls, failed, rate.quantile(peak, 0.5) * 1000,
    rate.quantile(peak, 0.99) * 1000, of_private(low) / #low * 100,
    of_private(peak) / #peak * 100, of_private(after) / #after * 100,
    cost_of(calls) / dear * 100))
  return { failed = failed, low = of_private(low) / #low, after = of_private(after) / #after,
    kept = of_private(peak) / (TO - FROM - 2), p99 = rate.quantile(peak, 0.99) }
end

local function run(title, programme)
  local ups = {}
  local ok, message = pcall(function()
    local list, spills = contestants(programme, ups)
    local calls, began = rate.run(list, SECONDS)
    print(title)
    print("                               in the peak              of the private one"
      .. "        cost of")
    print "                 calls failed  p50        p99      before   peak   after  cloud alone"
    local dear, of = cost_of(calls["cloud alone"]), {}
    for _, who in ipairs(list) do of[who.name] = tell(who.name, calls[who.name], dear) end
    for _, e in ipairs(spills) do
      print(("  %4.1f s: %s"):format(e.at - began,
        e.spills and "spills (" .. e.reason .. ")" or "is back"))
    end
    measure.goal("failed calls", of.spill.failed, 0, "")
    measure.goal("of the private one below the line, before and after",
      math.min(of.spill.low, of.spill.after), 1, "", true)
    measure.goal("the private one keeps in the peak, of its capacity", of.spill.kept / CAPACITY,
      0.8, "", true)
    measure.goal("p99 in the peak", of.spill.p99, 2 * LINE, "s")
  end)
  for _, up in ipairs(ups) do up:stop() end
  if not ok then error(message, 0) end
end

print(("spill: %d calls a second, and %d from %d to %d s; the private server can do %d (%s)")
  :format(LOW, PEAK, FROM, TO, CAPACITY, rawget(_G, "jit") and rawget(_G, "jit").version
    or _VERSION))
run("a private server with a line of its own",
  { capacity = PLACES, queue = 100000, latency = LATENCY })
run("a private server that refuses", { capacity = PLACES, latency = LATENCY })
