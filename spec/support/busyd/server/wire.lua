--- Presets about the wire: streams that stall, break or come in odd pieces, connections that end,
--- bytes that are not HTTP. Each is { fields, make }, as in signs.lua.
local answers = require "server.answers"
local gzip = require "server.gzip"
local schema = require "server.schema"
local stream = require "server.stream"

local MB = 2 ^ 20

local wire = {}

local seconds, pieces = schema.number(0), schema.integer(0)
local bytes = schema.integer(1, 2 ^ 40)
local ending = schema.one_of("answer", "close")

-- A good answer spoilt by 'change(play, spec, call)'.
local function spoilt(fields, change)
  return { fields = fields, make = function(call, spec)
    local play = answers.play(call)
    play.good = false
    change(play, spec, call)
    return play
  end }
end

-- A good answer sent in an odd way.
local function odd(fields, change)
  return { fields = fields, make = function(call, spec)
    local play = answers.play(call)
    return change(play, spec, call) or play
  end }
end

-- The number of pieces that hold 'n' pieces of the text, and what comes before them.
local function pieces_until(play, n)
  return math.min(play.paced[1] - 1 + n, #play.pieces)
end

-- Sends the head and half the body of an answer that is no stream.
local function halve(play)
  local body = play.pieces[1]
  play.length, play.pieces = #body, { body:sub(1, math.floor(#body / 2)) }
end

-- The first 'n' bytes of what would be sent.
local function keep_bytes(play, n)
  play.pieces, play.keep = { table.concat(play.pieces):sub(1, n) }, nil
  play.paced, play.gap_free = nil, true
end

local function cut(how)
  return spoilt({ after = pieces, bytes = schema.integer(0) }, function(play, spec)
    if not play.sse then halve(play)
    elseif spec.bytes then keep_bytes(play, spec.bytes)
    else play.keep = pieces_until(play, spec.after or 1) end
    play.ending = how
  end)
end

wire.cut_stream = cut "close"
wire.reset_stream = cut "reset"
wire.cut_body = spoilt({}, function(play)
  play.pieces = { table.concat(play.pieces) }
  halve(play)
  play.ending = "close"
end)

wire.no_finish = spoilt({}, function(play)
  play.keep = play.paced[2]
  if not play.sse then
    play.pieces[1] = play.pieces[1]:gsub('"finish_reason":"[^"]*"', '"finish_reason":null')
  end
end)

wire.no_done = spoilt({}, function(play)
  if play.sse then play.keep = #play.pieces - 1 end
end)

local ERROR = '{"error":{"message":"The server is overloaded.","type":"server_error","param":null,'
  .. '"code":"server_is_overloaded"}}'

local function error_after(event)
  return spoilt({ after = pieces }, function(play, spec)
    if not play.sse then play.pieces = { ERROR } return end
    play.keep = pieces_until(play, spec.after or 1) + 1
    play.pieces[play.keep] = event
  end)
end

wire.error_in_stream = error_after(stream.event(ERROR))
wire.event_error = error_after("event: error\n" .. stream.event(ERROR))

-- Whether the answer comes after all; else the connection is closed without it.
local function end_as(play, spec, default)
  play.good = (spec.ending or default) == "answer"
  if not play.good then play.ending = "close" end
end

local function opening(kind, default)
  return spoilt({ seconds = seconds, every = schema.number(0.001), ending = ending },
    function(play, spec)
      play.opening = {
        kind = (kind == "comment" and not play.sse) and "blank" or kind,
        seconds = spec.seconds or 1, every = spec.every or 0.1,
      }
      end_as(play, spec, default)
      if not play.good then play.pieces = {} end
      if kind == "silent" and not play.good then play.status = "none" end
    end)
end

wire.blank_lines = opening("blank", "answer")
wire.keepalive_comments = opening("comment", "answer")
wire.stall_headers = opening("silent", "close")
wire.stall_headers.fields = { seconds = seconds, ending = ending }

local function stall(fields, after_of)
  return spoilt(fields, function(play, spec)
    if not play.sse then halve(play) end
    play.stall = { after = play.sse and after_of(play, spec) or 1, seconds = spec.seconds or 60 }
    end_as(play, play.sse and spec or {}, "close")
    if not play.good then play.keep = play.stall.after end
  end)
end

wire.role_then_stall = stall({ seconds = seconds, ending = ending }, function(play)
  return pieces_until(play, 0)
end)
wire.stall_stream = stall({ seconds = seconds, ending = ending, after = pieces },
  function(play, spec) return pieces_until(play, spec.after or 1) end)

local function gone(how)
  return { make = function()
    return { status = "none", headers = {}, pieces = {}, ending = how }
  end }
end

wire.reset = gone "reset"
wire.close = gone "close"

local function raw(...)
  local sent = { ... }
  return { make = function() return { raw = true, headers = {}, pieces = sent } end }
end

wire.garbage = raw "\22\3\1\0\255\254 this is not HTTP\r\n\0\r\n\r\n"
wire.cut_headers = raw "HTTP/1.1 200 OK\r\nContent-Type: appli"

local FILLER = ("a"):rep(64 * 1024)

-- 'head', then about that many bytes without an end, then the connection is closed.
local function endless(head, default, more)
  return { fields = { bytes = bytes }, make = function(_, spec)
    local play = { headers = {}, pieces = { head, FILLER, "" } }
    play.times = math.ceil((spec.bytes or default) / #FILLER)
    for name, value in pairs(more) do play[name] = value end
    return play
  end }
end

wire.endless_header = endless("HTTP/1.1 200 OK\r\nX-Filler: ", 16 * MB, { raw = true })
wire.endless_line = endless("data: ", 64 * MB, {
  status = 200, headers = { ["Content-Type"] = "text/event-stream" }, ending = "close", sse = true,
})

wire.gzip = odd({}, function(play)
  play.headers["Content-Encoding"] = "gzip"
  play.pieces, play.paced = { gzip.pack(table.concat(play.pieces)) }, nil
end)

wire.gzip_bomb = { fields = { bytes = bytes }, make = function(call, spec)
  local head, block, times, tail = gzip.bomb(spec.bytes or 256 * MB)
  local kind = call.stream and "text/event-stream" or "application/json"
  return {
    status = 200, headers = { ["Content-Type"] = kind, ["Content-Encoding"] = "gzip" },
    pieces = { head, block, tail }, times = times, sse = call.stream,
  }
end }

-- The events of a stream in other writes than one for each.
local function rewritten(fields, change)
  return odd(fields, function(play, spec)
    if not play.sse then return end
    play.pieces, play.flush = change(table.concat(play.pieces), spec)
    play.paced, play.gap_free = nil, true
  end)
end

local ENDS = { crlf = "\r\n", cr = "\r" }

-- "mixed" takes CRLF, CR and LF in turn.
local function line_ends(s, kind)
  if ENDS[kind] then return (s:gsub("\n", ENDS[kind])) end
  local i = 0
  return (s:gsub("\n", function()
    i = i + 1
    return i % 3 == 1 and "\r\n" or i % 3 == 2 and "\r" or "\n"
  end))
end

wire.crlf_stream = rewritten({ ends = schema.one_of("crlf", "cr", "mixed") }, function(s, spec)
  return { line_ends(s, spec.ends or "crlf") }
end)

-- Cuts one event into about 'n' parts, also inside its first long character and between CR and LF.
local function cut_event(list, event, n)
  local cuts, from = { [#event - 1] = true, [#event] = true }, 1
  local character = event:find "[\xC2-\xF4]"
  if character then cuts[character] = true end
  for i = 1, n - 1 do cuts[math.floor(#event * i / n)] = true end
  for at = 1, #event do
    if cuts[at] then
      list[#list + 1] = event:sub(from, at)
      from = at + 1
    end
  end
end

wire.split_event = rewritten({ n = schema.integer(1, 1e6) }, function(s, spec)
  local list = {}
  for event in line_ends(s, "crlf"):gmatch "(.-\r\n\r\n)" do cut_event(list, event, spec.n or 7) end
  return list, true
end)

-- A good answer whose text is made longer; 'longer(spec)' gives the fields of `answer` to change.
local function lengthened(fields, longer)
  return { fields = fields, make = function(call, spec)
    local answer = setmetatable(longer(spec, call.answer), { __index = call.answer })
    local play = answers.play(setmetatable({ answer = answer }, { __index = call }))
    play.pieces, play.paced, play.gap_free = { table.concat(play.pieces) }, nil, true
    return play
  end }
end

wire.many_events = lengthened({ n = schema.integer(1, 1e6) }, function(spec)
  local n = spec.n or 1000
  return { tokens = n, chunks = n }
end)

wire.huge_event = lengthened({ bytes = schema.integer(1, 2 ^ 28) }, function(spec)
  return { text = ("x"):rep(spec.bytes or MB), chunks = 1 }
end)

return wire
