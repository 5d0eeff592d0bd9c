--- The report for a terminal.
local chart = require "unbusy.simulate.chart"
local figures = require "unbusy.simulate.figures"
local shown = require "unbusy.simulate.shown"

local text = {}

local MOST_NAME = 30 -- columns of a client's name in a sentence

-- {== The table ===========================================================

-- A share as text, never rounded up: 99.96 % is not 100 %.
local function percent(share)
  return ("%.1f %%"):format(math.floor(share * 1000 + 1e-9) / 10)
end

local function seconds(value)
  if not value then return "-" end
  return shown.fixed(value, value < 0.9995 and 2 or 1) .. " s"
end

local function amount(value)
  return value and shown.short(value, 4) or "-"
end

local function recovered(value, trouble)
  if not trouble then return "-" end
  return value and shown.fixed(value, 0) .. " s" or "no"
end

local function rows_of(report, style)
  local rows = { { "", "answered", "p50", "p99", "first", "calls", "cost", "recovered" } }
  for _, c in ipairs(report.clients) do
    rows[#rows + 1] = { chart.cut(c.name, chart.LABEL - 2, style), percent(c.availability),
      seconds(c.total.p50), seconds(c.total.p99), seconds(c.first.p50),
      shown.fixed(c.calls_each, 2), amount(c.cost_per_1000),
      recovered(c.recovery, report.trouble) }
  end
  return rows
end

-- "77.2 … 77.5 … 83.4 %": least, middle and most.
local function range(spread, show, unit)
  if not spread then return "-" end
  return ("%s  %s  %s%s"):format(show(spread.least), show(spread.middle), show(spread.most), unit)
end

local function tenths(share) return ("%.1f"):format(math.floor(share * 1000 + 1e-9) / 10) end
local function hundredths(value) return shown.fixed(value, 2) end

local function spread_table(report, style)
  local rows = { { "", "answered", "calls", "cost" } }
  for _, c in ipairs(report.clients) do
    rows[#rows + 1] = { chart.cut(c.name, chart.LABEL - 2, style),
      range(c.spread.availability, tenths, " %"), range(c.spread.calls_each, hundredths, ""),
      range(c.spread.cost_per_1000, amount, "") }
  end
  local out = { ("With %d seeds: least, middle and most of each"):format(report.seeds) }
  for _, line in ipairs(chart.table(rows)) do out[#out + 1] = line end
  return out
end

local LEGEND = {
  "  p50, p99: until the answer is whole; first: until its first byte, for half of",
  "  them; calls: upstream calls for each call; cost: of 1000 answers; recovered:",
  "  after the end of the trouble.",
}

-- }========================================================================

-- {== Bars ================================================================

-- The values of `count` columns as those of a chart: f(first, last) of those that fall together.
local function squeezed(count, f)
  local out = {}
  for i = 1, chart.WIDTH do
    local first = math.floor((i - 1) * count / chart.WIDTH) + 1
    local last = math.max(first, math.floor(i * count / chart.WIDTH))
    out[i] = f(first, last)
  end
  return out
end

local function sum(columns, field, first, last)
  local n = 0
  for k = first, last do n = n + columns[k][field] end
  return n
end

local function scaled(values)
  local most = 0
  for i = 1, chart.WIDTH do most = math.max(most, values[i] or 0) end
  local out = {}
  for i = 1, chart.WIDTH do
    out[i] = values[i] and (most > 0 and math.min(values[i] / most, 1) or 0)
  end
  return out, most
end

local function asked(report)
  local columns = report.clients[1].columns
  return squeezed(report.count, function(first, last)
    return sum(columns, "calls", first, last) / ((last - first + 1) * report.width)
  end)
end

local function answered(report, c)
  return squeezed(report.count, function(first, last)
    local calls = sum(c.columns, "calls", first, last)
    return calls > 0 and sum(c.columns, "answered", first, last) / calls or nil
  end)
end

local function middle_seconds(report, c)
  return squeezed(report.count, function(first, last)
    local all = {}
    for k = first, last do
      for _, value in ipairs(c.columns[k].totals) do all[#all + 1] = value end
    end
    table.sort(all)
    return figures.quantile(all, 0.5)
  end)
end

local function axis(report, style)
  local t, whole = report.trouble, report.count * report.width
  return chart.axis(t and t.from / whole, t and t.to / whole,
    { from = t and t.from, to = t and t.to, last = whole }, style)
end

local function add_places(out, report, style)
  for _, name in ipairs(report.targets) do
    local values = report.capacity[name]
    local row, most = scaled(squeezed(report.count, function(first, last)
      local places = 0
      for k = first, last do places = places + math.min(values[k], 1e9) end
      return places / (last - first + 1)
    end))
    out[#out + 1] = most >= 1e9 and chart.line(name, "no limit", style)
      or chart.row(name, row, style)
  end
end

local function load_chart(report, style)
  local row, most = scaled(asked(report))
  local out = { ("Calls that arrive (full: %s a second), and places of each target (full: most)")
    :format(shown.short(most, 3)), chart.row("asked", row, style) }
  add_places(out, report, style)
  return out
end

local function answer_chart(report, style)
  local out = { "Answered, of what was asked at each moment (full: all of it)" }
  for _, c in ipairs(report.clients) do
    out[#out + 1] = chart.row(c.name, answered(report, c), style)
  end
  return out
end

local function wait_chart(report, style)
  local deadline = report.trace.calls.deadline
  local out = { ("Seconds until the answer, of half of them (full: the deadline, %s s)")
    :format(shown.short(deadline, 4)) }
  for _, c in ipairs(report.clients) do
    local values = middle_seconds(report, c)
    for i = 1, chart.WIDTH do values[i] = values[i] and values[i] / deadline end
    out[#out + 1] = chart.row(c.name, values, style)
  end
  return out
end

local rank = { closed = 1, half_open = 2, open = 3, forced_open = 3 }
local marks = { utf8 = { "·", "▄", "█" }, ascii = { ".", "+", "#" } }

-- The worst state of a target's breaker in each column.
local function breaker_row(report, c, name, style)
  local samples = c.record.samples
  local worst = squeezed(report.count, function(first, last)
    local most
    for k = first, last do
      local state = samples[k] and samples[k].states[name]
      local r = state and (rank[state] or 1)
      if r and r > (most or 0) then most = r end
    end
    return most
  end)
  local out = {}
  for i = 1, chart.WIDTH do out[i] = worst[i] and marks[style][worst[i]] or " " end
  return chart.line(name, table.concat(out), style)
end

local function breaker_chart(report, c, style)
  local m = marks[style]
  local out = { ("Breakers of %s (%s closed, %s half open, %s open)"):format(
    chart.cut(c.name, MOST_NAME, style), m[1], m[2], m[3]) }
  for _, name in ipairs(report.targets) do
    out[#out + 1] = breaker_row(report, c, name, style)
  end
  return out
end

-- }========================================================================

-- {== Sentences ===========================================================

-- "timeout 860, busy 9": the most frequent first.
local function list_of(counts)
  local names, out = {}, {}
  for name in pairs(counts) do names[#names + 1] = name end
  table.sort(names, function(a, b)
    if counts[a] ~= counts[b] then return counts[a] > counts[b] end
    return a < b
  end)
  for i, name in ipairs(names) do out[i] = ("%s %d"):format(name, counts[name]) end
  return table.concat(out, ", ")
end

-- Tries beside slow ones, and queues that were left; nil where there were none.
local function second_tries(c)
  local h = c.record.hedge
  if h.begun + h.switched == 0 then return nil end
  return ("    beside slow tries: %d, of which %d answered; queues left: %d"):format(h.begun, h.won,
    h.switched)
end

local function sources(c, style)
  local failures = next(c.failures) and (" (%s)"):format(list_of(c.failures)) or ""
  return ("  %s: %s%s"):format(chart.cut(c.name, MOST_NAME, style), list_of(c.sources), failures)
end

-- What a policy's script did wrong, so that the built-in decision was taken.
local function faults(c, style)
  if not next(c.policy_faults) then return nil end
  return ("  %s: its script failed: %s (%s)"):format(chart.cut(c.name, MOST_NAME, style),
    list_of(c.policy_faults), c.last_fault or "no word of it")
end

-- What became of poor answers, where they are told from good ones.
local function weak(c, style)
  local e = c.escalate
  if not e then return nil end
  local reasons, why = list_of(e.weak), list_of(e.kept)
  return ("  %s: of %d answers judged weak: %s; replaced %d; kept: %s"):format(
    chart.cut(c.name, MOST_NAME, style), e.judged, reasons ~= "" and reasons or "none",
    e.replaced, why ~= "" and why or "none")
end

local function head(report)
  local t, trouble = report.trace, report.trouble
  local what = trouble and ("trouble from %s s to %s s%s"):format(shown.short(trouble.from, 4),
    shown.short(trouble.to, 4), trouble.open and ", the end" or "") or "no trouble"
  return t.path, ("  %d calls in %s s; %s; seed %d"):format(report.calls.n,
    shown.short(report.span, 4), what, report.seed)
end

-- }========================================================================

local function join(out, lines)
  for _, line in ipairs(lines) do out[#out + 1] = line end
end

--- The lines of the report.
---@param report table of `simulate.compare`
---@param style "utf8"|"ascii"
---@return string[]
function text.lines(report, style)
  local path, what = head(report)
  local out = { path, what, "" }
  join(out, chart.table(rows_of(report, style)))
  join(out, LEGEND)
  if report.seeds then
    out[#out + 1] = ""
    join(out, spread_table(report, style))
  end
  for _, part in ipairs { load_chart, answer_chart, wait_chart } do
    out[#out + 1] = ""
    join(out, part(report, style))
    join(out, axis(report, style))
  end
  for _, c in ipairs(report.clients) do
    if c.kind == "policy" then
      out[#out + 1] = ""
      join(out, breaker_chart(report, c, style))
    end
  end
  out[#out + 1] = ""
  out[#out + 1] = "Where the answers came from, and why there was none"
  for _, c in ipairs(report.clients) do
    out[#out + 1] = sources(c, style)
    out[#out + 1] = weak(c, style)
    out[#out + 1] = second_tries(c)
    out[#out + 1] = faults(c, style)
  end
  return out
end

return text
