--- The pieces of a stream as they came, for whoever asks the same again.
--
--     live:    piece ──► recorder:add ──► bytes behind the whole answer, in the cache
--     replay:  bytes ──► event ──► assembler ──► piece
--
-- Of an event only that is kept in which it differs from the one before, which is little: most of a
-- chunk is its head. For each of them
--
--     ms, first, last, event, id, length \n event id middle
--
-- stand there: milliseconds since the one before; how many bytes at its beginning and at its end
-- are those of the one before; the lengths of its event's name and of its id (-1: it has none) and
-- of what is between.
local assembler = require "unbusy.providers.assembler"
local event_text = require "unbusy.event_text"
local stored = require "unbusy.caching.stored"

local recording = {}

local byte, sub = string.byte, string.sub

-- {== Recording ===========================================================

local recorder = {}
recorder.__index = recorder

--- What hears of the pieces of a stream.
---@param call table
---@param most integer bytes; of a stream with more only the whole answer is kept
---@return table recorder
function recording.new(call, most)
  return setmetatable({ call = call, parts = {}, last = "", at = false, left = most }, recorder)
end

local STEP = 32 -- bytes that are compared at once; strings so short are cheap in every Lua

-- How many bytes both begin with.
local function same_head(a, b, most)
  local n = 0
  while n + STEP <= most and sub(a, n + 1, n + STEP) == sub(b, n + 1, n + STEP) do n = n + STEP end
  while n < most and byte(a, n + 1) == byte(b, n + 1) do n = n + 1 end
  return n
end

-- How many bytes both end with.
local function same_tail(a, b, most)
  local n, i, j = 0, #a, #b
  while n + STEP <= most
    and sub(a, i - n - STEP + 1, i - n) == sub(b, j - n - STEP + 1, j - n) do
    n = n + STEP
  end
  while n < most and byte(a, i - n) == byte(b, j - n) do n = n + 1 end
  return n
end

-- Does a piece without bytes say nothing either, as where the seam of two tries swallows one?
local function is_nothing(piece)
  return not (piece.text or piece.reasoning or piece.refusal or piece.tool_calls or piece.finish
    or piece.usage)
end

--- One more piece.
---@param piece table see `unbusy.stream`
function recorder:add(piece)
  local parts, data = self.parts, piece.data
  if not parts or not data and is_nothing(piece) then return end
  local now = self.call.loop.now()
  local pause = self.at and math.max(now - self.at, 0) or 0
  local most = math.min(#self.last, #(data or ""))
  local first = same_head(self.last, data or "", most)
  local last = same_tail(self.last, data or "", most - first)
  local event, id, middle = piece.event, piece.id, data and sub(data, first + 1, #data - last)
  self.left = self.left - (data and #middle + #(event or "") + #(id or "") or math.huge)
  if self.left < 0 then -- too much, or there are no bytes that could be given again
    self.parts = false
    return
  end
  self.at, self.last = now, data
  parts[#parts + 1] = ("%.0f %d %d %d %d %d\n"):format(math.min(pause * 1000, 1e9), first, last,
    event and #event or -1, id and #id or -1, #middle)
  parts[#parts + 1] = (event or "") .. (id or "") .. middle
end

--- All of it; nil where there is nothing that could be given again.
---@return string?
function recorder:bytes()
  return self.parts and self.parts[1] and table.concat(self.parts) or nil
end

-- }========================================================================

-- {== Replay ==============================================================

local pieces = {}
pieces.__index = pieces

local HEAD = "^(%d+) (%d+) (%d+) (%-?%d+) (%-?%d+) (%d+)\n()"

-- The next event, and after how many milliseconds; nil behind the last one, or where it is torn.
local function next_event(self)
  local bytes, before = self.bytes, self.data
  local ms, first, last, event, id, length, at = bytes:match(HEAD, self.at)
  if not ms then return nil end
  first, last, event, id = tonumber(first), tonumber(last), tonumber(event), tonumber(id)
  length = tonumber(length)
  if math.max(first, last, event, id, length) > #bytes then return nil end -- no sum goes around
  local id_at = at + math.max(event, 0)
  local from = id_at + math.max(id, 0)
  local stop = from + length - 1
  if stop > #bytes or first + last > #before then return nil end
  self.at = stop + 1
  self.data = sub(before, 1, first) .. sub(bytes, from, stop) .. sub(before, #before - last + 1)
  return { data = self.data, event = event >= 0 and sub(bytes, at, id_at - 1) or nil,
    id = id >= 0 and sub(bytes, id_at, from - 1) or nil }, tonumber(ms)
end

-- The next piece, which is due at `self.due`; nil behind the last one, or where it is torn.
local function take(self)
  while self.at <= #self.bytes do
    local event, ms = next_event(self)
    if not event then return nil end
    self.due = self.due + ms / 1000 / self.pace
    local piece, wrong = self.assembler:feed(event)
    if wrong then return nil end
    if piece and not (self.no_usage and event_text.is_usage(piece)) then return piece end
  end
  self.whole_read = true
end

--- Recorded pieces once more, for the call.
---@param call table
---@param bytes string which end with what a recorder has given
---@param at integer where that begins
---@param answer table the whole that they make
---@param pace number|true how many times as fast as they came; true: at once
---@return table pieces see `unbusy.source`
function recording.pieces(call, bytes, at, answer, pace)
  local loop = call.loop
  return setmetatable({ call = call, loop = loop, bytes = bytes, at = at, data = "", whole = answer,
    assembler = assembler.new(call.kind), due = loop.now(),
    pace = pace == true and math.huge or pace,
    no_usage = stored.is_bare(call), event = false, closed = false, ahead = false,
    whole_read = false }, pieces)
end

-- Waits until the piece is due; false where it was closed meanwhile. What is there already is not
-- kept from a reader whose time is up before, or from a caller whose time is nearly over.
local function await(self, deadline)
  local loop = self.loop
  local due = math.min(self.due, self.call.deadline, deadline)
  self.event = self.event or loop.event()
  while loop.now() < due do
    if self.closed then return false end
    loop.wait({ self.event }, due)
  end
  return true
end

--- The next piece, by then at the latest.
---@param deadline number
---@return table? piece, string? message, string? code, table? detail
function pieces:read(deadline)
  local piece = self.ahead or take(self)
  self.ahead = piece or false
  if not piece then
    if self.whole_read then return nil end
    return nil, "the kept stream is torn", "cut", {}
  end
  if self.pace ~= math.huge and not await(self, deadline) then
    return nil, "the stream is closed", "closed", {}
  end
  self.ahead = false
  return piece
end

--- Is there a piece already?
function pieces:is_ready()
  if self.closed then return false end
  if not self.ahead then self.ahead = take(self) or false end
  return self.ahead and (self.pace == math.huge or self.loop.now() >= self.due)
end

--- The answer that the pieces make.
function pieces:answer()
  return self.whole
end

--- From now on it is read in another loop.
function pieces:move(loop)
  self.loop, self.event = loop, false
end

--- No more of it is read; whoever waits for a piece is told. May be called twice.
function pieces:close()
  self.closed = true
  if self.event then self.event:set() end
end

-- }========================================================================

return recording
