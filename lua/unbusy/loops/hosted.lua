--- Waiting, for hosts whose coroutines and timers are not ours: cqueues, luv, nginx.
--
--     wait ──► park(waiter, seconds) ──► the host lets others run
--       ▲            │
--       └── unpark(waiter): event:set · cancel         or the time is up
--
-- A host gives four things, and gets the verbs of a loop:
--
--   now() -> seconds
--   park(waiter, seconds or nil)   suspends the coroutine that runs until `unpark(waiter)` was
--                                  called or the time is up; may return early; may raise
--   unpark(waiter)                 at most once for each park; from any coroutine, or none
--   spawn(f)                       runs f() in a coroutine that may park
--   loses                          true: it ends coroutines where they wait, without a word, and
--                                  calls `hosted.lost(waiter)` when it has found one
--   adopt(thing)                   of a host that ends coroutines, waiting or not: then it calls
--                                  `thing:leave()`; gives a set, out of which the thing is taken
--                                  when that is no longer wanted
--
-- A task is what `spawn` gave; the host's own coroutines are none, and only the host ends them. It
-- is cancelled as in `unbusy.loops.scheduler`: by an error raised where it waits, once; what cleans
-- up behind it has `scheduler.CLEAN_UP` seconds, and then every wait raises anew.
local scheduler = require "unbusy.loops.scheduler"

local hosted = {}

local running = coroutine.running

-- coroutine -> task, of all hosts. Both weak: LuaJIT would keep the pair for ever.
local task_of = setmetatable({}, { __mode = "kv" })
local live = 0 -- tasks begun and not yet ended

-- coroutine -> what to close when its host ends it without a word; see `loop.own`.
local owned = setmetatable({}, { __mode = "k" })

--- Tasks begun and not yet ended, in this process.
function hosted.live()
  return live
end

-- {== Events ==============================================================

local event = {}
event.__index = event

local function new_event()
  return setmetatable({ is_set = false }, event)
end

local function wake(waiter, cause)
  if waiter.awake then return end
  waiter.awake, waiter.cause = true, cause
  waiter.unpark(waiter)
end

local function forget(ev, waiter)
  for i = 1, #ev do
    if ev[i] == waiter then return table.remove(ev, i) end
  end
end

local function leave(waiter)
  for _, ev in ipairs(waiter.events) do forget(ev, waiter) end
  if waiter.task then waiter.task.waiter = nil end
end

--- It has happened: all who wait for it go on. It stays so until `clear`.
function event:set()
  self.is_set = true
  while self[1] do
    local waiter = self[1]
    leave(waiter)
    wake(waiter, self)
  end
end

function event:clear()
  self.is_set = false
end

local function first_set(events)
  for i = 1, #events do
    if events[i].is_set then return events[i] end
  end
end

-- }========================================================================

-- {== Waiting =============================================================

local function check_cancelled(task, now)
  if not task or not task.cancelling then return end
  if not task.limit then
    task.limit = now() + scheduler.CLEAN_UP
    error(scheduler.cancelled, 0)
  end
  if now() >= task.limit then error(scheduler.cancelled, 0) end
end

-- Until when may the waiter sleep: a cancelled task no longer than it may clean up.
local function limit_of(task, deadline)
  if not task or not task.limit then return deadline end
  return deadline and math.min(deadline, task.limit) or task.limit
end

-- Parks until somebody wakes the waiter or its time is up, however often the host looks in.
local function sleep_through(host, waiter, deadline)
  while not waiter.awake do
    local seconds = deadline and deadline - host.now()
    if seconds and seconds <= 0 then return end
    host.park(waiter, seconds)
  end
end

local function wait(host, events, deadline)
  local co = running()
  local task = task_of[co]
  check_cancelled(task, host.now)
  local ev = first_set(events)
  if ev then return ev end
  local waiter = { events = events, task = task, owned = owned[co], unpark = host.unpark,
    awake = false }
  for i = 1, #events do table.insert(events[i], waiter) end
  if task then task.waiter = waiter end
  local ok, message = pcall(sleep_through, host, waiter, limit_of(task, deadline))
  leave(waiter)
  if not ok then error(message, 0) end
  check_cancelled(task, host.now)
  return waiter.cause
end

-- }========================================================================

-- {== Tasks ===============================================================

local task_methods = {}
task_methods.__index = task_methods

local unpack = table.unpack or unpack -- luacheck: ignore

local function finish(task, ok, ...)
  if task.done then return end
  task.done, task.ok, task.results = true, ok, { n = select("#", ...), ... }
  if task.owner then task.owner[task] = nil end
  live = live - 1
  task.ended:set()
end

-- Its host has ended it without a word.
function task_methods:leave()
  finish(self, false, scheduler.cancelled)
end

local function run(host, task, f, args, count)
  task_of[running()] = task
  if task.cancelling then return finish(task, false, scheduler.cancelled) end
  if host.adopt then task.owner = host.adopt(task) end
  finish(task, pcall(f, unpack(args, 1, count)))
end

local function spawn(host, f, ...)
  local args, count = { ... }, select("#", ...)
  local task = setmetatable({ ended = new_event(), wait = host.wait }, task_methods)
  live = live + 1
  local ok, message = pcall(host.spawn, function() run(host, task, f, args, count) end)
  if not ok then -- the host has no room for it
    live = live - 1
    error(message, 0)
  end
  return task
end

--- Waits for the task's end and gives what its function gave, or raises what it raised.
function task_methods:join()
  while not self.done do self.wait { self.ended } end
  if not self.ok then error(self.results[1], 0) end
  return unpack(self.results, 1, self.results.n)
end

-- The host has ended the coroutine that waited, and nothing in it ran: what it held is closed.
local function lost(waiter)
  leave(waiter)
  local task, things = waiter.task, waiter.owned or {}
  for i = #things, 1, -1 do pcall(things[i].close, things[i]) end
  if task and not task.done then finish(task, false, scheduler.cancelled) end
end

-- Something to close should the host end this coroutine without a word.
local function own(thing)
  local co = running()
  owned[co] = owned[co] or {}
  table.insert(owned[co], thing)
end

-- It is over: close nothing.
local function disown(thing)
  local things = owned[running()] or {}
  for i = #things, 1, -1 do
    if things[i] == thing then return table.remove(things, i) end
  end
end

local function cancel(task)
  if task.done or task.cancelling then return end
  task.cancelling = true
  if task.waiter then wake(task.waiter) end
end

-- }========================================================================

hosted.lost = lost

--- The verbs of a loop over a host; `enter` and `open` are the host's to add.
---@param host { now: function, park: function, unpark: function, spawn: function, … }
---@return table loop
function hosted.new(host)
  local loop = { now = host.now, event = new_event, cancel = cancel, adopt = host.adopt }
  if host.loses then loop.own, loop.disown = own, disown end
  local none = {}
  function loop.wait(events, deadline) return wait(host, events, deadline) end
  function loop.sleep(seconds) wait(host, none, host.now() + math.max(seconds, 0)) end
  function loop.spawn(f, ...) return spawn(host, f, ...) end
  host.wait = loop.wait
  return loop
end

return hosted
