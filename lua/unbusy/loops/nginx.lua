--- The loop inside nginx (OpenResty, or nginx with its Lua module).
--
--   engine's descriptor ──► bell's thread ──byte──► reader: step, dispatch ──► semaphores of those
--                                                                              who wait
--
-- nginx's event loop takes no descriptors of others. So the core's bell turns "a step is due" into
-- a byte on a unix socket, and one light thread of the worker, the reader, reads it; it lives in a
-- timer, begun by the worker's first call. Whoever waits does so on a semaphore of its own. Nothing
-- here blocks the worker.
--
-- At the end of a worker (reload, quit) a far-away timer is called before its time, and the reader
-- leaves when no transfer is under way. A coroutine that nginx ends where it waits (its client has
-- gone, and nobody asked to be told) is found by a look every half second.
local collect = require "unbusy.collect"
local core = require "unbusy.core"
local hosted = require "unbusy.loops.hosted"
local now = require "unbusy.clock"
local wire = require "unbusy.loops.wire"

local ngx = ngx -- luacheck: ignore 113

local nginx = {}

--- Are we inside nginx at all?
nginx.present = type(ngx) == "table" and type(ngx.get_phase) == "function"
if not nginx.present then return nginx end

local semaphore = require "ngx.semaphore"

local may_wait = { rewrite = true, server_rewrite = true, access = true, content = true,
  timer = true }

local LONGEST = 1e6   -- seconds of one sleep; whoever has no limit sleeps again
local SHORTEST = 0.001 -- nginx counts milliseconds, and does not sleep for less
local LOOK = 0.5      -- seconds between two looks for coroutines that are gone

-- {== Waiting =============================================================

local parked = {} -- waiter -> true, while it sleeps
local free = {}   -- semaphores that nobody uses
local FREE = 256  -- of them kept

local function park(waiter, seconds)
  local sem = table.remove(free) or semaphore.new(0)
  waiter.semaphore = sem
  parked[waiter] = true
  sem:wait(math.min(math.max(seconds or LONGEST, SHORTEST), LONGEST))
  parked[waiter] = nil
  if #free < FREE then free[#free + 1] = sem end
end

local function unpark(waiter)
  if waiter.semaphore then waiter.semaphore:post(1) end
end

-- A semaphore on which nobody waits, of one who never came back: nginx has ended its coroutine.
local function look_for_lost()
  local lost = {}
  for waiter in pairs(parked) do
    if not waiter.awake and waiter.semaphore:count() >= 0 then lost[#lost + 1] = waiter end
  end
  for _, waiter in ipairs(lost) do
    parked[waiter] = nil
    hosted.lost(waiter)
  end
  collect.pause()
end

-- }========================================================================

-- {== The reader ==========================================================

local bell = nil    -- of this worker, when its reader has begun
local leaving = false -- the worker is about to end

local function is_over()
  return leaving and wire.active() == 0
end

local function connect(b)
  local socket = ngx.socket.tcp()
  socket:settimeouts(1000, 1000, LONGEST * 1000)
  local ok, message = socket:connect("unix:" .. b:path())
  if not ok then return nil, message end
  ok, message = b:begin()
  if not ok then return nil, message end
  return socket
end

-- One turn for each byte; in this order nothing is missed (see bell.h).
local function read(b, socket)
  repeat
    wire.step()
    b:arm()
    if is_over() then return end
    local byte, message = socket:receive(1)
    if not byte and message ~= "timeout" then return message end
    b:heard()
  until false
end

local function run_reader(_, b)
  local socket, message = connect(b)
  if socket then
    message = read(b, socket)
    socket:close()
  end
  b:close()
  if bell == b then bell = nil end
  if message then ngx.log(ngx.ERR, "unbusy: the bell is lost: ", message) end
  if wire.active() > 0 and not bell then nginx.begin() end
end

local function say_goodbye(premature)
  if not premature then return ngx.timer.at(LONGEST, say_goodbye) end
  leaving = true
  if bell then bell:ring() end
end

local kept = false -- the timers that every worker has are there

local function keep_house()
  if kept then return end
  kept = true
  collect.hold() -- finalizers note what is to be done; each look does it
  if not ngx.timer.at(LONGEST, say_goodbye) then leaving = true end
  ngx.timer.every(LOOK, function(premature)
    if not premature then look_for_lost() end
  end)
end

--- Begins the reader of this worker.
---@return boolean? true, string? message, string? code
function nginx.begin()
  local fd, message, code = wire.host()
  if not fd then return nil, message, code end
  bell, message, code = core.bell(fd)
  if not bell then return nil, message, code end
  keep_house()
  local ok
  ok, message = ngx.timer.at(0, run_reader, bell)
  if ok then return true end
  bell:close()
  bell = nil
  return nil, "nginx has no timer left: " .. message, "full"
end

-- }========================================================================

local function spawn(f)
  local thread, message = ngx.thread.spawn(f)
  if not thread then error(message, 0) end
end

local loop = hosted.new { now = now, park = park, unpark = unpark, spawn = spawn, loses = true }
loop.name = "nginx"

function loop.open(request, body)
  if not bell then
    local ok, message, code = nginx.begin()
    if not ok then return nil, message, code end
  end
  return wire.open(request, body, loop.event())
end

--- Runs `f(loop, value)` where it is called, and gives what it gives; raises in a phase of nginx
--- that cannot wait.
function nginx.enter(f, value)
  local phase = ngx.get_phase()
  if not may_wait[phase] then
    error(("unbusy: a call must wait, which the phase '%s' of nginx cannot: make it in rewrite, "
      .. "access or content, or in a timer (ngx.timer.at)"):format(phase), 2)
  end
  return f(loop, value)
end

nginx.loop = loop
loop.enter = nginx.enter

return nginx
