--- A table for the terminal: the first column to the left, the others to the right.
local figures = require "examples.demo.figures"

local GAP = "  "

-- The columns that a text takes, where each UTF-8 character takes one.
local function width(text)
  return select(2, text:gsub("[^\128-\191]", ""))
end

local function pad(text, wide, left)
  local blanks = (" "):rep(wide - width(text))
  return left and text .. blanks or blanks .. text
end

local layout = {}

--- The lines of a table.
---@param rows string[][] the first one is the head
---@return string[]
function layout.lines(rows)
  local widths, out = {}, {}
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do widths[i] = math.max(widths[i] or 0, width(cell)) end
  end
  for n, row in ipairs(rows) do
    local cells = {}
    for i, cell in ipairs(row) do cells[i] = pad(cell, widths[i], i == 1) end
    out[n] = GAP .. table.concat(cells, GAP)
  end
  return out
end

local function seconds(value)
  return value and ("%.1f s"):format(value) or "-"
end

--- The rows that compare clients.
---@param all table[] figures of each
function layout.compare(all)
  local rows = {
    { "", "answered", "p50", "p99", "calls each", "refused", "fallback", "failed" },
  }
  for _, f in ipairs(all) do
    rows[#rows + 1] = {
      f.name, figures.percent(f.answered, f.asked), seconds(f.p50), seconds(f.p99),
      ("%.2f"):format(f.calls_each), ("%d"):format(f.refused), ("%d"):format(f.fallback),
      ("%d"):format(f.failed + f.wrong),
    }
  end
  return rows
end

return layout
