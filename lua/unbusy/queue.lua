--- The waiting line before the targets.
--
-- A call that no target lets in waits here; that costs neither a try nor budget. First come, first
-- served: waiters stand in the order of their priority and of their calls' arrival, so that a call
-- that has to try again does not lose its turn. Whoever gives a place back serves the line: it asks
-- the gates on behalf of those who wait and hands the place over, so that nobody overtakes.
local queue = {}
queue.__index = queue

---@param given table { size =, max_wait = seconds }
function queue.new(given)
  return setmetatable({
    size = given.size, max_wait = given.max_wait, waits = given.waits,
    count = 0, most = 0, shed = 0, -- the list itself is the array part
  }, queue)
end

local function before(a, b)
  if a.priority ~= b.priority then return a.priority < b.priority end
  return a.order < b.order
end

local function insert(self, waiter)
  local i = self.count
  while i >= 1 and before(waiter, self[i]) do
    self[i + 1], i = self[i], i - 1
  end
  self[i + 1] = waiter
  self.count = self.count + 1
  self.most = math.max(self.most, self.count)
end

local function remove(self, waiter)
  for i = 1, self.count do
    if self[i] == waiter then
      table.remove(self, i)
      self.count = self.count - 1
      return
    end
  end
end

-- What is known of one gate during one pass: a refusal holds for all who ask after it.
local function ask(target, model, now, refusals)
  local by_model = refusals[target]
  if not by_model then
    by_model = {}
    refusals[target] = by_model
  end
  local refusal = by_model[model or ""]
  if refusal then return nil, refusal end
  local place, code, message, retry_after = target:admit(model, now)
  if place then return place end
  refusal = { code = code, message = message, retry_after = retry_after, target = target }
  by_model[model or ""] = refusal
  return nil, refusal
end

local curable = { open = true, full = true }

-- The refusal that ends first; one that time cannot cure only when there is no other.
local function sooner(a, b)
  if not a then return b end
  if curable[a.code] ~= curable[b.code] then return curable[a.code] and a or b end
  if not a.retry_after or not b.retry_after then return a.retry_after and b or a end
  return a.retry_after <= b.retry_after and a or b
end

-- Ask the gates for one waiter: true when it has its place, or the refusal that ends first.
local function try(waiter, now, refusals)
  local best
  for _, target in ipairs(waiter.targets) do
    local place, refusal = ask(target, target:model(waiter.asked), now, refusals)
    if place then
      waiter.place = place
      return true
    end
    best = sooner(best, refusal)
  end
  waiter.refusal = best
  return false
end

local function pass(self, now)
  local refusals, i = {}, 1
  while i <= self.count do
    local waiter = self[i]
    if now < waiter.limit and try(waiter, now, refusals) then
      remove(self, waiter)
      if waiter.event then waiter.event:set() end
    else
      i = i + 1
    end
  end
end

--- Lets in whoever can be let in, in order. Called when a place comes back, and by waiters whose
--- time has come. A place that comes back meanwhile is offered in a pass of its own.
function queue:serve(now)
  self.again = true
  if self.serving then return end
  self.serving = true
  while self.again and self.count > 0 do
    self.again = false
    pass(self, now)
  end
  self.serving = false
end

-- Until when may this waiter sleep before it asks again?
local function next_look(waiter, now)
  local after = waiter.refusal.retry_after
  if not after then return waiter.limit end
  return math.min(waiter.limit, now + math.max(after, 0.001))
end

local function refused(waiter, code, message)
  local refusal = waiter.refusal
  if not refusal then -- the time was up before any gate was asked
    return nil, "no time was left to ask for a place", "timeout", { phase = "queue" }
  end
  return nil, ("%s: %s"):format(refusal.target.name, message or refusal.message),
    code or refusal.code,
    { target = refusal.target.name, phase = "queue", retry_after = refusal.retry_after }
end

-- Is there no use in waiting?
local function hopeless(self, waiter, now)
  local refusal = waiter.refusal
  if not refusal then return refused(waiter) end
  if not curable[refusal.code] or not self.waits then return refused(waiter) end
  if now + (refusal.retry_after or 0) > waiter.limit then return refused(waiter) end
  if self.count > self.size then
    self.shed = self.shed + 1
    return refused(waiter, "full", ("the waiting line is full (%d)"):format(self.size))
  end
end

local function wait_for_place(self, call, waiter)
  local loop, limit = call.loop, waiter.limit
  while not waiter.place do
    local now = loop.now()
    local _, message, code, detail = hopeless(self, waiter, now)
    if code then return nil, message, code, detail end
    if now >= limit then
      if now < call.deadline then return refused(waiter) end
      return refused(waiter, "timeout", "no place came free in time")
    end
    if not waiter.event then
      waiter.event = loop.event()
      call:emit("queued", { target = waiter.refusal.target.name, code = waiter.refusal.code,
        retry_after = waiter.refusal.retry_after, waiting = self.count })
    end
    waiter.event:clear()
    loop.wait({ waiter.event }, next_look(waiter, now))
    if self.closed then return nil, "the client is closed", "closed", {} end
    if not waiter.place then self:serve(loop.now()) end
  end
  return waiter.place
end

-- The waiter leaves, however that comes about; a place it was just handed goes back.
local function leave(self, waiter)
  return { close = function()
    remove(self, waiter)
    if waiter.place then waiter.place:close() end
  end }
end

--- Gives a place at one of `targets`, waiting for it if need be.
---@param call table
---@param targets table[] in the order in which they are wanted
---@return table? place, string? message, string? code, table? detail
function queue:enter(call, targets)
  if self.closed then return nil, "the client is closed", "closed", {} end
  local now = call.loop.now()
  local waiter = { priority = call.priority, order = call.order, targets = targets,
    asked = call.model, limit = math.min(call.deadline, now + self.max_wait) }
  insert(self, waiter)
  self:serve(now)
  if waiter.place then return waiter.place end
  local guard = leave(self, waiter)
  call:hold(guard)
  local place, message, code, detail = wait_for_place(self, call, waiter)
  call:release(guard)
  call.queued = call.queued + (call.loop.now() - now)
  if not place then remove(self, waiter) end
  return place, message, code, detail
end

--- Nobody is let in any more: all who wait go away with "closed".
function queue:close()
  self.closed = true
  for i = self.count, 1, -1 do
    if self[i].event then self[i].event:set() end
  end
end

return queue
