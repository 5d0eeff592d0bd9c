--- Who asks a question for all processes, where several clients of one process stand for so many
-- processes: as `unbusy.flights`, in plain Lua and for one loop.
local claimed = {}

local KNOWN = 2 -- seconds for which an end is known

local part = {}
part.__index = part

--- A table of claims.
---@param loop table
---@param chance fun(): number seldom a process is not told, as where a datagram is lost
function claimed.new(loop, chance)
  return { loop = loop, chance = chance, entries = {}, tickets = {}, clients = {}, count = 0,
    led = 0, followed = 0, refused = 0, found = 0 }
end

--- The client is one more process.
function claimed.join(all, client)
  local process = #all.clients + 1
  all.clients[process] = client
  local claims = client.flights.claims
  claims.part = setmetatable({ all = all, process = process }, part)
end

local function tell(all, process)
  if all.chance() < 0.1 then return end
  all.loop.spawn(function()
    local client = all.clients[process]
    if not client.closed then client:look_again() end
  end)
end

local function is_led(all, e)
  return e.state == "led" and all.loop.now() < e.limit
end

function part:claim(key, priority, seconds)
  local all, id = self.all, tostring(key)
  local e, now = all.entries[id], all.loop.now()
  if e and is_led(all, e) then
    if e.process == self.process or priority < e.priority then
      all.refused = all.refused + 1
      return "alone"
    end
    all.followed = all.followed + 1
    e.followers[self.process] = true
    tell(all, e.process)
    return "follow", e.ticket
  end
  local kept = e ~= nil and e.state == "kept" and now < e.limit
  all.count, all.led = all.count + 1, all.led + 1
  e = { ticket = all.count, state = "led", limit = now + seconds, process = self.process,
    priority = priority, followers = {} }
  all.entries[id], all.tickets[e.ticket] = e, e
  return "lead", e.ticket, kept
end

function part:look(ticket)
  local e = self.all.tickets[ticket]
  if e.state == "led" and not is_led(self.all, e) then return "failed" end
  return e.state
end

function part:followed(ticket)
  local e = self.all.tickets[ticket]
  return e.state == "led" and next(e.followers) ~= nil
end

function part:finish(ticket, outcome)
  local all, e = self.all, self.all.tickets[ticket]
  if e.state ~= "led" then return false end
  e.state, e.limit = outcome, all.loop.now() + KNOWN
  for process in pairs(e.followers) do tell(all, process) end
  return true
end

function part:stats()
  local all, open = self.all, 0
  for _, e in pairs(all.tickets) do open = open + (is_led(all, e) and 1 or 0) end
  return { led = all.led, followed = all.followed, refused = all.refused, orphaned = 0,
    open = open }
end

return claimed
