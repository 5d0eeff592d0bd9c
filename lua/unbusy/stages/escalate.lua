--- Asks somebody else where an answer is good HTTP and a poor answer.
--
--     answer of `from` ──► weak? ──► may somebody else be asked? ──► a second call ──► its answer
--                           │ no            │ no                        │ it fails
--                           └► the answer   └► the weak answer, marked ◄┘
--
-- What is weak, say the policy's `accept` and the checks of the option `escalate` (see
-- `unbusy.escalation.checks`). A weak answer is no failure: the breaker, the limiter and the budget
-- have been told of a good one. The second call goes the whole way below with tries of its own, at
-- most once for each call. It takes no permit of the retry budget, which is there against servers
-- in trouble: this one has answered, and another one is asked. Its bounds are others: a share of
-- the answers that were judged (`unbusy.escalation.counts`), a target that stands free (a call that
-- has an answer in hand does not wait in line with those that have none), and time enough.
--
-- It stands above the batch: each member's own answer is judged, and the one that they came in is
-- not. An answer that is passed on as it comes cannot be judged before: a stream is only marked at
-- its end, unless it was held back. Who was to have that stream's answer whole comes with it
-- (`call.given`), and somebody else is asked in its place.
local checks = require "unbusy.escalation.checks"
local counts = require "unbusy.escalation.counts"
local elsewhere = require "unbusy.elsewhere"
local facts = require "unbusy.policy.facts"
local refusals = require "unbusy.escalation.refusals"
local reply = require "unbusy.reply"

local kinds = { chat = true, complete = true, responses = true }

local LEAST = 0.1 -- seconds that must be left; nobody answers in less

-- {== Judging =============================================================

-- What the policy says: true or false; nil where it does not decide.
local function accepted(call, answer)
  if not call.policy or not call.policy:decides "accept" then return nil end
  local decided, good =
    call.policy:ask(call, "accept", nil, call:shown_request(), facts.reply(call, answer))
  if decided then return good end
end

-- Why the answer is weak; nil when it is not.
local function reason_of(self, call, answer)
  local good = accepted(call, answer)
  if good ~= nil then return not good and "policy" or nil end
  return self.checks and checks.reason(self.checks, call.kind, call.request, answer)
end

-- Is the answer one of those that are judged?
local function is_judged(self, call, answer)
  local target = self.by_name[answer.target]
  if not target then return false end
  if self.checks then return target.pool == self.checks.from end
  return call.policy and call.policy:decides "accept"
end

-- }========================================================================

-- {== Whom to ask =========================================================

-- (Who goes on from what a server keeps is known to that one's account alone.)
local function add(list, call, target, weak)
  if elsewhere.is_bound(call) and target.account_name ~= weak.account_name then return end
  if call:may_ask(target.name) then list[#list + 1] = target end
end

-- Those that may be asked in place of `weak`: of the pool `to`; without one all that are in another
-- pool, or else all others.
local function others(self, call, weak)
  local o, out = self.checks, {}
  if o then
    if call.options.pool and call.options.pool ~= o.to then return out end
    for _, t in ipairs(call.client.pools.by_name[o.to]) do add(out, call, t, weak) end
    return out
  end
  for _, t in ipairs(call:targets()) do
    if t.pool ~= weak.pool then add(out, call, t, weak) end
  end
  if out[1] then return out end
  for _, t in ipairs(call:targets()) do
    if t ~= weak then add(out, call, t, weak) end
  end
  return out
end

-- The seconds that the quickest of those that stand free usually takes; nil where none does.
local function quickest(call, targets)
  local now, least = call.loop.now(), nil
  for _, t in ipairs(targets) do
    local model = t:model(call.model)
    if t:is_free(model, now) then
      local l = t:limiter(model)
      least = math.min(least or math.huge, l and l:stats().round_trip or 0)
    end
  end
  return least
end

-- Why nobody else is asked; nil when somebody may be, which is counted then.
local function why_not(self, call, targets)
  if call.options.target or not targets[1] then return "named" end
  local seconds = quickest(call, targets)
  if not seconds then return "full" end
  if not call:can_wait(math.max(LEAST, seconds)) then return "time" end
  if not self.counts:may_ask(self.bounds) then return "share" end
end

-- }========================================================================

-- {== The second call =====================================================

local function with(t, name, value)
  local out = {}
  for k, v in next, t do out[k] = v end
  out[name] = value
  return out
end

-- The options of the call for its second asking, in which it is alone.
local function options_of(self, call)
  local given = with(call.options, "batch", false)
  if self.checks then given.pool = self.checks.to end
  return given
end

-- Only these are asked from now on.
local function rule_out_others(call, targets)
  local wanted = {}
  for _, t in ipairs(targets) do wanted[t.name] = true end
  for _, t in ipairs(call.client.targets) do
    if not wanted[t.name] then call:rule_out(t.name) end
  end
end

-- Asks them: a reply, or a failure. Then the call has its own options again, under which its answer
-- is kept; the others stay ruled out, since a stream may still have to be gone on with, in the pool
-- that has begun it.
local function ask(self, call, next, targets)
  local again = call.again
  local before = call:ask_again(call.request, options_of(self, call))
  rule_out_others(call, targets)
  local answer, message, code, detail = next(call)
  if detail then detail = call:detail(detail) end
  call.options, call.again = before.options, again
  if self.checks and answer and answer.pieces then call.pool = self.checks.to end
  return answer, message, code, detail
end

-- The second answer, which says whose place it takes, and costs what both have.
local function replaced(self, answer, weak, reason)
  self.counts:replaced()
  answer.escalated = { reason = reason, target = weak.target, usage = weak.usage,
    cost = weak.cost }
  if answer.ended then
    answer:add_cost(weak)
    return answer
  end
  return answer:with_cost_of(weak)
end

-- The weak answer, since nobody else is asked, or has answered.
local function kept(self, call, weak, reason, why, failure)
  weak.weak, weak.tries, weak.failure = reason, call:tries_made(), failure
  weak.times.total = call.loop.now() - call.started
  self.counts:kept(why)
  call:emit("weak", { target = weak.target, reason = reason, why = why,
    code = failure and failure.code })
  return weak
end

local function escalate(self, call, next, weak, reason)
  call.escalated = true
  local targets = others(self, call, self.by_name[weak.target])
  local why = why_not(self, call, targets)
  if why then return kept(self, call, weak, reason, why) end
  self.counts:asked()
  call:emit("escalate", { target = weak.target, reason = reason,
    pool = self.checks and self.checks.to, number = call:tries_made() + 1 })
  if call.stopped then return call:refusal() end
  local answer, message, code, detail = ask(self, call, next, targets)
  if answer then return replaced(self, answer, weak, reason) end
  if call.stopped then return call:refusal() end
  return kept(self, call, weak, reason, "failed",
    { message = message, code = code, detail = detail })
end

-- }========================================================================

-- {== Streams =============================================================

-- A stream is under way to the caller: at its end it is judged, so that it is not kept as a good
-- answer, and counted.
local function judge_later(self, call, answer)
  self.counts:judged()
  answer.judge = function(whole) return reason_of(self, call, whole) end
  answer:on_end(function(whole, how)
    local reason = not how and whole:is_weak()
    if not reason then return end
    whole.weak_late = true
    self.counts:weak(reason)
    self.counts:kept "stream"
    call:emit("weak", { target = whole.target, reason = reason, why = "stream" })
  end)
  return answer
end

-- }========================================================================

-- What comes of an answer that is judged.
local function review(self, call, next, answer)
  if answer.pieces then return judge_later(self, call, answer) end
  self.counts:judged()
  local reason = reason_of(self, call, answer)
  local message, code, detail
  if reason then
    self.counts:weak(reason)
    answer, message, code, detail = escalate(self, call, next, answer, reason)
    if not answer then return nil, message, code, detail end
  end
  if call.streaming and not answer.pieces then return reply.as_stream(call, answer) end
  return answer
end

local fresh = { upstream = true, batch = true }

-- The options as they are used; nil for none.
local function checks_of(given)
  if not given then return nil end
  local own = type(given.refusals) == "table" and given.refusals or nil
  return with(given, "phrases", given.refusals and refusals.list(own))
end

local DEFAULTS = { most = 0.2, floor = 10 } -- of a policy's `accept` without options

local function new(client)
  local own = checks_of(client.escalate)
  local self = { checks = own, bounds = own or DEFAULTS, by_name = {}, holds = false,
    counts = own and counts.of(client) or false }
  for _, t in ipairs(client.targets) do self.by_name[t.name] = t end
  if own and own.hold then self.holds = function(target) return target.pool == own.from end end
  return self
end

-- May the call be sent elsewhere? A caller that has named a target or a pool wants no other.
local function may_leave(call)
  return not call.options.target and not call.options.pool
end

-- Is there anybody who would judge this call's answer? Not twice for one call.
local function takes_part(self, call)
  if not kinds[call.kind] or call.escalated or call.options.escalate == false then
    return false
  end
  return self.checks or call.policy and call.policy:decides "accept"
end

---@param next function the rest of the call's way
---@param client table
---@param plain boolean? see `unbusy.flow`
---@return fun(call: table): table?, string?, string?, table?
return function(next, client, plain)
  local self, own = new(client), client.escalate
  if plain and not own then return next end
  return function(call)
    if not own and not call.policy or not takes_part(self, call) then return next(call) end
    local given = call.given
    if given then
      self.counts, call.given = self.counts or counts.of(client), false
      return escalate(self, call, next, given, given.weak)
    end
    if call.streaming and self.holds and may_leave(call) then call.holds = self.holds end
    local answer, message, code, detail = next(call)
    if not answer or not fresh[answer.source] then return answer, message, code, detail end
    self.counts = self.counts or counts.of(client)
    self.counts:answered(answer.target)
    if not is_judged(self, call, answer) then return answer end
    return review(self, call, next, answer)
  end
end
