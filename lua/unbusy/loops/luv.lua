--- The loop inside luv (libuv's), and so in Neovim: any coroutine that may yield waits here.
--
--     poll handle on the engine's descriptor ──► step ──► events set ─┐
--     timer handle: the next deadline ────────────────────────────────┴──► turn: resume the woken
--
-- The handles are there while somebody waits, and closed when nobody does: so `uv.run()` ends by
-- itself. Nothing is resumed by whoever sets an event: those who are woken go on in a turn of their
-- own, in order. In Neovim turns are scheduled, so that after a call its functions may be used.
--
-- There is one loop, the default one of luv. Its main thread cannot wait: a call there raises.
-- Which coroutine yields is not ours to see: a generator would yield to its consumer. Where another
-- library resumes the coroutine and expects values, begin one with `loop.spawn`.
--
-- An error that ends a coroutine while a turn resumes it has nobody above it, and luv would end the
-- process. It goes to `luv.on_error` instead.
local collect = require "unbusy.collect"
local hosted = require "unbusy.loops.hosted"
local now = require "unbusy.clock"
local scheduler = require "unbusy.loops.scheduler"
local timers = require "unbusy.loops.timers"
local wire = require "unbusy.loops.wire"

local luv = { now = now }

local vim = vim -- luacheck: ignore 113
local uv -- the library, once it is wanted

local LONGEST = 1e6 -- seconds of one run of the timer

--- Is this Neovim?
luv.in_neovim = type(vim) == "table" and type(vim.loop) == "table" and vim.schedule ~= nil

--- Loads luv: true, or nil and what is wrong.
function luv.load()
  if uv then return true end
  if luv.in_neovim then
    uv = vim.loop
    return true
  end
  local ok, loaded = pcall(require, "luv")
  if not ok then return nil, "luv cannot be loaded: " .. tostring(loaded):match "^[^\n]*" end
  uv = loaded
  return true
end

--- May the caller wait? A task of our own may yield, but to our scheduler, which would never resume
--- it.
function luv.is_here()
  return coroutine.isyieldable() and not scheduler.current() -- luacheck: ignore 143
    and luv.load() == true
end

--- Told of an error that nobody catches; may be set. Says it on standard error; in Neovim, as
--- Neovim shows errors.
---@param message any
---@param trace string
function luv.on_error(message, trace) -- luacheck: ignore 212
  if luv.in_neovim then
    vim.schedule(function() error(trace, 0) end)
  else
    io.stderr:write("unbusy: ", trace, "\n")
  end
end

local function tell(message, co)
  local text = tostring(message)
  pcall(luv.on_error, message, co and debug.traceback(co, text) or text)
end

-- A function for luv to call: what it raises ends nothing.
local function guarded(f)
  return function(...)
    local ok, message = pcall(f, ...)
    if not ok then tell(message) end
  end
end

-- {== Turns ===============================================================

local parked = 0            -- coroutines that wait
local woken = {}            -- waiters to go on, in order
local deadlines = timers.new()
local poll, polled, polling -- the handle, its descriptor, whether it runs
local timer, armed          -- the handle, and for when
local idle, asked           -- the handle of the next round of libuv, whether it runs
local scheduled = false     -- a turn, in Neovim

local turn -- below

local function close_handles()
  if poll then poll:close() end
  if timer then timer:close() end
  if idle then idle:close() end
  poll, polled, polling, timer, armed, idle, asked = nil, nil, nil, nil, nil, nil, nil
end

local on_poll = guarded(function(failure)
  if failure then polling = nil end -- libuv has stopped it
  collect.hold()
  local ok, message = pcall(wire.step)
  collect.release()
  turn()
  if not ok then error(message, 0) end
end)

-- Watch the engine's descriptor while there is something to hear.
local function watch()
  if not wire.expects() then
    if polling then poll:stop() end
    polling = nil
    return
  end
  local fd = assert(wire.host())
  if poll and polled ~= fd then
    poll:close()
    poll, polling = nil, nil
  end
  if not poll then poll, polled = assert(uv.new_poll(fd)), fd end
  if not polling then polling = assert(poll:start("r", on_poll)) end
end

-- Let a turn come in libuv's next round, behind what there is to read.
local function ask_for_turn()
  if asked then return end
  idle = idle or assert(uv.new_idle())
  idle:start(turn)
  asked = true
end

-- Let a turn come at the time `at`, or before. A timer for at once would come before all reading.
local function arm(at)
  local seconds = at - now()
  if seconds <= 0 then return ask_for_turn() end
  if armed and armed <= at then return end
  timer, armed = timer or assert(uv.new_timer()), at
  timer:start(math.ceil(math.min(seconds, LONGEST) * 1000), 0, turn)
end

local function note_due()
  local time = now()
  local waiter = deadlines:due(time)
  while waiter do
    waiter.timer = nil
    table.insert(woken, waiter)
    waiter = deadlines:due(time)
  end
end

local function go_on(waiter)
  local co = waiter.co
  if not co or coroutine.status(co) ~= "suspended" then return end -- it went on without us
  local ok, message = coroutine.resume(co)
  if not ok then tell(message, co) end
end

local function run_woken()
  note_due()
  local list = woken
  woken = {}
  for i = 1, #list do go_on(list[i]) end
end

-- The handles, for those who still wait.
local function settle()
  if #woken > 0 then ask_for_turn() end
  if parked == 0 then return #woken == 0 and close_handles() end
  watch()
  local at = deadlines:next()
  if at then arm(at) end
end

local run = guarded(function()
  scheduled = false
  run_woken()
  settle()
end)

-- In Neovim, libuv's callbacks may use few of its functions: whoever is resumed shall use them all.
turn = guarded(function()
  armed = nil
  if asked then idle:stop() end
  asked = false
  if not luv.in_neovim then return run() end
  if not scheduled then vim.schedule(run) end
  scheduled = true
end)

-- }========================================================================

-- {== Waiting =============================================================

local function park(waiter, seconds)
  waiter.co = coroutine.running()
  if seconds and seconds < math.huge then
    waiter.timer = deadlines:add(now() + seconds, waiter)
  end
  parked = parked + 1
  local ok, message = pcall(settle)
  if ok then coroutine.yield() end
  parked = parked - 1
  waiter.co = nil
  if waiter.timer then
    deadlines:cancel(waiter.timer)
    waiter.timer = nil
  end
  if not ok then error(message, 0) end
end

local function unpark(waiter)
  if not waiter.co then return end
  table.insert(woken, waiter)
  ask_for_turn()
end

local function spawn(f)
  table.insert(woken, { co = coroutine.create(f) })
  ask_for_turn()
end

local loop = hosted.new { now = now, park = park, unpark = unpark, spawn = spawn,
  is_here = luv.is_here }
loop.name = "luv"

function loop.open(request, body)
  return wire.open(request, body, loop.event())
end

-- }========================================================================

--- Runs `f(loop, value)` where it is called, and gives what it gives; raises where nothing can
--- yield, and in a task of `unbusy.run`.
function luv.enter(f, value)
  if not luv.is_here() then
    local what = scheduler.current() and "a task of unbusy.run or unbusy.spawn"
      or "none that may yield"
    error(("unbusy: in luv's loop a call waits in a coroutine, and this is %s: "
      .. "coroutine.wrap(function() … end)()"):format(what), hosted.caller())
  end
  return f(loop, value)
end

--- Begins a task, which starts in the loop's next turn; also from the main thread.
function luv.spawn(f, ...)
  assert(luv.load())
  return loop.spawn(f, ...)
end

luv.loop, loop.enter = loop, luv.enter

return luv
