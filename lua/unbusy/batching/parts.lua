--- Several calls asked as one: the call that stands for them, and what becomes of each.
--
--     part ──► merge ──► call of its own ──► split ──► a reply, or a failure, for each member
--                             │ failed, and fewer at once may help
--                             ├─ more than four: two halves, each a part
--                             └─ else each member is asked alone
--
-- A part belongs to the loop, not to a member: it goes on while one of them is there, and is
-- cancelled when all have left. What is asked again takes a permit of the budget, and those who are
-- asked again keep the tries that are behind them.
local answers = require "unbusy.providers.answers"
local calls = require "unbusy.call"
local reply = require "unbusy.reply"
local scheduler = require "unbusy.loops.scheduler"
local shares = require "unbusy.batching.shares"

local parts = {}

local HALVED = 4 -- a part of so few is not halved any more

-- Seconds for which a target that does not know its batch endpoint is not asked there.
local SET_ASIDE = 300

local part = {}
part.__index = part

-- {== Members =============================================================

local function copy(list)
  local out = {}
  for k, v in pairs(list) do out[k] = v end
  return out
end

-- Those who still wait for this part.
local function present(self)
  local out = {}
  for _, m in ipairs(self.members) do
    if not m.gone and not m.call.stopped and not m.outcome then out[#out + 1] = m end
  end
  return out
end

--- One of its members has left. When none is there any more, nobody needs the answer.
function part:left()
  local c = not self.done and self.call
  if c and not present(self)[1] then c:abort "cancelled" end
end

--- Is none of its members there any more, while it is still under way?
function part:is_left()
  return not self.done and not present(self)[1]
end

--- Is its own time up no later than that, so that it will end by itself?
---@param deadline number
function part:lasts_until(deadline)
  local c = self.call
  return c and not self.done and c.deadline <= deadline
end

--- One of its members has more time than it had.
---@param deadline number
function part:extend(deadline)
  local c = not self.done and self.call
  if c and c.deadline and c.deadline < deadline then c:extend(deadline) end
end

--- The name of the target that is being asked, or nil.
function part:target()
  local c = self.call
  local try = c and c.tries[#c.tries]
  return try and try.target
end

--- What its members' calls know of the tries that are made for them, behind those of their own.
---@param m table member
function part:show_tries(m)
  local c, tries = self.call, copy(m.before)
  for _, try in ipairs(c and c.tries or self.tries) do tries[#tries + 1] = try end
  m.call.tries = tries
  if c and c.trace then m.call.trace = c.trace end
end

-- Tells a member.
local function settle(self, m, outcome)
  self:show_tries(m)
  outcome.sent_at = self.sent_at
  m:settle(outcome)
end

local function all_alone(self, failure)
  for _, m in ipairs(present(self)) do
    settle(self, m, { alone = true, failure = failure and copy(failure) })
  end
end

--- Its host has ended it without a word: its members go their own way.
function part:close()
  all_alone(self)
end

-- }========================================================================

-- {== Asking ==============================================================

--- Goes on with a call that is asked once more, since a batch has failed; with a permit of the
--- budget, or not at all.
---@param call table
---@param next function the rest of its way
---@param failure table? of the batch: { message, code, detail }; nil: nothing has failed
function parts.paid(call, next, failure)
  local permits = call.client.permits
  if not failure or not permits then return next(call) end
  local paid = permits:pay(call, "retry")
  if call.stopped then
    call:give_permit(true)
    return call:refusal()
  elseif not paid then
    local late = not call:can_wait(0)
    failure.detail = copy(failure.detail or {})
    failure.detail.budget = not late or nil
    return nil, ("%s (%s)"):format(failure.message, late and "the deadline is too near to try again"
      or "the retry budget is spent"), failure.code, failure.detail
  end
  local answer, message, code, detail = next(call)
  call:give_permit(true) -- where it was not used
  return answer, message, code, detail
end

local function target_of(client, name)
  for _, t in ipairs(client.targets) do
    if t.name == name then return t end
  end
end

local function serves(t, now)
  return t.batch and (t.batch_aside_until or 0) <= now
end

--- Is there a target with a batch endpoint that this call may ask?
function parts.has_endpoint(call)
  local now, only = call.loop.now(), call.options.target
  if only then return serves(target_of(call.client, only), now) end
  for _, t in ipairs(call:targets()) do
    if serves(t, now) then return true end
  end
  return false
end

-- Those without the endpoint are not asked.
local function rule_out_others(c, now)
  for _, t in ipairs(c.client.targets) do
    if not serves(t, now) then c:rule_out(t.name) end
  end
end

-- The call that stands for the members. They agree in all that is taken from the first.
local function new_call(self, request, path)
  local batch, first = self.batch, self.members[1].call
  local o, kind = first.options, first.kind
  if path then kind = "post" elseif batch.endpoint then kind = "batch" end
  local c = calls.new(batch.client, kind, request, { target = o.target, pool = o.pool,
    priority = o.priority, headers = o.headers, trace = o.trace, clocks = o.clocks,
    given_clocks = o.given_clocks, hedge = o.hedge, upstream_stream = false },
    path and { path = path })
  c.model, c.policy, c.reads, c.tries = first.model, first.policy, "batch", copy(self.tries)
  c.merged = true
  if o.headers or o.trace then c:add_headers() end
  if kind == "batch" then rule_out_others(c, batch.loop.now()) end
  return c
end

-- Its clock: from the first to come, to the last to go.
local function set_clock(c, members)
  for _, m in ipairs(members) do
    c.started = math.min(c.started, m.call.started)
    c.deadline = math.max(c.deadline, m.call.deadline)
  end
end

local function tell(self, c)
  local counts, members = self.batch.counts, {}
  counts.sent, counts.members = counts.sent + 1, counts.members + #self.members
  for i, m in ipairs(self.members) do members[i] = m.call.order end
  local meter = c.client.meter
  if meter then meter:note("unbusy_batch_size", #members, self.batch.rule.name) end
  c:emit("batch", { size = #members, calls = members, rule = self.batch.rule.name })
end

-- What members have paid for is asked for all of them, once.
local function collect_permits(self, c)
  for _, m in ipairs(self.members) do
    if c.permit then
      m.call:give_permit(true)
    else
      m.call:pay_for(c)
    end
  end
end

-- Makes the call, as a client makes one.
local function perform(self, c)
  local client, loop, failure = c.client, self.batch.loop, self.failure
  client.calls[c] = true
  c:hold(self)
  local good = c:begin(loop)
  c.deadline = c.started
  set_clock(c, self.members)
  collect_permits(self, c)
  tell(self, c)
  local mark = loop.own and loop.own(c)
  local ok, answer, message, code, detail =
    pcall(good and parts.paid or c.refusal, c, self.batch.next, failure)
  if loop.own then loop.disown(mark) end
  c:release(self)
  c:finish()
  if not ok then error(answer, 0) end
  return answer, message, code, detail
end

-- }========================================================================

-- {== A good answer =======================================================

local function length_of(value)
  if type(value) == "string" then return #value end
  local sum = 0
  for _, item in next, type(value) == "table" and value or {} do sum = sum + length_of(item) end
  return sum
end

-- Each answer's usage, where the answers do not say it themselves.
local function share_usage(whole, requests, found)
  local asked, said = {}, {}
  for i, request in ipairs(requests) do
    local answer = found[i].answer
    if answer and answer.usage then return end
    asked[i] = answer and length_of(request.input or request.prompt or request.messages) or 0
    said[i] = answer and #(answer.text or "") or 0
  end
  local list = shares.of(whole.body.usage, asked, said)
  for i, usage in ipairs(list or {}) do
    local answer = found[i].answer
    if answer then
      answer.body.usage, answer.usage = usage, answers.usage(usage)
    end
  end
end

-- What each body is to its member: { answer = } or { failed = }.
local function judge(self, target, whole, bodies)
  local found, count = {}, #bodies
  for i, body in ipairs(bodies) do
    local answer, message, code, detail = target.provider.judge(self.members[i].call.kind,
      whole.status, whole.headers, body, target.secrets.hide)
    if answer then
      found[i] = { answer = answer }
    else
      detail.target, detail.batch = target.name, { size = count, index = i }
      found[i] = { failed = { message = ("%s: item %d of %d: %s"):format(target.name, i, count,
        target.secrets.hide(message)), code = code, detail = detail } }
    end
  end
  return found
end

local function answered(self, whole, requests)
  local bodies = self.batch.rule:split(self.call, whole.body, requests)
  if not bodies then return all_alone(self) end
  local target = target_of(self.batch.client, whole.target)
  local found = judge(self, target, whole, bodies)
  share_usage(whole, requests, found)
  for i, m in ipairs(self.members) do
    local outcome = found[i]
    if not m.gone and not m.outcome then
      m.call.queued = self.sent_at - m.call.started + whole.times.queued
      self:show_tries(m)
      if outcome.answer then
        outcome.reply = reply.of_member(m.call, whole, outcome.answer,
          { size = #bodies, index = i, price = target.price })
      end
      settle(self, m, outcome)
    end
  end
end

-- }========================================================================

-- {== A failure ===========================================================

local curable = { invalid = true, upstream = true, empty = true, cut = true, timeout = true }

local unknown = { [404] = true, [405] = true, [501] = true } -- such an endpoint

-- May it be better with fewer at once? Not where nobody was reached, or the server has too much to
-- do: that would be more of it.
local function may_help(c, code, detail)
  local redirected = detail.status and detail.status >= 300 and detail.status < 400
  return curable[code] and not c.stopped and detail.phase ~= "connect" and not redirected
    and c:can_wait(0)
end

local function halve(self, members, failure)
  local half, tries = math.ceil(#members / 2), self.call.tries
  local one, other = {}, {}
  for i, m in ipairs(members) do table.insert(i <= half and one or other, m) end
  parts.begin(self.batch, one, tries, failure)
  parts.begin(self.batch, other, tries, failure)
end

local function split(self, c, failure)
  local members, counts = present(self), self.batch.counts
  local no_endpoint = c.kind == "batch" and unknown[failure.detail.status]
  local halves = #members > HALVED and not no_endpoint
  counts.split = counts.split + 1
  c:emit("split", { size = #members, code = failure.code, parts = halves and 2 or #members })
  if no_endpoint then
    target_of(c.client, failure.detail.target).batch_aside_until = c.loop.now() + SET_ASIDE
  end
  if halves then return halve(self, members, failure) end
  all_alone(self, failure)
end

local function failed(self, c, message, code, detail)
  local failure = { message = message, code = code, detail = detail or {} }
  local many = #self.members > 1
  if many and may_help(c, code, failure.detail) then return split(self, c, failure) end
  for _, m in ipairs(present(self)) do
    settle(self, m, { failure = { message = message, code = code, detail = copy(failure.detail) } })
  end
end

-- }========================================================================

-- An endpoint may have been set aside while the batch came together.
local function has_somebody(self)
  return not self.batch.endpoint or parts.has_endpoint(self.members[1].call)
end

local function ask(self)
  self.members = present(self)
  if #self.members < 2 or not has_somebody(self) then return all_alone(self, self.failure) end
  local requests = {}
  for i, m in ipairs(self.members) do requests[i] = m.request end
  local merged, path = self.batch.rule:merge(self.members[1].call, requests)
  if not merged then return all_alone(self, self.failure) end
  local c = new_call(self, merged, path)
  self.call, self.sent_at = c, self.batch.loop.now()
  local whole, message, code, detail = perform(self, c)
  self.done = true
  if whole then return answered(self, whole, requests) end
  return failed(self, c, message, code, detail)
end

local function run(self)
  local ok, raised = pcall(ask, self)
  self.done = true
  self.ended:set()
  if ok then return end
  if raised == scheduler.cancelled then
    all_alone(self)
    error(raised, 0)
  end
  for _, m in ipairs(present(self)) do settle(self, m, { raised = raised }) end
end

--- Asks for these members, beside whoever calls.
---@param batch table
---@param members table[]
---@param tries table[]? that are behind them
---@param failure table? that this is asked again for
function parts.begin(batch, members, tries, failure)
  local self = setmetatable({ batch = batch, members = members, tries = tries or {},
    failure = failure, call = false, sent_at = false, done = false,
    ended = batch.loop.event() }, part)
  for _, m in ipairs(members) do m.part = self end
  local loop = batch.loop
  local ok, begun = pcall(loop.nursery or loop.spawn, function() run(self) end)
  if ok and begun then return end
  self.done = true -- the host has no room for it
  all_alone(self, failure)
end

return parts
