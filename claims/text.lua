--- What the rows came to, for people: on a terminal and as a page of Markdown.
local sheet = require "claims.sheet"

local text = {}

-- {== On a terminal =======================================================

local WIDE = 56

-- Blanks behind, by characters and not by bytes.
local function padded(words, wide)
  local n = select(2, words:gsub("[^\128-\191]", ""))
  return words .. (" "):rep(wide - n)
end

local function row_of_cells(cells, widths)
  local out = {}
  for i, cell in ipairs(cells) do out[i] = padded(cell, widths[i]) end
  return ("    " .. table.concat(out, "  ")):gsub("%s+$", "")
end

local function table_lines(out, t)
  local widths = {}
  local function widen(cells)
    for i, cell in ipairs(cells) do
      widths[i] = math.max(widths[i] or 0, select(2, cell:gsub("[^\128-\191]", "")))
    end
  end
  widen(t.head)
  for _, cells in ipairs(t.rows) do widen(cells) end
  out[#out + 1] = "  " .. t.title
  out[#out + 1] = row_of_cells(t.head, widths)
  for _, cells in ipairs(t.rows) do out[#out + 1] = row_of_cells(cells, widths) end
end

--- A row as lines for a terminal.
---@param result table { row =, name =, title =, seconds =, fault = or sheet's fields }
---@return string
function text.plain(result)
  local out = { ("== %s %s: %s (%.0f s)"):format(result.row, result.name, result.title,
    result.seconds) }
  for _, f in ipairs(result.figures or {}) do
    out[#out + 1] = ("  %s claimed %-10s measured %-12s %s"):format(padded(f.what, WIDE), f.claimed,
      f.measured, f.verdict)
    if f.why then out[#out + 1] = "    " .. f.why end
  end
  for _, t in ipairs(result.tables or {}) do table_lines(out, t) end
  for _, note in ipairs(result.notes or {}) do out[#out + 1] = "  " .. note end
  if result.fault then out[#out + 1] = "  FAILED: " .. result.fault end
  return table.concat(out, "\n")
end

--- The last line: how many figures there are of each kind, and rows that failed.
---@param results table[]
---@return string line, boolean good nothing missed and nothing failed
function text.sum(results)
  local n, failed = { [sheet.MET] = 0, [sheet.MISSED] = 0, [sheet.UNKNOWN] = 0 }, 0
  for _, r in ipairs(results) do
    if r.fault then failed = failed + 1 end
    for _, f in ipairs(r.figures or {}) do n[f.verdict] = n[f.verdict] + 1 end
  end
  return ("%d figures met, %d missed, %d not reached; %d of %d rows failed"):format(n[sheet.MET],
    n[sheet.MISSED], n[sheet.UNKNOWN], failed, #results), n[sheet.MISSED] == 0 and failed == 0
end

-- }========================================================================

-- {== As a page ===========================================================

local HEAD = {
  "# Claims\n",
  "What the source of this project claims, and what was measured here. `make claims` has written "
    .. "this page: ${date}, with ${lua}, on ${machine}. `make claims NAME=batching` measures one "
    .. "row and writes nothing.\n",
  "Rows that need a server have real ones: the [busy upstream](../spec/support/busyd/README.md), "
    .. "over HTTP on loopback. Where a figure is one of hours or of money, it comes out of the "
    .. "[simulator](simulator.md), whose client is the real one and whose servers are a model. "
    .. "What figures follow from stands with them as inputs, and is varied where it decides.\n",
  "${sum}.\n",
}

-- The page's beginning, with what it leaves open filled in.
local function head(values)
  return (table.concat(HEAD, "\n"):gsub("%${(%w+)}", values))
end

local function cell(words)
  return (words:gsub("|", "\\|"):gsub("\n", " "))
end

local function markdown_table(out, columns, rows)
  local function line(cells)
    local escaped = {}
    for i, words in ipairs(cells) do escaped[i] = cell(words) end
    out[#out + 1] = "| " .. table.concat(escaped, " | ") .. " |"
  end
  line(columns)
  out[#out + 1] = "|" .. ("---|"):rep(#columns)
  for _, cells in ipairs(rows) do line(cells) end
  out[#out + 1] = ""
end

local shown = { [sheet.MET] = "met", [sheet.MISSED] = "**missed**",
  [sheet.UNKNOWN] = "not reached" }

local function anchor(result)
  return (("%s %s"):format(result.row, result.title):lower():gsub("[^%w%- ]", ""):gsub(" ", "-"))
end

local function summary(out, results)
  local rows = {}
  for _, r in ipairs(results) do
    local link = ("[%s](#%s)"):format(r.row, anchor(r))
    for _, f in ipairs(r.figures or {}) do
      rows[#rows + 1] = { link, f.what, f.claimed, f.measured, shown[f.verdict],
        ("`NAME=%s`"):format(r.name) }
    end
    if r.fault then
      rows[#rows + 1] = { link, r.title, "", "", "**failed**", ("`NAME=%s`"):format(r.name) }
    end
  end
  markdown_table(out, { "row", "figure", "claimed", "measured", "", "alone" }, rows)
end

local function part(out, r)
  out[#out + 1] = ("## %s %s\n"):format(r.row, r.title)
  out[#out + 1] = ("%s (`make claims NAME=%s`, %.0f s.)\n"):format(r.how, r.name, r.seconds)
  if r.fault then out[#out + 1] = ("The measurement failed: %s\n"):format(cell(r.fault)) end
  local rows = {}
  for i, input in ipairs(r.inputs or {}) do rows[i] = { input.what, input.value } end
  if rows[1] then markdown_table(out, { "input", "" }, rows) end
  for _, f in ipairs(r.figures or {}) do
    if f.why then
      out[#out + 1] = ("Not reached: %s, %s. %s\n"):format(f.what, f.claimed, f.why)
    end
  end
  for _, t in ipairs(r.tables or {}) do
    out[#out + 1] = t.title .. ":\n"
    markdown_table(out, t.head, t.rows)
  end
  for _, note in ipairs(r.notes or {}) do out[#out + 1] = note .. "\n" end
end

--- All of it as a page.
---@param results table[]
---@param about table { date =, lua =, machine = }
---@return string
function text.page(results, about)
  local out = { head { date = about.date, lua = about.lua, machine = about.machine,
    sum = (text.sum(results)) } }
  summary(out, results)
  for _, r in ipairs(results) do part(out, r) end
  return (table.concat(out, "\n"):gsub("\n\n\n+", "\n\n"):gsub("\n+$", "\n"))
end

-- }========================================================================

return text
