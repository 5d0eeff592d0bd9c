--- A streamed answer in the hands of the caller.
--
--     for piece in stream:pieces() do io.write(piece.text or "") end
--
-- A piece has some of: `text`, `reasoning`, `tool_calls` (fragments, by index), `finish`,
-- `usage`, and of the event that it came in: `data`, its bytes as they came, `event`, its name, and
-- `id`, the last one that was named. A stream that is cut never just ends: `read` gives a failure,
-- `pieces` raises.
local collect = require "unbusy.collect"
local loops = require "unbusy.loops"
local token_clock = require "unbusy.token_clock"

local stream = {}
stream.__index = stream
stream.__name = "unbusy.stream"

local function nothing() end

--- The stream of a reply that has begun.
function stream.new(call, reply)
  local pieces = reply.pieces
  reply.pieces = nil
  local self = setmetatable({
    source = reply.source, target = reply.target, model = reply.model, status = reply.status,
    headers = reply.headers, times = reply.times, tries = reply.tries, failure = reply.failure,
    age = reply.age, trace = reply.trace, fallback = reply.fallback, hedged = reply.hedged,
    call = call, answer = reply, left = pieces, clock = token_clock.new(call),
  }, stream)
  if reply.escalated or reply.weak then
    self.escalated, self.weak = reply.escalated, reply.weak
  end
  reply:on_end(function() pieces:close() call:finish() end)
  -- When the call is stopped all is given back at once, whether or not somebody reads. (Not by way
  -- of the stream itself: the call is known elsewhere, and would keep it from being collected.)
  call:hold { abort = function() reply:settle "cancelled" end, close = nothing }
  self.watch = collect.watch(function() reply:settle "cancelled" end)
  return self
end

-- The end, good or bad; the first one counts.
local function finish(self, how)
  self.watch.disarm()
  self.ended = true
  self.answer:settle(how)
end

local function fail(self, message, code, detail)
  local call = self.call
  detail = detail or {}
  detail.target, detail.phase = self.target, detail.phase or "body"
  message = ("%s: %s: %s"):format(self.target or self.source, detail.phase, message)
  detail = call:detail(detail)
  self.broken = { message, code, detail }
  call:emit("cut", { target = self.target, code = code, message = message })
  finish(self, detail.verdict == "neutral" and "cancelled" or code)
  return nil, message, code, detail
end

-- The codes of a transfer that broke all mean one thing once the answer has begun.
local cuts = { network = "cut", empty = "cut", upstream = "cut", busy = "cut" }

-- From now on it is read in this loop, whose events are of its own kind.
local function move(self, loop)
  local left = self.left
  self.call.loop, left.loop = loop, loop
  if left.exchange then left.exchange.event = loop.event() end
end

local function read(loop, self)
  if loop ~= self.call.loop then move(self, loop) end
  local mark = loop.own and loop.own(self)
  local ok, piece, message, code, detail = pcall(self.clock.read, self.clock, self.left)
  if loop.own then loop.disown(mark) end
  if not ok then -- the task that reads was cancelled
    self:close()
    error(piece, 0)
  end
  if self.call.stopped then return fail(self, self.call:reason()) end
  if code then return fail(self, message, cuts[code] or code, detail) end
  if piece then return piece end
  self.answer:complete(self.call, self.left:answer())
  finish(self)
  return nil
end

--- The next piece; nil at the end; nil, message, code, detail when it was cut.
---@return table? piece, string? message, string? code, table? detail
function stream:read()
  if self.broken then return nil, self.broken[1], self.broken[2], self.broken[3] end
  if self.ended then return nil end
  if self.call.stopped then return fail(self, self.call:reason()) end
  return loops.enter(self.call.client.loop, read, self)
end

--- Is there a piece already, so that `read` would not wait for it?
---@return boolean
function stream:is_ready()
  return not self.ended and self.left:is_ready()
end

--- For `for`: gives each piece; raises the failure's message when the stream is cut. Leaving the
--- loop early closes the stream (Lua 5.4; elsewhere call `close`, or leave it to the collector).
function stream:pieces()
  local function step()
    local piece, message = self:read()
    if message then error(message, 2) end
    return piece
  end
  local closer = setmetatable({}, { __close = function() self:close() end })
  return step, nil, nil, closer
end

--- Reads to the end and gives the whole reply, tool calls and reasoning assembled.
---@return table? reply, string? message, string? code, table? detail
function stream:reply()
  while true do
    local piece, message, code, detail = self:read()
    if code then return nil, message, code, detail end
    if not piece then break end
  end
  if self.closed then
    return nil, "the stream was closed before its end", "closed", self.call:detail()
  end
  return self.answer
end

--- Cancels what has not come yet; the server sees it. May be called twice.
function stream:close()
  if self.ended then return end
  self.closed = true
  finish(self, "cancelled")
end

stream.__close = stream.close

return stream
