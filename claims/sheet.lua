--- What a row of claims has measured: inputs, figures beside what was claimed, tables, remarks.
--- Plain data, so that it goes from the process that measures to the one that tells.
--
--     sheet:input("places of the server", 20)
--     sheet:figure { what = "calls a second", claimed = "2.3 ×", value = 5.1, show = "%.1f ×",
--       least = 2.3 }
--     sheet:table("by how long the burst lasts", { "burst", "naive" }, { { "5 s", "64 %" } })
--     sheet:say "What the source has counted there, it does not say."
local json = require "unbusy.json"

local sheet = {}
sheet.__index = sheet

--- What may become of a figure: it is as good as claimed or better, it is not, or it cannot be had
--- from here, for a reason that is told.
sheet.MET, sheet.MISSED, sheet.UNKNOWN = "met", "MISSED", "not reached"

function sheet.new()
  return setmetatable({ inputs = json.array(), figures = json.array(), tables = json.array(),
    notes = json.array() }, sheet)
end

--- Something that the figures follow from.
---@param what string
---@param value string|number
function sheet:input(what, value)
  self.inputs[#self.inputs + 1] = { what = what, value = tostring(value) }
end

local function add(self, figure)
  self.figures[#self.figures + 1] = figure
end

-- Whether the value is within what was claimed. NaN is within nothing.
local function holds(f)
  return f.value >= (f.least or -math.huge) and f.value <= (f.most or math.huge)
end

--- A figure that was measured, and is judged by `least`, by `most` or by both.
---@param f table { what =, claimed = as the source has it, value =, show = format (%g), least =,
--- most = numbers }
function sheet:figure(f)
  if type(f.value) ~= "number" or not (f.least or f.most) then
    error(f.what .. ": a value, and what it must be at least or at most", 2)
  end
  add(self, { what = f.what, claimed = f.claimed, measured = (f.show or "%g"):format(f.value),
    verdict = holds(f) and sheet.MET or sheet.MISSED })
end

--- A figure that cannot be reached honestly, and why.
---@param f table { what =, claimed =, measured = what can be said instead, why = a sentence }
function sheet:cannot(f)
  add(self, { what = f.what, claimed = f.claimed, measured = f.measured or "–",
    verdict = sheet.UNKNOWN, why = f.why })
end

--- A table of what is varied.
---@param title string
---@param head string[]
---@param rows string[][]
function sheet:table(title, head, rows)
  local all = json.array()
  for i, row in ipairs(rows) do
    local cells = json.array()
    for k, cell in ipairs(row) do cells[k] = tostring(cell) end
    all[i] = cells
  end
  self.tables[#self.tables + 1] = { title = title, head = json.array(head), rows = all }
end

--- A remark.
---@param text string
function sheet:say(text)
  self.notes[#self.notes + 1] = text
end

return sheet
