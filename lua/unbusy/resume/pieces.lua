--- The pieces of a continuation, as pieces of the answer that it continues.
--
--     source ──pieces──► seam ──text──► with the first part's head, without role and thoughts
--
-- What is not given on (the anchor, blanks that are there already, thoughts) leaves an empty piece:
-- the server is at work.
local chunks = require "unbusy.resume.chunks"
local json = require "unbusy.json"
local question = require "unbusy.resume.question"
local source = require "unbusy.source"

local pieces = {}
pieces.__index = pieces

--- Pieces of a try that goes on with an answer.
---@param so_far table see `unbusy.resume.so_far`
---@param inner table the try's own, see `unbusy.source`
---@param target table
---@param joined function called once it is known to go on with the answer
function pieces.new(so_far, inner, target, joined)
  return setmetatable({ so_far = so_far, inner = inner, price = target.price, given = {},
    joined = joined, seam = question.seam(so_far, target), edits = chunks.edits(so_far.head) },
    pieces)
end

--- Pieces that end an answer which nobody has to go on with.
---@param so_far table
---@param finish string? nil: that was said already, and the usage perhaps, too
---@return table
function pieces.of_ending(so_far, finish)
  local answer = so_far:ended(finish or so_far.finish)
  local is_told = not finish and so_far.told
  local usage = not is_told and question.tells_usage(so_far.request) and answer.usage or nil
  return source.of_list(chunks.ending(so_far.kind, so_far.head, finish, usage), answer)
end

-- {== One piece ===========================================================

local function nothing() -- of answer, but for nobody
  return { started = true }
end

-- The usage that the piece tells, with that of the parts before it.
local function note_usage(self, piece)
  if not piece.usage then return nil end
  local body = json.decode(piece.data)
  local usage = body and type(body.usage) == "table" and self.so_far:with_usage(body.usage)
  piece.usage = self.so_far:total(piece.usage, self.price)
  return usage or nil
end

-- The piece with that text, or an empty one where there is nothing left in it; nil where that
-- cannot be said. Where nothing else is to be different, its bytes stay as they are.
local function saying(self, piece, text, is_same)
  if not is_same and text == "" and not piece.finish and not piece.usage then return nothing() end
  local said, usage = self.so_far, note_usage(self, piece)
  piece.data = is_same and chunks.moved(piece.data, self.edits, usage)
    or chunks.saying(said.kind, piece.data, said.head, text, usage)
  piece.text, piece.reasoning = text ~= "" and text or nil, nil
  return piece.data and piece
end

-- The text of a piece that may be given on; nil and why it may not.
local function text_of(self, piece)
  local seam = self.seam
  local text, why = seam:feed(piece.text or "")
  if text and piece.finish then
    local rest
    rest, why = seam:finish()
    text = rest and text .. rest
  end
  return text, why
end

-- Does the event say nothing but text, as it was all along?
local function is_plain(piece)
  return not piece.reasoning and not piece.data:find('"role"', 1, true)
end

-- A stop sequence spans the seam: the answer ends there.
local function stop(self)
  self.inner:close()
  self.so_far:add_refused(self.inner, self.price)
  self.over = pieces.of_ending(self.so_far, "stop")
  return self.over:read(0)
end

-- This target would say the same again.
local function refuse(why)
  return nil, why, "upstream", { refused = true, lasting = true }
end

local function take(self, piece)
  if piece.tool_calls or piece.refusal then
    return refuse "the continuation is more than text"
  end
  local was_open = self.seam.is_open
  local text, why = text_of(self, piece)
  if not text then return refuse(why) end
  if not was_open and self.seam.is_open then self.joined() end
  if self.seam.stopped then return stop(self) end
  local said = saying(self, piece, text, was_open and is_plain(piece))
  if not said then return nil, "stream: an event that cannot be passed on", "upstream", {} end
  if text ~= "" then self.given[#self.given + 1] = text end
  self.finish = piece.finish or self.finish
  return said
end

-- }========================================================================

--- The next piece, as `source:read` gives it.
---@param deadline number
---@return table? piece, string? message, string? code, table? detail
function pieces:read(deadline)
  if self.over then return self.over:read(deadline) end
  local piece, message, code, detail = self.inner:read(deadline)
  if not piece then return nil, message, code, detail end
  return take(self, piece)
end

--- Is there a piece already?
function pieces:is_ready()
  return (self.over or self.inner):is_ready()
end

--- The whole answer, once the pieces have all been read.
function pieces:answer()
  if self.over then return self.over:answer() end
  return self.so_far:whole(self.inner:answer(), table.concat(self.given), self.price)
end

--- It has broken off, too, or was refused: from now on that is what was said so far.
---@param refused boolean? it cannot be joined
---@return boolean good false where it was more than text
function pieces:note_cut(refused)
  if refused then
    self.so_far:add_refused(self.inner, self.price)
    return self.given[1] == nil
  end
  return self.so_far:add(self.inner, table.concat(self.given), self.price, self.finish)
end

--- From now on it is read in another loop.
function pieces:move(loop)
  self.inner:move(loop)
end

--- Ends the exchange. May be called twice.
function pieces:close()
  self.inner:close()
end

return pieces
