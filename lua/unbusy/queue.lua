--- The waiting line before the targets.
--
-- A call that no target lets in waits here; that costs neither a try nor budget. First come, first
-- served: waiters stand in the order of their priority and of their calls' arrival, so that a call
-- that has to try again does not lose its turn. Whoever gives a place back serves the line: it asks
-- the gates on behalf of those who wait and hands the place over, so that nobody overtakes.
--
-- But for those whose time would be up before an answer is usually there: they let the others go
-- first. Else an overload would end in a line whose head is always too late, and in which each
-- place is spent on an answer that nobody waits for any more.
local queue = {}
queue.__index = queue

---@param given table { size =, max_wait = seconds, waits = boolean, gates = number of targets,
--- common = see `unbusy.shared`, or nil }
function queue.new(given)
  return setmetatable({
    size = given.size, max_wait = given.max_wait, waits = given.waits,
    gates = given.gates, common = given.common, models = {}, model_count = 0, usual = {},
    look_at = math.huge, count = 0, -- the list itself is the array part
  }, queue)
end

local function before(a, b)
  if a.priority ~= b.priority then return a.priority < b.priority end
  return a.order < b.order
end

-- How many different models are asked for: with the targets, how many gates there are.
local function count_model(self, waiter, by)
  local model = waiter.asked or ""
  local count = (self.models[model] or 0) + by
  if count == 0 or count == by then self.model_count = self.model_count + by end
  self.models[model] = count > 0 and count or nil
end

local function insert(self, waiter)
  local i = self.count
  while i >= 1 and before(waiter, self[i]) do
    self[i + 1], i = self[i], i - 1
  end
  self[i + 1] = waiter
  self.count = self.count + 1
  count_model(self, waiter, 1)
  if self.common then waiter.handle = self.common:enter(waiter.loop) end
end

-- The first of the line looks at the clock for all of them: let it look again.
local function poke_first(self)
  local first = self[1]
  if first and first.event then first.event:set() end
end

local function remove(self, waiter)
  for i = 1, self.count do
    if self[i] == waiter then
      table.remove(self, i)
      self.count = self.count - 1
      count_model(self, waiter, -1)
      if waiter.handle then self.common:leave(waiter.handle) end
      if i == 1 then poke_first(self) end
      return
    end
  end
end

-- Forget what is known of the gates: a pass begins.
local function begin_pass(self)
  self.refusals, self.refused, self.look_at = nil, 0, math.huge
end

-- The refusal of one gate in this pass, if there was one.
local function known_refusal(self, target, model)
  local by_model = self.refusals and self.refusals[target]
  return by_model and by_model[model or ""]
end

local function note_refusal(self, target, model, refusal)
  self.refusals = self.refusals or {}
  local by_model = self.refusals[target] or {}
  self.refusals[target] = by_model
  by_model[model or ""] = refusal
end

-- What is known of one gate during one pass: a refusal holds for all who ask after it.
local function ask(self, target, model, now)
  if known_refusal(self, target, model) then return nil end
  local place, code, message, retry_after = target:admit(model, now)
  if place then return place end
  note_refusal(self, target, model, { code = code, message = message, retry_after = retry_after,
    ends_at = retry_after and now + retry_after, target = target })
  self.refused = self.refused + 1
  self.look_at = math.min(self.look_at, now + (retry_after or math.huge))
  return nil
end

local curable = { open = true, full = true }

-- The refusal that ends first; one that time cannot cure only when there is no other.
local function sooner(a, b)
  if not a then return b end
  if not b then return a end
  if curable[a.code] ~= curable[b.code] then return curable[a.code] and a or b end
  if not a.retry_after or not b.retry_after then return a.retry_after and b or a end
  return a.retry_after <= b.retry_after and a or b
end

-- Why the last pass had nothing for this waiter; nil when its gates were not asked.
local function refusal_of(self, waiter)
  local best
  for _, target in ipairs(waiter.targets) do
    best = sooner(best, known_refusal(self, target, target:model(waiter.asked)))
  end
  return best
end

local function try_others(self, targets, asked, now)
  for i = 2, #targets do
    local place = ask(self, targets[i], targets[i]:model(asked), now)
    if place then return place end
  end
end

-- Ask the gates of one call: a place, or nil.
local function try(self, targets, asked, now)
  local place = ask(self, targets[1], targets[1]:model(asked), now)
  if place then return place end
  return try_others(self, targets, asked, now)
end

-- May it still be let in? One that has just come is always asked for, however short its patience.
local function is_eligible(waiter, now)
  return now < waiter.deadline and (waiter.fresh or now < waiter.limit)
end

local ENOUGH = 2 -- times what an answer usually takes to begin; few take longer

-- Seconds until an answer of this target usually begins, as it is known in this pass; 0 where it is
-- not.
local function usual(self, target, model)
  local by_model = self.usual[target] or {}
  self.usual[target] = by_model
  local seconds = by_model[model or ""]
  if not seconds then
    local l = target:limiter(model)
    seconds = l and l:stats().round_trip or 0
    by_model[model or ""] = seconds
  end
  return seconds
end

-- Would the quickest of its targets most likely answer it in time?
local function has_time(self, waiter, now)
  local least = math.huge
  for _, target in ipairs(waiter.targets) do
    least = math.min(least, usual(self, target, target:model(waiter.asked)))
  end
  return waiter.deadline - now >= ENOUGH * least
end

-- One walk along the line, as far as there are gates that have not refused. Are there some who were
-- passed over, since they have too little time? They are not, where `late` is set.
local function walk(self, now, late)
  local i, passed_over = 1, false
  local most = self.gates * self.model_count -- gates that could be asked for
  while i <= self.count and self.refused < most do
    local waiter, place = self[i], nil
    if is_eligible(waiter, now) then
      if late or has_time(self, waiter, now) then
        place = try(self, waiter.targets, waiter.asked, now)
      else
        passed_over = true
      end
    end
    waiter.place = place
    if place then
      if waiter.event then waiter.event:set() end -- before those behind it are stirred
      remove(self, waiter)
    else
      i = i + 1
    end
  end
  return passed_over
end

-- Serves the line once.
local function pass(self, now)
  begin_pass(self)
  self.usual = {}
  if walk(self, now, false) then walk(self, now, true) end
end

local function pass_while_due(self, now)
  while self.again and self.count > 0 do
    self.again = false
    pass(self, now)
  end
end

--- Lets in whoever can be let in, in order. Called when a place comes back, and when the first of
--- the line finds that its time to look has come. A place that comes back meanwhile is offered in a
--- pass of its own.
function queue:serve(now)
  self.again = true
  if self.serving then return end
  self.serving = true
  local ok, message = pcall(pass_while_due, self, now)
  self.serving = false
  if not ok then error(message, 0) end
  if self.count > 0 and self.look_at < (self[1].sleeps_until or 0) then poke_first(self) end
end

-- The line is to be served soon, and not now.
local function serve_soon(self, now)
  self.look_at = math.min(self.look_at, now + self.common.GRACE)
  poke_first(self)
end

--- A place came back. Where a call of another process waits longer, that process is told, and ours
--- have it when it has not been taken for a moment.
function queue:offer(now)
  local common = self.common
  if self.count > 0 and common and common:elder() then
    serve_soon(self, now)
  elseif self.count > 0 then
    self:serve(now)
  end
  if common then common:wake() end
end

-- Is it this waiter that looks at the clock? The first of each loop does: a loop may stand still.
local function watches(self, waiter)
  for i = 1, self.count do
    if self[i].loop == waiter.loop then return self[i] == waiter end
  end
end

-- Until when may this waiter sleep? One that watches looks again when a gate may open by itself.
local function next_look(self, waiter, now)
  if not watches(self, waiter) then return waiter.limit end
  local look_at = self.look_at
  -- What other processes give back may have been told to somebody else.
  if self.common then look_at = math.min(look_at, now + self.common.LOOK) end
  return math.min(waiter.limit, math.max(look_at, now + 0.001))
end

local function refused(self, waiter, code, message)
  local refusal = refusal_of(self, waiter)
  if not refusal then -- the time was up before any gate was asked
    return nil, "no time was left to ask for a place", "timeout", { phase = "queue" }
  end
  return nil, ("%s: %s"):format(refusal.target.name, message or refusal.message),
    code or refusal.code,
    { target = refusal.target.name, phase = "queue",
      retry_after = refusal.ends_at and math.max(refusal.ends_at - waiter.now(), 0) }
end

-- Is there no use in waiting? Then the failure.
local function hopeless(self, waiter, now)
  local refusal = refusal_of(self, waiter)
  if not refusal or not curable[refusal.code] or not self.waits then
    return refused(self, waiter)
  elseif (refusal.ends_at or now) > waiter.limit then
    return refused(self, waiter)
  elseif self.count > self.size then
    return refused(self, waiter, "full", ("the waiting line is full (%d)"):format(self.size))
  end
end

local function too_late(self, call, waiter, now)
  if now < call.deadline then return refused(self, waiter) end
  return refused(self, waiter, "timeout", "no place came free in time")
end

local function tell(self, call, waiter)
  local refusal = refusal_of(self, waiter)
  call:emit("queued", { target = refusal.target.name, code = refusal.code,
    retry_after = refusal.retry_after, waiting = self.count })
end

-- Sleeps until something may have changed for this waiter.
local function sleep(self, call, waiter, now)
  waiter.event:clear()
  waiter.sleeps_until = next_look(self, waiter, now)
  call.loop.wait({ waiter.event }, waiter.sleeps_until)
  now = call.loop.now()
  local due = now >= (self.common and waiter.sleeps_until or self.look_at)
  if not waiter.place and due and watches(self, waiter) then self:serve(now) end
end

local function wait_for_place(self, call, waiter)
  local _, message, code, detail = hopeless(self, waiter, call.loop.now())
  if code then return nil, message, code, detail end
  waiter.event = call.loop.event()
  tell(self, call, waiter)
  while not waiter.place do
    local now = call.loop.now()
    if call.stopped then return call:refusal() end
    if now >= waiter.limit then return too_late(self, call, waiter, now) end
    sleep(self, call, waiter, now)
    if call.stopped then
      if waiter.place then waiter.place:close() end
      return call:refusal()
    end
    now = call.loop.now()
    if not waiter.place and now < waiter.limit then
      _, message, code, detail = hopeless(self, waiter, now)
      if code then return nil, message, code, detail end
    end
  end
  return waiter.place
end

-- The waiter leaves, however that comes about; a place it was just handed goes back.
local function leave(self, waiter)
  return {
    abort = function()
      if waiter.event then waiter.event:set() end
    end,
    close = function()
      remove(self, waiter)
      if waiter.place then waiter.place:close() end
    end,
  }
end

local priorities = { interactive = 1, normal = 2, batch = 3 }

local function new_waiter(self, call, targets, now)
  return { priority = priorities[call.options.priority or "normal"], order = call.order,
    targets = targets, asked = call.model, loop = call.loop, now = call.loop.now,
    deadline = call.deadline, fresh = true,
    limit = math.min(call.deadline, now + (call.patience or self.max_wait)) }
end

-- Where nobody waits, nobody is overtaken: a place at once, or nil.
local function walk_in(self, call, targets, now)
  begin_pass(self)
  return try(self, targets, call.model, now)
end

-- Stands in line until it has a place, or there is no use in waiting. `asked`: it has been refused
-- just now.
local function line_up(self, call, targets, now, asked)
  local waiter = new_waiter(self, call, targets, now)
  local guard = leave(self, waiter)
  call:hold(guard) -- before it stands there: whatever raises from now on, it leaves
  insert(self, waiter)
  if not asked then self:serve(now) end
  waiter.fresh = false
  local place, message, code, detail = waiter.place, nil, nil, nil
  if not place then
    place, message, code, detail = wait_for_place(self, call, waiter)
    call.queued = (call.queued or 0) + (call.loop.now() - now)
  end
  call:release(guard)
  if not place then remove(self, waiter) end
  return place, message, code, detail
end

--- Gives a place at one of `targets`, waiting for it if need be.
---@param call table
---@param targets table[] in the order in which they are wanted
---@return table? place, string? message, string? code, table? detail
function queue:enter(call, targets)
  local now = call.loop.now()
  local may_walk_in = self.count == 0 and not self.serving and now < call.deadline
  local place = may_walk_in and walk_in(self, call, targets, now)
  if place then return place end
  return line_up(self, call, targets, now, may_walk_in)
end

--- Gives a place that is free now, where nobody waits for one.
---@param call table
---@param targets table[] in the order in which they are wanted
---@return table? place, string? message, string? code, table? detail
function queue:enter_now(call, targets)
  local now = call.loop.now()
  local may = self.count == 0 and not self.serving and now < call.deadline
  local place = may and walk_in(self, call, targets, now)
  if place then return place end
  return nil, "no place is free at once", "full", {}
end

return queue
