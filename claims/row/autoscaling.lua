--- Row 3.1: an HPA from 3 to 20 replicas at 70 % CPU; 10 fixed pods become 3 to 15: cost −35 %.
local generate = require "unbusy.simulate.generate"
local manifest = require "claims.manifest"
local options = require "unbusy.scaling.options"
local scaling = require "unbusy.simulate.scaling"

local PODS, PLACES, STARTS = 10, 8, 120
local HPA, FIXED = "hpa, 70 % cpu", "fixed 10"
local SAVED = 35

local function read(rule)
  local rule_options, governor = options.read({}, rule)
  return { rule_options, governor }
end

-- What comes of a day, by the contestants' names.
local function meet(contrast, only)
  local day = assert(generate.new { kind = "day", contrast = contrast })
  local by_name = { calls = day.asked }
  for _, f in ipairs(assert(scaling.compare(day, { pods = PODS, places = PLACES, starts = STARTS,
    every = 30, cpu = read "cpu", load = read "load", only = only }))) do
    by_name[f.name] = f
  end
  return by_name
end

local function saved(found, name)
  return 100 * (1 - found[name].hours / found[FIXED].hours)
end

local function row_of(contrast, found, name)
  local f = found[name]
  return { ("%g"):format(contrast), name, ("%d to %d"):format(f.least, f.most),
    ("%.0f"):format(f.hours), name == FIXED and "" or ("%+.0f %%"):format(-saved(found, name)),
    ("%d min"):format(f.short), ("%.2f %%"):format(100 * f.failed / f.calls) }
end

local CONTRASTS, JUDGED = { 1, 2.5 }, 2.5
local NAMES = { FIXED, HPA, "load" }

local function inputs(sheet)
  sheet:input("replicas that are compared with, places of each", ("%d, %d"):format(PODS, PLACES))
  sheet:input("seconds of an answer", "20 on average, lognormal")
  sheet:input("seconds from asking for a replica until it serves; it is paid meanwhile", STARTS)
  sheet:input("at the height of the day arrives", "1.1 × what ten replicas answer")
  sheet:input("the day", ("that of `unbusy trace --kind day --contrast %g`"):format(JUDGED))
  sheet:input("price", "replica-hours, all of them alike")
end

local function measure(sheet)
  inputs(sheet)
  local only, rows, judged = {}, {}, nil
  for _, name in ipairs(NAMES) do only[name] = true end
  for _, contrast in ipairs(CONTRASTS) do
    local found = meet(contrast, only)
    for _, name in ipairs(NAMES) do rows[#rows + 1] = row_of(contrast, found, name) end
    if contrast == JUDGED then judged = found end
  end
  sheet:figure { what = "cost of an HPA at 70 %, of ten fixed replicas", claimed = "−35 %",
    value = -saved(judged, HPA), show = "%+.0f %%", most = -SAVED }
  sheet:figure { what = "cost of the rule `load` of unbusy scale", claimed = "−35 %",
    value = -saved(judged, "load"), show = "%+.0f %%", most = -SAVED }
  sheet:figure { what = "its minutes with too few, of the fixed ones'", claimed = "fewer",
    value = judged.load.short - judged[FIXED].short, show = "%+d min", most = 0 }
  sheet:figure { what = "the same in deploy/kubernetes: lines that say 3, 20 and 70 %",
    claimed = "3", value = manifest.count(
      manifest.read "deploy/kubernetes/components/autoscale-cpu/hpa.yaml",
      { "minReplicas: 3", "maxReplicas: 20", "averageUtilization: 70" }), show = "%d", least = 3 }
  sheet:table("How uneven a day is decides what there is to save (contrast: the greater, the "
    .. "quieter its quiet hours)", { "contrast", "", "replicas", "replica-hours", "cost",
    "too few", "failed" }, rows)
  sheet:say("The source does not tell its day. On one with contrast 1, which a working day looks "
    .. "like as well, an HPA at 70 % saves less than half of what is claimed.")
end

return {
  row = "3.1", title = "Autoscaling", seconds = 400, measure = measure,
  how = "A day in the simulator: the rules, the governor and the client are the real ones; the "
    .. "replicas are a model. No cluster was run.",
}
