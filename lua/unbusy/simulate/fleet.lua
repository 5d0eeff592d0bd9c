--- Replicas of a simulated server: asked for, starting, serving.
--
--     asked for ──► starting (`starts` seconds) ──► serving: `places` calls each
--         └── fewer: those that start go first, then those that serve, once they have ended
--
-- What is asked for is paid, from the moment on. CPU is what a replica's places in use take of its
-- 1000 millicores; each stands on a node of as many.
local fleet = {}
fleet.__index = fleet

local MILLICORES = 1000 -- of a replica, and of its node

local max, min = math.max, math.min

--- A fleet of `n` replicas that serve.
---@param world table
---@param up table simulated server, whose places are the fleet's
---@param o table { replicas =, places =, starts = seconds }
function fleet.new(world, up, o)
  local self = setmetatable({ world = world, up = up, o = o, asked = o.replicas,
    serving = o.replicas, starting = {}, paid = 0, paid_to = 0, most = o.replicas,
    least = o.replicas, changes = 0 }, fleet)
  up:resize(self:places())
  return self
end

--- Calls that can be served at once just now.
function fleet:places()
  return self.serving * self.o.places
end

--- The server has the fleet's places, whatever a phase of its trace has said.
function fleet:settle()
  if self.up.phase.capacity ~= self:places() then self.up:resize(self:places()) end
end

--- Replica-seconds until now.
function fleet:pay(now)
  self.paid = self.paid + self.asked * (now - self.paid_to)
  self.paid_to = now
  return self.paid
end

-- One that was asked for serves.
local function begin(self)
  local start = {}
  function start.act()
    for i, one in ipairs(self.starting) do
      if one == start then
        table.remove(self.starting, i)
        break
      end
    end
    self.serving = self.serving + 1
    self.up:resize(self:places())
  end
  self.starting[#self.starting + 1] = start
  self.world:at(self.world.now() + self.o.starts, start)
end

local function give_up(self)
  local start = table.remove(self.starting)
  if start then
    self.world:cancel(start)
  else
    self.serving = self.serving - 1
    self.up:resize(self:places())
  end
end

--- Asks for so many.
---@param n integer
function fleet:scale(n)
  self:pay(self.world.now())
  for _ = self.asked + 1, n do begin(self) end
  for _ = n + 1, self.asked do give_up(self) end
  if n ~= self.asked then self.changes = self.changes + 1 end
  self.asked, self.most, self.least = n, max(self.most, n), min(self.least, n)
end

--- Millicores in use, and those that the nodes have.
function fleet:cpu()
  local busy = self.up.in_service / self.o.places
  return busy * MILLICORES, (self.serving + #self.starting) * MILLICORES
end

return fleet
