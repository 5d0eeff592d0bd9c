--- Two tries of one call beside each other: who answers first is the answer, the other one is
--- called off.
--
--     the call: send waits ─────────────────────── begins, or fails ──► settle ──► one outcome
--                  │ begin                                               ▲
--                  └─► fork, in a task of its own: route, admit, send ───┘
--
-- The fork has a place and an exchange of its own; the tries, the deadline and whatever
-- stops the call are those of the call. It never waits in line. When its answer comes first, the
-- call's own exchange is aborted under the one who waits for it, who finds the answer here; the
-- other way round the fork's is. Either way the server sees it, and the place comes back neutral.
local codes = require "unbusy.codes"
local elsewhere = require "unbusy.elsewhere"
local scheduler = require "unbusy.loops.scheduler"

local race = {}
race.__index = race

local GRACE = 0.1 -- seconds in which one that is called off has ended; it is told at once

-- {== The fork ============================================================

-- It is called off: the server sees that. (Not `abort`, which would say that the call was stopped.)
local function call_off(lane)
  lane.lost = true
  if lane.exchange then lane.exchange:abort() end
end

-- An answer that nobody is given.
local function discard(reply)
  if reply.pieces then reply.pieces:close() end
  reply:settle "cancelled"
end

-- What is passed on may be an error, and that wins no race.
local function is_good(reply)
  return not reply.how
end

-- The fork has come to its end, or its stream has begun.
local function conclude(self, reply, message, code, detail)
  if not reply then
    self.failure = { message = message, code = code, detail = detail }
  elseif self.over or self.call.stopped then
    discard(reply)
    self.failure = { message = "another try was quicker", code = "cancelled" }
  else
    self.reply = reply
    if is_good(reply) and not self.alone then call_off(self.call) end
  end
end

-- Its way, unless it was called off before it began.
local function go(self)
  local fork = self.fork
  if fork.lost or fork.stopped then
    local message, code = fork:reason()
    return nil, message, code
  end
  return self.way(fork)
end

-- All of it, but for the end, which must come whatever was raised before.
local function run_to_end(self)
  local loop = self.call.loop
  local mark = loop.own and loop.own(self)
  local ok, reply, message, code, detail = pcall(go, self)
  if loop.own then loop.disown(mark) end
  if not ok then error(reply, 0) end
  conclude(self, reply, message, code, detail)
end

local CANCELLED = { code = "cancelled", message = "its task was cancelled" }

local function run(self)
  local ok, raised = pcall(run_to_end, self)
  if not ok then
    self.failure = CANCELLED
    if raised ~= scheduler.cancelled then self.raised = raised end
  end
  if not self.reply then self.fork:finish() end
  self.done = true
  self.ended:set()
  if not ok and raised == scheduler.cancelled then error(raised, 0) end
end

-- }========================================================================

-- {== Beginning ===========================================================

local function tell(self, what)
  local try, first = self.call.tries[self.number], self.first
  self.call:emit("hedge", { what = what, cause = self.cause, seconds = self.after,
    target = try and try.target, number = try and try.number, beside = first.target })
end

local function count(self, what)
  local meter = self.call.client.meter
  if meter then meter:note("unbusy_hedges_total", 1, what) end
end

-- The targets that the second try may go to; none where others wait in line: it would overtake
-- them.
local function targets_for(call, price)
  local mine, out = call.place.target, {}
  if call.client.queue.count > 0 then return out end
  for _, t in ipairs(elsewhere.free(call)) do
    if elsewhere.is_cheap(mine, t, price) then out[#out + 1] = t end
  end
  return out
end

-- A permit of the budget, where there is one, and room under the cap; false where they are not to
-- be had.
local function pay(self)
  local permits = self.call.client.permits
  local permit = permits and permits:take_now(self.call, "hedge")
  if permits and not permit then return false end
  self.permit = permit or true
  self.call.client.hedges:count_begun(1)
  return true
end

local function refuse(hedges, why)
  hedges.refused[why] = hedges.refused[why] + 1
  return false
end

local function new(call, first, way, about)
  return setmetatable({ call = call, first = first, way = way, cause = about.cause,
    after = call.loop.now() - first.began, permit = false, number = #call.tries + 1,
    price = call.place.target.price, ended = call.loop.event(), done = false, over = false,
    alone = false, sent = false, reply = false, kept = false, failure = false, raised = nil }, race)
end

--- Starts a second try beside the one that the call is waiting for, if there may be one.
---@param call table
---@param first table the try under way
---@param way function the stages below: call -> reply | nil, message, code, detail
---@param about table { cause =, price = see `elsewhere.is_cheap` }
---@return boolean
function race.begin(call, first, way, about)
  local hedges, targets = call.client.hedges, targets_for(call, about.price)
  if not targets[1] then return refuse(hedges, "nobody") end
  if not hedges:has_room() then return refuse(hedges, "most") end
  local self = new(call, first, way, about)
  self.fork = call:fork(self, elsewhere.others(call, targets))
  call:hold(self) -- before anything is taken: whatever raises from now on, it goes back
  if not pay(self) then
    call:release(self)
    return refuse(hedges, "budget")
  end
  call.race = self
  if pcall(call.loop.spawn, run, self) then return true end
  self:close() -- the host has no room for another task
  call:release(self)
  call.race = false
  return false
end

--- The fork's request goes out.
function race:begun()
  self.sent = true
  count(self, "sent")
  if self.call.client.on_event then tell(self, "begun") end
end

--- The answer of one of the two has begun, and will be given: the other is called off.
---@param lane table the call or its fork
function race:lead(lane)
  if lane == self.fork then
    if not self.alone then call_off(self.call) end
  elseif not self.done then
    call_off(self.fork)
  end
end

-- }========================================================================

-- {== The end =============================================================

--- The call is stopped, and so is the fork.
function race:abort()
  self.fork:abort(self.call.stopped or "cancelled")
end

--- The call may last longer, and so may the fork.
function race:extend(deadline)
  self.fork:extend(deadline)
end

-- Gives back what was paid; and the room for it, where nothing was sent.
local function give(self, won)
  local permit = self.permit
  if not permit then return end
  self.permit = false
  if permit ~= true then permit.give(won) end
  if not self.sent then self.call.client.hedges:count_begun(-1) end
end

--- The call has ended in mid-race, or the fork's coroutine is gone: whatever has been left is given
--- back. May be called twice.
function race:close()
  if not self.done then self.fork:abort(self.call.stopped or "cancelled") end
  local reply, kept = self.reply, self.kept
  self.over, self.done, self.reply, self.kept = true, true, false, false
  if reply then discard(reply) end
  if kept then discard(kept) end
  self.fork:finish()
  give(self, false)
  self.ended:set()
end

-- The call's own try has answered: the fork ends, at once.
local function dismiss(self, reply)
  self.over, self.kept = true, reply
  if not self.done then
    call_off(self.fork)
    local loop = self.call.loop
    loop.wait({ self.ended }, loop.now() + GRACE)
  end
  self.kept = false
end

-- The call's own try has failed: what comes of the fork?
local function await(self)
  self.alone = true
  while not self.done do self.call.loop.wait { self.ended } end
end

-- Does the fork's failure tell more? The one after which more may be tried; else the call's own.
local function tells_more(self, code)
  local failure = self.failure
  if not failure or not self.fork_try then return false end
  if self.call.lost then return true end
  if not codes[code].fallback or not codes[failure.code].fallback then return false end
  local function hope(word)
    return codes[word].retry and 2 or codes[word].elsewhere and 1 or 0
  end
  return hope(failure.code) > hope(code)
end

-- The fork's answer is the call's: so is what it holds.
local function adopt(self)
  local call, fork, reply = self.call, self.fork, self.reply
  self.reply = false
  call.exchange, fork.exchange = fork.exchange, false
  fork:finish()
  return reply
end

-- Writes down what has come of the two.
local function note(self, what, reply, code)
  local call, hedges = self.call, self.call.client.hedges
  local other = what == "won" and self.first or self.fork_try
  if not other then return end -- it was not sent
  hedges.counts[what] = hedges.counts[what] + 1
  count(self, what)
  if call.client.on_event then tell(self, what) end
  if what == "won" and code == "cancelled" and self.first.watch then self.first.watch:missed() end
  if not reply then return end
  local price = self.price
  if what ~= "won" then
    for _, t in ipairs(call.client.targets) do
      if t.name == other.target then price = t.price end
    end
  end
  reply:mark_hedged({ won = what == "won", target = other.target, code = code,
    seconds = self.after }, price)
end

-- Of what either has said before it broke off, the next try goes on with the longer.
local function keep_said(self)
  local call, other = self.call, self.fork.so_far
  local mine = call.so_far
  if not other or mine and (other.dropped or #other.text <= #mine.text) then return end
  call.so_far = other
end

-- Both have failed: the failure that tells more.
local function failure_of_both(self, message, code, detail)
  if self.raised ~= nil then error(self.raised, 0) end
  note(self, "failed")
  keep_said(self)
  if tells_more(self, code) then
    local failure = self.failure
    return nil, failure.message, failure.code, failure.detail or {}
  end
  if self.sent then self.call.told = self.first end
  return nil, message, code, detail
end

-- How the fork has ended beside an answer of the call's own try.
local function end_beside(self, reply)
  local code = self.failure and self.failure.code or "cancelled"
  note(self, code == "cancelled" and "lost" or "failed", reply, code)
  return reply
end

--- The call's own try has come back: what is the call's outcome?
---@return table? reply, string? message, string? code, table? detail
function race:settle(reply, message, code, detail)
  local call = self.call
  call.race = false
  if reply then dismiss(self, reply) else await(self) end
  self.fork_try = self.sent and call.tries[self.number]
  call:release(self)
  local won = not reply and self.reply and not call.stopped or false
  give(self, won ~= false)
  if won then
    reply = adopt(self)
    note(self, "won", reply, code)
  elseif self.reply then
    discard(self.reply)
  end
  call.refused = call.refused or self.fork.refused
  if won then
    call.lost = false
    return reply
  end
  if reply then return end_beside(self, reply) end
  message, code, detail = select(2, failure_of_both(self, message, code, detail))
  call.lost = false
  return nil, message, code, detail
end

-- }========================================================================

return race
