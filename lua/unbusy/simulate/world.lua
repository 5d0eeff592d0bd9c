--- What happens by itself in simulated time: arrivals, answers, outages.
--
-- A thing that is to act stands in a heap under its time, once; the virtual loop moves the world
-- when no task is ready and nobody's own time comes sooner. Things of one time act in the order in
-- which they were put there, after those who arrive. The heap is three lists, so that no table is
-- made.
local virtual = require "unbusy.loops.virtual"

local world = {}
world.__index = world

local floor, huge = math.floor, math.huge

--- A world with its loop, `w.loop`, whose requests go to `open(request, body)`.
---@param open fun(request: table, body: string?): table exchange
---@param o table { wall = Unix seconds of its beginning, random = chance for scripts }
function world.new(open, o)
  local self = setmetatable({ count = 0, order = 0, times = {}, orders = {}, things = {},
    arrivals = {}, arrived = 0 }, world)
  self.loop = virtual.new { open = open, world = self, wall = o.wall, random = o.random }
  self.now = self.loop.now
  return self
end

-- {== The heap ============================================================

-- Puts a thing where it belongs, from place `i` upwards.
local function sift_up(self, i, time, order, thing)
  local times, orders, things = self.times, self.orders, self.things
  while i > 1 do
    local parent = floor(i / 2)
    local t = times[parent]
    if t < time or t == time and orders[parent] < order then break end
    times[i], orders[i], things[i] = t, orders[parent], things[parent]
    i = parent
  end
  times[i], orders[i], things[i] = time, order, thing
end

-- Fills the place at the top with the last one, which goes down to where it belongs.
local function remove_top(self)
  local times, orders, things, n = self.times, self.orders, self.things, self.count
  local time, order, thing = times[n], orders[n], things[n]
  times[n], orders[n], things[n] = nil, nil, nil
  n = n - 1
  self.count = n
  if n == 0 then return end
  local i = 1
  while 2 * i <= n do
    local child = 2 * i
    local t = times[child]
    if child < n then
      local other = times[child + 1]
      if other < t or other == t and orders[child + 1] < orders[child] then
        child, t = child + 1, other
      end
    end
    if time < t or time == t and order < orders[child] then break end
    times[i], orders[i], things[i] = t, orders[child], things[child]
    i = child
  end
  times[i], orders[i], things[i] = time, order, thing
end

-- What has been called off, or put there again, is passed over.
local function drop_dead(self)
  while self.count > 0 and self.things[1].due ~= self.orders[1] do remove_top(self) end
end

-- }========================================================================

--- `thing:act(now)` is called when the time has come. A thing stands there once: the later call
--- counts.
---@param time number
---@param thing table whose field `due` is ours
function world:at(time, thing)
  local order, n = self.order + 1, self.count + 1
  self.order, self.count, thing.due = order, n, order
  sift_up(self, n, time, order, thing)
end

--- It does not happen.
function world:cancel(thing) -- luacheck: ignore 212
  thing.due = nil
end

--- `f(first, last)` is called with the numbers of those whose times have come.
---@param times number[] in order
---@param f fun(first: integer, last: integer)
function world:arrive(times, f)
  self.arrivals, self.arrived, self.on_arrival = times, 0, f
end

--- The time of what happens next, or nil.
---@return number?
function world:next()
  drop_dead(self)
  local at = self.arrivals[self.arrived + 1]
  if self.count == 0 then return at end
  local time = self.times[1]
  return at and at < time and at or time
end

local function step_arrivals(self, now)
  local times, i = self.arrivals, self.arrived
  local first = i + 1
  while (times[i + 1] or huge) <= now do i = i + 1 end
  if i < first then return end
  self.arrived = i
  self.on_arrival(first, i)
end

--- Lets everything act whose time has come.
function world:step(now)
  step_arrivals(self, now)
  while self.count > 0 and self.times[1] <= now do
    local thing, order = self.things[1], self.orders[1]
    remove_top(self)
    if thing.due == order then
      thing.due = nil
      thing:act(now)
    end
  end
end

return world
