-- Edge and centre: how long a call takes on average, of a mix in which four of five questions are
-- routine, beside the same calls all at the centre. In simulated time, for several latencies of
-- both and shares of weak answers; and one of these over real HTTP, at two busy upstreams.
--
-- Which question is routine, the shipped policy `edge` finds out from its words, as in any call; a
-- weak answer is found out by `escalate`. What the tables leave out: a question that was taken for
-- a routine one and answered wrongly in good form. Nobody sees that from outside.
local edge = require "bench.support.edge"
local measure = require "bench.support.measure"

local CALLS, HARD = edge.CALLS, edge.HARD
local EDGE, CENTRE = 0.1, 1.2 -- seconds, where the goals are measured
local GOAL_MS = 380

-- {== In simulated time ====================================================

local EDGES, CENTRES, SHARES = { 0.05, 0.1, 0.2, 0.4 }, { 0.6, 1.2, 2.4 }, { 0, 0.05, 0.1, 0.2 }

local function row(cells)
  print("  " .. table.concat(cells, " "))
end

local function by_latency(weak)
  print(("mean in ms, %g %% of the edge's answers weak"):format(weak * 100))
  local head = { ("%-14s %10s"):format("centre", "all there") }
  for i, near in ipairs(EDGES) do
    head[i + 1] = ("%12s"):format(("edge %g ms"):format(near * 1000))
  end
  row(head)
  for _, centre in ipairs(CENTRES) do
    local name = ("%g ms"):format(centre * 1000)
    local cells = { ("%-14s %10.0f"):format(name, edge.all_at_centre(centre)) }
    for i, near in ipairs(EDGES) do
      cells[i + 1] = ("%12.0f"):format((edge.split(near, centre, weak)))
    end
    row(cells)
  end
end

local function by_share(title, bounds)
  print(title)
  row { ("%8s %8s %10s %10s %10s %14s"):format("weak", "mean ms", "judged", "replaced", "kept",
    "centre's load") }
  for _, weak in ipairs { 0, 0.02, 0.05, 0.1, 0.2, 0.4, 1 } do
    local ms, seen = edge.split(EDGE, CENTRE, weak, bounds)
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

local WEAK = 0.05

local all_there, over_wire, escalated = edge.over_http({ edge = EDGE, centre = CENTRE }, WEAK)
print(("over HTTP, %d calls, %d at once: all at the centre %.0f ms, edge and centre %.0f ms, "
  .. "%d of %d answers of the edge replaced"):format(edge.HTTP_CALLS, edge.CALLERS, all_there,
  over_wire, escalated.replaced, escalated.judged))
measure.goal("mean of all at the centre, over HTTP", all_there, 1150, "ms", true)
measure.goal("mean over HTTP, 5 % weak", over_wire, GOAL_MS, "ms")
measure.goal("mean in simulated time, 5 % weak", (edge.split(EDGE, CENTRE, WEAK)), GOAL_MS, "ms")
measure.goal("the centre's load by an edge gone bad, with the default bound",
  (function()
    local _, seen = edge.split(EDGE, CENTRE, 1, {})
    local at_centre = CALLS - seen.judged
    return (at_centre + seen.asked) / at_centre
  end)(), 2, "×")

-- }========================================================================
