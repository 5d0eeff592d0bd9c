--- What is done while a try waits for the first byte of its answer.
--
--     send ──► await / read, in slices ──► look ─┬─ time for a second try? ──► unbusy.race
--                                                └─ in the server's queue? policy.queued:
--                                                   "wait" · "hedge" · "switch"
--
-- A try has a watch only where its client hedges or a policy has `hedge` or `queued`. "switch"
-- gives the try up, but only where another account stands ready and the move is paid for: a place
-- in a queue is not given away for nothing.
local elsewhere = require "unbusy.elsewhere"
local facts = require "unbusy.policy.facts"
local news = require "unbusy.news"
local passing = require "unbusy.passing"
local race = require "unbusy.race"

local watch = {}
watch.__index = watch

local huge = math.huge

local ASK = 1        -- seconds between two times that a policy is asked about the server's queue …
local SOONEST = 0.25 -- … and the least, where a keep-alive comes
local AGAIN = 0.5    -- seconds, at least, until it is seen again whether a second try can be made

-- {== Who may have a second try ===========================================

-- What is kept on the server for the next request, or goes on there by itself, is not begun twice.
local function stands_alone(call)
  return type(call.request) == "table" and not elsewhere.is_bound(call)
    and call.request.background ~= true
end

local kinds = { chat = true, complete = true, embed = true }

local safe = { GET = true, HEAD = true, OPTIONS = true }

-- May what is asked be asked twice at the same time, by accounts that know nothing of each other?
local function may_be_doubled(call)
  local kind = call.kind
  if kinds[kind] then return true end
  if kind == "responses" then return stands_alone(call) end
  return kind == "pass" and safe[call.method] == true and passing.idempotent[call.method] == true
end

-- Has the call a choice?
local function has_choice(call)
  return not call.options.target and #call:targets() > 1
end

-- }========================================================================

-- {== A try's watch =======================================================

-- What a policy is told of a try under way.
local function told_of(self)
  local call, try, client = self.call, self.try, self.call.client
  local told = facts.try(call, try)
  told.targets, told.untried = #call:targets(), elsewhere.free(call)[1] ~= nil
  told.p95 = client.hedges.starts:quantile(try.target, try.model, self.way, 0.95, call.loop.now())
  return told
end

-- When a second try is due, as the policy says; nil for never, false where it does not decide.
local function delay_by_policy(self)
  local call, target = self.call, self.call.place.target
  if not call.policy or not call.policy:decides("hedge", target) then return false end
  local decided, seconds = call.policy:ask(call, "hedge", target, told_of(self))
  if not decided then return false end
  return seconds
end

local function set_delay(self)
  local call, hedges, try = self.call, self.call.client.hedges, self.try
  local seconds = delay_by_policy(self)
  local asked = seconds ~= false
  if not asked then
    seconds = hedges:delay(try.target, try.model, self.way, call.loop.now())
  end
  self.price = hedges.price or asked and "any" or "lower"
  self.cause = asked and "policy" or "time"
  if seconds then self.hedge_at, self.pause = try.began + seconds, math.max(seconds, AGAIN) end
end

-- Is anybody interested in this try?
local function is_wanted(call)
  local hedges, policy, target = call.client.hedges, call.policy, call.place.target
  return hedges.on or policy
    and (policy:decides("hedge", target) or policy:decides("queued", target))
end

--- The watch of a try that has just been sent; nil where it needs none.
---@param call table
---@param try table
---@param streaming boolean is a stream asked for, of the server?
---@return table? watch
function watch.of(call, try, streaming)
  if not is_wanted(call) then return nil end
  local hedges, policy = call.client.hedges, call.policy
  local self = setmetatable({ call = call, try = try, way = streaming and "stream" or call.kind,
    hedge_at = huge, ask_at = huge, at = huge, pause = AGAIN, asked_at = -huge, heard = false,
    price = "lower", cause = "time" }, watch)
  if call.lane_of or not has_choice(call) then return self end -- it is measured, no more
  if not hedges.never and call.options.hedge ~= false and may_be_doubled(call) then
    if #call.tries == 1 then hedges:count_call() end
    set_delay(self)
  end
  if policy and policy:decides("queued", call.place.target) then self.ask_at = try.began + ASK end
  self.at = math.min(self.hedge_at, self.ask_at)
  return self
end

-- }========================================================================

-- {== Looking =============================================================

local function hedge(self, cause, price)
  local call = self.call
  if call.race or call.options.hedge == false or call.client.hedges.never
    or not may_be_doubled(call) then
    return
  end
  race.begin(call, self.try, call.client.hedges.way, { cause = cause, price = price })
end

-- Leaving a queue is a move: one to another account is free, more are paid for. True and the
-- permit, if there is one; or false.
local function pay_for_move(call)
  local permits = call.client.permits
  if not call.moved then
    call.moved = true
    return true
  elseif not permits then
    return true
  end
  local permit = permits:take_now(call, "throttle")
  return permit ~= nil, permit
end

-- Gives the try up, for somebody who is free now.
local function switch(self)
  local call = self.call
  local targets = elsewhere.free(call)
  if not targets[1] or call.client.queue.count > 0 then return end
  local paid, permit = pay_for_move(call)
  if not paid then return end
  if permit then call:hold(permit) end
  call.switch, self.try.given_up = { targets = targets, permit = permit }, true
  call.exchange:abort()
end

-- Asks the policy what to do about the server's queue.
local function ask(self, now)
  local call, target = self.call, self.call.place.target
  self.asked_at, self.ask_at = now, now + ASK
  if call.race and not call.race.done then return end -- somebody else is asked already
  local decided, what = call.policy:ask(call, "queued", target, told_of(self))
  if not decided or call.stopped then return end
  if what == "switch" then return switch(self) end
  if what == "hedge" then hedge(self, "queued", call.client.hedges.price or "any") end
end

-- Does what is due.
local function look(self)
  local call, now = self.call, self.call.loop.now()
  if now >= self.hedge_at then
    self.hedge_at = now + self.pause
    hedge(self, self.cause, self.price)
    if call.race then self.hedge_at = huge end
  end
  local due = now >= self.ask_at
  if self.ask_at < huge and self.try.keep_alives then
    due = due or self.heard and now - self.asked_at >= SOONEST
    if due then ask(self, now) end
  elseif due then
    self.ask_at = now + ASK
  end
  self.heard = false
  self.at = math.min(self.hedge_at, self.ask_at)
end

-- }========================================================================

-- {== Waiting =============================================================

--- The server has said that it is still there. True: whoever reads is to look.
function watch:hear()
  self.heard = true
  return self.ask_at < huge
end

--- As `news.await`, looking now and then.
function watch:await(x, limit)
  local loop = self.call.loop
  while true do
    if self.heard then look(self) end
    local kind, a, b, c, d = news.await(loop, x, self.at < limit and self.at or limit)
    if kind ~= "late" or loop.now() >= limit then return kind, a, b, c, d end
    look(self)
  end
end

--- As `pieces:read`, looking now and then.
function watch:read(pieces, limit)
  local loop = self.call.loop
  while true do
    local piece, message, code, detail = pieces:read(self.at < limit and self.at or limit)
    if code ~= "late" or loop.now() >= limit then return piece, message, code, detail end
    look(self)
  end
end

--- The answer has begun.
---@param seconds number since it was asked for
function watch:started(seconds)
  local call, try = self.call, self.try
  call.client.hedges.starts:note(try.target, try.model, self.way, seconds, call.loop.now())
end

--- It was called off before its answer began: it counts as one that took so long.
function watch:missed()
  local now = self.call.loop.now()
  if not self.try.start then self:started(now - self.try.began) end
end

-- }========================================================================

return watch
