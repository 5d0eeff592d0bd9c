--- Prometheus' text format (0.0.4), and OpenMetrics as far as it is the same.
--
--     local families = exposition.read(text)
--     exposition.sum(families, "unbusy_calls_total", { source = "none" })
local exposition = {}

local MOST = 200000 -- series

local escapes = { ["\\\\"] = "\\", ['\\"'] = '"', ["\\n"] = "\n" }

local function unescaped(text)
  return (text:gsub('\\[\\"n]', escapes))
end

-- The labels that open at `at`, behind "{", and the place behind "}"; nil where they make no sense.
local function labels_at(line, at)
  local out = {}
  while true do
    local stop = line:match("^%s*,?%s*}()", at)
    if stop then return out, stop end
    local name, open = line:match('^%s*,?%s*([%a_:][%w_:]*)%s*=%s*"()', at)
    if not name then return nil end
    local close = open
    while true do
      close = line:find('["\\]', close)
      if not close then return nil end
      if line:byte(close) == 34 then break end
      close = close + 2
    end
    out[name], at = unescaped(line:sub(open, close - 1)), close + 1
  end
end

local words = { ["+Inf"] = math.huge, ["-Inf"] = -math.huge, Inf = math.huge }

local function number(text)
  if text == "NaN" then return nil, true end
  return words[text] or text:find "^[-+%d.]" and tonumber(text)
end

-- A line's name, labels and value; nil for a remark, or nil and true for one that makes no sense.
local function series_of(line)
  local name, at = line:match "^([%a_:][%w_:]*)()"
  if not name then return nil, line:find "^%s*#" == nil and line:find "%S" ~= nil end
  local labels, stop = {}, at
  if line:match("^%s*{", at) then
    labels, stop = labels_at(line, line:match("^%s*{()", at))
    if not labels then return nil, true end
  end
  local text = line:match("^%s+(%S+)", stop)
  if not text then return nil, true end
  local value, is_nan = number(text)
  if not value then return nil, not is_nan end
  return { name = name, labels = labels, value = value }
end

--- Reads a text: name -> list of { labels =, value = }. NaN is left out.
---@param text string
---@return table? families, string? message with the line's number
function exposition.read(text)
  local families, count, number_of = {}, 0, 0
  for line in text:gmatch "([^\n]*)\n?" do
    number_of = number_of + 1
    local series, wrong = series_of(line)
    if wrong then return nil, ("line %d: no metric"):format(number_of) end
    if series then
      count = count + 1
      if count > MOST then return nil, ("more than %d series"):format(MOST) end
      local list = families[series.name] or {}
      families[series.name] = list
      list[#list + 1] = series
    end
  end
  if count == 0 then return nil, "no metric" end
  return families
end

local function matches(labels, wanted)
  for name, value in pairs(wanted or {}) do
    if labels[name] ~= value then return false end
  end
  return true
end

--- The sum of a family's values that have these labels; nil where there is none.
---@param families table
---@param name string
---@param wanted table?
---@return number?
function exposition.sum(families, name, wanted)
  local sum
  for _, series in ipairs(families[name] or {}) do
    if matches(series.labels, wanted) then sum = (sum or 0) + series.value end
  end
  return sum
end

return exposition
