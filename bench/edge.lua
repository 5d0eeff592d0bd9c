-- Edge and centre: how long a call takes on average, of a mix in which four of five questions are
-- routine, beside the same calls all at the centre. In simulated time, for several latencies of
-- both and shares of weak answers; and one of these over real HTTP, at two busy upstreams.
--
-- Which question is routine, the shipped policy `edge` finds out from its words, as in any call; a
-- weak answer is found out by `escalate`. What the tables leave out: a question that was taken for
-- a routine one and answered wrongly in good form. Nobody sees that from outside.
local busyd = require "spec.support.busyd"
local core = require "unbusy.core"
local measure = require "bench.support.measure"
local run = require "unbusy.simulate.run"
local setup = require "unbusy.simulate.setup"
local trace = require "unbusy.simulate.trace"
local unbusy = require "unbusy"

local CALLS, RATE = 4000, 20 -- of a simulated run; a second
local HARD = 0.2
local EDGE, CENTRE = 0.1, 1.2 -- seconds, where the goals are measured
local GOAL_MS = 380

-- {== In simulated time ====================================================

local function server(name, latency, more)
  local out = { target = name, pool = name, capacity = 200,
    latency = { kind = "lognormal", mean = latency, sigma = 0.3 } }
  for field, value in pairs(more or {}) do out[field] = value end
  return out
end

-- Calls at regular times, so that nothing but the servers differs.
local function trace_of(servers)
  local made = trace.new "bench"
  made.calls.hard = HARD
  for _, one in ipairs(servers) do assert(not trace.declare(made, one)) end
  for i = 1, CALLS do trace.add(made, i / RATE, 1, 1, false, 0) end
  return made
end

local function mean(list)
  local sum = 0
  for _, value in ipairs(list) do sum = sum + value end
  return sum / #list
end

-- The mean in milliseconds, and what was escalated.
local function meet(servers, what, escalate)
  local made = trace_of(servers)
  local options = assert(setup.options(made))
  options.escalate, options.limiter = escalate, { initial = 200 } -- there is room for all
  local record = assert(run.meet(made, what, options, { seed = 1, calls = run.calls(made, 1) }))
  for i = 1, CALLS do assert(record.sources[i] == "upstream", record.codes[i]) end
  return mean(record.totals) * 1000, record.escalate
end

local function all_at_centre(centre)
  return (meet({ server("centre", centre) }, { name = "all at the centre" }))
end

local function split(edge, centre, weak, bounds)
  return meet({ server("centre", centre), server("edge", edge, { weak = weak }) },
    { name = "edge", policy = "edge" }, bounds or { most = 1 })
end

local EDGES, CENTRES, SHARES = { 0.05, 0.1, 0.2, 0.4 }, { 0.6, 1.2, 2.4 }, { 0, 0.05, 0.1, 0.2 }

local function row(cells)
  print("  " .. table.concat(cells, " "))
end

local function by_latency(weak)
  print(("mean in ms, %g %% of the edge's answers weak"):format(weak * 100))
  local head = { ("%-14s %10s"):format("centre", "all there") }
  for i, edge in ipairs(EDGES) do
    head[i + 1] = ("%12s"):format(("edge %g ms"):format(edge * 1000))
  end
  row(head)
  for _, centre in ipairs(CENTRES) do
    local name = ("%g ms"):format(centre * 1000)
    local cells = { ("%-14s %10.0f"):format(name, all_at_centre(centre)) }
    for i, edge in ipairs(EDGES) do
      cells[i + 1] = ("%12.0f"):format((split(edge, centre, weak)))
    end
    row(cells)
  end
end

local function by_share(title, bounds)
  print(title)
  row { ("%8s %8s %10s %10s %10s %14s"):format("weak", "mean ms", "judged", "replaced", "kept",
    "centre's load") }
  for _, weak in ipairs { 0, 0.02, 0.05, 0.1, 0.2, 0.4, 1 } do
    local ms, seen = split(EDGE, CENTRE, weak, bounds)
    local at_centre = CALLS - seen.judged
    row { ("%7g%% %8.0f %10d %10d %10d %13.2f×"):format(weak * 100, ms, seen.judged, seen.replaced,
      seen.kept.share or 0, (at_centre + seen.asked) / at_centre) }
  end
end

print(("%d calls in simulated time, %g %% of them hard"):format(CALLS, HARD * 100))
for _, weak in ipairs(SHARES) do by_latency(weak) end
by_share(("edge %g ms, centre %g ms, without a bound"):format(EDGE * 1000, CENTRE * 1000))
by_share("the same, with the bound that is the default (most = 0.2)", {})

-- }========================================================================

-- {== Over real HTTP =======================================================

local HTTP_CALLS, CALLERS, WEAK = 400, 40, 0.05

local function ask_all(client)
  local next_one, sum = 0, 0
  unbusy.run(function()
    for _ = 1, CALLERS do
      unbusy.spawn(function()
        while next_one < HTTP_CALLS do
          next_one = next_one + 1
          local text = next_one % 5 == 0 and "explain why " or "when is "
          local began = core.now()
          local reply = assert(client:chat { model = "m",
            messages = { { role = "user", content = text .. next_one } } })
          assert(reply.text ~= "", "a weak answer")
          sum = sum + core.now() - began
        end
      end)
    end
  end)
  return sum / HTTP_CALLS * 1000, client:status().escalate
end

local function over_http()
  local near, far = busyd.start { workers = 1 }, busyd.start { workers = 1 }
  far:programme { latency = CENTRE }
  near:programme { latency = EDGE, seed = 1,
    faults = { { share = WEAK, answer = { answer = { text = "" } } } } }
  local centre = { name = "far", url = far.url .. "/v1", key = "k", pool = "centre" }
  local alone = unbusy.new { targets = { centre }, limiter = { initial = 100 } }
  local both = unbusy.new { policy = "edge", escalate = { most = 1 }, limiter = { initial = 100 },
    targets = { centre, { name = "near", url = near.url .. "/v1", key = "k", pool = "edge" } } }
  local all_there = ask_all(alone)
  local ms, seen = ask_all(both)
  near:stop()
  far:stop()
  print(("over HTTP, %d calls, %d at once: all at the centre %.0f ms, edge and centre %.0f ms, "
    .. "%d of %d answers of the edge replaced"):format(HTTP_CALLS, CALLERS, all_there, ms,
    seen.replaced, seen.judged))
  return all_there, ms
end

local all_there, over_wire = over_http()
measure.goal("mean of all at the centre, over HTTP", all_there, 1150, "ms", true)
measure.goal("mean over HTTP, 5 % weak", over_wire, GOAL_MS, "ms")
measure.goal("mean in simulated time, 5 % weak", (split(EDGE, CENTRE, WEAK)), GOAL_MS, "ms")
measure.goal("the centre's load by an edge gone bad, with the default bound",
  (function()
    local _, seen = split(EDGE, CENTRE, 1, {})
    local at_centre = CALLS - seen.judged
    return (at_centre + seen.asked) / at_centre
  end)(), 2, "×")

-- }========================================================================
