--- What a call gives back.
--
-- Fields: `source` ("upstream", "fallback", …), `text`, `reasoning`, `tool_calls`, `body`
-- (decoded), `status`, `headers`, `target`, `model`, `finish_reason`, `usage`, `cost`, `tries`,
-- `failure` (of a fallback: what went wrong), `times` = { queued =, start =, total = } in
-- seconds: waiting for a place, from sending the last try to its first byte of answer, and the
-- whole call.
local cost = require "unbusy.cost"
local shape = require "unbusy.shape"

local reply = {}
reply.__index = reply
reply.__name = "unbusy.reply"

local function times(call, start)
  return { queued = call.queued, start = start, total = call.loop.now() - call.started }
end

local function take_answer(self, answer)
  for _, name in ipairs { "text", "reasoning", "tool_calls", "body", "model", "usage" } do
    self[name] = answer[name]
  end
  self.finish_reason = answer.finish
end

local function new(call, fields)
  fields.tries, fields.ends = #call.tries, {}
  return setmetatable(fields, reply)
end

--- A whole answer of a target.
function reply.of_answer(call, try, head, answer)
  local target = call.place.target
  local self = new(call, {
    source = "upstream", target = target.name, status = head.status, headers = head.headers,
    times = times(call, try.start), price = target.price,
  })
  take_answer(self, answer)
  self.model = self.model or try.model
  self.cost = cost.of(self.usage, self.price)
  self:settle()
  return self
end

--- An answer that has begun: `pieces` gives the rest (see `unbusy.source`).
function reply.of_stream(call, try, head, pieces)
  local target = call.place.target
  return new(call, {
    source = "upstream", target = target.name, status = head.status, headers = head.headers,
    model = try.model, times = times(call, try.start), price = target.price, pieces = pieces,
  })
end

--- A text of our own, in the shape of an answer; as pieces when the call asked for a stream.
function reply.of_text(call, text, status)
  local self = new(call,
    { source = "fallback", status = status, headers = {}, times = times(call) })
  if call.streaming then
    local source = require "unbusy.source"
    self.pieces = source.of_list(shape.pieces(call.kind, call.model, text),
      shape.reply(call.kind, call.model, text))
    self.model = call.model
  else
    take_answer(self, shape.reply(call.kind, call.model, text))
    self:settle()
  end
  return self
end

--- A stream has come to its end: what is known only then.
function reply:complete(call, answer)
  take_answer(self, answer)
  self.cost = cost.of(self.usage, self.price)
  self.times.total = call.loop.now() - call.started
end

--- Runs `f(reply, how)` once, at the end: `how` is nil for a good end, else the code of the failure
--- ("cut", "cancelled", …). Latest first. When the end is past, at once.
function reply:on_end(f)
  if self.ended then return f(self, self.how) end
  self.ends[#self.ends + 1] = f
end

--- The end has come, with failure code `how` or none. Twice is once.
function reply:settle(how)
  if self.ended then return end
  self.ended, self.how = true, how
  for i = #self.ends, 1, -1 do
    local f = self.ends[i]
    self.ends[i] = nil
    f(self, how)
  end
end

return reply
