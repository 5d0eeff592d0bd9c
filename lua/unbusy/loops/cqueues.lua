--- The loop inside cqueues: calls wait in its coroutines, and its controllers watch our engine.
--
--     pump: poll { engine's descriptor, bell } ──► step ──► events set ──► waiters' conditions
--
-- Each controller has a loop of its own, and a pump, one coroutine of that controller: it is there
-- while a coroutine of the controller waits here, and watches the descriptor while transfers are
-- under way. So `controller:loop()` ends by itself. With several controllers any of them moves all
-- transfers, and wakes whoever waits; one that nobody steps stands still, and so do its calls.
--
-- A call belongs here only in a coroutine that a controller resumes itself (the second result of
-- `cqueues.running()`). In a coroutine inside of that, which must not be yielded through, the
-- `tasks` loop does it, and the controller stands still meanwhile.
--
-- A controller that is closed, or dropped, in mid-call lets go of its coroutines without a word:
-- their calls are ended when they are collected. So nothing here holds a controller.
local collect = require "unbusy.collect"
local hosted = require "unbusy.loops.hosted"
local now = require "unbusy.clock"
local wire = require "unbusy.loops.wire"

local cqueues = { now = now }

local library -- cqueues, once the program has loaded it

local function find_library()
  local loaded = package.loaded.cqueues
  if type(loaded) == "table" and loaded.running then library = loaded end
  return library
end

--- Loads cqueues: true, or nil and what is wrong.
function cqueues.load()
  local ok, message = pcall(require, "cqueues")
  if ok and find_library() then return true end
  return nil, "cqueues cannot be loaded: " .. tostring(message):match "^[^\n]*"
end

-- The controller whose coroutine this is, or nothing.
local function controller()
  local found, is_own = library.running()
  return is_own and found or nil
end

--- Is the caller in a coroutine of cqueues, whose controller resumes it itself?
function cqueues.is_here()
  return (library or find_library()) ~= nil and controller() ~= nil
end

-- {== The pump ============================================================

-- The conditions of those who are to be woken. A controller runs the last one first.
local function deliver(place)
  local woken = place.woken
  place.woken = {}
  for i = #woken, 1, -1 do woken[i].condition:signal() end
end

local function pump(place)
  local watched = place.watched
  while place.parked > 0 do
    watched.pollfd = wire.expects() and wire.host() or nil
    if #place.woken == 0 then library.poll(place.bell, watched) end
    collect.hold()
    local ok, message = pcall(wire.step)
    collect.release()
    deliver(place)
    if not ok then error(message, 0) end
  end
  watched.pollfd = nil
end

-- One that has failed is followed by another.
local function keep_pump(place)
  if place.pump and coroutine.status(place.pump) ~= "dead" then return end
  place.pump = coroutine.create(function() pump(place) end)
  controller():attach(place.pump)
end

-- }========================================================================

-- {== Waiting =============================================================

local function park(place, waiter, seconds)
  waiter.condition = waiter.condition or place.new_condition()
  place.parked = place.parked + 1
  keep_pump(place)
  local ok, message = pcall(library.poll, waiter.condition, seconds) -- raises where none may yield
  place.parked = place.parked - 1
  if place.parked == 0 then place.bell:signal() end -- the pump may end
  if not ok then error(message, 0) end
end

local function unpark(place, waiter)
  if not waiter.condition then return end
  table.insert(place.woken, waiter)
  if #place.woken == 1 then place.bell:signal() end
end

-- From now on there is something to hear from the engine.
local function attend(place)
  if not place.watched.pollfd then place.bell:signal() end
end

local function open(place, request, body)
  local fd, message, code = wire.host()
  if not fd then return nil, message, code end
  local x
  x, message, code = wire.open(request, body, place.loop.event())
  attend(place)
  return x, message, code
end

-- }========================================================================

-- {== Places ==============================================================

-- controller -> its place: { loop =, bell = condition of the pump, watched = what it polls, pump =
-- its coroutine, parked = number of those who wait, woken = those to be told }
local places = setmetatable({}, { __mode = "k" })

local function new_place()
  local condition = require "cqueues.condition"
  local place = { bell = condition.new(), watched = { events = "r" }, parked = 0, woken = {},
    new_condition = condition.new }
  local function is_here()
    local mine = controller()
    return mine ~= nil and places[mine] == place
  end
  place.loop = hosted.new { now = now, drops = true, is_here = is_here,
    park = function(waiter, seconds) park(place, waiter, seconds) end,
    unpark = function(waiter) unpark(place, waiter) end,
    spawn = function(f) library.running():wrap(f) end }
  place.loop.name = "cqueues"
  place.loop.enter = cqueues.enter
  function place.loop.attend() attend(place) end
  function place.loop.open(request, body) return open(place, request, body) end
  return place
end

-- The loop of the controller whose coroutine this is.
local function own_loop()
  local mine = controller()
  local place = places[mine]
  if not place then
    place = new_place()
    places[mine] = place
  end
  return place.loop
end

-- }========================================================================

--- Runs `f(loop, value)` where it is called, and gives what it gives; raises outside of cqueues'
--- coroutines.
function cqueues.enter(f, value)
  if not cqueues.is_here() then
    error("unbusy: the loop 'cqueues' waits only in a coroutine of a controller (cq:wrap)",
      hosted.caller())
  end
  return f(own_loop(), value)
end

--- Begins a task in the controller whose coroutine calls.
function cqueues.spawn(f, ...)
  return own_loop().spawn(f, ...)
end

return cqueues
