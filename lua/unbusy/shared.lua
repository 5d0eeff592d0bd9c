--- What a client shares with all processes that open the same region.
--
-- Its breakers, limiters, budget and cache live there, and until when a target rests, an account
-- has no credit or a key is set aside. And the processes tell each other of waiting calls: who
-- gives a place back wakes the process whose caller's turn it is, by priority and share
-- (`unbusy.turns`) and then by how long it has waited, and leaves it to that one for a moment
-- (`GRACE`) before it serves its own line.
local collect = require "unbusy.collect"
local counters = require "unbusy.counters"
local core = require "unbusy.core"
local region = require "unbusy.region"
local turns = require "unbusy.turns"
local wire = require "unbusy.loops.wire"

local shared = {}
shared.__index = shared

shared.GRACE = 0.01  -- seconds
shared.LOOK = 0.1    -- seconds after which a waiting call looks by itself, woken or not
shared.REFRESH = 0.05 -- seconds for which a mark of another process may go unseen

local MOST_NAME = 200 -- bytes of a part's name; of a longer one the rest becomes a hash

-- Region -> what clients of this process share in it; and place -> region. The clients hold both.
local of_region = setmetatable({}, { __mode = "kv" })
local of_place = setmetatable({}, { __mode = "v" })

local function short(name, most)
  if #name <= most then return name end
  return name:sub(1, most - 40) .. tostring(core.key(name)):match ": (%x+)"
end

-- The region for the option: one that is open, or a place for one.
local function region_of(given)
  if type(given) == "userdata" then return given end
  local place = given.name and "name " .. given.name or given.path and "path " .. given.path
  local known = of_place[place or false]
  if known and core.is_region(known) then return known end
  local r, message, code = region.new(given)
  if r and place then of_place[place] = r end
  return r, message, code
end

-- {== What is heard =======================================================

-- What the wire knows of it: what clients share is collected with the last of them, closed or not.
local ear = {}
ear.__index = ear

--- Of a listener (`unbusy.loops.wire`): where other processes wake this one.
function ear:descriptor()
  return core.is_region(self.region) and self.region:wake_fd() or nil
end

--- Of a listener: another process may have woken us.
function ear:heard()
  if not core.is_region(self.region) or not self.region:drain() then return end
  local common = self.of.common
  for client in pairs(common and common.clients or {}) do client:look_again() end
end

-- Nobody hears of it any more; but whoever has opened the same region since then does.
local function closer(own_ear)
  return function()
    wire.ignore(own_ear)
    local other = of_region[own_ear.region]
    if other and other.open > 0 then wire.listen(other.ear) end
  end
end

-- }========================================================================

--- What the clients of a region share; nil and a failure when there is no room.
---@param given table|userdata options of `unbusy.region`, or a region
---@return table? self, string? message, string? code
function shared.open(given)
  local r, message, code = region_of(given)
  if not r then return nil, message, code end
  if of_region[r] then return of_region[r] end
  local marks, why, how = counters.new { region = r, name = "marks", counters = 4096 }
  if not marks then return nil, why, how end
  local self = setmetatable({ region = r, marks = marks, open = 0,
    clients = setmetatable({}, { __mode = "k" }) }, shared)
  self.ear = setmetatable({ region = r, of = setmetatable({ common = self }, { __mode = "v" }) },
    ear)
  self.watch = collect.watch(closer(self.ear))
  of_region[r] = self
  return self
end

--- A name that stands for these pieces too: what is known of a server is not known of another one
--- that a changed configuration gives the same name.
function shared.tag(name, ...)
  return name .. " " .. tostring(core.key(...)):match ": (%x+)"
end

-- The region, unless whoever made it has closed it: then nobody hears of anybody.
local function region_in(self)
  return core.is_region(self.region) and self.region
end

--- The options of a part with its place in the region. In one that was closed there are those that
--- were made before, and no others: a new part is this process's own.
---@param given table options of the part
---@param name string what tells it from others of its kind
---@return table
function shared:part(given, name)
  local out = {}
  for key, value in pairs(given) do out[key] = value end
  if region_in(self) then out.region, out.name = self.region, short(name, MOST_NAME) end
  return out
end

-- {== Marks ===============================================================

--- Nobody is to use what `name` says before that time.
function shared:mark(name, at, now)
  if at > now then self.marks:peak(short(name, 128), at, at - now) end
end

--- Until when it is not to be used; 0 when it may be.
function shared:marked(name)
  return self.marks:get(short(name, 128)) or 0 -- nil: their room is lost
end

local SCOPE = "scope\0%s\0%s" -- an account and a model

--- Calls of this account for this model are limited here: the others are to know.
---@param account string
---@param model string
function shared:note_scope(account, model)
  local name = SCOPE:format(account, model)
  if #name <= 128 then self.marks:add(name, 1) end
end

--- Has the accounts know of all models that any process has asked them for.
---@param accounts table<string, table> by name
function shared:open_scopes(accounts)
  for name in pairs(self.marks:list() or {}) do
    local account, model = name:match "^scope%z(.-)%z(.*)$"
    if account and accounts[account] then accounts[account]:scope(model) end
  end
end

--- This process's number in the region; 0 for none.
function shared:process()
  return core.is_region(self.region) and self.region:process() or 0
end

local CLAIM = 1 -- seconds in which one alone may begin to lead

--- Is it for this process to do what `name` says, from now on for so many seconds? Whoever asks
--- first; it asks again in time to go on.
---@param name string
---@param token number by which one is told from all others; above 0
---@param seconds number
---@return boolean
function shared:leads(name, token, seconds)
  local marks = self.marks
  name = short(name, 120)
  local holder = marks:get(name)
  if holder == 0 then
    if not marks:take("claim " .. name, 1, 1, CLAIM) then return false end
  elseif holder ~= token then
    return false
  end
  -- One that was held up between the two may find somebody else there, and then one of both stays.
  return marks:peak(name, token, seconds) == token
end

-- }========================================================================

-- {== Waiting =============================================================

-- Who waits, by priority. The calls of the process that this one was forked from wait there.
local function waiting_in(self)
  if self.process_mark ~= core.process() then
    self.process_mark, self.waiting = core.process(), {}
    for p = 1, #turns.names do self.waiting[p] = { first = 1, last = 0, count = 0, since = {} } end
  end
  return self.waiting
end

local function publish(self, waiting, priority)
  local r = region_in(self)
  if r then r:waiting(waiting.count, waiting.since[waiting.first], priority) end
end

--- A call begins to wait.
---@param loop table the loop in which it does
---@param priority integer see `unbusy.turns`
---@return table handle for `leave`
function shared:enter(loop, priority)
  if loop.attend then loop.attend() end
  local waiting = waiting_in(self)[priority]
  waiting.last = waiting.last + 1
  waiting.since[waiting.last] = core.now()
  waiting.count = waiting.count + 1
  publish(self, waiting, priority)
  return { priority = priority, number = waiting.last, waiting = waiting }
end

--- It waits no longer. A copy of another process's call changes nothing here.
function shared:leave(handle)
  local waiting = handle.waiting
  local since = waiting.since
  if waiting ~= waiting_in(self)[handle.priority] or not since[handle.number] then return end
  since[handle.number] = nil
  waiting.count = waiting.count - 1
  while waiting.first <= waiting.last and not since[waiting.first] do
    waiting.first = waiting.first + 1
  end
  publish(self, waiting, handle.priority)
end

--- Is it the turn of another process's call, before ours that wait?
function shared:yields()
  local r = region_in(self)
  return r and r:yields()
end

--- Whose turn it is, as `unbusy.turns` has it: one account for all processes.
function shared:next(mask)
  local r = region_in(self)
  if r then return r:next(mask) end
  return mask % 2 == 1 and 1 or mask % 4 >= 2 and 2 or 3
end

--- One of this priority has had a turn.
function shared:take(priority)
  local r = region_in(self)
  if r then r:take(priority) end
end

--- A place or a permit is free: another process may want it.
function shared:wake()
  local r = region_in(self)
  if r then r:wake() end
end

-- }========================================================================

--- A client that takes part. Its `look_again()` is called when a place may be free.
function shared:attach(client)
  if self.open == 0 then wire.listen(self.ear) end
  self.open = self.open + 1
  self.clients[client] = true
end

--- It has been closed.
function shared:detach(client)
  if not self.clients[client] then return end
  self.clients[client] = nil
  self.open = self.open - 1
  if self.open == 0 then wire.ignore(self.ear) end
end

return shared
