--- What benches share: contestants that take turns, goals, a table.
--
--     local results = measure.race("breaker, allow + report", {
--       { name = "unbusy", run = function(n) for _ = 1, n do … end end },
--       { name = "pure Lua", run = … },
--     })
--     measure.goal("allow + report through Lua", results.unbusy, 250, "ns")
--
-- A machine's speed changes from one second to the next. So the contestants run in short turns, one
-- after the other, and of each the quickest turn counts; what is compared was measured in one run.
-- Times are CPU time of this process.
local measure = {}

local TURNS = tonumber(os.getenv "UNBUSY_BENCH_TURNS") or 15
local SECONDS = 0.02 -- that a turn takes

local function time_of(run, n)
  local began = os.clock()
  run(n)
  return os.clock() - began
end

-- How often an operation has to run to fill a turn.
local function calibrated(run)
  local n = 1
  while true do
    local seconds = time_of(run, n)
    if seconds >= SECONDS then return n end
    n = math.ceil(n * (seconds > SECONDS / 100 and 1.1 * SECONDS / seconds or 10))
  end
end

local function show(name, ns, first)
  print(("  %-44s %10.1f ns  × %.2f"):format(name, ns, ns / first))
end

--- Lets the contestants take turns and prints the nanoseconds of one operation of each, and how
--- often the first one's that is.
---@param title string
---@param contestants table[] { name =, run = function(n) that does the operation n times }
---@return table<string, number> ns by name
function measure.race(title, contestants)
  print(("%s (%s)"):format(title, jit and jit.version or _VERSION)) -- luacheck: ignore 113
  local counts, best = {}, {}
  for i, c in ipairs(contestants) do counts[i], best[i] = calibrated(c.run), math.huge end
  for _ = 1, TURNS do
    for i, c in ipairs(contestants) do
      collectgarbage()
      best[i] = math.min(best[i], time_of(c.run, counts[i]) / counts[i] * 1e9)
    end
  end
  local ns = {}
  for i, c in ipairs(contestants) do
    ns[c.name] = best[i]
    show(c.name, best[i], best[1])
  end
  return ns
end

--- Says whether a figure is at most `limit`; with `at_least`, at least.
function measure.goal(what, value, limit, unit, at_least)
  local met = at_least and value >= limit or not at_least and value <= limit
  print(("  goal: %s, at %s %.4g %s: %.4g  %s"):format(what, at_least and "least" or "most", limit,
    unit, value, met and "met" or "MISSED"))
  return met
end

return measure
