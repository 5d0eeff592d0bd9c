--- Sends plays. Besides what answers.lua says, a play may have:
--
--   extra_headers the programme's own, which replace ours whatever their case
--   delay         seconds before anything is sent
--   opening       { kind = "silent"/"blank"/"comment", seconds, every }, before the first piece
--   gap           seconds between the paced pieces
--   flush         every piece is a write of its own
--   stall         { after = number of pieces, seconds }: nothing more is sent for that long
--   keep          only this many pieces are sent
--   times         the middle one of three pieces is sent that often
--   length        the Content-Length to announce
--   raw           the pieces are all there is on the wire: no status line, no headers
--   ending        "end" (as HTTP wants), "close" (FIN) or "reset" (RST); "end" when not given
local calls = require "server.calls"

local player = {}

local PAUSE = 0.001     -- between writes that must not reach the client as one
local KEEPALIVE = { blank = "\n", comment = ": keep-alive\n\n" }

-- Waits; nginx's timers count milliseconds.
local function rest(seconds)
  if seconds >= 0.001 then ngx.sleep(seconds) end
end

-- The length of an answer that is sent at once; nil for what comes bit by bit.
local function whole_length(play)
  if play.sse or play.opening or play.ending or play.pieces[2] then return nil end
  return play.pieces[1] and #play.pieces[1]
end

--- Says what the head is to be; it goes out now when what follows keeps the client waiting.
---@param play table  `status`, `headers`, `length`, `sse`
function player.head(call, play)
  if ngx.headers_sent then return end  -- it waited in a queue that shows itself
  calls.head_sent(call, play)
  if play.status == "none" then return end
  ngx.status = play.status
  for name, value in pairs(play.headers) do ngx.header[name] = value end
  for name, value in pairs(play.extra_headers or {}) do ngx.header[name] = value end
  ngx.header["Content-Length"] = play.length or whole_length(play)
  if play.opening or play.stall or play.ending then
    ngx.send_headers()
    ngx.flush(true)
  end
end

-- Sends one write now; false when the client is gone.
local function write(piece)
  return ngx.print(piece) and ngx.flush(true)
end

--- Shows a waiting client that the connection lives.
---@param kind string  "blank" or "comment"
function player.keepalive(kind)
  return write(KEEPALIVE[kind])
end

local function open(opening)
  if opening.kind == "silent" then return rest(opening.seconds) end
  local until_when = ngx.now() + opening.seconds
  while ngx.now() < until_when do
    if not player.keepalive(opening.kind) then return end
    ngx.sleep(math.min(opening.every, math.max(until_when - ngx.now(), 0.001)))
  end
end

-- The pieces in the writes they go out in.
local function writes_of(play)
  local pieces, keep = play.pieces, math.min(play.keep or #play.pieces, #play.pieces)
  if play.flush or play.stall or (play.gap or 0) > 0 then return pieces, keep end
  return { table.concat(pieces, "", 1, keep) }, 1
end

-- The pause before write 'i'.
local function pause(play, i)
  if play.stall and i == play.stall.after + 1 then rest(play.stall.seconds) end
  local paced = play.paced
  if (play.gap or 0) > 0 and paced and i > paced[1] and i <= paced[2] then
    rest(play.gap)
  elseif play.flush and i > 1 then
    ngx.sleep(PAUSE)
  end
end

-- Ends the connection, or leaves it to HTTP.
local function finish(play)
  if play.ending and play.status ~= "none" then ngx.flush(true) end
  if play.ending == "close" then return ngx.exit(ngx.ERROR) end
  if play.ending == "reset" then return ngx.exit(444) end
end

-- All writes but the last, then the books are closed, then the last: whoever has the whole answer
-- finds the slot free and the counts done.
local function send_pieces(call, play)
  local writes, n = writes_of(play)
  for i = 1, n do
    pause(play, i)
    local last = i == n and not (play.stall and play.stall.after >= n)
    if last then calls.close(call, play.good and "completed" or "faulted") end
    if not ngx.print(writes[i]) or (not last and not ngx.flush(true)) then return end
  end
  if play.stall and play.stall.after >= n then rest(play.stall.seconds) end
  return true
end

-- Head, filler many times over, tail.
local function send_repeated(call, play, send)
  local head, filler, tail = play.pieces[1], play.pieces[2], play.pieces[3]
  if not send(head) then return end
  for _ = 1, play.times do
    if not send(filler) then return end
  end
  calls.close(call, play.good and "completed" or "faulted")
  return tail == "" or send(tail)
end

local function send_raw(call, play)
  if ngx.req.http_version() >= 2 or ngx.headers_sent then
    calls.close(call, "faulted")
    return ngx.exit(444)  -- over HTTP/2 a reset stream is the nearest thing
  end
  local socket = assert(ngx.req.socket(true))
  calls.head_sent(call, play)
  local function send(bytes) return socket:send(bytes) end
  if play.times then return send_repeated(call, play, send) end
  calls.close(call, "faulted")
  send(table.concat(play.pieces))
end

--- Sends a play and closes the call; does not come back when the client leaves meanwhile.
function player.play(call, play)
  rest(play.delay or 0)
  if play.raw then return send_raw(call, play) end
  if play.opening and play.opening.kind == "silent" then open(play.opening) end
  player.head(call, play)
  if play.opening and play.opening.kind ~= "silent" then open(play.opening) end
  if play.times then
    if not send_repeated(call, play, write) then return end
  elseif #play.pieces > 0 then
    if not send_pieces(call, play) then return end
  end
  calls.close(call, play.good and "completed" or "faulted")
  return finish(play)
end

return player
