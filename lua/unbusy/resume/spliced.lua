--- Whole answers that are asked as streams: what has come of one that broke off is not asked again.
--
-- Nothing of it has been given to anybody, so the next try is a retry as any other; only that a
-- target which can go on is asked for the rest, and another one for the whole.
local question = require "unbusy.resume.question"
local resume = require "unbusy.resume"
local so_far = require "unbusy.resume.so_far"

local spliced = {}

-- All that a continuation has said, behind the seam; and how the answer ends, where the seam says.
local function joined(said, target, text, is_whole)
  local seam = question.seam(said, target)
  local rest, why = seam:feed(text)
  if rest and is_whole then
    local last
    last, why = seam:finish()
    rest = last and rest .. last
  end
  return rest, why, seam.stopped
end

-- What was said until now, over all tries; nil where that is more than text.
local function all_said(call, target, pieces)
  local said = call.so_far
  if said and question.way(said, target) then
    local part = pieces.assembler and pieces.assembler:so_far()
    local rest = part and joined(said, target, part.text, false)
    said = said:copy()
    if not rest or not said:add(pieces, rest, target.price, part.finish) then return nil end
    said.count = said.count + (rest ~= "" and 1 or 0)
    return said
  end
  local fresh = so_far.new(call.kind, call.request, pieces, target.price)
  local better = said and fresh and not said.dropped and #said.text >= #fresh.text
  if not fresh or better then return said or nil end
  return fresh
end

local function may_be_used(call, target, said)
  if said.finish or not resume.may_go_on(call, target, said) then return false end
  local room = question.room(said)
  return not room or room >= 1
end

--- A stream that was to be read to its end has broken off: notes what has come, where another try
--- may go on with it.
---@param call table
---@param pieces table
function spliced.note_cut(call, pieces)
  local target = call.place.target
  if call.stopped or not resume.is_wanted(call, target) then return end
  local said = all_said(call, target, pieces)
  if said and may_be_used(call, target, said) then
    call.so_far = said
  elseif call.so_far then
    call.so_far.dropped = true -- not forgotten: what was sent last is not to be sent again
  end
end

local function count(call, target, said, way)
  call.client.resumed = call.client.resumed + 1
  call:emit("resume", { target = target.name, number = call:tries_made(), way = way,
    bytes = #said.text })
end

--- The whole answer, of what was said before and what this try has said.
---@param call table whose `so_far` there is
---@param rest table answer of the try
---@return table? answer with `resumed`, where it was gone on with, string? message, string? code,
--- table? detail
function spliced.join(call, rest)
  local said, target = call.so_far, call.place.target
  local way = question.way(said, target)
  if not way then return rest end -- it was asked for the whole
  local text, why, stopped = joined(said, target, rest.text or "", true)
  if not text or rest.tool_calls or rest.refusal then
    said.refused[target.name] = true
    said:add_answer(rest, target.price)
    return nil, why or "the continuation is more than text", "empty", {}
  end
  count(call, target, said, way)
  local answer
  if stopped then
    said:add_answer(rest, target.price)
    answer = said:ended "stop"
  else
    answer = said:whole(rest, text, target.price)
  end
  answer.resumed = said.count + 1
  return answer
end

return spliced
