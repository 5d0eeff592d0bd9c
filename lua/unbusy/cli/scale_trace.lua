--- `unbusy scale --trace`: what the rules would have made of a day, in simulated time.
local chart = require "unbusy.simulate.chart"
local json = require "unbusy.json"
local scaling = require "unbusy.scaling.options"
local shown = require "unbusy.simulate.shown"
local terminal = require "unbusy.cli.terminal"

local USAGE = 2 -- exit status

local scale_trace = {}

local function fail(message)
  error({ status = USAGE, message = message }, 0)
end

-- The options of a rule, as the contestants want them.
local function of_rule(values, rule)
  local r, g = scaling.read(values, rule)
  if not r then fail(g) end
  return { r, g }
end

local function saved(figures, first)
  if figures == first then return "" end
  return ("%+.0f %%"):format(100 * (figures.hours / first.hours - 1))
end

local function rows_of(list)
  local rows = { { "", "replicas", "changes", "hours", "cost", "short", "failed", "p99" } }
  for i, f in ipairs(list) do
    rows[i + 1] = { f.name, ("%d to %d"):format(f.least, f.most), ("%d"):format(f.changes),
      shown.fixed(f.hours, 1), saved(f, list[1]), ("%d min"):format(f.short),
      shown.fixed(100 * f.failed / f.calls, 2) .. " %",
      f.p99 and shown.fixed(f.p99, 1) .. " s" or "-" }
  end
  return rows
end

-- What there was to do, and the replicas of each; the full bar is the most of all.
local function add_chart(lines, list, style)
  local most, demand = 1, list[#list].over_time.demand
  for i = 1, chart.WIDTH do
    most = math.max(most, demand[i])
    for _, f in ipairs(list) do most = math.max(most, f.over_time.replicas[i]) end
  end
  local function row(label, values)
    local shares = {}
    for i = 1, chart.WIDTH do shares[i] = values[i] / most end
    lines[#lines + 1] = chart.row(label, shares, style)
  end
  lines[#lines + 1] = ""
  lines[#lines + 1] = ("Replicas over time (full: %.0f), and what there was to do"):format(most)
  row("to do", demand)
  for _, f in ipairs(list) do row(f.name, f.over_time.replicas) end
  lines[#lines + 1] = chart.pad(("%.1f h"):format(list[1].took / 3600), chart.LABEL + chart.WIDTH,
    true)
end

local NOTES = [[
  hours: of all replicas, from when they were asked for; cost: of these, beside
  the first line; short: minutes in which there were more calls than places.]]

local function text_of(t, list)
  local lines = { t.path, ("  %d calls in %.1f h; seed %d"):format(list[1].calls,
    t.times[t.rows] / 3600, t.seed), "" }
  for _, line in ipairs(chart.table(rows_of(list))) do lines[#lines + 1] = line end
  lines[#lines + 1] = NOTES
  add_chart(lines, list, chart.style(os.getenv))
  return table.concat(lines, "\n") .. "\n"
end

--- Runs it.
---@param values table see `arguments.parse`
---@return integer exit status
function scale_trace.run(values)
  local t, message = require("unbusy.simulate").read(values.trace)
  if not t then fail(message) end
  local list
  list, message = require("unbusy.simulate.scaling").compare(t, { pods = values.pods or 10,
    places = values.places or 8, starts = values.starts or 120, every = values.every or 30,
    cpu = of_rule(values, "cpu"), load = of_rule(values, "load") })
  if not list then fail(message) end
  if values.json then
    terminal.write(json.encode(json.array(list)) .. "\n")
  else
    terminal.write(terminal.clean(text_of(t, list)))
  end
  return 0
end

return scale_trace
