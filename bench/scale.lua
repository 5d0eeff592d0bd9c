-- What scaling costs and where there is too little, over a working day in simulated time, beside
-- ten fixed replicas. All of it is a model but the rules, the governor and the client: so the table
-- shows how the figures follow from what is assumed.
--
-- Assumed: ten replicas with eight places each; answers of 20 s (lognormal); the most that arrives
-- is 1.1 times what ten replicas answer; a replica serves 120 s after it was asked for. Varied are
-- the day's contrast (1: on average 52 % of what ten replicas answer; 2.5: 32 %), then what a start
-- takes, and chance.
local generate = require "unbusy.simulate.generate"
local measure = require "bench.support.measure"
local options = require "unbusy.scaling.options"
local scaling = require "unbusy.simulate.scaling"

local PODS, PLACES, STARTS = 10, 8, 120
local SOURCE = 0.65 -- of the cost of ten fixed ones, as the article has it: 3 to 15, 35 % less

local function read(rule)
  local r, g = options.read({}, rule)
  return { r, g }
end

local function meet(day, more)
  local o = { pods = PODS, places = PLACES, starts = STARTS, every = 30, cpu = read "cpu",
    load = read "load" }
  for name, value in pairs(more or {}) do o[name] = value end
  local by_name = {}
  for _, f in ipairs(assert(scaling.compare(day, o))) do by_name[f.name] = f end
  return by_name
end

local function row(...)
  print(("  %-26s %8s %11s %6s %8s %7s %7s"):format(...))
end

local function show(label, f, first)
  row(label .. ", " .. f.name, ("%d-%d"):format(f.least, f.most), ("%.1f"):format(f.hours),
    f == first and "" or ("%+.0f %%"):format(100 * (f.hours / first.hours - 1)),
    ("%d min"):format(f.short), ("%.2f %%"):format(100 * f.failed / f.calls),
    ("%.1f s"):format(f.p99))
end

local FIXED, HPA = "fixed 10", "hpa, 70 % cpu"

local function show_all(label, found, names)
  for _, name in ipairs(names) do show(label, found[name], found[FIXED]) end
end

row("", "replicas", "their hours", "cost", "short", "failed", "p99")

-- The day on which an HPA saves what the article says of its own.
local nearest, best
for _, contrast in ipairs { 1, 1.5, 2, 2.5 } do
  local day = assert(generate.new { kind = "day", contrast = contrast })
  local found = meet(day)
  show_all(("contrast %g"):format(contrast), found, { FIXED, "cpu, only up", HPA, "cpu", "load" })
  local off = math.abs(found[HPA].hours / found[FIXED].hours - SOURCE)
  if not best or off < best then
    nearest, best = { day = day, found = found, contrast = contrast }, off
  end
end

local ONLY = { [FIXED] = true, load = true }
for _, starts in ipairs { 30, 300, 600 } do
  show_all(("starts in %d s"):format(starts), meet(nearest.day, { starts = starts, only = ONLY }),
    { "load" })
end
for seed = 2, 3 do
  local day = assert(generate.new { kind = "day", contrast = nearest.contrast, seed = seed })
  show_all(("seed %d"):format(seed), meet(day, { only = ONLY }), { FIXED, "load" })
end

print(("the day on which the HPA saves nearest to 35 %%: contrast %g"):format(nearest.contrast))
local fixed, load = nearest.found[FIXED], nearest.found.load
measure.goal("the rule load: cost of the fixed ones", 100 * load.hours / fixed.hours, 100 * SOURCE,
  "%")
measure.goal("the rule load: short minutes, of the fixed ones'", 100 * load.short / fixed.short, 99,
  "%")
