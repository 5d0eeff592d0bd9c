--- Rows of small bars for a terminal of 80 columns, and tables.
local shown = require "unbusy.simulate.shown"

local chart = {}

chart.LABEL, chart.WIDTH = 16, 60 -- columns before a row, and of a row

local MOST_NAME = chart.LABEL - 3

local signs = {
  utf8 = { "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█", zero = "·", left = "└", right = "┘", dash = "─",
    more = "…" },
  ascii = { ".", ":", "-", "=", "+", "*", "%", "#", zero = "_", left = "|", right = "|", dash = "-",
    more = "~" },
}

--- "utf8" or "ascii": what the environment asks for.
---@param getenv function
function chart.style(getenv)
  for _, name in ipairs { "LC_ALL", "LC_CTYPE", "LANG" } do
    local value = getenv(name)
    if value and value ~= "" then
      return value:lower():find "utf%-?8" and "utf8" or "ascii"
    end
  end
  return "ascii"
end

-- {== Texts ===============================================================

-- The columns of one character: those of East Asian scripts and pictures take two.
local function columns_of(char)
  local a = char:byte()
  if a == 0xEF then return char >= "\239\188\129" and char <= "\239\189\160" and 2 or 1 end
  return (a >= 0xE3 and a <= 0xED or a == 0xF0) and 2 or 1
end

local CHARACTER = "[%z\1-\127\194-\244][\128-\191]*"

--- The columns that a text in UTF-8 takes.
function chart.columns(text)
  local n = 0
  for char in text:gmatch(CHARACTER) do n = n + columns_of(char) end
  return n
end

--- A text with blanks up to so many columns; on the left where `right` is true.
function chart.pad(text, columns, right)
  local blanks = (" "):rep(columns - chart.columns(text))
  return right and blanks .. text or text .. blanks
end

--- A text cut to so many columns, with a sign that says so.
function chart.cut(text, columns, style)
  if chart.columns(text) <= columns then return text end
  local out, n = {}, 1
  for char in text:gmatch(CHARACTER) do
    n = n + columns_of(char)
    if n > columns then break end
    out[#out + 1] = char
  end
  return table.concat(out) .. signs[style].more
end

--- The lines of a table; the first column to the left, the others to the right.
---@param rows string[][] the first one is the head
---@return string[]
function chart.table(rows)
  local widths, out = {}, {}
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do widths[i] = math.max(widths[i] or 0, chart.columns(cell)) end
  end
  for n, row in ipairs(rows) do
    local cells = {}
    for i, cell in ipairs(row) do cells[i] = chart.pad(cell, widths[i], i > 1) end
    out[n] = "  " .. table.concat(cells, "  ")
  end
  return out
end

-- }========================================================================

-- {== Bars ================================================================

--- The sign of a value of 0 to 1: the full block for all of it and nothing less, the zero sign for
--- none of it, a blank for nil.
function chart.sign(value, style)
  local s = signs[style]
  if not value then return " " end
  if value <= 0 then return s.zero end
  if value >= 1 then return s[8] end
  return s[math.floor(value * 7) + 1]
end

--- A row: its label, and a sign for each value.
---@param values table 1 to WIDTH: 0 to 1, or nil for none
function chart.row(label, values, style)
  local out = {}
  for i = 1, chart.WIDTH do out[i] = chart.sign(values[i], style) end
  return chart.line(label, table.concat(out), style)
end

--- A row of signs that stand already.
function chart.line(label, text, style)
  local head = chart.pad(chart.cut(label, MOST_NAME, style), chart.LABEL - 2)
  return ("  %s%s"):format(head, (text:gsub(" +$", "")))
end

-- How long, to the digit that one sees.
local function seconds(value)
  return shown.short(value, 4) .. " s"
end

--- The lines below rows: the trouble marked, and the times at both its ends and at the end.
---@param from number? share of the width at which it begins
---@param to number? where it ends
---@param times table { from =, to =, last = } seconds
---@return string[]
function chart.axis(from, to, times, style)
  local s, indent = signs[style], (" "):rep(chart.LABEL)
  local last = seconds(times.last)
  if not from then return { indent .. chart.pad(last, chart.WIDTH, true) } end
  local left = math.min(math.floor(from * chart.WIDTH), chart.WIDTH - 2)
  local wide = math.max(2, math.floor(to * chart.WIDTH + 0.5) - left)
  local mark = (" "):rep(left) .. s.left .. s.dash:rep(wide - 2) .. s.right
  local words = ("trouble: %s to %s"):format(seconds(times.from), seconds(times.to))
  local room = chart.WIDTH - #last - 1
  local at = math.max(0, math.min(left, room - #words))
  return { indent .. mark,
    indent .. chart.pad((" "):rep(at) .. words, chart.WIDTH - #last) .. last }
end

-- }========================================================================

return chart
