--- Goes on with answers that break off.
--
--     cut ──► what was said so far ──► may it be resumed? ──► retry ─ route ─ admit ─ send
--                                                               └─► its pieces, behind the seam
--
-- A continuation is a try like any other: it counts among the call's tries, takes a permit or the
-- free move, waits as the retries do, and goes where the route says, but to those only who can go
-- on (see `unbusy.resume.question`). The try that was cut ends with the cut.
local pieces = require "unbusy.resume.pieces"
local question = require "unbusy.resume.question"
local reply = require "unbusy.reply"
local so_far = require "unbusy.resume.so_far"

local resume = {}
resume.__index = resume

local function target_named(call, name)
  for _, t in ipairs(call.client.targets) do
    if t.name == name then return t end
  end
end

-- {== Is it wanted? =======================================================

local function option_of(call)
  local own = call.options.resume
  if own == nil then own = call.client.resume end
  return own
end

-- Has a policy a say? What the call itself says goes before.
local function decides(call, target)
  return call.policy and call.options.resume == nil and call.policy:decides("resume", target)
end

--- May answers of this target be resumed, as far as that can be said before one breaks off?
---@param call table
---@param target table
---@return boolean
function resume.is_wanted(call, target)
  return (option_of(call) or decides(call, target)) and true or false
end

-- "prefix", "prompt" or false.
local function how_of(call, target, said)
  if decides(call, target) then
    local decided, how = call.policy:ask(call, "resume", target, call:shown_request(),
      { text = said.text, reasoning = said.reasoning })
    if decided then return how end
  end
  return option_of(call) or false
end

--- What was said of an answer that has broken off, where it may be gone on with.
---@param call table
---@param target table whose answer it was
---@param said table? see `unbusy.resume.so_far`
---@return boolean
function resume.may_go_on(call, target, said)
  if not said or not said:is_text() or question.fault(said.kind, said.request) then return false end
  said.how = how_of(call, target, said)
  return said.how ~= false
end

-- }========================================================================

-- {== Streams =============================================================

--- Watches over a stream of which the first try has come.
---@param call table
---@param inner table reply of that try
---@param next function the way of a try, from the retries on
---@return table reply that lasts over all tries
function resume.watch(call, inner, next)
  local outer = reply.of_tries(inner)
  outer.resume = setmetatable({ call = call, next = next, answer = outer, said = nil, cut = nil,
    request = question.kept(call.request) }, resume)
  return outer
end

-- The last try of that target: its failure is the one that is told, whatever was tried beside it.
local function note_in_try(call, target, failure)
  for i = #call.tries, 1, -1 do
    local try = call.tries[i]
    if try.target == target then
      call.told = try
      try.code, try.message = failure.code, failure.text
      try.seconds = call.loop.now() - try.began
      return
    end
  end
end

-- The try that was cut is over, and what it held is given back.
local function end_try(self, left, failure)
  local call, inner = self.call, self.answer.inner
  left:close()
  if call.exchange then
    call.exchange:close()
    call.exchange = false
  end
  note_in_try(call, inner.target, failure)
  local neutral = failure.detail.verdict == "neutral" or failure.detail.refused
  inner:settle(neutral and "cancelled" or failure.cut)
end

-- Notes what was said until now: false where nobody can go on with that.
local function note_said(self, left, target, failure)
  if self.said then
    if failure.detail.refused then self.said.refused[target.name] = true end
    return left:note_cut(failure.detail.refused)
  end
  self.said = so_far.new(self.call.kind, self.request, left, target.price)
  return self.said ~= nil
end

-- Leaves only those targets to the call that can go on: false where there is none.
local function leave_able(self)
  local call, any = self.call, false
  local only = call.options.target
  for _, t in ipairs(only and call.client.targets or call:targets()) do
    if not question.way(self.said, t) then
      call:rule_out(t.name)
    elseif not only or t.name == only then
      any = any or call:may_ask(t.name)
    end
  end
  return any
end

-- The cut, and what was tried against it.
local function give_up(self, what)
  local cut = self.cut
  local message = what and ("%s (not continued: %s)"):format(cut.message, what) or cut.message
  return nil, message, cut.cut, cut.detail
end

local function count(self, target, way)
  local call, answer, cut = self.call, self.answer, self.cut
  answer.resumed = answer.resumed + 1
  call.client.resumed = call.client.resumed + 1
  call:emit("resume", { target = target.name, number = call:tries_made(), way = way,
    code = cut.code, message = cut.text, from = cut.target, bytes = #self.said.text })
end

-- Another try has begun to answer.
local function take_over(self, inner)
  local answer, target = self.answer, target_named(self.call, inner.target)
  local left, way = inner.pieces, question.way(self.said, target)
  inner.pieces, answer.inner, answer.tries = nil, inner, self.call:tries_made()
  return pieces.new(self.said, left, target, function() count(self, target, way) end)
end

-- Why the failure was not followed by another try: what the retries say behind its text, or
-- another message; nil where there is none.
local function reason_of(failure, message)
  local length = #failure.text
  if message:sub(1, length) ~= failure.text then return message end
  return message:sub(length + 1):match "^ %((.*)%)$"
end

-- Asks for the rest, by the way of every second try. Nothing of it is held back any more.
local function ask(self, failure)
  local call = self.call
  call.so_far, call.holds = self.said, false
  call.failed = { message = failure.text, code = failure.code, detail = failure.detail }
  local inner, message, code, detail = self.next(call)
  call.so_far = false
  if inner then return take_over(self, inner) end
  if call.stopped then return nil, message, code, detail end
  local reason = reason_of(failure, message)
  if reason == message or failure.detail.refused then -- it is of the continuation
    self.cut.detail.continuation = { message = message, code = code }
    reason = message
  end
  return give_up(self, reason)
end

-- What ends the answer without anybody's help, where something does: it was whole, or there is no
-- room for more.
local function ending_of(said)
  if said.finish then return pieces.of_ending(said) end
  local room = question.room(said)
  if room and room < 1 then return pieces.of_ending(said, "length") end
end

--- The answer has broken off: pieces that go on with it, or the failure to report.
---@param left table the pieces that broke off
---@param failure table { message =, code =, cut = the code that is reported, detail =, text = the
--- message with its target, target = its name }
---@return table? pieces, string? message, string? code, table? detail
function resume:go_on(left, failure)
  local call = self.call
  local target = target_named(call, self.answer.inner.target)
  if not failure.detail.refused then self.cut = failure end
  if not call:can_wait(0) or not note_said(self, left, target, failure) then
    return give_up(self)
  end
  if not resume.may_go_on(call, target, self.said) then return give_up(self) end
  end_try(self, left, failure)
  local ending = ending_of(self.said)
  if ending then return ending end
  if not leave_able(self) then
    return give_up(self, failure.detail.refused and failure.text or "nobody can go on with it")
  end
  return ask(self, failure)
end

-- }========================================================================

return resume
