--- Tasks over coroutines: what our own loops share.
--
--     ready ──► resume ──► wait(events, deadline) ──► yield
--       ▲                          │
--       └── event:set · deadline · cancel
--
-- A scheduler knows neither sockets nor clocks: `now()` tells the time, `idle(seconds)` lets the
-- outside world move for at most so long (nil: as long as it takes) and says false when nothing
-- outside could ever wake a task again.
--
-- A task is cancelled by an error raised where it waits; the error is `scheduler.cancelled`. What
-- cleans up behind it may wait again, for `scheduler.CLEAN_UP` seconds; after that every wait
-- raises the error anew, and a task that swallows a hundred of them is left where it stands.
--
-- Any line that makes something may raise "not enough memory". So what counts comes after what
-- needs memory, a task has places for what it waits for from the start, and a wait that did not
-- come about is undone by the next one, or at the end.
local collect = require "unbusy.collect"
local timers = require "unbusy.loops.timers"

local scheduler = {}
scheduler.__index = scheduler

local unpack = table.unpack or unpack -- luacheck: ignore
local create, resume = coroutine.create, coroutine.resume
local yield, running = coroutine.yield, coroutine.running

--- Raised inside a task that is cancelled.
scheduler.cancelled = setmetatable({}, { __tostring = function() return "cancelled" end })

--- Seconds that a cancelled task may take to clean up.
scheduler.CLEAN_UP = 10

--- Errors that a cancelled task may swallow after that.
scheduler.INSISTENCE = 100

local close = coroutine.close or function() end -- luacheck: ignore 143

local STUCK = "every task waits and nothing is left that could wake one"

-- coroutine -> task, for every task of every scheduler. Both weak: a task holds its coroutine, and
-- LuaJIT would keep the pair for ever.
local task_of = setmetatable({}, { __mode = "kv" })
local live = 0 -- tasks begun and not yet ended

--- The task that runs now, or nil outside of our tasks.
function scheduler.current()
  local co = running()
  return co and task_of[co]
end

--- Tasks begun and not yet ended, in this process.
function scheduler.live()
  return live
end

---@param world { now: (fun(): number), idle: (fun(seconds: number?): boolean) }
function scheduler.new(world)
  return setmetatable({
    now = world.now, idle = world.idle,
    timers = timers.new(), ready = {}, first = 1, last = 0,
    tasks = {}, open = 0, -- those not yet ended
  }, scheduler)
end

local function make_ready(self, task)
  self.ready[self.last + 1] = task
  self.last = self.last + 1
end

-- {== Events ==============================================================

local event = {}
event.__index = event

--- Something that has happened or not; any number of tasks may wait for it.
function scheduler.event()
  return setmetatable({ is_set = false }, event)
end

local function forget(ev, task)
  if ev[1] == task and ev[2] == nil then
    ev[1] = nil
    return
  end
  for i = 1, #ev do
    if ev[i] == task then return table.remove(ev, i) end
  end
end

-- Take a waiting task out of all it waits for.
local function leave(task)
  local events = task.events
  if events[1] then forget(events[1], task) end
  for i = 2, #events do forget(events[i], task) end
  if task.timer then
    task.scheduler.timers:cancel(task.timer)
    task.timer = false
  end
  task.events = false
end

-- Let a waiting task run.
local function wake(task, result)
  leave(task)
  task.woken_by = result
  make_ready(task.scheduler, task)
end

--- It has happened: all who wait for it go on. It stays so until `clear`.
function event:set()
  self.is_set = true
  if self[1] then wake(self[1], self) end -- mostly one waits, or none
  while self[1] do wake(self[1], self) end
end

function event:clear()
  self.is_set = false
end

-- }========================================================================

-- {== Tasks ===============================================================

local task_methods = {}
task_methods.__index = task_methods

-- An error that nobody waits for: the first one counts.
local function note_fault(self, task)
  if not self.fault or self.fault.joined then self.fault = task end
end

-- The task has ended: with one result, mostly, or an error.
local function finish(task, ok, ...)
  if task.done then return end -- it was given up before
  local self, count, first = task.scheduler, select("#", ...), ...
  if count ~= 1 then task.results = { n = count, ... } end
  live, self.open, self.tasks[task] = live - 1, self.open - 1, nil
  task.done, task.ok, task.result = true, ok, first
  if task.events then leave(task) end
  if not ok and first ~= scheduler.cancelled and not task.joined then note_fault(self, task) end
  if task.ended then task.ended:set() end
end

local function run_guarded(task)
  local f, count, a, b = task.f, task.count, task.a, task.b
  task.f, task.a, task.b = nil, nil, nil
  if count == 0 then return finish(task, pcall(f)) end
  if count == 1 then return finish(task, pcall(f, a)) end
  finish(task, pcall(f, a, b))
end

-- A cancelled task that goes on after its time: it is told again, and in the end never resumed.
local function insist(task)
  task.told = task.told + 1
  if task.told > scheduler.INSISTENCE then
    finish(task, false, scheduler.cancelled)
    yield()
  end
  error(scheduler.cancelled, 0)
end

local function is_overdue(task)
  return task.told and task.scheduler.now() >= task.limit
end

--- The door of a call: a task that should have ended long ago ends here, where it holds nothing.
function scheduler.pass(task)
  if is_overdue(task) then insist(task) end
end

-- What a cancelled task begins while it cleans up has no more time than itself: until when, or nil.
local function inherited_limit(self)
  local parent = scheduler.current()
  if not parent or not parent.told or parent.scheduler ~= self then return nil end
  scheduler.pass(parent)
  return parent.limit
end

-- What runs in a coroutine: one task, and then another one that it is given.
local function serve_tasks(task)
  while true do
    run_guarded(task)
    task = nil -- luacheck: ignore 311 (or an idle coroutine would keep what the task gave)
    task = yield()
  end
end

-- Coroutines for the next tasks of `run_one`, which calls outside of tasks are, and of `nurse`. A
-- task that somebody spawned gets one of its own: it may be known by it elsewhere.
local IDLE = 64 -- kept at most
local idle = {}

-- The task has ended and its coroutine asks for another one; or is one that `insist` has given up.
local function leave_coroutine(task)
  task_of[task.co] = nil
  if task.told then
    close(task.co)
  elseif task.alone and #idle < IDLE then
    idle[#idle + 1] = task.co
  end
end

-- A coroutine that has been kept, and that nobody has touched since; or a new one.
local function kept_coroutine()
  local co = table.remove(idle)
  while co and coroutine.status(co) ~= "suspended" do co = table.remove(idle) end
  return co or create(serve_tasks)
end

local function begin(self, co, f, count, a, b)
  local task = setmetatable({ scheduler = self, co = co, f = f, count = count, a = a, b = b,
    events = false, timer = false, woken_by = nil, result = nil, results = nil, ok = nil,
    done = nil, ended = nil, joined = nil, alone = nil, told = false }, task_methods)
  task_of[co] = task
  self.tasks[task] = true
  make_ready(self, task)
  live, self.open = live + 1, self.open + 1
  return task
end

--- Is the task that runs no company for others: the only one there is, so that nobody could come
--- while it waits, or one that is to end, and so would all that it begins?
---@return boolean
function scheduler:is_lonely()
  local task = scheduler.current()
  return self.open == 1 or task ~= nil and task.told ~= false
end

--- Begins a task that runs `f(...)`; it starts when the others next wait.
function scheduler:spawn(f, ...)
  local limit, count = inherited_limit(self), select("#", ...)
  local co = create(serve_tasks)
  local task
  if count <= 2 then
    task = begin(self, co, f, count, ...)
  else
    local args = { ... }
    task = begin(self, co, function() return f(unpack(args, 1, count)) end, 0)
  end
  if limit then task.cancelling, task.told, task.limit = true, 1, limit end
  return task
end

--- The same for our own work that belongs to no caller, and that nobody joins: in a coroutine that
--- has been used before, where there is one.
---@param f function
---@return boolean true
function scheduler:nurse(f)
  local limit = inherited_limit(self)
  local task = begin(self, kept_coroutine(), f, 0)
  task.alone = true
  if limit then task.cancelling, task.told, task.limit = true, 1, limit end
  return true
end

-- What the ended task's function gave, or the error that it raised.
local function outcome(task)
  task.joined = true
  if not task.ok then error(task.result, 0) end
  if not task.results then return task.result end
  return unpack(task.results, 1, task.results.n)
end

--- Waits for the task's end and gives what its function gave, or raises what it raised. Outside of
--- a task it only looks: the task must have ended.
function task_methods:join()
  local here = scheduler.current()
  if here then self.joined = true end -- before it fails: its error has somewhere to go
  if not self.done then self.ended = self.ended or scheduler.event() end
  while not self.done and here do here.scheduler:wait { self.ended } end
  if not self.done then error("join: the task has not ended, and this is no task", 2) end
  return outcome(self)
end

--- Ends a task where it waits. One that has ended is left alone.
function scheduler.cancel(task)
  if task.done or task.cancelling then return end
  task.cancelling = true
  if task.events then wake(task) end
end

-- }========================================================================

-- {== Waiting =============================================================

local function check_cancelled(task)
  if not task.cancelling then return end
  if is_overdue(task) then insist(task) end
  if not task.told then
    task.told, task.limit = 1, task.scheduler.now() + scheduler.CLEAN_UP
    error(scheduler.cancelled, 0)
  end
end

local function first_set(events)
  for i = 1, #events do
    if events[i].is_set then return events[i] end
  end
end

--- Waits until one of `events` is set or the time is `deadline` (nil: no limit). Gives the event,
--- or nil at the deadline. Must be called in a task of this scheduler.
function scheduler:wait(events, deadline)
  local task = scheduler.current()
  check_cancelled(task)
  local ev = first_set(events)
  if ev then return ev end
  if task.events then leave(task) end
  task.events = events
  for i = 1, #events do
    local waits = events[i]
    waits[#waits + 1] = task
  end
  if deadline then
    task.timer = self.timers:add(task.told and math.min(deadline, task.limit) or deadline, task)
  end
  yield()
  check_cancelled(task)
  local result = task.woken_by
  task.woken_by = nil
  return result
end

local none = {}

--- Sleeps; zero or less lets the others run once.
function scheduler:sleep(seconds)
  self:wait(none, self.now() + math.max(seconds, 0))
end

-- }========================================================================

-- {== Running =============================================================

local function wake_due(self)
  local now = self.now()
  local task = self.timers:due(now)
  while task do
    task.timer = false
    if task.events then wake(task, nil) end
    task = self.timers:due(now)
  end
end

local function run_ready(self)
  for i = self.first, self.last do -- those that become ready meanwhile wait for the next turn
    local task = self.ready[i]
    self.ready[i] = nil
    self.first = i + 1
    local ok, message = resume(task.co, task)
    if not ok and task.done then error(message, 0) end -- our own fault: tasks run guarded
    if not ok then
      finish(task, false, message) -- it lacked the memory to end by itself
    elseif task.done then
      leave_coroutine(task)
    elseif not task.events then
      task_of[task.co] = nil
      finish(task, false, "a task has yielded by itself, and nothing could wake it")
    end
  end
  if self.first > self.last then self.first, self.last = 1, 0 end
end

-- How long may the outside world take? 0 when a task is ready.
local function patience(self)
  if self.first <= self.last then return 0 end
  local deadline = self.timers:next()
  return deadline and math.max(deadline - self.now(), 0)
end

--- One turn: let the outside world move, wake who is due, run who is ready.
---@return boolean moved false: every task waits and nothing is left that could wake one
function scheduler:turn()
  collect.pause()
  local seconds = patience(self)
  if not self.idle(seconds) and seconds == nil then return false end
  wake_due(self)
  run_ready(self)
  return true
end

-- A cancelled task that waits again for what never comes is forgotten there.
local function abandon(task)
  leave(task)
  finish(task, false, scheduler.cancelled)
  close(task.co)
end

-- Runs `work(self, task)`; finalizers that fire meanwhile wait for the next turn.
local function at_work(work, self, task)
  collect.hold()
  local ok, message = pcall(work, self, task)
  collect.release()
  if not ok then error(message, 0) end
end

local function until_done(self, task)
  local stuck = false
  while not task.done do
    if not self:turn() then
      stuck = true
      if task.cancelling then abandon(task) else scheduler.cancel(task) end
    end
  end
  if stuck then error(STUCK, 0) end
end

--- Runs `f(a, b)` as a task until it has ended, and gives what it gives. Other tasks of this
--- scheduler move meanwhile, and stay where they are afterwards.
function scheduler:run_one(f, a, b)
  local task = begin(self, kept_coroutine(), f, 2, a, b)
  task.joined, task.alone = true, true
  at_work(until_done, self, task)
  return outcome(task)
end

local function cancel_all(self)
  for task in pairs(self.tasks) do scheduler.cancel(task) end
  while self.open > 0 do
    if not self:turn() then abandon((next(self.tasks))) end
  end
  self.fault = nil -- what went wrong behind the first error is not told later
end

local function until_all_done(self)
  while self.open > 0 do
    local moved, fault = self:turn(), self.fault
    self.fault = nil
    if not moved then
      cancel_all(self)
      error(STUCK, 0)
    elseif fault and not fault.joined then
      cancel_all(self)
      error(fault.result, 0)
    end
  end
end

--- Ends every task that has not ended yet.
function scheduler:end_all()
  at_work(cancel_all, self)
end

--- Runs `f(...)` as a task until it and every other task of this scheduler have ended, and gives
--- what it gives. An error that nobody joined ends all other tasks and is raised.
function scheduler:run_all(f, ...)
  local task = self:spawn(f, ...)
  at_work(until_all_done, self, task)
  return outcome(task)
end

-- }========================================================================

return scheduler
