--- The loop for plain Lua: our own tasks in one thread.
--
-- A call finds its place by itself (`enter`):
--
--   in a task of ours          it runs right there
--   in the main thread         the scheduler runs until the call has ended; other tasks move on too
--   in a foreign coroutine     a scheduler of the call's own runs inside it, and other tasks stand
--                              still meanwhile: a foreign coroutine must not be yielded through,
--                              and the scheduler is never entered twice
local now = require "unbusy.clock"
local scheduler = require "unbusy.loops.scheduler"
local wire = require "unbusy.loops.wire"

local tasks = { name = "tasks" }

-- The verbs of a loop over one scheduler.
local function new_loop()
  local s = scheduler.new { now = now, idle = wire.idle }
  local loop = { name = "tasks", now = now }
  loop.event, loop.cancel = scheduler.event, scheduler.cancel
  function loop.sleep(seconds) return s:sleep(seconds) end
  function loop.wait(events, deadline) return s:wait(events, deadline) end
  function loop.spawn(f, ...) return s:spawn(f, ...) end
  function loop.open(request, body) return wire.open(request, body, scheduler.event()) end
  function loop.nurse(f) return s:nurse(f) end
  function loop.lonely() return s:is_lonely() end
  loop.scheduler, s.loop = s, loop
  return loop
end

local main = new_loop()

local function is_main_thread()
  local co, is_main = coroutine.running()
  return co == nil or is_main == true
end

local function outcome(s, ok, ...)
  s:end_all()
  if not ok then error((...), 0) end
  return ...
end

-- In a foreign coroutine: whatever the call leaves running would never move again, so it ends too.
local function run_apart(f, value)
  local loop = new_loop()
  local s = loop.scheduler
  loop.apart = true
  return outcome(s, pcall(s.run_one, s, f, loop, value))
end

--- Runs `f(loop, value)` wherever it is called, and gives what it gives.
function tasks.enter(f, value)
  local task = scheduler.current()
  if task then
    if task.told then scheduler.pass(task) end
    return f(task.scheduler.loop, value)
  end
  if not is_main_thread() then return run_apart(f, value) end
  return main.scheduler:run_one(f, main, value)
end

--- Runs `f(...)` and everything it spawns, until all have ended; gives what `f` gives. In a task
--- of ours it is a plain call.
function tasks.run(f, ...)
  if scheduler.current() then return f(...) end
  local loop = is_main_thread() and main or new_loop()
  return loop.scheduler:run_all(f, ...)
end

--- Begins a task beside the one that calls; see `scheduler:spawn`.
function tasks.spawn(f, ...)
  local task = scheduler.current()
  return (task and task.scheduler or main.scheduler):spawn(f, ...)
end

return tasks
