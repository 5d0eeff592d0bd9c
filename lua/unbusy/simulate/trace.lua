--- Traces: which calls came when, and what their targets did. A CSV file, see docs/simulator.md.
--
--     # any remark
--     #: {"target":"a","capacity":20,"latency":{"kind":"lognormal","mean":1,"sigma":0.5}}
--     #: {"target":"a","at":60,"capacity":5}
--     time,target,arrival,status,latency
--     0.041,a,1,200,0.912
--     0.055,a,1,503,0.05
--
-- A row with an `arrival` is load: so many calls come at `time`. A row with a `status` is an
-- observation: `target`, asked at `time`, answered so after `latency` seconds. Most are both. A
-- target that the header describes does what the header says; any other does what its rows show
-- (see `unbusy.simulate.observed`).
--
-- In memory a trace is { path, seed, start, calls, targets = { { name, price, phases, declared } },
-- remarks } and its rows as lists of equal length: times, of (index of the target, 0 for none),
-- arrivals, statuses (false for none), latencies.
local json = require "unbusy.json"
local lines = require "unbusy.simulate.lines"
local schema = require "unbusy.simulate.schema"
local shown = require "unbusy.simulate.shown"

local trace = {}

--- What a trace may hold.
trace.MOST_ROWS, trace.MOST_CALLS, trace.MOST_SECONDS = 2e6, 2e6, 1e7

--- The head of the rows.
trace.COLUMNS = "time,target,arrival,status,latency"

-- {== The header ==========================================================

--- An empty trace, with the defaults of its header.
---@param path string? that stands in messages
function trace.new(path)
  local whole, calls = schema.part("trace", {}), schema.part("calls", {})
  return { path = path or "trace", seed = whole.seed, start = whole.start, calls = calls,
    targets = {}, by_name = {}, remarks = {},
    times = {}, of = {}, arrivals = {}, statuses = {}, latencies = {}, rows = 0, asked = 0 }
end

--- The index of the target of that name, which is known from now on.
---@return integer
function trace.index(self, name)
  local index = self.by_name[name]
  if index then return index end
  index = #self.targets + 1
  self.targets[index] = { name = name, phases = {}, declared = false }
  self.by_name[name] = index
  return index
end

-- What is given, over what held before; null takes a field back to its default.
local function laid_over(before, given)
  local out = {}
  for name, value in pairs(before) do out[name] = value end
  for name, value in pairs(given) do
    if value == json.null then out[name] = nil else out[name] = value end
  end
  return out
end

--- Adds what a header line says of a target; a message when it cannot be.
---@param given table
---@return string? message
function trace.declare(self, given)
  if type(given.target) ~= "string" then return "target: a name expected" end
  local known = self.targets[self.by_name[given.target] or 0]
  local last = known and known.given
  local at = given.at or 0
  if not last and at ~= 0 then return "the first line of a target is of its beginning: no 'at'" end
  if last and (type(at) ~= "number" or at <= last.at) then
    return ("at: more than %g expected, where the line before it begins"):format(last.at)
  end
  for _, name in ipairs { "price", "pool" } do
    if last and given[name] ~= nil then return name .. ": in the first line of the target" end
  end
  local merged = laid_over(last or {}, given)
  merged.at = at
  local phase, message = schema.phase(merged)
  if not phase then return message end
  local target = self.targets[trace.index(self, given.target)]
  target.given, target.declared = merged, true
  target.price, target.pool = target.price or phase.price, target.pool or phase.pool
  target.phases[#target.phases + 1] = phase
end

local function take_part(self, given)
  for _, what in ipairs { "calls", "trace" } do
    if given[what] ~= nil then
      if next(given, next(given)) ~= nil then
        return what .. ": nothing else expected in its line"
      end
      local value, message = schema.part(what, given[what])
      if not value then return message end
      if what == "calls" then self.calls = value
      else self.seed, self.start = value.seed, value.start end
      return nil
    end
  end
  return "one of target, calls and trace expected"
end

-- A header line's JSON; a message when it makes no sense.
local function take_header(self, text)
  local given, message = json.decode(text)
  if type(given) ~= "table" or json.is_array(given) or given[1] ~= nil then
    return message or "a JSON object expected"
  end
  if given.target ~= nil then return trace.declare(self, given) end
  return take_part(self, given)
end

-- }========================================================================

-- {== Rows ================================================================

local function number(text)
  if not text:find "^%d+%.?%d*$" and not text:find "^%d+%.?%d*[eE][-+]?%d%d?$" then return nil end
  return tonumber(text)
end

-- The text of a field in quotes that opens at `at`, and the place behind it; two quotes in it stand
-- for one. Nil where it does not close.
local function quoted(line, at)
  local text, stop = "", at
  repeat
    local part, behind = line:match('^"([^"]*)"()', stop)
    if not part then return nil end
    text, stop = text .. (stop > at and '"' or "") .. part, behind
  until line:byte(stop) ~= 34
  return text, stop
end

-- The five fields of a line with quotes in it (RFC 4180), or nil.
local function quoted_fields(line)
  local fields, at = {}, 1
  while true do
    local text, stop
    if line:byte(at) == 34 then
      text, stop = quoted(line, at)
      if not text then return nil end
    else
      text, stop = line:match('^([^,"]*)()', at)
    end
    fields[#fields + 1] = text
    if stop > #line then break end
    if line:byte(stop) ~= 44 then return nil end
    at = stop + 1
  end
  return fields[5] and not fields[6] and fields or nil
end

local function fields_of(line)
  local a, b, c, d, e = line:match "^([^,]*),([^,]*),([^,]*),([^,]*),([^,]*)$"
  if a and not line:find('"', 1, true) then return a, b, c, d, e end
  local fields = quoted_fields(line)
  if fields then return fields[1], fields[2], fields[3], fields[4], fields[5] end
end

-- A whole number of at most `most`; false where the field is empty, nil where it is wrong.
local function whole(text, most)
  if text == "" then return false end
  local n = text:find "^%d+$" and #text <= 10 and tonumber(text)
  return n and n <= most and n or nil
end

--- Adds a row, whose values have been checked.
function trace.add(self, time, of, arrival, status, latency)
  local n = self.rows + 1
  self.times[n], self.of[n], self.arrivals[n] = time, of, arrival
  self.statuses[n], self.latencies[n] = status, latency
  self.rows, self.asked = n, self.asked + arrival
end

-- Is there what a row needs besides its numbers? A message, or nil.
local function check_observation(name, status, latency)
  if status and name == "" then return "status: of which target?" end
  if latency and not status then return "latency: of an answer, but the status is missing" end
  if status and status > 0 and status < 100 then return "status: 0 or 100 to 599 expected" end
  if status and status >= 200 and status < 300 and not latency then
    return "latency: seconds expected, of an answer"
  end
end

local function check_amounts(self, arrival)
  if self.rows >= trace.MOST_ROWS then
    return ("more than %d rows: take a part"):format(trace.MOST_ROWS)
  elseif self.asked + arrival > trace.MOST_CALLS then
    return ("more than %d calls in all: take a part"):format(trace.MOST_CALLS)
  end
end

-- A row's time, which is not before the one above; or nil and a message.
local function time_of(self, text)
  local time = number(text)
  if not time then return nil, "time: seconds expected, a number that is not negative" end
  if time > trace.MOST_SECONDS then
    return nil, ("time: at most %d seconds since the trace began"):format(trace.MOST_SECONDS)
  end
  local before = self.times[self.rows]
  if before and time < before then
    return nil, ("time: %s is before the row above (%.14g): rows stand in order")
      :format(text, before)
  end
  return time
end

local function take_row(self, line)
  local t, name, a, s, l = fields_of(line)
  if not t then return ("five fields expected: %s"):format(trace.COLUMNS) end
  local time, message = time_of(self, t)
  if not time then return message end
  local arrival, status = whole(a, trace.MOST_CALLS), whole(s, 599)
  local latency = l ~= "" and number(l) or l == "" and false
  if arrival == nil then return "arrival: a whole number expected" end
  if status == nil then return "status: a whole number from 0 to 599 expected, or nothing" end
  if l ~= "" and (not latency or latency > trace.MOST_SECONDS) then
    return "latency: seconds expected, a number that is not negative"
  end
  if name ~= "" and not schema.is_name(name) then
    return "target: 1 to 64 characters in UTF-8 expected, none of them a control character"
  end
  message = check_observation(name, status, latency) or check_amounts(self, arrival or 0)
  if message then return message end
  trace.add(self, time, name ~= "" and trace.index(self, name) or 0, arrival or 0, status,
    latency or 0)
end

-- }========================================================================

-- {== Reading =============================================================

local function take_line(self, line, state)
  if line == "" then return nil end
  if line:byte() == 35 then
    if line:byte(2) ~= 58 then
      if state.rows then return nil end
      self.remarks[#self.remarks + 1] = line:match "^#%s?(.*)$"
      return nil
    end
    if state.rows then return "a header line below the first row" end
    return take_header(self, line:sub(3))
  elseif not state.rows then
    if line:lower():gsub("%s", "") ~= trace.COLUMNS then
      return ("the columns expected: %s"):format(trace.COLUMNS)
    end
    state.rows = true
    return nil
  end
  return take_row(self, line)
end

--- What is wrong with a trace as a whole; nil where it can be played.
---@return string? message
function trace.fault(self)
  if self.rows == 0 then return "no rows" end
  if self.asked == 0 then return "no call arrives in it" end
  local seen = {}
  for i = 1, self.rows do
    if self.statuses[i] then seen[self.of[i]] = true end
  end
  for i, target in ipairs(self.targets) do
    if not target.declared and not seen[i] then
      return ("target '%s': neither a header line nor a status says what it does")
        :format(target.name)
    end
  end
  if #self.targets == 0 then return "no target, in the header or in a row" end
  if self.calls.kind == "embed" and self.calls.stream > 0 then
    return "calls.stream: there are no streams of embeddings"
  end
end

local function read_all(self, reader)
  local state = { rows = false }
  while true do
    local line, more = reader:next()
    if not line then
      if more then return more end
      break
    end
    if reader.number == 1 then line = line:gsub("^\239\187\191", "") end
    local message = take_line(self, line, state)
    if message then return reader:fault(message) end
  end
  local message = not state.rows and ("no columns: %s"):format(trace.COLUMNS) or trace.fault(self)
  return message and ("%s: %s"):format(reader.path, message)
end

--- Reads a trace. What is wrong is told with the file's name and the line.
---@param path string
---@return table? trace, string? message
function trace.read(path)
  local reader, message = lines.open(path)
  if not reader then return nil, message end
  local self = trace.new(path)
  message = read_all(self, reader)
  reader:close()
  if message then return nil, message end
  return self
end

-- }========================================================================

-- {== Writing =============================================================

local function csv_text(text)
  if text:find '[,"]' then return '"' .. text:gsub('"', '""') .. '"' end
  return text
end

-- A number of seconds to the millisecond, without zeros at its end.
local function show(seconds)
  return (shown.fixed(seconds, 3):gsub("0+$", ""):gsub("%.$", ""))
end

--- Writes a trace by calls of `write(text)`.
---@param self table
---@param header table[] what the `#:` lines hold, as lists of { name, value } in order
---@param write fun(text: string)
function trace.write(self, header, write)
  for _, remark in ipairs(self.remarks) do write(("# %s\n"):format(remark)) end
  for _, text in ipairs(header) do write(("#: %s\n"):format(text)) end
  write(trace.COLUMNS .. "\n")
  for i = 1, self.rows do
    local target, status = self.targets[self.of[i]], self.statuses[i]
    write(("%s,%s,%d,%s,%s\n"):format(show(self.times[i]), target and csv_text(target.name) or "",
      self.arrivals[i], status and ("%d"):format(status) or "",
      status and show(self.latencies[i]) or ""))
  end
end

-- }========================================================================

return trace
