--- The place of a call in a trace of its caller's: the header `traceparent` of W3C Trace Context.
--
--     version - trace id - parent's span - flags       00-4bf9…4736-00f0…02b7-01
--
-- Every try is a span of its own: it is sent with the caller's trace id and a new span id. What the
-- caller gives and nobody can read is replaced by a new trace (W3C Trace Context, 3.2.2.3 and 4.3).
local core = require "unbusy.core"

local trace = {}

local SAMPLED = "01"

local function is_id(digits)
  return not digits:find "^0*$"
end

-- The flags that version 00 defines, out of two digits: "sampled", and "random" of level 2.
local function known_flags(digits)
  return ("%02x"):format(tonumber(digits, 16) % 4)
end

--- Reads a `traceparent`; of a version to come, what this one knows.
---@param text any
---@return table? t { id =, flags = }; nil when it is none
function trace.parse(text)
  if type(text) ~= "string" then return nil end
  local version, id, span, flags, rest =
    text:match "^(%x%x)%-(%x+)%-(%x+)%-(%x%x)(.*)$"
  if not version or #id ~= 32 or #span ~= 16 or text:sub(1, 55):find "%u" then return nil end
  if version == "ff" or not is_id(id) or not is_id(span) then return nil end
  if rest ~= "" and (version == "00" or rest:sub(1, 1) ~= "-") then return nil end
  return { id = id, flags = known_flags(flags) }
end

--- A new trace.
function trace.new()
  return { id = core.random_id() .. core.random_id(), flags = SAMPLED }
end

--- The trace of a call: the caller's, or a new one where that cannot be read; nil where none is
--- asked for.
---@param given string|boolean|nil the call's option: a `traceparent`; true: any; false: none
---@param header string? the `traceparent` among the headers that are passed on
---@param state string? the `tracestate` there; kept only with the trace that it belongs to
---@return table? t { id =, flags =, state =, spans = {} }
function trace.of(given, header, state)
  local text = header
  if type(given) == "string" then text = given end
  if given == false or not text and not given then return nil end
  local t = trace.parse(text)
  if t then t.state = state else t = trace.new() end
  t.spans = {}
  return t
end

--- The header lines of the try of that number, which gets a span of its own.
---@param t table
---@param number integer
---@return string traceparent, string? tracestate
function trace.lines(t, number)
  local span = core.random_id()
  t.spans[number] = span
  return ("traceparent: 00-%s-%s-%s"):format(t.id, span, t.flags),
    t.state and "tracestate: " .. t.state
end

--- What a caller is told: the trace's id, and the span of each try.
function trace.shown(t)
  return { id = t.id, spans = t.spans }
end

return trace
