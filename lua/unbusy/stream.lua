--- A streamed answer in the hands of the caller.
--
--     for piece in stream:pieces() do io.write(piece.text or "") end
--
-- A piece has some of: `text`, `reasoning`, `tool_calls` (fragments, by index), `finish`,
-- `usage`, and of the event that it came in: `data`, its bytes as they came, `event`, its name, and
-- `id`, the last one that was named. A stream that is cut never just ends: `read` gives a failure,
-- `pieces` raises; unless it is gone on with (see `unbusy.resume`). How often it was, is `resumed`.
local collect = require "unbusy.collect"
local loops = require "unbusy.loops"
local token_clock = require "unbusy.token_clock"

---@class unbusy.stream
local stream = {}
stream.__index = stream
stream.__name = "unbusy.stream"

-- When the call is stopped all is given back at once, whether or not somebody reads. (Not by way of
-- the stream itself: the call is known elsewhere, and would keep it from being collected.)
local guard = {}
guard.__index = guard

function guard:abort() self.reply:settle "cancelled" end

function guard:close() end -- luacheck: ignore 212

local function give_back(call, answer, how)
  local meter = call.client.meter
  answer.left:close()
  if meter then meter:call_ends(call, answer, how) end
  call:finish()
end

--- The stream of a reply that has begun.
---@package
function stream.new(call, reply)
  local pieces = reply.pieces
  reply.pieces, reply.left = nil, pieces
  local self = setmetatable({
    source = reply.source, target = reply.target, model = reply.model, status = reply.status,
    headers = reply.headers, times = reply.times, tries = reply.tries, failure = reply.failure,
    age = reply.age, trace = reply.trace, fallback = reply.fallback, hedged = reply.hedged,
    resumed = reply.resumed, call = call, answer = reply, left = pieces,
    clock = token_clock.new(call), record = reply.record,
  }, stream)
  if reply.escalated or reply.weak then
    self.escalated, self.weak = reply.escalated, reply.weak
  end
  local meter = call.client.meter
  if meter then meter:stream_begins(call, reply) end
  reply:on_end(function(answer, how) give_back(call, answer, how) end)
  self.guard = setmetatable({ reply = reply }, guard)
  call:hold(self.guard)
  self.watch = collect.watch(function() reply:settle "cancelled" end)
  return self
end

-- The end, good or bad; the first one counts.
local function finish(self, how)
  self.watch:disarm()
  self.ended = true
  self.tries, self.resumed = self.answer.tries, self.answer.resumed
  self.answer:settle(how)
end

-- The failure's message, outside-in.
local function told(answer, message, detail)
  detail.target, detail.phase = detail.target or answer:writer(), detail.phase or "body"
  return ("%s: %s: %s"):format(detail.target or answer.source, detail.phase, message)
end

local function fail(self, message, code, detail)
  local call = self.call
  detail = detail or {}
  message = told(self.answer, message, detail)
  detail = call:detail(detail)
  self.broken = { message, code, detail }
  call:emit("cut", { target = detail.target, code = code, message = message })
  finish(self, detail.verdict == "neutral" and "cancelled" or code)
  return nil, message, code, detail
end

-- It was closed by somebody else while it was read: that is no cut.
local function closed(self)
  local detail = {}
  local message = told(self.answer, "the stream was closed", detail)
  detail = self.call:detail(detail)
  self.broken = { message, "closed", detail }
  return nil, message, "closed", detail
end

-- The codes of a transfer that broke all mean one thing once the answer has begun.
local cuts = { network = "cut", empty = "cut", upstream = "cut", busy = "cut" }

stream.cuts = cuts

-- From now on it is read in this loop.
local function move(self, loop)
  self.call.loop = loop
  self.left:move(loop)
end

-- {== Going on ============================================================

local function end_asking(self)
  self.resuming = false
  if self.on_resume then self.on_resume(false) end
end

-- While others are asked to go on, the call is at its stages again: whatever stops it has to come
-- back from there, before all is given back.
local function ask_on(self, failure)
  local call = self.call
  call:release(self.guard)
  self.resuming = true
  if self.on_resume then self.on_resume(true) end
  local left, message, code, detail = self.answer.resume:go_on(self.left, failure)
  end_asking(self)
  call:hold(self.guard)
  return left, message, code, detail
end

--- What `resume:go_on` is told of an answer that has broken off.
---@param answer table reply
---@param message string
---@param code string
---@param detail table
---@return table
---@package
function stream.failure_of(answer, message, code, detail)
  local text = told(answer, message, detail)
  return { message = message, code = code, cut = cuts[code] or code, detail = detail, text = text,
    target = detail.target }
end

-- It has broken off: what goes on with it is read, where somebody does.
local function go_on(self, message, code, detail)
  local piece, left
  repeat
    detail = detail or {}
    local failure = stream.failure_of(self.answer, message, code, detail)
    left, message, code, detail = ask_on(self, failure)
    if not left then return nil, message, code, detail end
    self.left, self.answer.left, self.clock = left, left, token_clock.new(self.call)
    piece, message, code, detail = self.clock:read(left)
  until not code or self.call.stopped
  return piece, message, code, detail
end

-- }========================================================================

-- Two tasks at one stream would each have a part of the answer, and only one of them its end.
local function check_alone(self)
  if self.reading then error("this stream is being read by another task", 3) end
end

local function read(loop, self)
  if loop ~= self.call.loop then move(self, loop) end
  if self.on_resume and self.left.resumable then self.left.on_resume = self.on_resume end
  local mark = loop.own and loop.own(self)
  self.reading = true
  local ok, piece, message, code, detail = pcall(self.clock.read, self.clock, self.left)
  if ok and code and self.answer.resume and not self.call.stopped and not self.closed then
    ok, piece, message, code, detail = pcall(go_on, self, message, code, detail)
  end
  self.reading = false
  if loop.own then loop.disown(mark) end
  if not ok then -- the task that reads was cancelled
    if self.resuming then end_asking(self) end
    self:close()
    error(piece, 0)
  end
  if self.call.stopped then return fail(self, self.call:reason()) end
  if code and self.closed then return closed(self) end
  if code then return fail(self, message, cuts[code] or code, detail) end
  if piece then
    if self.record then self.record:add(piece) end
    return piece
  end
  self.answer:complete(self.call, self.left:answer())
  finish(self)
  return nil
end

--- The next piece; nil at the end; nil, message, code, detail when it was cut. Raises while another
--- task reads it.
---@return unbusy.piece? piece, string? message, unbusy.code? code, unbusy.detail? detail
function stream:read()
  if self.broken then return nil, self.broken[1], self.broken[2], self.broken[3] end
  if self.ended then return nil end
  if self.call.stopped then return fail(self, self.call:reason()) end
  check_alone(self)
  return loops.enter(self.call.client.loop, read, self)
end

--- May it be gone on with when it breaks off? Then `on_resume(begins)`, a function that may be set
--- in it, hears when the wait for that begins (true) and ends (false).
---@return boolean
function stream:is_resumable()
  return self.answer.resume ~= nil or self.left.resumable == true
end

--- Is there a piece already, so that `read` would not wait for it?
---@return boolean
function stream:is_ready()
  return not self.ended and self.left:is_ready()
end

--- For `for`: gives each piece; raises the failure's message when the stream is cut. Leaving the
--- loop early closes the stream (Lua 5.4); elsewhere call `close`: until it is collected the call
--- keeps its place, for which others may wait in vain.
---@return fun(): unbusy.piece? step
function stream:pieces()
  check_alone(self)
  local function step()
    check_alone(self)
    local piece, message = self:read()
    if message then error(message, 2) end
    return piece
  end
  local closer = setmetatable({}, { __close = function() self:close() end })
  return step, nil, nil, closer
end

--- Reads to the end and gives the whole reply, tool calls and reasoning assembled.
---@return unbusy.reply? reply, string? message, unbusy.code? code, unbusy.detail? detail
function stream:reply()
  check_alone(self)
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
  if self.resuming then return self.call:abort "cancelled" end -- whoever reads gives all back
  finish(self, "cancelled")
end

stream.__close = stream.close

return stream
