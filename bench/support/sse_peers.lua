--- Parsers of server-sent events in plain Lua, made for speed: what unbusy.sse is measured against.
--
-- Each maker gives a function(bytes) -> events, as p:feed does. They know LF and CRLF (not a CR
-- alone), join data lines, and know event, id and retry; they look for no byte order mark, have no
-- limit and count nothing. What an event's end has not reached yet is kept and put in front.
local peers = {}

local byte, find, gsub, sub = string.byte, string.find, string.gsub, string.sub

local LF, COLON, D, SPACE = 10, 58, 100, 32

-- The field of one line goes into `event`.
local function take_line(event, line)
  local name, value = line:match "^([^:]*):? ?(.*)$"
  if name == "data" then
    event.data = event.data and event.data .. "\n" .. value or value
  elseif name == "event" or name == "id" then
    event[name] = value
  elseif name == "retry" and find(value, "^%d+$") then
    event.retry = tonumber(value) / 1000
  end
end

-- The lines of a whole event, whatever they are.
local function slow(text, last_id)
  local event = { id = last_id }
  for line in text:gmatch "[^\n]+" do
    if byte(line) ~= COLON then take_line(event, line) end
  end
  return event
end

local function no_cr(bytes)
  return find(bytes, "\r", 1, true) and gsub(bytes, "\r\n", "\n") or bytes
end

--- Looks for each line's end.
function peers.by_lines()
  local rest, data, kind, id, retry = "", nil, nil, nil, nil
  local function other(line)
    local event = { data = data, event = kind, id = id, retry = retry }
    take_line(event, line)
    data, kind, id, retry = event.data, event.event, event.id, event.retry
  end
  return function(bytes)
    local events, n, at = {}, 0, 1
    bytes = no_cr(rest ~= "" and rest .. bytes or bytes)
    while true do
      local lf = find(bytes, "\n", at, true)
      if not lf then break end
      if lf == at then
        if data then
          n = n + 1
          events[n] = { data = data, event = kind, id = id, retry = retry }
          retry = nil
        end
        data, kind = nil, nil
      elseif not data and byte(bytes, at) == D and sub(bytes, at, at + 5) == "data: " then
        data = sub(bytes, at + 6, lf - 1)
      elseif byte(bytes, at) ~= COLON then
        other(sub(bytes, at, lf - 1))
      end
      at = lf + 1
    end
    rest = sub(bytes, at)
    return events
  end
end

--- Looks for each event's end; an event of one data line goes a short way.
function peers.by_events()
  local rest, id = "", nil
  return function(bytes)
    local events, n, at = {}, 0, 1
    bytes = no_cr(rest ~= "" and rest .. bytes or bytes)
    while true do
      local lf = find(bytes, "\n", at, true)
      if not lf then break end
      local a, _, _, _, colon, space = byte(bytes, at, at + 5)
      if a == D and colon == COLON and space == SPACE and byte(bytes, lf + 1) == LF
          and sub(bytes, at, at + 3) == "data" then
        n = n + 1
        events[n] = { data = sub(bytes, at + 6, lf - 1), id = id }
        at = lf + 2
      else
        local stop = lf == at and lf or find(bytes, "\n\n", at, true)
        if not stop then break end
        local event = slow(sub(bytes, at, stop), id)
        id = event.id
        if event.data then
          n = n + 1
          events[n] = event
        end
        at = lf == at and lf + 1 or stop + 2
      end
    end
    rest = sub(bytes, at)
    return events
  end
end

--- One match for each event of one data line.
function peers.by_pattern()
  local rest, id = "", nil
  return function(bytes)
    local events, n, at = {}, 0, 1
    bytes = no_cr(rest ~= "" and rest .. bytes or bytes)
    while true do
      local _, stop, data = find(bytes, "^data: ([^\n]*)\n\n", at)
      if stop then
        n = n + 1
        events[n] = { data = data, id = id }
        at = stop + 1
      else
        _, stop = find(bytes, "^[^\n].-\n\n", at)
        if byte(bytes, at) == LF then stop = at end
        if not stop then break end
        local event = slow(sub(bytes, at, stop), id)
        id = event.id
        if event.data then
          n = n + 1
          events[n] = event
        end
        at = stop + 1
      end
    end
    rest = sub(bytes, at)
    return events
  end
end

return peers
