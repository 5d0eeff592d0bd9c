--- Calls that are made as one: who goes together, how long they wait for others, and who leaves.
--
--     join ──► window ──► part (see `unbusy.batching.parts`) ──► outcome ──► reply or failure
--       │         │ nobody else has come                            │
--       └─────────┴────────► the call's own way ◄───────────────────┘ to be asked alone
--
-- The window is watched by the members themselves: where nobody comes, nothing is left of it. A
-- member that leaves (at its deadline, cancelled, or with its coroutine) leaves the others alone.
local cache = require "unbusy.cache"
local headers = require "unbusy.headers"
local parts = require "unbusy.batching.parts"
local rules = require "unbusy.batching.rules"

local batches = {}
batches.__index = batches

-- {== Members =============================================================

local member = {}
member.__index = member

--- What has become of it; the first outcome counts.
function member:settle(outcome)
  if self.outcome or self.gone then return end
  self.outcome = outcome
  self.event:set()
end

--- Its call is stopped: it looks at that itself.
function member:abort()
  self.event:set()
end

--- Its call may last longer, and so may the one that is made for all.
function member:extend(deadline)
  if self.part then self.part:extend(deadline) end
end

--- It leaves, however that comes about. Twice is once.
function member:close()
  if self.gone then return end
  self.gone = true
  if self.part then return self.part:left() end
  if not self.batch.sent then self.batch:drop(self) end
end

local GRACE = 0.1 -- seconds in which a part whose time is up tells its members

-- When it has waited long enough: the last to go hear it of the part, which knows more.
local function limit_of(self)
  local deadline = self.call.deadline
  return self.part and self.part:lasts_until(deadline) and deadline + GRACE or deadline
end

-- Waits for an outcome; nil where the call was stopped, or its time is up. Others may come at least
-- once, however short the window is.
local function await(self)
  local call, batch = self.call, self.batch
  local loop, waited = call.loop, false
  while not self.outcome do
    local now, limit = loop.now(), limit_of(self)
    if call.stopped or now >= limit then return nil end
    if waited and not batch.sent and now >= batch.closes_at then
      batch:end_window()
    else
      waited = true
      self.event:clear()
      loop.wait({ self.event }, batch.sent and limit or math.min(batch.closes_at, limit))
    end
  end
  return self.outcome
end

-- It leaves without an outcome. The last one sees the part end, which is at once: where the loop
-- runs for this call alone, nothing else would.
local function leave(self)
  local part, loop = self.part, self.call.loop
  if part then part:show_tries(self) end
  self:close()
  if part and part:is_left() then loop.wait({ part.ended }, loop.now() + GRACE) end
end

-- }========================================================================

-- {== A batch in the making ===============================================

local batch = {}
batch.__index = batch

local function no_more(self)
  self.sent = true
  if self.place[self.id] == self then self.place[self.id] = nil end
end

--- One member less, before it is sent.
function batch:drop(m)
  for i, other in ipairs(self.members) do
    if other == m then
      table.remove(self.members, i)
      break
    end
  end
  if not self.members[1] then no_more(self) end
end

--- Nobody joins any more: those who are here are asked as one.
function batch:send()
  no_more(self)
  parts.begin(self, self.members)
end

--- The window is over.
function batch:end_window()
  if self.members[2] then return self:send() end
  no_more(self)
  self.counts.lone = self.counts.lone + 1
  self.members[1]:settle { alone = true }
end

local function add(self, call, request)
  local m = setmetatable({ call = call, batch = self, request = request, event = call.loop.event(),
    before = call.tries, gone = false, outcome = false, part = false }, member)
  call:hold(m) -- before it is a member: whatever raises from now on, it leaves
  table.insert(self.members, m)
  return m
end

-- }========================================================================

-- {== Who goes together ===================================================

-- What is tried for calls that ask to be in a batch: also the targets' own endpoint.
local function with_endpoint(client, list)
  local has, out = false, {}
  for _, t in ipairs(client.targets) do has = has or t.batch end
  for i, rule in ipairs(list) do
    out[i], has = rule, has and rule.name ~= "endpoint"
  end
  if has then out[#out + 1] = assert(rules.shipped "endpoint") end
  return out
end

-- Their faults are told as those of policies are, and their files are read anew with those.
local function introduce(client, rule)
  rule.guest.report = function(fields, call) client:report_policy(fields, call) end
  if rule.watched then table.insert(client.policies.files, rule.watched) end
end

--- The batches of a client.
---@param client table
---@param list table[] its rules, see `unbusy.batching.rules`
function batches.new(client, list)
  local self = setmetatable({ client = client, rules = list, asked = with_endpoint(client, list),
    by_policy = rules.of_policies(), shipped = {},
    open = setmetatable({}, { __mode = "k" }), -- loop -> rule -> key -> batch
    counts = { sent = 0, members = 0, lone = 0, split = 0 } }, batches)
  for _, rule in ipairs(self.asked) do introduce(client, rule) end
  if client.policy and client.policy:decides "batch" then -- not later, where files are slow to read
    for _, name in ipairs(rules.names) do self:named(name) end
  end
  return self
end

--- A shipped rule, for a policy that names it; nil where there is none of that name.
---@param name string
function batches:named(name)
  local known = self.shipped[name]
  if known == nil then
    known = rules.shipped(name) or false
    self.shipped[name] = known
    if known then introduce(self.client, known) end
  end
  return known or nil
end

local function faults_of(status)
  local sum = 0
  for _, count in pairs(status.faults) do sum = sum + count end
  return sum
end

--- How many were sent and the calls in them, windows in which nobody else came, failures after
--- which fewer were asked at once, and what has come of each rule (see `guest:status`).
function batches:stats()
  local c = self.counts
  local out = { sent = c.sent, members = c.members, lone = c.lone, split = c.split, faults = 0,
    rules = {} }
  for i, rule in ipairs(self.asked) do
    out.rules[i] = rule.guest:status()
    out.faults = out.faults + faults_of(out.rules[i])
  end
  return out
end

local kinds = { chat = true, complete = true, embed = true }

-- Whole numbers that Lua does not hold would not be sent as they came.
local LONG = ("%d"):rep(16)

local function is_traced(call)
  local o = call.options
  return call.trace and (o.batch ~= true or o.trace == true)
end

local function may_join(call)
  local o = call.options
  if not kinds[call.kind] or call.streaming or o.batch == false or o.upstream_stream then
    return false
  end
  if call.extra and (is_traced(call) or headers.names_one_request(call.extra)) then return false end
  return true
end

-- The first rule that takes the request, and what it says.
local function plan_by(list, call)
  for _, rule in ipairs(list) do
    if rule.watched then rule.watched:begin(call.loop, call.loop.now()) end
    local plan = rule:plan(call)
    if plan and (not plan.endpoint or parts.has_endpoint(call)) then return plan end
  end
end

-- What the call's policies say: nil where they say nothing, false where it is to go alone.
local function plan_by_policy(self, call)
  local decided, said = call.policy:ask(call, "batch", nil, call:shown_request())
  if not decided then return nil end
  if not said then return false end
  local rule = self.by_policy
  if said.rule then
    rule = self:named(said.rule)
    local plan = rule and plan_by({ rule }, call)
    if not plan then return false end
    plan.max, plan.window = said.max or plan.max, said.window or plan.window
    return plan
  end
  if said.endpoint and not parts.has_endpoint(call) then return false end
  return { rule = rule, key = said.key, max = said.max or rule.max,
    window = said.window or rule.window, endpoint = said.endpoint }
end

local function find_plan(self, call)
  if call.policy and call.policy:decides "batch" then
    local plan = plan_by_policy(self, call)
    if plan ~= nil then return plan end
  end
  return plan_by(call.options.batch and self.asked or self.rules, call)
end

--- How a call goes together with others: nil where it goes alone.
---@param call table
---@return table? plan
function batches:plan(call)
  if not may_join(call) then return nil end
  local plan = find_plan(self, call)
  if not plan or plan.max < 2 then return nil end
  local raw = call.options.raw
  if raw and raw:find(LONG) then return nil end
  local lonely = call.loop.lonely
  if lonely and lonely() then return nil end -- nobody could come
  return plan
end

-- In what the members of one batch agree, besides the rule and the policy; nil where that is no
-- JSON.
local function key_of(call, plan)
  local o, extra = call.options, call.extra
  return (cache.key(call.kind, o.target or false, o.pool or false, o.priority or "normal",
    o.given_clocks or false, o.hedge == false, extra and headers.asked_with(extra) or false,
    extra and { o.trace or extra.traceparent or false, extra.tracestate or false } or false,
    plan.key))
end

local function place_of(self, loop, rule)
  local by_rule = self.open[loop]
  if not by_rule then
    by_rule = {}
    self.open[loop] = by_rule
  end
  by_rule[rule] = by_rule[rule] or {}
  return by_rule[rule]
end

local function new_batch(self, call, plan, key, place, id)
  return setmetatable({ client = self.client, counts = self.counts, loop = call.loop, key = key,
    rule = plan.rule, policy = call.policy, endpoint = plan.endpoint, max = plan.max,
    closes_at = call.loop.now() + plan.window, place = place, id = id, members = {}, sent = false },
    batch)
end

-- No call is in a batch that is larger, or waits longer, than its own plan says.
local function narrow(b, plan, now)
  b.max, b.closes_at = math.min(b.max, plan.max), math.min(b.closes_at, now + plan.window)
end

-- The batch that takes the call, or nil: there are two who only look alike.
local function batch_for(self, call, plan, next)
  local key = key_of(call, plan)
  if not key then return nil end
  local place, id = place_of(self, call.loop, plan.rule), tostring(key)
  local b = place[id]
  if b and #b.members >= plan.max then
    b:send()
    b = nil
  end
  if not b then
    b = new_batch(self, call, plan, key, place, id)
    b.next = next
    place[id] = b
  elseif b.key ~= key or b.policy ~= call.policy then
    return nil
  end
  narrow(b, plan, call.loop.now())
  return b
end

-- }========================================================================

-- {== A call's way ========================================================

local function too_late(call, m)
  local target = m.part and m.part:target()
  local message = ("%sbatch: nothing for %.3g s"):format(target and target .. ": " or "",
    call.loop.now() - call.started)
  return nil, message, "timeout", { phase = "total", target = target }
end

-- What comes of an outcome.
local function follow(call, next, outcome)
  if outcome.reply then return outcome.reply end
  if outcome.raised ~= nil then error(outcome.raised, 0) end
  if outcome.alone then
    if outcome.failure then call.failed = false end -- it is asked again after this one
    return parts.paid(call, next, outcome.failure)
  end
  if outcome.failed then
    call.failed = outcome.failed
    return next(call)
  end
  local f = outcome.failure
  return nil, f.message, f.code, f.detail
end

--- Makes the call with others, as its plan says; alone, where nobody comes.
---@param call table
---@param plan table
---@param next function the rest of the call's way
function batches:join(call, plan, next)
  local b = batch_for(self, call, plan, next)
  if not b then return next(call) end
  local began = call.loop.now()
  local m = add(b, call, call:shown_request())
  if #b.members >= b.max then b:send() end
  local outcome = await(m)
  if not outcome then leave(m) end
  call:release(m)
  m:close()
  if call.stopped then return call:refusal() end
  if not outcome then return too_late(call, m) end
  if outcome.alone or outcome.failed then
    call.queued = (call.queued or 0) + (outcome.sent_at or call.loop.now()) - began
  end
  return follow(call, next, outcome)
end

-- }========================================================================

return batches
