--- Permits for second tries, and the line of those who wait for one.
--
-- A budget says no for two reasons. Its tokens are spent: too much has failed, and the call ends.
-- Or all permits are out: others are trying again just now, and one comes back soon. That is a
-- refusal of our own, so the call waits, first come first served; it costs the server nothing.
local turns = require "unbusy.turns"

local permits = {}
permits.__index = permits

---@param budget userdata see `unbusy.budget`
---@param costs table { retry =, throttle = } tokens of a permit of each kind
---@param common table? see `unbusy.shared`
function permits.new(budget, costs, common)
  return setmetatable({ budget = budget, costs = costs, common = common, first = 1, last = 0 },
    permits)
end

-- Is a permit to be had by waiting: do the tokens suffice, and will one that is out come back?
local function is_worth_waiting(self, kind)
  local now = self.budget:stats()
  return now and now.tokens >= self.costs[kind] and now.permits > 0
end

-- The first who still waits, or nil.
local function first_waiter(self)
  while self.first <= self.last and self[self.first].gone do
    self[self.first] = nil
    self.first = self.first + 1
  end
  return self[self.first]
end

-- Hands what permits there are to those who wait, in order; who waits in vain is told.
local function serve(self)
  local waiter = first_waiter(self)
  while waiter do
    waiter.permit = self.budget:take(waiter.kind)
    if not waiter.permit and is_worth_waiting(self, waiter.kind) then return end
    waiter.gone = true
    waiter.event:set()
    waiter = first_waiter(self)
  end
end

-- The call leaves the line without using what it may have been given.
local function leave(self, waiter)
  waiter.gone = true
  if waiter.permit then
    self.budget:give(waiter.permit, "ok")
    waiter.permit = nil
  end
  serve(self)
end

local function guard_of(self, waiter)
  return { abort = function() waiter.event:set() end, close = function() leave(self, waiter) end }
end

local function guard_of_handle(common, handle)
  return { close = function() common:leave(handle) end }
end

-- Waits for the event where another process may give a permit back: it wakes us, or somebody else.
local function wait_among_processes(self, call, waiter)
  local guard = guard_of_handle(self.common, self.common:enter(call.loop,
    turns.number[call.options.priority or "normal"]))
  call:hold(guard)
  while not call.loop.wait({ waiter.event },
      math.min(call.deadline, call.loop.now() + self.common.LOOK)) do
    if call.loop.now() >= call.deadline then break end
    serve(self)
  end
  call:release(guard)
  guard.close()
end

-- Waits for a permit; nil when there is none to be had, or the call's time is up.
local function wait_turn(self, call, kind)
  local waiter = { kind = kind, event = call.loop.event() }
  local guard = guard_of(self, waiter)
  self.last = self.last + 1
  self[self.last] = waiter
  call:hold(guard)
  if self.common then
    wait_among_processes(self, call, waiter)
  else
    call.loop.wait({ waiter.event }, call.deadline)
  end
  call:release(guard)
  if call.stopped or not waiter.permit then return leave(self, waiter) end
  return waiter.permit
end

-- One that waits for others must not keep it: they may be waiting for a permit themselves. So it
-- moves to the call that is made in this one's place.
local function issue(self, call, permit)
  local tries, given = #call.tries, false
  local function give(good)
    if given then return end
    given = true
    -- A try that was never sent has cost nobody anything.
    self.budget:give(permit, (good or #call.tries == tries) and "ok" or "fail")
    serve(self)
    if self.common then self.common:wake() end
  end
  local function move(to)
    call, tries = to, #to.tries
  end
  return { give = give, move = move, close = function() give(false) end }
end

-- A second try that the call wanted is not allowed.
local function count_refused(call)
  local meter = call.client.meter
  if meter then meter:note("unbusy_retry_budget_refused_total", 1) end
end

--- A permit may have come back from another process.
permits.serve = serve

--- Takes a permit, waiting for one if need be, behind those who wait already. `permit.give(good)`
--- gives it back, once.
---@param call table
---@param kind "retry"|"throttle"
---@return table? permit nil when the tokens are spent or the call's time is up
function permits:take(call, kind)
  local permit = not first_waiter(self) and self.budget:take(kind) or nil
  if not permit and is_worth_waiting(self, kind) then permit = wait_turn(self, call, kind) end
  if permit then return issue(self, call, permit) end
  if not call.stopped then count_refused(call) end
end

--- Takes a permit as `take` does, for the next try that the call makes: who tries gives it back.
---@param call table
---@param kind "retry"|"throttle"
---@return boolean paid
function permits:pay(call, kind)
  local permit = self:take(call, kind)
  if not permit then return false end
  call.permit = permit
  call:hold(permit)
  return true
end

--- Takes a permit that is there, where nobody waits for one. Who gets none may want it again soon.
---@param call table
---@param kind "retry"|"throttle"|"hedge"
---@return table? permit see `take`
function permits:take_now(call, kind)
  local permit = not first_waiter(self) and self.budget:take(kind) or nil
  if permit then return issue(self, call, permit) end
  if not call.refused_permit then count_refused(call) end
  call.refused_permit = true
end

return permits
