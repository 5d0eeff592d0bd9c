--- Plots for the page: pictures in SVG that stretch to whatever width there is, with their words
--- beside them in HTML, so that a phone shows them as large as any text.
local shown = require "unbusy.simulate.shown"

local plot = {}

local WIDE, HIGH = 1000, 100 -- units of a picture

--- A text as HTML.
---@param text any
function plot.escape(text)
  return (tostring(text):gsub('[&<>"\']', { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;",
    ['"'] = "&quot;", ["'"] = "&#39;" }))
end

local escape = plot.escape

-- A number for a picture: to the tenth, without a zero behind the point.
local function n(value)
  return (shown.fixed(value, 1):gsub("%.0$", ""))
end

-- {== Scales ==============================================================

-- A number at or above whose quarters are round.
local function round_up(value)
  if value <= 0 then return 1 end
  local power = 10 ^ math.floor(math.log(value) / math.log(10) + 1e-9)
  for _, factor in ipairs { 1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10 } do
    if value <= factor * power * (1 + 1e-9) then return factor * power end
  end
end

local steps = { 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200,
  14400, 43200, 86400, 172800, 604800 }

local function time_step(span)
  for _, step in ipairs(steps) do
    if span / step <= 6 then return step end
  end
  return span / 5
end

local function time_text(seconds, step)
  if step >= 3600 then return shown.short(seconds / 3600, 4) .. " h" end
  if step >= 60 then return shown.short(seconds / 60, 4) .. " min" end
  return shown.short(seconds, 4) .. " s"
end

local function times(page)
  local step, out = time_step(page.span), {}
  for i = 0, math.floor(page.span / step + 1e-9) do
    local at = i * step
    if at <= page.span * 0.96 then
      out[#out + 1] = ('<span style="left:%s%%">%s</span>'):format(n(at / page.span * 100),
        time_text(at, step))
    end
  end
  return '<div class="times">' .. table.concat(out) .. "</div>"
end

-- }========================================================================

-- {== Pictures ============================================================

local function x_of(page, k)
  return (k - 0.5) / page.count * WIDE
end

-- A line through the values, with gaps where there is none.
local function line_path(page, values, most)
  local out, pen = {}, false
  for k = 1, page.count do
    local value = values[k]
    if value then
      out[#out + 1] = ("%s%s %s"):format(pen and "L" or "M", n(x_of(page, k)),
        n(HIGH - math.min(value / most, 1.02) * HIGH))
    end
    pen = value ~= nil and value ~= false
  end
  return table.concat(out)
end

-- A line of steps: a value holds for all of its column.
local function step_path(page, values, most)
  local out, pen = {}, false
  for k = 1, page.count do
    local value = values[k]
    if value then
      local y = n(HIGH - math.min(value / most, 1.02) * HIGH)
      out[#out + 1] = ("%s%s %sL%s %s"):format(pen and "L" or "M",
        n((k - 1) / page.count * WIDE), y, n(k / page.count * WIDE), y)
    end
    pen = value ~= nil and value ~= false
  end
  return table.concat(out)
end

-- The area between two lists of sums.
local function area_path(page, below, above, most)
  local there, back = {}, {}
  for k = 1, page.count do
    local x = n(x_of(page, k))
    there[k] = ("%s %s"):format(x, n(HIGH - above[k] / most * HIGH))
    back[page.count + 1 - k] = ("%s %s"):format(x, n(HIGH - below[k] / most * HIGH))
  end
  return "M" .. table.concat(there, "L") .. "L" .. table.concat(back, "L") .. "Z"
end

local function trouble(page)
  local t = page.trouble
  if not t then return "" end
  return ('<rect class="trouble" x="%s" y="0" width="%s" height="%d"/>'):format(
    n(t.from / page.span * WIDE), n((t.to - t.from) / page.span * WIDE), HIGH)
end

local function grid_lines()
  local out = {}
  for i = 1, 3 do
    out[i] = ('<line x1="0" x2="%d" y1="%d" y2="%d"/>'):format(WIDE, i * HIGH / 4, i * HIGH / 4)
  end
  return table.concat(out)
end

local function picture(inner)
  return ('<svg viewBox="0 0 %d %d" preserveAspectRatio="none" aria-hidden="true">%s</svg>')
    :format(WIDE, HIGH, inner)
end

local function zeros(count)
  local out = {}
  for k = 1, count do out[k] = 0 end
  return out
end

local function drawn(page, o, most)
  local out, sums = {}, zeros(page.count)
  for _, s in ipairs(o.series) do
    if s.stacked then
      local above = {}
      for k = 1, page.count do above[k] = sums[k] + (s.values[k] or 0) end
      out[#out + 1] = ('<path class="fill" style="fill:var(--%s)" d="%s"/>'):format(s.color,
        area_path(page, sums, above, most))
      sums = above
    else
      out[#out + 1] = ('<path%s style="stroke:var(--%s)" d="%s"/>'):format(
        s.thin and ' class="thin"' or "", s.color,
        (s.steps and step_path or line_path)(page, s.values, most))
    end
  end
  return table.concat(out)
end

-- The greatest value that is drawn; a stack counts as its sum.
local function greatest(page, series)
  local most = 0
  for k = 1, page.count do
    local sum = 0
    for _, s in ipairs(series) do
      local value = s.values[k] or 0
      if value ~= math.huge then
        if s.stacked then sum = sum + value else most = math.max(most, value) end
      end
    end
    most = math.max(most, sum)
  end
  return most
end

-- }========================================================================

-- {== Around them =========================================================

local function ticks(most, unit)
  local out = {}
  for i = 0, 4 do
    local value = most * i / 4
    local text = unit == "%" and shown.fixed(value * 100, 0) .. " %" or shown.short(value, 4)
    out[#out + 1] = ('<span style="bottom:%d%%">%s</span>'):format(i * 25, text)
  end
  return '<div class="ticks">' .. table.concat(out) .. "</div>"
end

-- The legend, whose values the script fills in; the plot's numbers are kept for that.
local function legend(page, o)
  local index, kept, out = #page.plots, { unit = o.unit, series = {} }, {}
  for i, s in ipairs(o.series) do
    kept.series[i] = s.values
    out[i] = ('<li><i%s style="background:var(--%s)"></i><bdi>%s</bdi>'
      .. '<output data-plot="%d" data-series="%d"></output></li>'):format(
      s.stacked and ' class="block"' or "", s.color, escape(s.name), index, i - 1)
  end
  page.plots[index + 1] = kept
  if page.trouble then
    out[#out + 1] = '<li><i class="block key-trouble"></i>trouble<output data-time></output></li>'
  end
  return '<ul class="legend">' .. table.concat(out) .. "</ul>"
end

local function caption(o)
  return ("<figcaption>%s <span>%s</span></figcaption>"):format(escape(o.title),
    escape(o.what or ""))
end

--- A plot over time.
---@param page table { count = columns, span = seconds, trouble =, plots = is added to }
---@param o table { title =, what =, unit =, most =, series = { { name =, color =, values =,
--- stacked =, steps =, thin = }, … } }
---@return string html
function plot.over_time(page, o)
  local most = o.most or round_up(greatest(page, o.series))
  return ('<figure>%s%s<div class="frame">%s<div class="plot">%s<b></b></div>%s</div></figure>')
    :format(caption(o), legend(page, o), ticks(most, o.unit),
      picture(trouble(page) .. grid_lines() .. drawn(page, o, most)), times(page))
end

local colors = { closed = "closed", half_open = "half", open = "open", forced_open = "open" }

-- The states of one breaker as runs of equal ones.
local function strip(page, states)
  local out, k = {}, 1
  while k <= page.count do
    local state, last = states[k], k
    while last < page.count and states[last + 1] == state do last = last + 1 end
    if state then
      out[#out + 1] = ('<rect x="%s" y="0" width="%s" height="%d" style="fill:var(--%s)"/>'):format(
        n((k - 1) / page.count * WIDE), n((last - k + 1) / page.count * WIDE), HIGH,
        colors[state] or "other")
    end
    k = last + 1
  end
  return picture(table.concat(out))
end

--- The states of breakers over time, one strip for each target.
---@param page table
---@param o { list: { name: string, states: table }[] }
---@return string html
function plot.breakers(page, o)
  local out, index, kept = {}, #page.plots, { series = {} }
  for i, each in ipairs(o.list) do
    kept.series[i] = each.states
    out[#out + 1] = ('<div class="strip-name"><bdi>%s</bdi> '
      .. '<output data-plot="%d" data-series="%d"></output></div><div></div>'
      .. '<div class="plot strip">%s<b></b></div>'):format(
      escape(each.name), index, i - 1, strip(page, each.states))
  end
  page.plots[index + 1] = kept
  local key = {}
  for _, pair in ipairs { { "closed", "closed" }, { "half", "half open" }, { "open", "open" } } do
    key[#key + 1] = ('<li><i class="block" style="background:var(--%s)"></i>%s</li>')
      :format(pair[1], pair[2])
  end
  return ('<figure>%s<ul class="legend">%s</ul><div class="frame">%s%s</div></figure>'):format(
    caption(o), table.concat(key), table.concat(out), times(page))
end

-- }========================================================================

return plot
