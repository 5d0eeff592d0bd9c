--- Permits for second tries, and the line of those who wait for one.
--
-- A budget says no for two reasons. Its tokens are spent: too much has failed, and the call ends.
-- Or all permits are out: others are trying again just now, and one comes back soon. That is a
-- refusal of our own, so the call waits, first come first served; it costs the server nothing.
local permits = {}
permits.__index = permits

---@param budget userdata see `unbusy.budget`
---@param costs table { retry =, throttle = } tokens of a permit of each kind
function permits.new(budget, costs)
  return setmetatable({ budget = budget, costs = costs, first = 1, last = 0 }, permits)
end

-- Whoever has waited longest may ask again.
local function wake_first(self)
  while self.first <= self.last do
    local waiter = self[self.first]
    self[self.first] = nil
    self.first = self.first + 1
    if not waiter.gone then return waiter.event:set() end
  end
end

-- Is a permit to be had by waiting: do the tokens suffice, and will one that is out come back?
local function is_worth_waiting(self, kind)
  local now = self.budget:stats()
  return now.tokens >= self.costs[kind] and now.permits > 0
end

-- Waits for a permit to come back; false when the call's time is up.
local function wait_turn(self, call)
  local waiter = { event = call.loop.event() }
  local guard = { abort = function() waiter.event:set() end,
    close = function()
      waiter.gone = true
      if waiter.event.is_set then wake_first(self) end -- the turn was ours: pass it on
    end }
  self.last = self.last + 1
  self[self.last] = waiter
  call:hold(guard)
  local woken = call.loop.wait({ waiter.event }, call.deadline)
  call:release(guard)
  waiter.gone = true
  return woken ~= nil and not call.client.closed
end

local function issue(self, call, permit)
  local tries, given = #call.tries, false
  local function give(good)
    if given then return end
    given = true
    -- A try that was never sent has cost nobody anything.
    self.budget:give(permit, (good or #call.tries == tries) and "ok" or "fail")
    wake_first(self)
  end
  return { give = give, close = function() give(false) end }
end

--- Takes a permit, waiting for one if need be. `permit.give(good)` gives it back, once.
---@param call table
---@param kind "retry"|"throttle"
---@return table? permit nil when the tokens are spent or the call's time is up
function permits:take(call, kind)
  local permit = self.budget:take(kind)
  while not permit do
    if not is_worth_waiting(self, kind) or not wait_turn(self, call) then
      wake_first(self) -- what has become hopeless for us may be so for the others
      return nil
    end
    permit = self.budget:take(kind)
  end
  return issue(self, call, permit)
end

return permits
