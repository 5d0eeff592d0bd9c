--- The loop inside nginx (OpenResty, or nginx with its Lua module).
--
--   engine's descriptor ──► bell's thread ──byte──► reader: step, dispatch ──► semaphores of those
--                                                                              who wait
--
-- nginx's event loop takes no descriptors of others. So the core's bell turns "a step is due" into
-- a byte on a unix socket, and one light thread of the worker, the reader, reads it. It lives in a
-- timer, begins with a call, and leaves when nothing of ours has been open for a moment: so it
-- holds up no worker that wants to end, and no Lua state that only one request was made for
-- (lua_code_cache off). Where there is no bell to be had, the reader looks every few milliseconds.
-- Whoever waits does so on a semaphore of its own. Nothing here blocks the worker.
--
-- A call belongs to the request in which it was made. When that ends, which its client may bring
-- about at any time without a line of Lua being run, what it left open is ended too.
local collect = require "unbusy.collect"
local core = require "unbusy.core"
local hosted = require "unbusy.loops.hosted"
local now = require "unbusy.clock"
local scheduler = require "unbusy.loops.scheduler"
local wire = require "unbusy.loops.wire"

local ngx = ngx -- luacheck: ignore 113

local nginx = {}

--- Are we inside nginx at all?
nginx.present = type(ngx) == "table" and type(ngx.config) == "table"
  and ngx.config.subsystem == "http"

--- True in nginx, or nil and what is wrong.
function nginx.load()
  if nginx.present then return true end
  return nil, "this is not nginx"
end

if not nginx.present then return nginx end

local ffi = require "ffi"
local get_request = require("resty.core.base").get_request
local semaphore = require "ngx.semaphore"

local address = ffi.typeof "uintptr_t"

local may_wait = { rewrite = true, server_rewrite = true, access = true, content = true,
  timer = true }

-- {== Waiting =============================================================

local LONGEST = 10     -- seconds of one sleep: should the reader be lost, the next one begins then
local UNREAD = 2.5     -- seconds of one while no reader runs: nginx may have dropped it
local SHORTEST = 0.001 -- nginx counts milliseconds, and does not sleep for less
local FREE = 256       -- semaphores kept

local begin_reader -- see below

local reader = nil -- { running = its coroutine, bell =, socket = }

local free, free_count = {}, 0 -- semaphores that nobody uses

local function take_semaphore()
  if free_count == 0 then return assert(semaphore.new(0)) end
  local sem = free[free_count]
  free[free_count] = nil
  free_count = free_count - 1
  return sem
end

-- One whose time ran out just when it was posted would wake the next one for nothing.
local function put_semaphore(sem)
  if free_count >= FREE or sem:count() ~= 0 then return end
  free_count = free_count + 1
  free[free_count] = sem
end

local function park(waiter, seconds)
  local sem = take_semaphore()
  waiter.semaphore = sem
  begin_reader()
  local longest = reader and reader.running and LONGEST or UNREAD
  if not seconds or seconds > longest then seconds = longest end
  sem:wait(seconds > SHORTEST and seconds or SHORTEST)
  waiter.semaphore = nil
  put_semaphore(sem)
end

local function unpark(waiter)
  if waiter.semaphore then waiter.semaphore:post(1) end
end

-- }========================================================================

-- {== Timers ==============================================================

-- nginx drops a timer without a word to whoever has begun it, where too many others run just then
-- (lua_max_running_timers).
local PATIENCE = 2 -- seconds that a timer may take to begin

local awaited = {} -- thing whose timer has not begun -> the function that is to run with it

-- Has nginx run `f(thing)` in a timer; f asks `has_begun` first.
local function begin_timer(f, thing)
  local ok, message = ngx.timer.at(0, f, thing)
  if not ok then return nil, "nginx has no timer left: " .. message, "full" end
  thing.asked = now()
  awaited[thing] = f
  return true
end

-- The thing's timer runs: is it the first one to do so?
local function has_begun(thing)
  local first = awaited[thing] ~= nil
  awaited[thing] = nil
  return first
end

-- Those that nginx seems to have dropped are begun anew; should both run, the first one counts.
local function begin_dropped(time)
  for thing, f in pairs(awaited) do
    if time - thing.asked >= PATIENCE then begin_timer(f, thing) end
  end
end

-- }========================================================================

-- {== Requests that end ===================================================

local ends = nil -- hears of them
local owned = {} -- a request's address -> what is open there, as a set

local function close_all(things)
  for thing in pairs(things) do
    local ok, message = pcall(thing.leave, thing)
    if not ok then ngx.log(ngx.ERR, "unbusy: ", message) end
  end
end

-- Before an address is looked up: the next request may have it.
local function hear_ends()
  local request = ends:next()
  while request do
    local things = owned[request]
    owned[request] = nil
    close_all(things)
    request = ends:next()
  end
end

--- The address of the request in whose handler or light thread this is called. A later one may
--- have the same.
---@return integer
function nginx.request()
  return tonumber(ffi.cast(address, get_request()))
end

local function begin_kept()
  if ends then return true end
  local message, code
  ends, message, code = core.ends()
  if not ends then return nil, message, code end
  collect.hold() -- finalizers note what is to be done, and each turn does it
  return true
end

-- A request's address -> what hears when its client goes. One function hears for all: a function
-- made for each request would end what LuaJIT can compile.
local listening = setmetatable({}, { __mode = "v" })

local function on_abort()
  local thing = listening[nginx.request()]
  if thing then thing:leave() end
end

-- Looks for clients that nginx does not see going. What is owned lives: ends have been heard.
local function look_for_leavers()
  local gone = {} -- who is told may do anything, also begin something
  for request in pairs(owned) do
    local thing = listening[request]
    if thing and ends:left(request) then gone[thing] = true end
  end
  close_all(gone)
end

--- Has `thing:leave()` called, perhaps before this returns and perhaps twice, when the client of
--- this request goes, where nginx is to look for that (lua_check_client_abort).
---@param thing table
---@return integer request whose `nginx.unlisten` is due when it has been answered
function nginx.listen(thing)
  local request = nginx.request()
  if ngx.on_abort(on_abort) then
    listening[request] = thing
    if begin_kept() and ends:left(request) then thing:leave() end
  end
  return request
end

--- Nobody listens any more.
function nginx.unlisten(request)
  listening[request] = nil
end

local function adopt(thing)
  begin_reader()
  if not ends then return {} end -- no memory: the call itself will say so
  hear_ends()
  local request = nginx.request()
  local things = owned[request]
  if not things then
    things = {}
    if not ends:watch(request) then return things end -- no memory: the collector will see to it
    owned[request] = things
  end
  things[thing] = true
  return things
end

local function is_idle()
  if wire.busy() or next(awaited) then return false end
  for _, things in pairs(owned) do
    if next(things) then return false end
  end
  return true
end

-- What nobody has come to see for so long that its time is up.
local function expire(time)
  local all = {} -- who is told may do anything, also begin something
  for _, things in pairs(owned) do
    for thing in pairs(things) do all[#all + 1] = thing end
  end
  for _, thing in ipairs(all) do
    if thing.expire then thing:expire(time) end
  end
end

-- }========================================================================

-- {== The reader ==========================================================

local LOOK = 0.5   -- seconds between two looks around
local FOR_EVER = 1e6 -- seconds
local POLL = 0.005 -- seconds between two steps where there is no bell

local function connect(r)
  local fd, message = wire.host()
  if not fd then return message end
  r.bell, message = core.bell(fd)
  if not r.bell then return message end
  local ok
  local socket = ngx.socket.tcp()
  socket:settimeouts(1000, 1000, FOR_EVER * 1000) -- nginx logs each timeout; the bell rings anyway
  ok, message = socket:connect("unix:" .. r.bell:path())
  if ok then ok, message = r.bell:begin() end
  if not ok then return message end
  r.socket = socket
end

local function give_up_bell(r, message)
  r.socket = nil
  if ngx.worker.exiting() then return end
  ngx.log(ngx.WARN, "unbusy: no bell, so this worker looks at its calls every 5 ms: ", message)
end

-- Until the bell has rung.
local function rest(r)
  if not r.socket then return ngx.sleep(POLL) end
  local byte, message = r.socket:receive(1)
  if byte then r.bell:heard() else give_up_bell(r, message) end
end

local function turn(r)
  wire.step()
  hear_ends()
  collect.pause()
  if r.socket then r.bell:arm() end -- last: see bell.h
end

-- Leaves when nothing is open and nothing has moved between two looks.
local function read(r)
  local looked, turns = now(), 0
  while true do
    turn(r)
    if ngx.worker.exiting() and is_idle() then return end
    local time = now()
    if time - looked >= LOOK then
      if turns <= 1 and is_idle() then return end
      look_for_leavers()
      expire(time)
      begin_dropped(time)
      looked, turns = time, 0
    end
    rest(r)
    turns = turns + 1
  end
end

local function serve(r)
  local message = connect(r)
  if message then give_up_bell(r, message) end
  read(r)
end

local function run_reader(_, r)
  if not has_begun(r) then return end
  r.running = coroutine.running()
  local ok, message = pcall(serve, r)
  if not ok then ngx.log(ngx.ERR, "unbusy: ", message) end
  if r.socket then r.socket:close() end
  if r.bell then r.bell:close() end
  reader = nil
  if not is_idle() then begin_reader() end
end

--- Begins the reader of this worker, unless there is one.
---@return boolean? true, string? message, string? code
function begin_reader()
  if reader then
    if not reader.running then begin_dropped(now()) end
    return true
  end
  local ok, message, code = begin_kept()
  if not ok then return nil, message, code end
  local r = {}
  ok, message, code = begin_timer(run_reader, r)
  if not ok then return nil, message, code end
  reader = r
  return true
end

-- }========================================================================

local function spawn(f)
  local thread, message = ngx.thread.spawn(f)
  if not thread then error(message, 0) end
end

local loop = hosted.new { now = now, park = park, unpark = unpark, spawn = spawn,
  adopt = adopt }
loop.name = "nginx"

--- Sees to it that somebody watches the engine.
function loop.attend()
  return begin_reader()
end

function loop.open(request, body)
  local ok, message, code = begin_reader()
  if not ok then return nil, message, code end
  return wire.open(request, body, loop.event())
end

-- {== Work that outlives its request =======================================

local ROOM = 100 -- tasks of one nursery: nginx looks through all threads of a request, one by one

local nursery = nil -- { jobs = list, left = room, open = count, news = semaphore }

local function run_job(n, job)
  local ok, message = pcall(job)
  if not ok and message ~= scheduler.cancelled then ngx.log(ngx.ERR, "unbusy: ", message) end
  n.open = n.open - 1
  if n.open == 0 then n.news:post(1) end
end

-- Begins what has come until then, and waits for more as long as something of it is under way.
local function run_nursery(_, n)
  if not has_begun(n) then return end
  repeat
    local jobs = n.jobs
    n.jobs = {}
    for _, job in ipairs(jobs) do loop.spawn(run_job, n, job) end
    if n.open > 0 and n.left > 0 then n.news:wait(LONGEST) end
  until not n.jobs[1] and (n.open == 0 or n.left == 0)
  if nursery == n then nursery = nil end
end

-- With somebody who sees whether it begins.
local function begin_nursery()
  local ok, message, code = begin_reader()
  local n = { jobs = {}, left = ROOM, open = 0, news = assert(semaphore.new(0)) }
  if ok then ok, message, code = begin_timer(run_nursery, n) end
  if not ok then return nil, message, code end
  nursery = n
  return n
end

--- Begins a task that runs `f()` and belongs to the worker: it goes on when the request in which
--- this was called has ended.
---@param f function
---@return boolean? true, string? message, string? code
function loop.nursery(f)
  local n, message, code = nursery, nil, nil
  if not n or n.left == 0 then n, message, code = begin_nursery() end
  if not n then return nil, message, code end
  n.left, n.open = n.left - 1, n.open + 1
  n.jobs[#n.jobs + 1] = f
  n.news:post(1)
  return true
end

-- }========================================================================

--- Runs `f(loop, value)` where it is called, and gives what it gives; raises in a phase of nginx
--- that cannot wait.
function nginx.enter(f, value)
  local phase = ngx.get_phase()
  if not may_wait[phase] then
    error(("unbusy: a call must wait, which the phase '%s' of nginx cannot: make it in rewrite, "
      .. "access or content, or in a timer (ngx.timer.at)"):format(phase), 2)
  elseif phase == "timer" and reader and reader.running == coroutine.running() then
    error("unbusy: a call must wait, and here all others would: make it in a timer "
      .. "(ngx.timer.at)", 2)
  end
  return f(loop, value)
end

nginx.loop, nginx.now, nginx.spawn = loop, now, loop.spawn
loop.enter = nginx.enter

return nginx
