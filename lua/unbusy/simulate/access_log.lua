--- A trace out of the log of a gateway (docs/gateway.md, "The log").
--
-- The log has a line for each request, told at its end. Of one line come:
--
-- * a row of load: the call came `seconds` before the line's `time`;
-- * a row of observation for its last try, where a target answered or failed;
-- * for each try before that a row that says 503, where the log knows of one target only: that it
--   failed is known, and no more. Of several targets it is not known which one failed.
--
-- The log says neither when tries began nor how long they took: they are spread evenly over the
-- time that the call did not wait for a place. What was refused before it was a call (a wrong
-- request, a quota of the client's key), and what is no call of a model, is left out; so is what
-- `unbusy serve` and nginx say besides, where a log has that, too (`>>FILE 2>&1`, `kubectl logs`).
local json = require "unbusy.json"
local lines = require "unbusy.simulate.lines"
local ordered = require "unbusy.simulate.ordered"
local schema = require "unbusy.simulate.schema"
local trace = require "unbusy.simulate.trace"

local access_log = {}

-- {== A line ==============================================================

local kinds = { chat = true, complete = true, embed = true, responses = true }

-- What a code says that the target answered; false where it says nothing of the target.
local status_of = { busy = 503, limited = 429, quota = 402, auth = 401, timeout = 0, network = 0,
  tls = 0, cut = 502, empty = 502, upstream = 502, invalid = false, open = false, budget = false,
  full = false, policy = false, cancelled = false, closed = false, nomem = false }

local function days_since_1970(year, month, day)
  if month <= 2 then year, month = year - 1, month + 12 end
  local leaps = math.floor(year / 4) - math.floor(year / 100) + math.floor(year / 400)
  return 365 * year + leaps + math.floor((153 * (month - 3) + 2) / 5) + day - 719469
end

-- Unix seconds of a time as nginx's $time_iso8601 writes it; nil for another text.
local function unix_time(text)
  local year, month, day, hour, minute, second, sign, h, m =
    text:match "^(%d%d%d%d)%-(%d%d)%-(%d%d)T(%d%d):(%d%d):(%d%d)([-+])(%d%d):(%d%d)$"
  if not year then return nil end
  local n = tonumber
  local offset = (n(h) * 60 + n(m)) * 60 * (sign == "-" and -1 or 1)
  return days_since_1970(n(year), n(month), n(day)) * 86400 + n(hour) * 3600 + n(minute) * 60
    + n(second) - offset
end

local function amount(value)
  return type(value) == "number" and value >= 0 and value <= trace.MOST_SECONDS and value or nil
end

local remarks = { "^unbusy: ", "^nginx: %[", "^%d%d%d%d/%d%d/%d%d %d%d:%d%d:%d%d %[%l+%] " }

-- Is it none of the gateway's lines, but of what `unbusy serve` or nginx says besides?
local function is_remark(text)
  for _, pattern in ipairs(remarks) do
    if text:find(pattern) then return true end
  end
  return false
end

-- What is wrong with a line that is JSON; nil where it can be used.
local function fault(record)
  if type(record.time) ~= "string" or not unix_time(record.time) then
    return "time: as 2026-01-31T12:00:00+00:00 expected"
  elseif kinds[record.kind] and not amount(record.seconds) then
    return "seconds: a number that is not negative expected"
  elseif record.target ~= nil
    and (type(record.target) ~= "string" or not schema.is_name(record.target)) then
    return "target: a name expected"
  elseif record.tries ~= nil and (not json.whole(record.tries) or record.tries < 0
    or record.tries > 1000) then
    return "tries: a whole number expected"
  end
end

-- Was it a call, of which the targets could have seen something?
local function is_call(record)
  return kinds[record.kind] and (record.source ~= nil or record.tries ~= nil)
end

local ours = { full = true, open = true } -- who ends so without a try has waited all the time

local elsewhere = { model = true, pool = true } -- who was asked in another's place

-- How the last try ended: its code; nil where the target has answered. An answer in another's
-- place, or a weak one that was given all the same, has the code of what had failed.
local function end_of(record)
  local code = type(record.code) == "string" and record.code or nil
  local is_other = elsewhere[record.fallback] or record.weak ~= nil
  if record.source == "upstream" and is_other and code ~= "cut" then return nil end
  return code
end

-- The tries that came one behind the other, since the one before had failed. One that was made
-- beside another is none, nor is one behind a weak answer; those of a call that others have joined
-- stand in its own line.
local function turns_of(record)
  local tries = record.tries or 0
  if record.source == "coalesced" then return 0 end
  local apart = (record.hedged and 1 or 0) + (record.escalated and 1 or 0)
  return math.max(tries - apart, math.min(tries, 1))
end

--- The call of a line, for whoever reads the log: nil for a line that is no call, nil and a message
--- for one that makes no sense.
---@param text string
---@return table? call { at = Unix seconds when it came, seconds, queued, start, source, code,
--- target, tries, turns = of these one behind the other, ended = code of the last one or nil }
---@return string? message
function access_log.call_of(text)
  if is_remark(text) then return nil end
  local record, message = json.decode(text)
  if type(record) ~= "table" or json.is_array(record) then
    return nil, message or "a JSON object expected, as the gateway writes"
  end
  message = fault(record)
  if message then return nil, message end
  if not is_call(record) then return nil end
  local code, queued = type(record.code) == "string" and record.code or nil, amount(record.queued)
  if not queued and ours[code] and (record.tries or 0) == 0 then queued = record.seconds end
  return { at = unix_time(record.time) - record.seconds, seconds = record.seconds, code = code,
    queued = math.min(queued or 0, record.seconds), start = amount(record.start),
    target = record.target, source = record.source, tries = record.tries,
    turns = turns_of(record), ended = end_of(record) }
end

-- The status of the last try; false where nothing is known of it.
local function last_status(record)
  if turns_of(record) == 0 or not record.target then return false end
  local code = end_of(record)
  if record.source == "upstream" then return code and status_of[code] or 200 end
  return code and status_of[code] or false
end

-- }========================================================================

-- {== Rows ================================================================

local function add(rows, at, target, arrival, status, latency)
  rows[#rows + 1] = { at = at, target = target, arrival = arrival, status = status,
    latency = latency, order = #rows }
end

-- The rows of a call that began at `at`.
local function add_call(rows, record, at)
  local seconds, tries = record.seconds, turns_of(record)
  local queued = math.min(amount(record.queued) or 0, seconds)
  local status = last_status(record)
  if record.tries == 1 and queued == 0 and status then
    return add(rows, at, record.target, 1, status, seconds)
  end
  add(rows, at, record.target, 1, false, 0)
  if not record.target or tries == 0 then return end
  local each = (seconds - queued) / tries
  local last = math.max(each, math.min(amount(record.start) or 0, seconds - queued))
  local before = (seconds - queued - last) / math.max(tries - 1, 1)
  for i = 1, tries - 1 do
    add(rows, at + queued + (i - 1) * before, record.target, 0, 503, 0)
    rows[#rows].is_guess = true
  end
  if status then add(rows, at + seconds - last, record.target, 0, status, last) end
end

local is_known = { cache = true, stale = true, coalesced = true } -- nobody was asked for it

-- Takes what a line says; or a message, and true where nothing more can be taken.
local function take_line(state, text)
  if is_remark(text) then
    state.left_out = state.left_out + 1
    return nil
  end
  local record, message = json.decode(text)
  if type(record) ~= "table" or json.is_array(record) then
    return message or "a JSON object expected, as the gateway writes"
  end
  message = fault(record)
  if message then return message end
  if not is_call(record) then
    state.left_out = state.left_out + 1
    return nil
  end
  if state.calls >= trace.MOST_CALLS or #state.rows >= trace.MOST_ROWS then
    return "more than a trace may hold: take a part", true
  end
  state.calls = state.calls + 1
  if is_known[record.source] then state.known = state.known + 1 end
  state.target = state.target or record.target
  if record.target and record.target ~= state.target then state.several = true end
  add_call(state.rows, record, unix_time(record.time) - record.seconds)
end

-- }========================================================================

-- {== The trace ===========================================================

local function in_order(a, b)
  if a.at ~= b.at then return a.at < b.at end
  return a.order < b.order
end

-- The rows; without those of earlier tries, where it is not known who was asked.
local function without_guesses(state)
  if not state.several then return state.rows end
  local out = {}
  for _, row in ipairs(state.rows) do
    if not row.is_guess then out[#out + 1] = row end
  end
  return out
end

-- Who has answered or failed, by name; of the others nothing is known but that they were asked.
local function seen_in(rows)
  local seen = {}
  for _, row in ipairs(rows) do
    if row.status then seen[row.target] = true end
  end
  return seen
end

local KNOWN = "the cache answered, or another call: played, they are asked, unless the client has "
  .. 'a cache and a header line says how many questions there are: {"calls":{"questions":N}}'

-- The rows as a trace, whose time begins with the first.
local function traced(path, state, o)
  local rows = without_guesses(state)
  table.sort(rows, in_order)
  local made, start = trace.new(path), rows[1].at
  if rows[#rows].at - start > trace.MOST_SECONDS then
    return nil, ("%s: more than %d seconds: take a part"):format(path, trace.MOST_SECONDS)
  end
  local seen = seen_in(rows)
  if not next(seen) then return nil, path .. ": no target has answered in it" end
  for _, row in ipairs(rows) do
    trace.add(made, row.at - start, seen[row.target] and trace.index(made, row.target) or 0,
      row.arrival, row.status, row.latency)
  end
  made.remarks = { ("%d calls of a gateway's log"):format(state.calls), state.damage }
  if state.known > 0 then
    table.insert(made.remarks, 2, ("%d of them %s"):format(state.known, KNOWN))
  end
  if state.left_out > 0 then
    table.insert(made.remarks,
      ("%d lines were no calls and are left out"):format(state.left_out))
  end
  made.damage = state.damage
  local header = { ordered.encode({ trace = { seed = o.seed, start = math.floor(start) } }) }
  if o.deadline then header[2] = ordered.encode({ calls = { deadline = o.deadline } }) end
  return made, header
end

local function read_all(reader, state)
  while true do
    local line, more = reader:next()
    if not line then return more and more or nil end
    local message, is_full
    if line ~= "" then message, is_full = take_line(state, line) end
    if is_full then return reader:fault(message) end
    if message and more then -- a line without an end: it is being written, or was cut off
      state.left_out = state.left_out + 1
    else
      local hopeless = message and reader:damaged(message, state.calls)
      if hopeless then return hopeless end
    end
  end
end

--- Reads a log. What is wrong is told with the file's name and the line; lines that make no sense
--- are left out, unless they are more than the calls.
---@param path string
---@param given table { seed =, deadline = } for the header
---@return table? trace with `damage` where lines of it make no sense and are left out
---@return string|string[] message or the header lines for `trace.write`
function access_log.read(path, given)
  local reader, message = lines.open(path)
  if not reader then return nil, message end
  local state = { rows = {}, calls = 0, known = 0, left_out = 0 }
  message = read_all(reader, state)
  reader:close()
  message = message or reader:mostly_damaged(state.calls)
  if message then return nil, message end
  state.damage = reader:say_damage()
  if state.calls == 0 then return nil, path .. ": no call stands in it" end
  return traced(path, state, given)
end

-- }========================================================================

return access_log
