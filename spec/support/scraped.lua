--- A text of metrics, read as a monitoring system reads it: for specs.
--
--     local s = scraped.read(client:metrics())
--     s:value('unbusy_calls_total{code="",kind="chat",source="cache"}')   a sample, or nil
--     s:sum("unbusy_tries_total", { status = "200" })                    of those with these labels
--     s.types.unbusy_calls_total                                         "counter"
--
-- It is strict: a line that is none of the format, a sample without its `# TYPE`, a series that is
-- there twice, a family in two places, a histogram that is none: each is an error.
local scraped = {}
scraped.__index = scraped

local function unescaped(text)
  return (text:gsub("\\(.)", { n = "\n", ["\\"] = "\\", ['"'] = '"' }))
end

-- The labels of `{…}`; an error for what is none.
local function labels_of(text, line)
  local labels, at = {}, 2
  while text:sub(at, at) ~= "}" do
    local name, to = text:match('^([%a_][%w_]*)="()', at)
    assert(name, "no label: " .. line)
    local value = {}
    local i = to
    while text:sub(i, i) ~= '"' do
      assert(i <= #text, "no end: " .. line)
      local n = text:sub(i, i) == "\\" and 2 or 1
      value[#value + 1], i = text:sub(i, i + n - 1), i + n
    end
    assert(labels[name] == nil, "a label twice: " .. line)
    labels[name], at = unescaped(table.concat(value)), i + 1
    if text:sub(at, at) == "," then at = at + 1 end
  end
  assert(at == #text, "behind the labels: " .. line)
  return labels
end

local function sorted_key(name, labels)
  local parts = {}
  for label, value in pairs(labels) do parts[#parts + 1] = ('%s="%s"'):format(label, value) end
  table.sort(parts)
  return parts[1] and ("%s{%s}"):format(name, table.concat(parts, ",")) or name
end

-- The family that a sample is of.
local function family_of(self, name)
  for _, suffix in ipairs { "", "_bucket", "_sum", "_count", "_total" } do
    local family = suffix == "" and name or name:match("^(.+)" .. suffix .. "$")
    if family and self.types[family] then return family end
  end
end

local function take_sample(self, line)
  local name, labels, number = line:match "^([%a_:][%w_:]*)(%b{}) (%S+)$"
  if not name then
    name, number = line:match "^([%a_:][%w_:]*) (%S+)$"
    labels = "{}"
  end
  assert(name, "no line of the format: " .. line)
  local value = tonumber(number)
  assert(value and value - value == 0, "no number: " .. line)
  local family = family_of(self, name)
  assert(family and family == self.family, "not below its type: " .. line)
  local found = labels_of(labels, line)
  local key = sorted_key(name, found)
  assert(self.samples[key] == nil, "twice: " .. line)
  self.samples[key] = value
  self.list[#self.list + 1] = { name = name, labels = found, value = value, family = family }
end

local function take_comment(self, line)
  local what, name, rest = line:match "^# (%u+) ([%w_:]+) ?(.*)$"
  assert(what == "HELP" or what == "TYPE" or what == "UNIT", "no comment: " .. line)
  if what == "HELP" then assert(not self.helps[name], "twice: " .. line) end
  if what == "HELP" then self.helps[name] = rest end
  if what == "TYPE" then
    assert(not self.types[name], "a family twice: " .. line)
    self.types[name], self.family = rest, name
  end
end

-- Buckets that only grow, up to the count.
local function check_histograms(self)
  local last = {}
  for _, s in ipairs(self.list) do
    if s.name:find "_bucket$" and self.types[s.family] == "histogram" then
      local labels = {}
      for label, value in pairs(s.labels) do if label ~= "le" then labels[label] = value end end
      local key = sorted_key(s.family, labels)
      assert(s.value >= (last[key] or 0), "a bucket falls: " .. key)
      last[key] = s.value
      if s.labels.le == "+Inf" then
        assert(s.value == self.samples[sorted_key(s.family .. "_count", labels)], "count: " .. key)
      end
    end
  end
end

--- Reads it; raises for what is no text of that format.
---@param text string
---@param open boolean? is it OpenMetrics?
function scraped.read(text, open)
  local self = setmetatable({ samples = {}, list = {}, types = {}, helps = {} }, scraped)
  assert(text == "" or text:sub(-1) == "\n", "no end of the last line")
  if open then
    assert(text:sub(-6) == "# EOF\n", "no # EOF")
    text = text:sub(1, -7)
  end
  for line in text:gmatch "([^\n]*)\n" do
    if line:sub(1, 1) == "#" then take_comment(self, line) else take_sample(self, line) end
  end
  check_histograms(self)
  return self
end

--- A sample by its name and labels in their order; nil where there is none.
function scraped:value(key)
  return self.samples[key]
end

--- The sum of all samples of that name that have these labels.
---@param name string
---@param labels table<string, string>?
---@return number
function scraped:sum(name, labels)
  local sum = 0
  for _, s in ipairs(self.list) do
    local fits = s.name == name
    for label, value in pairs(labels or {}) do fits = fits and s.labels[label] == value end
    if fits then sum = sum + s.value end
  end
  return sum
end

return scraped
