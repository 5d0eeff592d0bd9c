--- A stream that several read: what has come stands on a tape, and each reads it at its own pace.
--
--     upstream ──pull──► tape: piece, piece, piece, …
--                          ▲ a late one       ▲ the one who is furthest pulls the next
--
-- There is no task that reads. Whoever has read all that is there, and waits for more, pulls the
-- next piece for all; so nothing is read that nobody waits for. Who wants the whole answer pulls
-- until the end. One who leaves in the midst of a pull (at its deadline, or with its coroutine)
-- has taken nothing away: the next one who waits goes on.
--
-- The tape is kept from the beginning for those who come late, up to MOST bytes, and ALL bytes of
-- all tapes of the process. Beyond that only that is kept which somebody has still to read, nobody
-- joins it any more, and who is further behind than MOST is cut off.
local keeping = require "unbusy.caching.keeping"
local plain = require "unbusy.policy.plain"
local reply = require "unbusy.reply"
local stream = require "unbusy.stream"
local token_clock = require "unbusy.token_clock"

local tape = {}
tape.__index = tape

tape.MOST = 8 * 1024 * 1024 -- bytes
tape.ALL = 64 * 1024 * 1024
tape.STEP = 64 * 1024       -- bytes after which a tape looks how much all of them have

local PIECE = 400 -- bytes that Lua takes for a piece, beside what it says

local function nothing() end

-- The loop as the pieces see it: who waits for one of them is woken by what is told itself, too,
-- and then has waited long enough.
local function way_of(self)
  local way = {}
  function way.now() return self.loop.now() end
  function way.event() return self.loop.event() end
  function way.wait(events, limit)
    local own = self.puller.event
    local event = self.loop.wait({ events[1], own }, limit)
    return event ~= own and event or nil
  end
  return way
end

local all = setmetatable({}, { __mode = "k" })

-- What is kept on all tapes that somebody reads.
local function bytes_of_all()
  local sum = 0
  for t in pairs(all) do
    if next(t.readers) then sum = sum + t.bytes end
  end
  return sum
end

-- What ends the tape when its call is stopped; of a function that has returned.
local function guard_of(answer)
  return { abort = function() answer:settle "cancelled" end, close = nothing }
end

--- The tape of a stream that has begun.
---@param c table the call that is made for all
---@param answer table its reply
---@param on_end function(good, failure) called once, at the end; `failure` is { message =, code =,
--- detail = }
function tape.new(c, answer, on_end)
  keeping.watch(c, answer)
  local left = answer.pieces
  answer.pieces, answer.left = nil, left
  local self = setmetatable({ call = c, answer = answer, left = left, clock = token_clock.new(c),
    first = 1, last = 0, bytes = 0, look_at = tape.STEP,
    puller = false, readers = {}, waiting = {}, plain = {},
    over = false, failure = false, patience = 0, resuming = false, open = true, guard = false,
    loop = c.loop, way = false, on_end = on_end }, tape)
  all[self] = true
  self.way = way_of(self)
  left:move(self.way)
  answer:on_end(function(a) a.left:close() c:finish() end)
  self.guard = guard_of(answer)
  c:hold(self.guard)
  return self
end

-- {== Who waits ===========================================================

-- Stream readers see what is new; of those who want the whole, one is enough to pull.
local function wake(self)
  local waiting = self.waiting
  for m in pairs(waiting) do
    waiting[m] = nil
    m.event:set()
  end
  local m = not self.puller and next(self.plain)
  if m then m.event:set() end
end

local function wait_for_others(self, m, limit)
  local set = m.reply and self.waiting or self.plain
  set[m] = true
  m.event:clear()
  local ok, raised = pcall(m.call.loop.wait, { m.event }, limit)
  set[m] = nil
  if not ok then error(raised, 0) end
end

--- It reads, waits and pulls no more.
---@param m table member
function tape:left_by(m)
  self.readers[m], self.waiting[m], self.plain[m] = nil, nil, nil
  if self.puller == m then
    self.puller = false
    wake(self)
  end
end

-- }========================================================================

-- {== What has come =======================================================

local function size_of(piece)
  return PIECE + #(piece.data or "") + #(piece.text or "") + #(piece.reasoning or "")
end

-- The reader that is furthest behind, and where it is.
local function slowest(self)
  local who, at = nil, self.last + 1
  for m in pairs(self.readers) do
    if m.at < at then who, at = m, m.at end
  end
  return who, at
end

-- Forgets what all have read; nobody joins from now on. Gives the reader that is furthest behind.
local function forget(self)
  self.open = false
  local who, at = slowest(self)
  for i = self.first, at - 1 do
    self.bytes = self.bytes - size_of(self[i])
    self[i] = nil
  end
  self.first = math.max(self.first, at)
  return who, at
end

-- Too much is on the tape: forgets what all have read, and then the readers that are too slow.
local function trim(self)
  repeat
    local who, at = forget(self)
    if self.bytes <= tape.MOST or not who or at == self.last then return end -- nobody is slow
    who.lost = true
    self.readers[who] = nil
    who.event:set()
  until false
end

local function add(self, piece)
  local record = self.answer.record
  if record then record:add(piece) end
  self.last = self.last + 1
  self[self.last] = piece
  self.bytes = self.bytes + size_of(piece)
  if self.bytes > tape.MOST then
    trim(self)
  elseif self.bytes >= self.look_at then
    if not self.open or bytes_of_all() > tape.ALL then forget(self) end
    self.look_at = self.bytes + tape.STEP
  end
  wake(self)
end

-- It has come to an end, good or bad; the first one counts.
local function finish(self, how, failure)
  if self.over then return end
  self.over, self.failure = true, failure or false
  local ok, raised = pcall(self.answer.settle, self.answer, how)
  self.on_end(not failure, failure)
  wake(self)
  for m in pairs(self.plain) do m.event:set() end
  if not ok then error(raised, 0) end
end

local function conclude(self)
  if self.over then return end
  self.answer:complete(self.call, self.left:answer())
  finish(self)
end

local function cut(self, message, code, detail)
  local c = self.call
  if c.stopped then
    message, code = c:reason()
    detail = {}
  end
  detail.target = detail.target or self.answer:writer()
  finish(self, detail.verdict == "neutral" and "cancelled" or stream.cuts[code] or code,
    { message = message, code = code, detail = detail })
end

--- Nobody reads it any more.
function tape:close()
  if self.resuming then return self.call:abort "cancelled" end -- whoever asks gives all back
  finish(self, "cancelled", { message = "the stream is closed", code = "closed", detail = {} })
end

-- }========================================================================

-- {== Going on ============================================================

local function ask_on(self, failure)
  local c = self.call
  c:release(self.guard)
  local left, message, code, detail = self.answer.resume:go_on(self.left, failure)
  c:hold(self.guard)
  if not left then return cut(self, message, code, detail or {}) end
  left:move(self.way)
  self.left, self.answer.left, self.clock = left, left, token_clock.new(c)
end

local function go_on(self, failure)
  local c = self.call
  local loop = c.loop
  local mark = loop.own and loop.own(c)
  local ok, raised = pcall(ask_on, self, failure)
  if loop.own then loop.disown(mark) end
  self.resuming = false
  if not ok then cut(self, failure.message, failure.code, failure.detail) end
  wake(self)
  if not ok then error(raised, 0) end
end

-- It has broken off: others are asked to go on, in a task that is nobody's. While they are, all
-- wait.
local function broken(self, message, code, detail)
  local c = self.call
  if self.over then return end
  if not self.answer.resume or c.stopped then return cut(self, message, code, detail) end
  local failure = stream.failure_of(self.answer, message, code, detail)
  self.resuming = true
  local ok, begun = pcall(c.loop.nursery or c.loop.spawn, function() go_on(self, failure) end)
  if ok and begun then return wake(self) end
  self.resuming = false
  cut(self, message, code, detail)
end

-- }========================================================================

-- {== Pulling =============================================================

--- For the token clock: the next piece; "yours" where only the one who pulls has no more time.
function tape:read(limit)
  local piece, message, code, detail = self.left:read(math.min(limit, self.patience))
  if code == "late" and self.loop.now() < limit then return nil, "late", "yours", {} end
  return piece, message, code, detail
end

-- From now on it is read in this loop. Who waits for it in another one waits for who reads it now.
local function move(self, loop)
  local before = self.puller
  if before then (before.reply and self.waiting or self.plain)[before] = true end
  self.loop, self.call.loop = loop, loop
  self.left:move(self.way)
end

-- Pulls one piece for all; this member waits for that no longer than it may.
local function pull(self, m)
  local loop = m.call.loop
  if loop ~= self.call.loop then move(self, loop) end
  m.event:clear()
  self.puller, self.patience = m, m.call.deadline
  local ok, piece, message, code, detail = pcall(self.clock.read, self.clock, self)
  if self.puller == m then self.puller = false end
  if not ok or code == "yours" then wake(self) end
  if not ok then error(piece, 0) end
  if self.over or code == "yours" then return end
  if code then return broken(self, message, code, detail or {}) end
  if piece then return add(self, piece) end
  conclude(self)
end

--- One step for somebody who has read all that is there: pulls, or waits for who does.
---@param m table member: `call`, `event`, and `reply` where it reads piece by piece
---@param limit number when it wants to look again
function tape:step(m, limit)
  local puller = self.puller
  local free = not puller or puller.call.loop ~= m.call.loop
  if free and not self.resuming then return pull(self, m) end
  wait_for_others(self, m, limit)
end

-- }========================================================================

-- {== Reading =============================================================

-- What a reader may do with as it likes.
local function own(piece)
  local out = {}
  for name, value in next, piece do
    out[name] = type(value) == "table" and plain.lenient(value) or value
  end
  return out
end

local function told(failure)
  return nil, failure.message, failure.code, plain.lenient(failure.detail)
end

-- The member's watcher hears that others are asked to go on.
local function tell_resuming(m, resuming)
  if m.told == resuming then return end
  m.told = resuming
  m.on_resume(resuming)
end

local function too_slow()
  return nil, ("read so slowly that others are %.3g MiB ahead"):format(tape.MOST / 1048576), "cut",
    { phase = "body" }
end

local function next_piece(self, m)
  local call = m.call
  while true do
    if m.on_resume then tell_resuming(m, self.resuming) end
    local piece = not m.lost and self[m.at]
    if piece then
      m.at = m.at + 1
      return own(piece)
    end
    if m.lost then return too_slow() end
    if m.gone or call.stopped then return nil, "the stream is closed", "closed", {} end
    if self.failure then return told(self.failure) end
    if self.over then return nil end
    if call.loop.now() >= call.deadline then
      return nil, "the deadline came before the end", "timeout", { phase = "total" }
    end
    self:step(m, call.deadline)
  end
end

-- It waits for nothing more, where it has an end or raises.
local function told_end(m, ok, piece, ...)
  if m.told and not (ok and piece) then tell_resuming(m, false) end
  if not ok then error(piece, 0) end
  return piece, ...
end

--- The next piece for a member; nothing at the good end.
---@param m table
---@return table? piece, string? message, string? code, table? detail
function tape:next_for(m)
  if not m.on_resume then return next_piece(self, m) end
  return told_end(m, pcall(next_piece, self, m))
end

--- One more reader, from the beginning: its reply.
---@param m table member
---@param pays boolean it shows what it cost
---@return table reply
function tape:give(m, pays)
  m.at, m.pays, m.resumable, m.told = 1, pays, self.answer.resume ~= nil, false
  m.reply = reply.of_flight_stream(m.call, self.answer, m, pays)
  self.readers[m] = true
  return m.reply
end

--- The whole answer, for a member that has read to the end.
---@param m table
---@return table
function tape:answer_for(m)
  local whole, mine = self.answer, m.reply
  mine.tries, mine.resumed, mine.weak = whole.tries, whole.resumed, whole.weak
  return { text = whole.text, reasoning = whole.reasoning, model = whole.model,
    finish = whole.finish_reason, tool_calls = whole.tool_calls and plain.lenient(whole.tool_calls),
    body = plain.lenient(whole.body), usage = whole.usage and plain.lenient(whole.usage),
    cost = m.pays and (whole.cost or false) or nil }
end

-- }========================================================================

return tape
