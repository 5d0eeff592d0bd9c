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
--                                  called or the time is up, and in any case lets others run; may
--                                  return early; may raise
--   unpark(waiter)                 at most once for each waiter, perhaps before it is parked; from
--                                  any coroutine, or none
--   spawn(f)                       runs f() in a coroutine that may park
--   is_here()                      may the coroutine that runs park? (left out: any may)
--   drops                          true: coroutines that wait may be collected
--   adopt(thing)                   of a host that ends coroutines, waiting or not: then it calls
--                                  `thing:leave()`; gives a set, out of which the thing is taken
--                                  when that is no longer wanted. It holds finalizers back itself
--
-- A task is what `spawn` gave; the host's own coroutines are none, and only the host ends them. It
-- is cancelled as in `unbusy.loops.scheduler`: by an error raised where it waits, once; what cleans
-- up behind it has `scheduler.CLEAN_UP` seconds, and then every wait raises anew. What a task
-- raises and nobody has joined it for is raised in its coroutine: its host tells it.
--
-- Between `own` and `disown` our own code runs: finalizers are held back there, and let run where
-- it waits.
local collect = require "unbusy.collect"
local scheduler = require "unbusy.loops.scheduler"

local hosted = {}

local running = coroutine.running

-- coroutine -> task, of all hosts. Both weak: LuaJIT would keep the pair for ever.
local task_of = setmetatable({}, { __mode = "kv" })
local live = 0 -- tasks begun and not yet ended

-- coroutine -> how many calls are within each other there; see `loop.own`.
local depths = setmetatable({}, { __mode = "k" })

--- Tasks begun and not yet ended, in this process.
function hosted.live()
  return live
end

-- Where our own modules lie.
local home = debug.getinfo(1, "S").source:match "^(.*)loops/hosted%.lua$"

--- The level of `error` that is the line of whoever called into our modules, seen from the function
--- that asks.
function hosted.caller()
  local level = 2
  local info = debug.getinfo(level, "S")
  while info and (info.what == "C" or info.source:sub(1, #home) == home) do
    level = level + 1
    info = debug.getinfo(level, "S")
  end
  return info and level - 1 or 0
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

local function forget_among(ev, waiter)
  for i = 1, #ev do
    if ev[i] == waiter then return table.remove(ev, i) end
  end
end

-- Mostly one waits, for one event.
local function forget(ev, waiter)
  if ev[1] == waiter and ev[2] == nil then ev[1] = nil else forget_among(ev, waiter) end
end

local function leave_others(waiter)
  for i = 2, #waiter.events do forget(waiter.events[i], waiter) end
end

local function leave(waiter)
  if waiter.left then return end
  waiter.left = true
  local events = waiter.events
  if events[1] then forget(events[1], waiter) end
  if events[2] then leave_others(waiter) end
  if waiter.task then waiter.task.waiter = nil end
end

--- It has happened: all who wait for it go on, first come first served. It stays so until `clear`.
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

local function first_set_of_many(events)
  for i = 2, #events do
    if events[i].is_set then return events[i] end
  end
end

local function first_set(events)
  local first = events[1]
  if first and first.is_set then return first end
  if events[2] then return first_set_of_many(events) end
end

local function join_others(events, waiter)
  for i = 2, #events do table.insert(events[i], waiter) end
end

local function join(events, waiter)
  local first = events[1]
  if first then first[#first + 1] = waiter end
  if events[2] then join_others(events, waiter) end
end

-- }========================================================================

-- {== Ends ================================================================

-- The task has ended; the first end counts.
local function finish(task, ok, ...)
  if task.done then return end
  task.done, task.ok, task.results = true, ok, { n = select("#", ...), ... }
  if task.owner then task.owner[task] = nil end
  live = live - 1
  task.ended:set()
end

-- Our code begins to run in this coroutine. Where coroutines are collected, `thing` is closed with
-- this one: the mark goes to `disown`, and must stay in a local variable till then.
local function own(host, thing)
  local co = running()
  depths[co] = (depths[co] or 0) + 1
  if depths[co] == 1 then collect.hold() end
  if not host.drops or thing.watch then return nil end -- what has a watch is closed by that
  return collect.watch(function() thing:close() end)
end

-- It is over: close nothing.
local function disown(mark)
  local co = running()
  if mark then mark:disarm() end
  depths[co] = depths[co] > 1 and depths[co] - 1 or nil
  if not depths[co] then collect.release() end
end

-- }========================================================================

-- {== Waiting =============================================================

-- A cancelled task that goes on after its time, and swallows every error: it is left where it is.
local function abandon(host, task)
  finish(task, false, scheduler.cancelled)
  local nobody = { events = {}, unpark = host.unpark, awake = false }
  while true do host.park(nobody) end
end

local function check_cancelled(host, task)
  if not task or not task.cancelling then return end
  if not task.limit then
    task.limit, task.told = host.now() + scheduler.CLEAN_UP, 0
  elseif host.now() < task.limit then
    return
  end
  task.told = task.told + 1
  if task.told > scheduler.INSISTENCE then abandon(host, task) end
  error(scheduler.cancelled, 0)
end

-- Until when may the waiter sleep: a cancelled task no longer than it may clean up.
local function limit_of(task, deadline)
  if not task or not task.limit then return deadline end
  return deadline and math.min(deadline, task.limit) or task.limit
end

local function sleep_on(host, waiter, deadline)
  while not waiter.awake do
    if deadline and host.now() >= deadline then return end
    host.park(waiter, deadline and math.max(deadline - host.now(), 0))
  end
end

-- Parks until somebody wakes the waiter or its time is up, however often the host looks in. Once is
-- mostly enough, and without a loop LuaJIT compiles it into what is around it.
local function sleep_through(host, waiter, deadline)
  if waiter.awake then return end
  host.park(waiter, deadline and math.max(deadline - host.now(), 0))
  if not waiter.awake then return sleep_on(host, waiter, deadline) end
end

-- The task that runs: where there are none, LuaJIT need not ask which coroutine this is, which it
-- cannot compile.
local function current_task()
  return live > 0 and task_of[running()] or nil
end

local function let_go(host)
  if not host.adopt and depths[running()] then collect.release() end
end

local function take_hold(host)
  if not host.adopt and depths[running()] then collect.hold() end
end

local function wait(host, events, deadline)
  local task = current_task()
  if task then check_cancelled(host, task) end
  local ev = first_set(events)
  if ev then return ev end
  local waiter = { events = events, task = task, unpark = host.unpark, awake = false, left = false,
    cause = nil, semaphore = nil }
  join(events, waiter)
  if task then task.waiter = waiter end
  let_go(host) -- from here on it may be woken
  local ok, message = pcall(sleep_through, host, waiter, limit_of(task, deadline))
  take_hold(host)
  leave(waiter)
  if not ok then error(message, 0) end
  if task then check_cancelled(host, task) end
  return waiter.cause
end

-- }========================================================================

-- {== Tasks ===============================================================

local task_methods = {}
task_methods.__index = task_methods

local unpack = table.unpack or unpack -- luacheck: ignore

-- Its host has ended it without a word.
function task_methods:leave()
  finish(self, false, scheduler.cancelled)
end

-- What runs in a task's coroutine. The mark lives on its stack, and is collected with it.
local function run(host, task, f, args, count)
  task_of[running()] = task
  if task.cancelling then return finish(task, false, scheduler.cancelled) end
  if host.adopt then task.owner = host.adopt(task) end
  local mark = host.drops and collect.watch(function() task:leave() end)
  finish(task, pcall(f, unpack(args, 1, count)))
  if mark then mark:disarm() end
  if task.ok or task.joined or not task.given then return end
  if task.results[1] == scheduler.cancelled then return end
  error(task.results[1], 0)
end

local function spawn(host, f, ...)
  local args, count = { ... }, select("#", ...)
  local task = setmetatable({ ended = new_event(), host = host }, task_methods)
  live = live + 1
  local ok, message = pcall(host.spawn, function() run(host, task, f, args, count) end)
  if not ok then -- the host has no room for it
    live = live - 1
    error(message, 0)
  end
  task.given = true -- one that has ended by now could not be joined before
  return task
end

--- Waits for the task's end and gives what its function gave, or raises what it raised. Where the
--- task's loop cannot wait it only looks: the task must have ended.
function task_methods:join()
  local host = self.host
  if not self.done and host.is_here and not host.is_here() then
    error("join: the task has not ended, and here its loop cannot wait for it", 2)
  end
  self.joined = true
  while not self.done do wait(host, { self.ended }) end
  if not self.ok then error(self.results[1], 0) end
  return unpack(self.results, 1, self.results.n)
end

local function cancel(task)
  if task.done or task.cancelling then return end
  task.cancelling = true
  if task.waiter then wake(task.waiter) end
end

-- }========================================================================

local none = {}

--- The verbs of a loop over a host; `enter` and `open` are the host's to add.
---@param host table see above
---@return table loop
function hosted.new(host)
  local loop = { now = host.now, event = new_event, cancel = cancel, adopt = host.adopt }
  if not host.adopt then
    loop.disown = disown
    function loop.own(thing) return own(host, thing) end
  end
  function loop.wait(events, deadline) return wait(host, events, deadline) end
  function loop.sleep(seconds) wait(host, none, host.now() + math.max(seconds, 0)) end
  function loop.spawn(f, ...) return spawn(host, f, ...) end
  return loop
end

return hosted
