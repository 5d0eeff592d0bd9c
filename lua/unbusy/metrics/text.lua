--- All of a client's metrics as text, in one of two formats.
--
--     text.of(client)                  Prometheus' text format 0.0.4
--     text.of(client, "openmetrics")   OpenMetrics 1.0
--
-- The families are written one after the other, and `pause`, where it is given, is called between
-- them: a worker that has others to serve goes on with those.
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

-- What was looked up: { { value, label, … }, … }.
local function lines_of(family, found)
  local out = {}
  for i, sample in ipairs(found or {}) do
    local key = labels.key(family, { sample[2], sample[3] })
    out[i] = key .. " " .. number(sample[1]) .. "\n"
  end
  return table.concat(out)
end

--- The text.
---@param client table that has metrics
---@param format "prometheus"|"openmetrics"|nil the first by default
---@param pause function? called now and then
---@return string
function text.of(client, format, pause)
  local open, out, part = format == "openmetrics", {}, client.meter.part
  local found = state.of(client)
  for _, family in ipairs(families.list) do
    local lines = (family.kind and part:text(family.name) or "")
      .. lines_of(family, found[family.name])
    if lines ~= "" then
      out[#out + 1] = head(family, open)
      out[#out + 1] = lines
    end
    if pause then pause() end
  end
  if open then out[#out + 1] = "# EOF\n" end
  return table.concat(out)
end

-- }========================================================================

return text
