--- What happens by itself in simulated time: answers, outages, arrivals.
--
-- A thing that is to act stands in a heap under its time; the virtual loop moves the world when no
-- task is ready and nobody's own time comes sooner. Things of one time act in the order in which
-- they were put there.
local timers = require "unbusy.loops.timers"
local virtual = require "unbusy.loops.virtual"

local world = {}
world.__index = world

--- A world with its loop, `w.loop`, whose requests go to `open(request, body)`.
---@param open fun(request: table, body: string?): table exchange
---@param o table { wall = Unix seconds of its beginning, random = chance for scripts }
function world.new(open, o)
  local self = setmetatable({ timers = timers.new() }, world)
  self.loop = virtual.new { open = open, world = self, wall = o.wall, random = o.random }
  self.now = self.loop.now
  return self
end

--- `thing:act(now)` is called when the time has come.
---@return table entry for `cancel`
function world:at(time, thing)
  return self.timers:add(time, thing)
end

--- It does not happen.
function world:cancel(entry)
  self.timers:cancel(entry)
end

--- The time of what happens next, or nil.
function world:next()
  return self.timers:next()
end

--- Lets everything act whose time has come.
function world:step(now)
  local due = self.timers
  local thing = due:due(now)
  while thing do
    thing:act(now)
    thing = due:due(now)
  end
end

return world
