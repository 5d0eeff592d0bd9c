--- What a call gives back.
--
-- Fields: `source` ("upstream", "coalesced", "batch", "cache", "stale", "fallback"), `text`,
-- `reasoning`, `tool_calls`, `body` (decoded), `raw` (its bytes, where it came whole), `status`,
-- `headers`, `target`, `model`, `finish_reason`, `usage`, `cost`, `tries`, `age` (seconds, of an
-- answer out of the cache), `failure` (of a stale answer and of whatever stands in: what went
-- wrong), `fallback` (what stands in: { kind = "text", "reply", "stale", "model" or "pool",
-- model =, pool = }),
-- `weak` (why it is a poor answer, see `unbusy.stages.escalate`), `escalated` (of one that came in
-- place of a weak one: { reason =, target =, usage =, cost = of that }, which `usage` and `cost`
-- include), `batch` (of an answer that came with others: `size`, and which of them it was:
-- `index`), `hedged` (where two tries were made beside each other: { won = the second one answers,
-- target =, code =, cost = of the other one, seconds = after which the second was sent }),
-- `resumed` (how often it was gone on with after it had broken off), `times` = { queued =,
-- queued_upstream =, start =, total = } in seconds: waiting for others and for a place, in the
-- server's queue as far as its keep-alives tell (nil where none came), from sending the try that
-- answered to its first byte of answer, and the whole call.
local answers = require "unbusy.providers.answers"
local cost = require "unbusy.cost"
local headers = require "unbusy.headers"
local json = require "unbusy.json"
local plain = require "unbusy.policy.plain"
local shape = require "unbusy.shape"
local source = require "unbusy.source"

local setmetatable = setmetatable

local reply = { resumed = 0 } -- of most replies: not in each of them
reply.__index = reply
reply.__name = "unbusy.reply"

local function times(call, start, now, queued_upstream)
  return { queued = call.queued or 0, queued_upstream = queued_upstream, start = start,
    total = now - call.started }
end

local function take_answer(self, answer)
  self.text, self.reasoning, self.tool_calls = answer.text, answer.reasoning, answer.tool_calls
  self.body, self.model, self.usage = answer.body, answer.model, answer.usage
  self.finish_reason = answer.finish
end

-- {== Answers that are not decoded =========================================

local decoded = { text = true, reasoning = true, tool_calls = true, body = true }

-- The class of replies whose bytes nobody has looked into: who asks for what is in them has them
-- decoded, once.
local undecoded = { __name = reply.__name }

function undecoded.__index(self, name)
  if not decoded[name] then return reply[name] end
  local answer = answers.of(self.undecoded, (json.decode(self.raw)))
  self.text, self.reasoning, self.tool_calls = answer.text, answer.reasoning, answer.tool_calls
  self.body, self.undecoded = answer.body, nil
  setmetatable(self, reply)
  return self[name]
end

-- }========================================================================

--- A whole answer of a target, which ends the try. Its header has been acted upon, and what it
--- repeats of our secrets is masked only now.
function reply.of_answer(call, try, answer)
  local target, now, usage = call.place.target, call.loop.now(), answer.usage
  local price = target.price
  if try.echoes then target.secrets.hide_headers(try.headers) end
  try.seconds = now - try.began
  local self = { -- sixteen fields and no more, or LuaJIT's table has room for 32
    source = "upstream", target = target.name, status = try.status, headers = try.headers,
    text = answer.text, reasoning = answer.reasoning, tool_calls = answer.tool_calls,
    body = answer.body, raw = answer.raw, model = answer.model or try.model,
    finish_reason = answer.finish, usage = usage, cost = price and cost.of(usage, price) or nil,
    tries = call:tries_made(), times = times(call, try.start, now, try.queued), ended = true,
  }
  local class = reply
  if answer.undecoded then self.undecoded, class = answer.undecoded, undecoded end
  setmetatable(self, class)
  return self -- no tail call: see `unbusy.clock`
end

local function copy(t)
  local out = {}
  for k, v in pairs(t) do out[k] = v end
  return out
end

--- A whole answer for a call that wants a stream: its pieces are there already.
---@param call table
---@param whole table reply
function reply.as_stream(call, whole)
  local self = setmetatable({ source = whole.source, target = whole.target, status = whole.status,
    headers = whole.headers, model = whole.model, times = whole.times, tries = whole.tries,
    cost = whole.cost, weak = whole.weak, failure = whole.failure, hedged = whole.hedged,
    other_price = whole.other_price }, reply)
  self.pieces = source.of_answer(call.kind, { body = whole.body, raw = whole.raw,
    text = whole.text, reasoning = whole.reasoning, tool_calls = whole.tool_calls,
    finish = whole.finish_reason, usage = whole.usage, model = whole.model })
  return self
end

--- One of several answers that came as one: the reply of the call that asked for it.
---@param call table
---@param whole table the reply that had all of them
---@param answer table as `provider.read` gives
---@param about table { size =, index =, price = of the target }
function reply.of_member(call, whole, answer, about)
  local started = whole.times.start
  local self = setmetatable({ source = "batch", target = whole.target, status = whole.status,
    headers = copy(whole.headers), cost = cost.of(answer.usage, about.price),
    tries = call:tries_made(), batch = { size = about.size, index = about.index },
    times = times(call, started, call.loop.now()), ended = true }, reply)
  take_answer(self, answer)
  self.model = answer.model or whole.model
  return self
end

-- An answer that took the place of a weak one, for somebody who has not paid for either.
local function unpaid(escalated)
  return escalated and { reason = escalated.reason, target = escalated.target }
end

--- The answer of a call that was made for several, for one more of them: its own, and at no cost.
---@param call table
---@param whole table the reply
---@param bytes string? its body; nil: JSON cannot say it (a text that ends within a character)
function reply.of_flight(call, whole, bytes)
  local self = setmetatable({ source = "coalesced", target = whole.target, status = whole.status,
    headers = copy(whole.headers), raw = bytes, undecoded = bytes and call.kind,
    model = whole.model, finish_reason = whole.finish_reason,
    usage = whole.usage and copy(whole.usage), cost = 0, tries = whole.tries, age = whole.age,
    weak = whole.weak, failure = whole.failure, escalated = unpaid(whole.escalated), ended = true,
    times = times(call, whole.times.start, call.loop.now(), whole.times.queued_upstream) },
    bytes and undecoded or reply)
  if whole.resumed > 0 then self.resumed = whole.resumed end
  if not bytes then
    self.text, self.reasoning = whole.text, whole.reasoning
    self.tool_calls, self.body = plain.lenient(whole.tool_calls), plain.lenient(whole.body)
  end
  return self
end

--- The same of a stream that has begun.
---@param call table
---@param whole table the reply of the call that is made for several
---@param pieces table see `unbusy.source`
---@param pays boolean this one shows what it costs
function reply.of_flight_stream(call, whole, pieces, pays)
  local self = setmetatable({ source = pays and whole.source or "coalesced", pieces = pieces,
    target = whole.target, status = whole.status, headers = copy(whole.headers),
    model = whole.model, tries = whole.tries, age = whole.age, failure = whole.failure,
    resumed = whole.resumed, kept = true,
    times = times(call, whole.times.start, call.loop.now(), whole.times.queued_upstream) }, reply)
  if not pays then
    self.cost, self.escalated = 0, unpaid(whole.escalated)
    return self
  end
  self.price, self.escalated = whole.price, whole.escalated
  self.hedged, self.other_price = whole.hedged, whole.other_price
  self.besides = whole.besides
  self.times.queued = whole.times.queued
  return self
end

--- An answer that has begun: `pieces` gives the rest (see `unbusy.source`).
function reply.of_stream(call, try, pieces)
  local target, now = call.place.target, call.loop.now()
  if try.echoes then target.secrets.hide_headers(try.headers) end
  try.seconds = now - try.began
  local self = setmetatable({
    source = "upstream", target = target.name, status = try.status, headers = try.headers,
    model = try.model, times = times(call, try.start, now, try.queued), price = target.price,
    pieces = pieces, tries = call:tries_made(),
  }, reply)
  return self
end

--- An answer that may come from several tries, of which `inner` is the first one's: each of those
--- ends at its own end, and this one after the last. `inner` is the try's that is under way.
---@param inner table
function reply.of_tries(inner)
  local self = setmetatable(copy(inner), reply)
  self.inner, inner.pieces, self.ends = inner, nil, nil
  self:on_end(function(answer, how) answer.inner:settle(how) end)
  return self
end

--- The name of the target that writes it just now.
function reply:writer()
  return self.inner and self.inner.target or self.target
end

--- An answer that is passed on as it is: `pieces` gives its body.
function reply.of_passed(call, try, pieces)
  local self = reply.of_stream(call, try, pieces)
  self.headers = headers.of_answer(self.headers)
  return self
end

--- The same of an error, whose body is there. `how` is what it says of the target.
function reply.of_error(call, try, body, how)
  local self = reply.of_passed(call, try, nil)
  self.raw, self.ended, self.how = call.place.target.secrets.hide(body), true, how
  if call.method ~= "HEAD" then self.headers["content-length"] = ("%d"):format(#self.raw) end
  return self
end

-- An answer of our own; as pieces when the call asked for a stream.
local function of_ours(call, answer, status, pieces)
  local self = setmetatable({ source = "fallback", status = status, headers = {},
    times = times(call, nil, call.loop.now()), tries = call:tries_made() }, reply)
  if call.streaming then
    self.pieces = pieces(answer)
  else
    take_answer(self, answer)
    self:settle()
  end
  self.model = answer.model or call.model
  return self
end

--- A text of our own, in the shape of an answer.
---@param call table
---@param said string|table see `unbusy.shape`
---@param status integer
function reply.of_text(call, said, status)
  return of_ours(call, shape.reply(call.kind, call.model, said), status, function(answer)
    return source.of_list(shape.pieces(call.kind, answer), answer)
  end)
end

--- A body that somebody wrote, as an answer.
---@param call table
---@param body table in the shape of the call's kind; it is changed
---@param status integer
function reply.of_body(call, body, status)
  return of_ours(call, shape.filled(call.kind, body, call.model), status, function(answer)
    return source.of_answer(call.kind, answer)
  end)
end

--- An answer that was kept; as pieces when the call asked for a stream. It costs nothing.
---@param call table
---@param answer table as `provider.read` gives
---@param about table { source =, age =, target =, raw =, failure =, pieces = those of a stream }
function reply.of_stored(call, answer, about)
  local self = setmetatable({ source = about.source, age = about.age, target = about.target,
    failure = about.failure, raw = about.raw, status = 200, headers = {}, cost = 0,
    tries = call:tries_made(), times = times(call, nil, call.loop.now()) }, reply)
  if call.streaming then
    self.pieces = about.pieces or source.of_answer(call.kind, answer)
  else
    take_answer(self, answer)
    self:settle()
  end
  self.model = answer.model or call.model
  if not answer.undecoded then return self end
  self.undecoded = answer.undecoded
  return setmetatable(self, undecoded)
end

-- What the other one of two tries may have cost: it was called off before it answered, so its
-- question alone, which was as long as this one.
local function note_other_cost(self)
  local mark = self.hedged
  if mark.code ~= "cancelled" or not self.usage then return end
  mark.cost = cost.of({ prompt_tokens = self.usage.prompt_tokens }, self.other_price)
end

--- Two tries were made beside each other, and this one answers.
---@param mark table { won =, target =, code =, seconds = }, of the other one
---@param price table? of the other one's target
function reply:mark_hedged(mark, price)
  self.hedged, self.other_price = mark, price
  note_other_cost(self)
end

--- A stream has come to its end: what is known only then.
function reply:complete(call, answer)
  take_answer(self, answer)
  if answer.cost ~= nil then -- of one that was resumed; false: not known
    self.cost = answer.cost or nil
  else
    self.cost = self.cost or cost.of(self.usage, self.price)
  end
  if self.inner then self.inner.usage, self.inner.cost = self.usage, self.cost end
  if self.hedged then note_other_cost(self) end
  if self.besides then self:add_cost(self.besides) end
  self.times.total = call.loop.now() - call.started
end

--- Another answer was paid for too: its tokens and its cost are added.
---@param other table reply
function reply:add_cost(other)
  local usage = copy(self.usage or {})
  for name, count in pairs(other.usage or {}) do usage[name] = (usage[name] or 0) + count end
  self.usage = next(usage) and usage or nil
  self.cost = self.cost and other.cost and self.cost + other.cost or nil
end

--- The same of an answer that has begun: it is added at its good end, and not for its try, whose
--- own end tells what that alone has cost.
---@param other table reply
---@return table reply to be read in its place
function reply:with_cost_of(other)
  local outer = self.inner and self or reply.of_tries(self)
  outer.besides = other
  return outer
end

--- Why the answer is a weak one; nil when it is not, or nobody has judged it. Of a stream: at its
--- end.
---@return string? reason
function reply:is_weak()
  local judge = self.judge
  if judge then
    self.judge = nil
    self.weak = judge(self)
  end
  return self.weak
end

--- Runs `f(reply, how)` once, at the end: `how` is nil for a good end, else the code of the failure
--- ("cut", "cancelled", …). Latest first. When the end is past, at once.
function reply:on_end(f)
  if self.ended then return f(self, self.how) end
  self.ends = self.ends or {}
  self.ends[#self.ends + 1] = f
end

--- The end has come, with failure code `how` or none. Twice is once.
function reply:settle(how)
  if self.ended then return end
  self.ended, self.how = true, how
  local ends, fault = self.ends or {}, nil
  for i = #ends, 1, -1 do
    local f = ends[i]
    ends[i] = nil
    local ok, message = pcall(f, self, how) -- whatever one raises, the others give back theirs
    if not ok then fault = fault or { message } end
  end
  if fault then error(fault[1], 0) end
end

return reply
