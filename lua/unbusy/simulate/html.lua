--- The report as one page: nothing is loaded from elsewhere, and nothing in a name is obeyed.
local figures = require "unbusy.simulate.figures"
local json = require "unbusy.json"
local ordered = require "unbusy.simulate.ordered"
local plot = require "unbusy.simulate.plot"
local shown = require "unbusy.simulate.shown"
local style = require "unbusy.simulate.page_style"

local html = {}

local escape = plot.escape

-- {== Words ===============================================================

local function percent(share)
  return ("%.1f %%"):format(math.floor(share * 1000 + 1e-9) / 10)
end

local function seconds(value)
  if not value then return "–" end
  return shown.fixed(value, value < 0.9995 and 2 or 1) .. " s"
end

local function recovered(report, c)
  if not report.trouble then return "–" end
  return c.recovery and shown.fixed(c.recovery, 0) .. " s" or "not in time"
end

local function amount(value)
  return value and shown.short(value, 4) or "–"
end

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

-- }========================================================================

-- {== The table ===========================================================

local HEAD = "<tr><th>client</th><th>answered</th><th>half within</th><th>99 % within</th>"
  .. "<th>first byte,<br>half within</th><th>upstream calls<br>for each call</th>"
  .. "<th>refused<br>by upstreams</th><th>cost of<br>1000 answers</th>"
  .. "<th>recovered<br>after</th></tr>"

local function row(report, i, c)
  return ('<tr><th><bdi>%s</bdi></th><td class="bar"><span class="meter"><i style="width:%s%%;'
    .. 'background:var(--s%d)"></i></span>%s</td><td>%s</td><td>%s</td><td>%s</td><td>%s</td>'
    .. "<td>%d</td><td>%s</td><td>%s</td></tr>"):format(escape(c.name),
    shown.fixed(c.availability * 100, 1), (i - 1) % 8, percent(c.availability),
    seconds(c.total.p50), seconds(c.total.p99), seconds(c.first.p50), shown.fixed(c.calls_each, 2),
    c.refused, amount(c.cost_per_1000), recovered(report, c))
end

-- Of several seeds: least, middle and most of what was answered.
local function spread(report)
  if not report.seeds then return "" end
  local rows = {}
  for i, c in ipairs(report.clients) do
    local a, n = c.spread.availability, c.spread.calls_each
    rows[i] = ("<tr><th><bdi>%s</bdi></th><td>%s</td><td>%s</td><td>%s</td>"
      .. "<td>%s to %s</td></tr>"):format(escape(c.name), percent(a.least), percent(a.middle),
      percent(a.most), shown.fixed(n.least, 2), shown.fixed(n.most, 2))
  end
  return ('<h2>With %d seeds</h2><p class="soft">The same calls, other chance in the servers and '
    .. 'the clients.</p><div class="card scroll"><table><thead><tr><th>client</th>'
    .. "<th>answered at least</th><th>middle</th><th>at most</th>"
    .. "<th>upstream calls<br>for each call</th></tr></thead><tbody>%s</tbody></table></div>")
    :format(report.seeds, table.concat(rows))
end

local function comparison(report)
  local rows = {}
  for i, c in ipairs(report.clients) do rows[i] = row(report, i, c) end
  return '<div class="card scroll"><table><thead>' .. HEAD .. "</thead><tbody>"
    .. table.concat(rows) .. "</tbody></table></div>"
end

-- }========================================================================

-- {== Plots of all clients ================================================

-- Sums of a field over each column and its two neighbours.
local function smooth(columns, field, count)
  local out = {}
  for k = 1, count do
    local sum = 0
    for j = math.max(1, k - 1), math.min(count, k + 1) do sum = sum + columns[j][field] end
    out[k] = sum
  end
  return out
end

local function shares(report, c)
  local calls = smooth(c.columns, "calls", report.count)
  local answered, out = smooth(c.columns, "answered", report.count), {}
  for k = 1, report.count do out[k] = calls[k] > 0 and answered[k] / calls[k] or nil end
  return out
end

local function quantiles(report, c, share)
  local out = {}
  for k = 1, report.count do out[k] = figures.quantile(c.columns[k].totals, share) end
  return out
end

-- A line for each client.
local function of_all(report, values)
  local series = {}
  for i, c in ipairs(report.clients) do
    series[i] = { name = c.name, color = ("s%d"):format((i - 1) % 8), values = values(c) }
  end
  return series
end

local function capacity_sum(report)
  local out = {}
  for k = 1, report.count do
    local sum = 0
    for _, values in pairs(report.capacity) do sum = sum + values[k] end
    out[k] = sum ~= math.huge and sum or nil
  end
  return out
end

local function load_plot(page, report)
  local series = { { name = "calls a second", color = "s0", values = {} } }
  for k = 1, math.floor(report.span / report.width + 1e-9) do -- behind it nobody comes
    series[1].values[k] = report.clients[1].columns[k].calls / report.width
  end
  for i, name in ipairs(report.targets) do
    local places = {}
    for k, value in ipairs(report.capacity[name]) do
      places[k] = value ~= math.huge and value or nil
    end
    series[#series + 1] = { name = "places of " .. name, color = ("s%d"):format(i % 8),
      steps = true, values = places }
  end
  return plot.over_time(page, { title = "Load and capacity",
    what = "calls that arrive each second, and how many each target serves at once",
    series = series })
end

local function share_plot(page, report)
  return plot.over_time(page, { title = "Answered", unit = "%", most = 1,
    what = "of the calls that arrive at each moment",
    series = of_all(report, function(c) return shares(report, c) end) })
end

local function wait_plot(page, report)
  return plot.over_time(page, { title = "Seconds until the answer", unit = "s",
    what = "of half of the calls that arrive at each moment and are answered",
    series = of_all(report, function(c) return quantiles(report, c, 0.5) end) })
end

-- }========================================================================

-- {== Plots of one client =================================================

local order = { "upstream", "coalesced", "batch", "cache", "stale", "fallback", "failed" }
local known = {}
for i, name in ipairs(order) do known[name] = i end

-- The sources of a client's answers, those that are known first.
local function sources_of(c)
  local names = {}
  for name in pairs(c.sources) do names[#names + 1] = name end
  table.sort(names, function(a, b)
    local left, right = known[a] or 99, known[b] or 99
    if left ~= right then return left < right end
    return a < b
  end)
  return names
end

local function source_plot(page, report, c)
  local series = {}
  for i, name in ipairs(sources_of(c)) do
    local values = {}
    for k = 1, report.count do values[k] = (c.columns[k].by_source[name] or 0) / report.width end
    series[i] = { name = name, color = known[name] and name or "other", stacked = true,
      values = values }
  end
  return plot.over_time(page, { title = "Answers by source",
    what = "calls a second, by when they arrived", series = series })
end

local function sampled(report, c, f)
  local out = {}
  for k = 1, report.count do
    local s = c.record.samples[k]
    out[k] = s and f(s) or nil
  end
  return out
end

local function sum(list)
  local total = 0
  for _, value in ipairs(list) do total = total + value end
  return total
end

local function flight_plot(page, report, c)
  return plot.over_time(page, { title = "In flight", what = "calls in service at all targets",
    series = {
      { name = "in service", color = "s0",
        values = sampled(report, c, function(s) return sum(s.in_service) end) },
      { name = "places", color = "other", thin = true, steps = true,
        values = capacity_sum(report) },
    } })
end

local function line_plot(page, report, c)
  local series = { { name = "in the targets' lines", color = "s2",
    values = sampled(report, c, function(s) return sum(s.in_line) end) } }
  if c.kind == "policy" then
    table.insert(series, 1, { name = "in unbusy's line", color = "s1",
      values = sampled(report, c, function(s) return s.waiting end) })
  end
  return plot.over_time(page, { title = "Waiting", what = "calls in line for a place",
    series = series })
end

local function breaker_plot(page, report, c)
  if c.kind ~= "policy" then return "" end
  local list = {}
  for _, name in ipairs(report.targets) do
    local states = sampled(report, c, function(s) return s.states[name] end)
    if next(states) then list[#list + 1] = { name = name, states = states } end
  end
  if not list[1] then return "" end
  return plot.breakers(page, { title = "Breakers", what = "one for each target", list = list })
end

local function latency_plot(page, report, c)
  return plot.over_time(page, { title = "Latency", unit = "s",
    what = "until the whole answer, by when the call arrived",
    series = {
      { name = "half within", color = "s0", values = quantiles(report, c, 0.5) },
      { name = "99 % within", color = "s1", values = quantiles(report, c, 0.99) },
    } })
end

local function fault_words(c)
  if not next(c.policy_faults) then return "" end
  return (". Its script failed: %s (%s)"):format(list_of(c.policy_faults), c.last_fault or "")
end

local function client(page, report, c, is_open)
  local failures = next(c.failures) and " (" .. list_of(c.failures) .. ")" or ""
  local words = list_of(c.sources) .. failures .. fault_words(c)
  return ('<details%s><summary><bdi>%s</bdi></summary><p class="soft">%s</p>%s%s%s%s%s</details>')
    :format(is_open and " open" or "", escape(c.name), escape(words),
      source_plot(page, report, c), flight_plot(page, report, c), line_plot(page, report, c),
      breaker_plot(page, report, c), latency_plot(page, report, c))
end

-- }========================================================================

-- {== The page ============================================================

local EXPLAINED = [[<p class="soft">The client, its stages and its parts are the real ones; the
servers are a model that the trace describes. <b>Trouble</b> is where a target can answer less
than two thirds of what it usually can, or more calls arrive than all targets can answer. A
client has <b>recovered</b> where 95&nbsp;% of the calls are answered again and half of them in
less than twice the usual time. A fallback text counts as a source, and not as answered.</p>]]

local function intro(report)
  local t, trouble = report.trace, report.trouble
  local text = ("%d calls in %s s; callers wait %s s; seed %d. "):format(report.calls.n,
    shown.short(report.span, 4), shown.short(t.calls.deadline, 4), report.seed)
  if not trouble then return text .. "No trouble." end
  return text .. ("Trouble from %s s to %s s%s."):format(shown.short(trouble.from, 4),
    shown.short(trouble.to, 4), trouble.open and ", where the trace ends" or "")
end

-- The numbers for the script. What JSON leaves as it is could end the element: it is written
-- otherwise.
local function data(page, report)
  local plots = json.array()
  for i, p in ipairs(page.plots) do
    local series = json.array()
    for j, values in ipairs(p.series) do
      local list = json.array()
      for k = 1, page.count do
        local v = values[k]
        if type(v) == "number" then v = math.floor(v * 1000 + 0.5) / 1000 end
        list[k] = v or json.null
      end
      series[j] = list
    end
    plots[i] = { unit = p.unit or "", series = series }
  end
  local text = ordered.encode { count = page.count, step = report.width, plots = plots }
  return (text:gsub("[<>&]", { ["<"] = "\\u003c", [">"] = "\\u003e", ["&"] = "\\u0026" }))
end

local TOP = [[<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>%s</title><style>
%s</style></head><body><main>
<h1><bdi>%s</bdi></h1><p class="soft">%s</p>
]]

local BOTTOM = [[
</main><script type="application/json" id="data">%s</script><script>
%s</script></body></html>
]]

--- The page.
---@param report table of `simulate.compare`
---@return string html
function html.page(report)
  local page = { count = report.count, span = report.count * report.width,
    trouble = report.trouble, plots = {} }
  local title = report.trace.path:match "[^/]+$" or report.trace.path
  if not json.is_utf8(title) then title = title:gsub("[\128-\255]+", "?") end
  local out = { TOP:format(escape(title .. ": unbusy simulate"), style.css, escape(title),
    escape(intro(report))), comparison(report), EXPLAINED, spread(report), '<div class="card">',
    load_plot(page, report), share_plot(page, report), wait_plot(page, report), "</div>",
    "<h2>Each client</h2>" }
  for i, c in ipairs(report.clients) do out[#out + 1] = client(page, report, c, i == 1) end
  out[#out + 1] = BOTTOM:format(data(page, report), style.js)
  return table.concat(out)
end

-- }========================================================================

return html
