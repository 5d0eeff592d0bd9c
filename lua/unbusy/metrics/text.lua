--- All of a client's metrics as text, in one of two formats.
--
--     text.of(client)                  Prometheus' text format 0.0.4
--     text.of(client, "openmetrics")   OpenMetrics 1.0
--
-- It is written in pieces of some 16 KB, and `pause`, where it is given, is called between them: a
-- worker that has others to serve goes on with those. So no step takes long, and neither does any
-- need memory in one block, which would have to be asked of the system for each page anew.
local families = require "unbusy.metrics.families"
local labels = require "unbusy.metrics.labels"
local state = require "unbusy.metrics.state"

local text = {}

-- {== Writing =============================================================

--- What the formats are called where something is sent.
text.types = {
  prometheus = "text/plain; version=0.0.4; charset=utf-8",
  openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8",
}

local function escaped_help(help)
  return (help:gsub("\\", "\\\\"):gsub("\n", "\\n"))
end

local units = { "seconds", "bytes" }

-- What stands above a family's series.
local function head(family, open)
  local name = family.name
  if open and family.type == "counter" then name = name:gsub("_total$", "") end
  local kind = family.type
  local out = ("# HELP %s %s\n# TYPE %s %s\n"):format(name, escaped_help(family.help), name, kind)
  for _, unit in ipairs(open and units or {}) do
    if name:find("_" .. unit .. "$") then out = out .. ("# UNIT %s %s\n"):format(name, unit) end
  end
  return out
end

local function number(value)
  if value == 0 then return "0" elseif value == 1 then return "1" end
  if value == math.floor(value) and math.abs(value) < 2 ^ 53 then return ("%.0f"):format(value) end
  return ("%.15g"):format(value)
end

local function nothing() end

-- Adds what was counted of a family.
local function add_counted(out, family, part, pause)
  local from = 0
  repeat
    local lines
    lines, from = part:text(family.name, from)
    if not lines then return end -- the part is lost
    if lines ~= "" then out[#out + 1] = lines end
    pause()
  until not from
end

local MOST = 100 -- lines in a piece: some 10 KB

-- Adds what was looked up: { { value, label, … }, … }.
local function add_found(out, family, found, pause)
  local lines, key = {}, labels.keys(family)
  for i, sample in ipairs(found) do
    lines[#lines + 1] = key(sample[2], sample[3]) .. " " .. number(sample[1]) .. "\n"
    if #lines == MOST or i == #found then
      out[#out + 1], lines = table.concat(lines), {}
      pause()
    end
  end
end

--- The text, in pieces that follow one another.
---@param client table that has metrics
---@param format "prometheus"|"openmetrics"|nil the first by default
---@param pause function? called now and then
---@return string[]
function text.pieces(client, format, pause)
  local open, out = format == "openmetrics", {}
  pause = pause or nothing
  local found = state.of(client, pause)
  for _, family in ipairs(families.list) do
    local above = #out + 1
    out[above] = head(family, open)
    if family.kind then add_counted(out, family, client.meter.part, pause) end
    add_found(out, family, found[family.name] or {}, pause)
    if #out == above then out[above] = nil end -- there is none of it
  end
  if open then out[#out + 1] = "# EOF\n" end
  return out
end

--- The text.
---@param client table that has metrics
---@param format "prometheus"|"openmetrics"|nil the first by default
---@return string
function text.of(client, format)
  return table.concat(text.pieces(client, format))
end

-- }========================================================================

return text
