--- What benches share: contestants that take turns, goals, a table, curves.
--
--     local ns = measure.race("breaker, allow + report", {
--       { name = "unbusy", run = function(n) for _ = 1, n do … end end },
--       { name = "pure Lua", run = … },
--     })
--     measure.goal("allow + report through Lua", ns.unbusy, 250, "ns")
--     measure.peer("pure Lua", "a call's way through the breaker", ns.unbusy / ns["pure Lua"])
--
-- A machine's speed changes from one second to the next. So the contestants run in short turns, one
-- after the other, and of each the quickest turn counts; what is compared was measured in one run.
-- Times are CPU time of this process. All of it is printed, and told to whoever collects it
-- (bench/support/results.lua).
local results = require "bench.support.results"

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

--- Tells a table whose rows a bench prints in its own way; their ratios are to the first one's.
---@param title string
---@param rows table[] { name, value }
---@param unit string of the values
function measure.rows(title, rows, unit)
  for _, row in ipairs(rows) do
    results.tell { kind = "row", title = title, name = row[1], value = row[2], unit = unit,
      ratio = row[2] / rows[1][2] }
  end
end

--- Lets the contestants take turns; gives the nanoseconds of one operation of each.
---@param contestants table[] { name =, run = function(n) that does the operation n times }
---@param turns integer? how many each has (UNBUSY_BENCH_TURNS, or 15)
---@return table<string, number> ns by name
function measure.times(contestants, turns)
  local counts, best, ns = {}, {}, {}
  for i, c in ipairs(contestants) do counts[i], best[i] = calibrated(c.run), math.huge end
  for _ = 1, turns or TURNS do
    for i, c in ipairs(contestants) do
      collectgarbage()
      best[i] = math.min(best[i], time_of(c.run, counts[i]) / counts[i] * 1e9)
    end
  end
  for i, c in ipairs(contestants) do ns[c.name] = best[i] end
  return ns
end

--- Lets the contestants take turns and prints the nanoseconds of one operation of each, and how
--- often the first one's that is.
---@param title string
---@param contestants table[] { name =, run = function(n) that does the operation n times }
---@return table<string, number> ns by name
function measure.race(title, contestants)
  print(("%s (%s)"):format(title, jit and jit.version or _VERSION)) -- luacheck: ignore 113
  local ns, rows = measure.times(contestants), {}
  for i, c in ipairs(contestants) do
    show(c.name, ns[c.name], ns[contestants[1].name])
    rows[i] = { c.name, ns[c.name] }
  end
  measure.rows(title, rows, "ns")
  return ns
end

--- Says whether a figure is at most `limit`; with `at_least`, at least.
---@param what string
---@param value number
---@param limit number
---@param unit string
---@param at_least boolean?
---@return boolean met
function measure.goal(what, value, limit, unit, at_least)
  local met = at_least and value >= limit or not at_least and value <= limit
  print(("  goal: %s, at %s %.4g %s: %.4g  %s"):format(what, at_least and "least" or "most", limit,
    unit, value, met and "met" or "MISSED"))
  results.tell { kind = "goal", what = what, value = value, limit = limit, unit = unit,
    at_least = at_least or false, met = met }
  return met
end

--- Says how ours stands beside somebody else's.
---@param peer string
---@param what string that both do
---@param ratio number what ours takes (time, memory), of what the peer takes; nothing is said where
---  there is none (0 / 0, or no call of the peer ended)
function measure.peer(peer, what, ratio)
  if not (ratio > 0 and ratio < math.huge) then return end
  print(("  beside %s: %s takes × %.3g"):format(peer, what, ratio))
  results.tell { kind = "peer", peer = peer, what = what, ratio = ratio }
end

--- Begins a curve: how something grows.
---@param title string
---@param of string what x counts
---@param unit string of y
---@return fun(line: string, x: number, y: number) point prints and tells a point of a line;
---  nothing where nothing was measured (y is not a number above 0)
function measure.curve(title, of, unit)
  print(("%s (%s)"):format(title, jit and jit.version or _VERSION)) -- luacheck: ignore 113
  return function(line, x, y)
    if not (y > 0 and y < math.huge) then return end
    print(("  %-36s %10.0f %-10s %12.1f %s"):format(line, x, of, y, unit))
    results.tell { kind = "point", curve = title, line = line, x = x, y = y, of = of, unit = unit }
  end
end

return measure
