--- The pieces of a streamed answer, one by one.
--
--     exchange ──bytes──► sse ──events──► assembler ──pieces──► read()
--
-- `read(deadline)` gives a piece; nothing at the good end; or nil, message, code, detail. "late"
-- as the code means that the deadline came first, and reading may go on.
local news = require "unbusy.news"
local shape = require "unbusy.shape"
local sse = require "unbusy.sse"

local source = {}
source.__index = source

local GRACE = 0.05 -- seconds that the end of the bytes may lag behind the last event

--- Pieces of an exchange whose head has been taken.
---@param loop table
---@param x table exchange
---@param assembler table of the target's provider
---@return table pieces; its `on_keep_alive(count)`, when set, hears of comments as they come; where
--- it gives true and no piece has come, whoever reads is told "late"
function source.new(loop, x, assembler)
  local self = setmetatable({
    loop = loop, exchange = x, assembler = assembler, parser = sse.new(),
    first = 1, last = 0, pieces = {}, comments = 0,
  }, source)
  return self -- no tail call: see `unbusy.clock`
end

--- Pieces that are there already, and the whole answer they make.
function source.of_list(pieces, answer)
  return setmetatable({
    pieces = pieces, first = 1, last = #pieces, ended = true, whole = answer,
  }, source)
end

--- A whole answer as the only piece there is, in an event of our own; where it calls tools, with
--- its end in another one; a response as all of its events, which have its words before the last.
---@param kind string chat, complete or responses
---@param answer table
function source.of_answer(kind, answer)
  local pieces, last = shape.before_event(kind, answer), shape.after_event(kind, answer)
  local data, event = shape.event(kind, answer, #pieces)
  local piece = { data = data, event = event, started = true,
    tool_calls = answer.tool_calls and shape.numbered(answer.tool_calls) }
  if not last then piece.finish, piece.usage = answer.finish, answer.usage end
  if not pieces[1] then piece.text, piece.reasoning = answer.text, answer.reasoning end
  pieces[#pieces + 1] = piece
  pieces[#pieces + 1] = last
  return source.of_list(pieces, answer)
end

local function push(self, piece)
  self.last = self.last + 1
  self.pieces[self.last] = piece
end

local function pop(self)
  if self.first > self.last then return nil end
  local piece = self.pieces[self.first]
  self.pieces[self.first] = nil
  self.first = self.first + 1
  return piece
end

local function fail(self, message, code, detail)
  self.failure = { message, code, detail or {} }
end

-- Tell who listens that keep-alives have come.
local function note_comments(self)
  local count = self.parser:comments()
  if count > self.comments then
    self.comments = count
    if self.on_keep_alive then self.nudged = self.on_keep_alive(count) end
  end
end

local function take_bytes(self, bytes)
  local events, message, code = self.parser:feed(bytes)
  if not events then return fail(self, message, code, { lasting = code == "upstream" or nil }) end
  note_comments(self)
  for _, event in ipairs(events) do
    local piece, why, how, detail = self.assembler:feed(event)
    if piece then push(self, piece) end
    if how then return fail(self, why, how, detail) end
  end
end

-- All events are here: do they make an answer?
local function conclude(self)
  self.ended = true
  local torn, message, code = self.parser:finish()
  if not torn then return fail(self, message, code) end
  local ok, why, how = self.assembler:finish()
  if not ok then fail(self, why, how) end
end

local function take_end(self, code, message, info)
  if not code then return conclude(self) end
  self.ended = true
  fail(self, message, code, { phase = info.phase, lasting = info.lasting or nil })
end

-- The last event has come, and the end of the bytes must be close behind it: read that too, so that
-- the connection can serve again.
local function await_end(self)
  local limit = self.loop.now() + GRACE
  repeat
    local kind = news.await(self.loop, self.exchange, limit)
  until kind == "end" or kind == "late"
  conclude(self)
end

local function has_nothing(self)
  return self.first > self.last and not self.failure and not self.ended
end

--- Is there a piece already?
function source:is_ready()
  return self.first <= self.last
end

-- The next piece, of those that are still to come.
local function read_on(self, deadline)
  self.nudged = nil -- by what came with an earlier piece
  while true do
    local piece = pop(self)
    if piece then return piece end
    if self.failure then return nil, self.failure[1], self.failure[2], self.failure[3] end
    if self.ended then return nil end
    if self.closed then return nil, "the stream is closed", "closed", {} end
    local kind, a, b, c = news.await(self.loop, self.exchange, deadline)
    if kind == "late" then return nil, "late", "late", {} end
    if kind == "data" then take_bytes(self, a) else take_end(self, a, b, c) end
    if self.assembler.done and not self.failure and not self.ended then await_end(self) end
    if has_nothing(self) and (self.nudged or self.loop.now() >= deadline) then
      return nil, "late", "late", {}
    end
  end
end

--- The next piece.
---@param deadline number
---@return table? piece, string? message, string? code, table? detail
function source:read(deadline)
  local piece = pop(self)
  if piece then return piece end
  return read_on(self, deadline) -- on its own, or LuaJIT would give up what calls the loop
end

--- Puts pieces back, to be read again first.
function source:unread(pieces)
  for i = #pieces, 1, -1 do
    self.first = self.first - 1
    self.pieces[self.first] = pieces[i]
  end
end

--- The answer that the pieces make, once they have all been read.
function source:answer()
  return self.whole or self.assembler:answer()
end

--- From now on it is read in another loop, whose events are of its own kind.
function source:move(loop)
  self.loop = loop
  if self.exchange then self.exchange.event = loop.event() end
end

--- Ends the exchange; whoever waits for a piece is told. May be called twice.
function source:close()
  self.closed = true
  if self.exchange then self.exchange:abort() end
end

return source
