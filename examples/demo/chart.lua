--- Small charts for a terminal of 80 columns: a row for each series, a column for each moment.
local chart = {}

local LABEL = 16 -- columns before a row
local WIDTH = 60 -- columns of a row

local blocks = { utf8 = { "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" },
  ascii = { ".", ":", "-", "=", "+", "*", "%", "#" } }
local lines = {
  utf8 = { left = "└", right = "┘", dash = "─", zero = "·" },
  ascii = { left = "|", right = "|", dash = "-", zero = "_" },
}

--- Whether the environment asks for UTF-8.
---@param getenv function
function chart.is_utf8(getenv)
  for _, name in ipairs { "LC_ALL", "LC_CTYPE", "LANG" } do
    local value = getenv(name)
    if value and value ~= "" then return value:lower():find "utf%-?8" ~= nil end
  end
  return false
end

--- The sign for a value of 0 to 1: the full block for all of it, nothing less; the zero sign for
--- none of it; a blank for nil.
function chart.sign(value, style)
  if not value then return " " end
  if value <= 0 then return lines[style].zero end
  if value >= 1 then return blocks[style][8] end
  return blocks[style][math.floor(value * 7) + 1]
end

--- How many moments fit, at most one for each `step` seconds of `total`.
function chart.columns(total, step)
  return math.max(1, math.min(WIDTH, math.floor(total / step + 0.5)))
end

--- A row of signs, each as wide as there is room for.
---@param values table of 0 to 1, or nil where there is none
---@param columns integer
function chart.row(label, values, columns, style)
  local wide, out = math.floor(WIDTH / columns), {}
  for i = 1, columns do out[i] = chart.sign(values[i], style):rep(wide) end
  return ("  %-" .. (LABEL - 2) .. "s%s"):format(label, (table.concat(out):gsub(" +$", "")))
end

--- The line below the rows: `burst` of `total` seconds are marked, and the times written.
function chart.axis(burst, total, columns, style)
  local l, wide = lines[style], math.floor(WIDTH / columns) * columns
  local marked = math.max(2, math.floor(wide * burst / total + 0.5))
  local word = marked >= 9 and "burst" or ""
  local dashes = marked - 2 - #word
  local left = math.floor(dashes / 2)
  local first, last = ("%g s"):format(burst), ("%g s"):format(total)
  local mark = l.left .. l.dash:rep(left) .. word .. l.dash:rep(dashes - left) .. l.right
  return (" "):rep(LABEL) .. mark .. " " .. first
    .. (" "):rep(math.max(1, wide - marked - 1 - #first - #last)) .. last
end

return chart
