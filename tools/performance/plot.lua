--- Plots as SVG: curves on two logarithmic axes, and bars around 1. They need no script and no
--- font of their own, and have colours for a bright page and for a dark one.
local numbers = require "tools.performance.numbers"

local plot = {}

local HEAD = [[
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="%s">
<style>
  svg { font: 13px system-ui, sans-serif; --ink: #24292f; --faint: #d0d7de; --page: #ffffff;
    --c1: #0969da; --c2: #bc4c00; --c3: #1a7f37; --c4: #8250df; --c5: #bf3989; --c6: #6e7781; }
  @media (prefers-color-scheme: dark) { svg { --ink: #e6edf3; --faint: #3d444d; --page: #0d1117;
    --c1: #58a6ff; --c2: #ffa657; --c3: #56d364; --c4: #d2a8ff; --c5: #ff7bb8; --c6: #9198a1; } }
  .page { fill: var(--page); } text { fill: var(--ink); } .title { font-weight: 600; }
  .grid { stroke: var(--faint); } .axis { stroke: var(--ink); }
  .line { fill: none; stroke-width: 2; } .other { stroke-dasharray: 5 4; }
</style>
<rect class="page" width="100%%" height="100%%"/>
]]

local COLOURS = 6

local function escaped(text)
  return (text:gsub("[&<>\"]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;",
    ['"'] = "&quot;" }))
end

local function drawing(width, height, label)
  local out = { HEAD:format(width, height, escaped(label)) }
  function out.add(text, ...) out[#out + 1] = text:format(...) .. "\n" end
  function out.text(x, y, words, more)
    out.add('<text x="%.1f" y="%.1f" %s>%s</text>', x, y, more or "", escaped(words))
  end
  function out.finished()
    out.add "</svg>"
    return table.concat(out)
  end
  return out
end

-- {== Curves ================================================================

local WIDTH, HEIGHT = 760, 400
local LEFT, RIGHT, TOP, BOTTOM = 70, 740, 44, 330

-- The powers of `base` that enclose what is there.
local function range(values, base)
  local low, high = math.huge, -math.huge
  for _, v in ipairs(values) do low, high = math.min(low, v), math.max(high, v) end
  local function power(v) return math.log(v) / math.log(base) end
  low, high = math.floor(power(low) + 1e-9), math.ceil(power(high) - 1e-9)
  return low, math.max(high, low + 1), power
end

local function all_of(lines, name)
  local out = {}
  for _, line in ipairs(lines) do
    for _, p in ipairs(line.points) do out[#out + 1] = p[name] end
  end
  return out
end

local function axes(d, given)
  local base = given.of == "bytes" and 4 or 10
  local x0, x1, xpower = range(all_of(given.lines, "x"), base)
  local y0, y1, ypower = range(all_of(given.lines, "y"), 10)
  local function x_of(v) return LEFT + (RIGHT - LEFT) * (xpower(v) - x0) / (x1 - x0) end
  local function y_of(v) return BOTTOM - (BOTTOM - TOP) * (ypower(v) - y0) / (y1 - y0) end
  for i = x0, x1 do
    local at = x_of(base ^ i)
    d.add('<path class="grid" d="M%.1f %d V%d"/>', at, TOP, BOTTOM)
    d.text(at, BOTTOM + 18, numbers.mark(base ^ i, given.of), 'text-anchor="middle"')
  end
  for i = y0, y1 do
    local at = y_of(10 ^ i)
    d.add('<path class="grid" d="M%d %.1f H%d"/>', LEFT, at, RIGHT)
    d.text(LEFT - 8, at + 4, numbers.mark(10 ^ i), 'text-anchor="end"')
  end
  d.add('<path class="axis" fill="none" d="M%d %d V%d H%d"/>', LEFT, TOP, BOTTOM, RIGHT)
  d.text(RIGHT, BOTTOM + 36, given.of, 'text-anchor="end"')
  d.text(LEFT, TOP - 8, given.unit)
  return x_of, y_of
end

local function draw_line(d, line, x_of, y_of)
  local path = {}
  for i, p in ipairs(line.points) do
    path[i] = ("%s%.1f %.1f"):format(i == 1 and "M" or "L", x_of(p.x), y_of(p.y))
    d.add('<circle r="3" fill="var(--c%d)" cx="%.1f" cy="%.1f"/>', line.colour, x_of(p.x),
      y_of(p.y))
  end
  d.add('<path class="line%s" stroke="var(--c%d)" d="%s"/>', line.dashed and " other" or "",
    line.colour, table.concat(path, " "))
end

local COLUMNS = 2

local function legend(d, lines)
  for i, line in ipairs(lines) do
    local x = LEFT + (i - 1) % COLUMNS * (RIGHT - LEFT) / COLUMNS
    local y = BOTTOM + 60 + math.floor((i - 1) / COLUMNS) * 20
    d.add('<path class="line%s" stroke="var(--c%d)" d="M%.1f %.1f h30"/>',
      line.dashed and " other" or "", line.colour, x, y - 4)
    d.text(x + 38, y, line.name)
  end
end

--- Lines of the same `colour` are of one colour. All x and y are greater than 0.
---@param given table title, of (what x counts), unit (of y), lines: a list of
---  { name =, colour = 1 …, dashed =, points = { { x =, y = }, … } }
---@return string svg
function plot.curves(given)
  local rows = math.ceil(#given.lines / COLUMNS)
  local d = drawing(WIDTH, HEIGHT + 20 * math.max(0, rows - 1), given.title)
  d.text(LEFT, 20, given.title, 'class="title"')
  local x_of, y_of = axes(d, given)
  for _, line in ipairs(given.lines) do
    line.colour = (line.colour - 1) % COLOURS + 1
    draw_line(d, line, x_of, y_of)
  end
  legend(d, given.lines)
  return d.finished()
end

-- }=========================================================================

-- {== Bars ==================================================================

local NAMES, ROW = 470, 20

--- Ratios as bars to the left (less than 1) and to the right of 1, on a logarithmic axis.
---@param given table title, less, more (what the sides mean), bars = { { name =, ratio = }, … }
---@return string svg
function plot.ratios(given)
  local width, bottom = 1000, 66 + ROW * #given.bars
  local d = drawing(width, bottom + 26, given.title)
  local most = 10
  for _, bar in ipairs(given.bars) do most = math.max(most, bar.ratio, 1 / bar.ratio) end
  local powers = math.ceil(math.log(most) / math.log(10) - 1e-9)
  local middle, half = (NAMES + width - 50) / 2, (width - 50 - NAMES) / 2
  local function x_of(ratio) return middle + half * math.log(ratio) / math.log(10) / powers end
  d.text(10, 20, given.title, 'class="title"')
  d.text(middle - 8, 44, given.less, 'text-anchor="end"')
  d.text(middle + 8, 44, given.more)
  for i = -powers, powers do
    d.add('<path class="%s" d="M%.1f 52 V%d"/>', i == 0 and "axis" or "grid", x_of(10 ^ i), bottom)
    d.text(x_of(10 ^ i), bottom + 18, "× " .. numbers.text(10 ^ i), 'text-anchor="middle"')
  end
  for i, bar in ipairs(given.bars) do
    local y, x = 56 + ROW * (i - 1), x_of(bar.ratio)
    d.add('<rect x="%.1f" y="%.1f" width="%.1f" height="%d" fill="var(--c%d)"/>',
      math.min(x, middle), y, math.max(1, math.abs(x - middle)), ROW - 6, bar.ratio > 1 and 2 or 3)
    d.text(NAMES - 8, y + 11, bar.name, 'text-anchor="end"')
  end
  return d.finished()
end

-- }=========================================================================

return plot
