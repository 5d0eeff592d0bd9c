--- Single flight: calls that ask the same at the same time share one.
--
-- A call takes part when it takes part in the cache, and under the key that it has there, which is
-- compared whole. Who comes first begins a flight (`unbusy.caching.flight`), who comes later joins
-- it. A loop that runs for one call alone has nobody to join: there it costs nothing.
local claims = require "unbusy.caching.claims"
local core = require "unbusy.core"
local flight = require "unbusy.caching.flight"
local keeping = require "unbusy.caching.keeping"

local flights = {}
flights.__index = flights

local ROUNDS = 8  -- flights that a call joins, one after the other; then it goes alone
local MOST = 8    -- flights of one key that differ otherwise; who would be another goes alone
local PAUSE = 5   -- seconds after a failure in which the same is not asked again in the background
local MOST_BEHIND = 16 -- asked in the background at a time
local RESTING = 1000 -- questions of which that is known

--- The flights of a client.
---@param client table
---@param on boolean do calls share them?
---@param clock function? of its parts
function flights.new(client, on, clock)
  local common = not client.cache_fault and client.common -- or its cache is its own after all
  return setmetatable({ client = client, on = on, process = core.process(),
    claims = common and claims.new(common, client.caching, clock) or false,
    open = setmetatable({}, { __mode = "k" }), -- loop -> hash of a key -> list of flights
    resting = {}, rest_count = 0, behind = 0,
    counts = { flights = 0, joined = 0, again = 0, refreshed = 0, refused = 0 } }, flights)
end

--- Another process may have come to the end of what this one waits for.
function flights:look_again()
  if self.claims then self.claims:look_again() end
end

local results = { flights = "led", joined = "joined" } -- as metrics call them

--- So many more.
---@param what "flights"|"joined"|"again"|"refreshed"|"refused"
---@param n integer
function flights:count(what, n)
  self.counts[what] = self.counts[what] + n
  local meter, result = self.client.meter, results[what]
  if meter and result then meter:note("unbusy_flights_total", n, result) end
end

--- How many flights there were and how many calls joined one, members that had to begin anew, what
--- was asked in the background and was not, and the flights under way with their members.
function flights:stats()
  local c, open, members = self.counts, 0, 0
  for _, place in pairs(self.open) do
    for _, list in pairs(place) do
      for _, f in ipairs(list) do open, members = open + 1, members + f.count end
    end
  end
  local across = self.claims and not self.client.closed and self.claims:stats() or nil
  return { flights = c.flights, joined = c.joined, again = c.again, refreshed = c.refreshed,
    refused = c.refused, open = open, members = members, across = across }
end

-- {== Where they are found ================================================

-- The flights of a loop; those of the process that this one was forked from never move here.
local function place_of(self, loop)
  if self.process ~= core.process() then
    self.process, self.open = core.process(), setmetatable({}, { __mode = "k" })
  end
  local place = self.open[loop]
  if not place then
    place = {}
    self.open[loop] = place
  end
  return place
end

local function list_of(place, id)
  local list = place[id]
  if not list then
    list = { place = place, id = id }
    place[id] = list
  end
  return list
end

local function add_to(list, f)
  list[#list + 1], f.list = f, list
end

-- }========================================================================

-- {== A call's way ========================================================

local function too_late(call, m)
  local target = m.flight:target()
  local message = ("%scoalesced: nothing for %.3g s"):format(target and target .. ": " or "",
    call.loop.now() - call.started)
  return nil, message, "timeout", { phase = "total", target = target }
end

local function wait_for(call, m)
  local outcome = m:await()
  if not outcome then m:leave() end
  if outcome and outcome.stays and not m.gone then return outcome end
  call:release(m)
  m:close()
  return outcome
end

-- The flight that takes the call: one that is under way, or a new one; nil where it goes alone.
local function flight_for(self, call, key, next)
  local list = list_of(place_of(self, call.loop), tostring(key))
  for i = 1, #list do
    if list[i]:takes(call, key) then return list[i] end
  end
  if #list >= MOST then return nil end
  local f = flight.new(self, call, key, next)
  add_to(list, f)
  return f
end

local function join(self, call, f)
  local m = f:add(call)
  if m.first and not f.background then
    self:count("flights", 1)
    return m, f:begin(call)
  end
  call:give_permit(true) -- it asks nobody
  self:count("joined", 1)
  if self.client.on_event then
    call:emit("coalesced", { with = f.call.order, members = f.count })
  end
  return m, true
end

-- Nobody can join it in this process; others may ask the same.
local function ask_alone(self, call, key, next)
  local answer, message, code, detail = self.claims:ask(call, key, next, true)
  if call.claim then
    if answer then
      keeping.watch(call, answer)
      answer.kept = true
    end
    claims.conclude(call, answer, code)
  end
  return answer, message, code, detail
end

--- Makes the call with those who ask the same.
---@param call table
---@param key userdata its question's, in the cache
---@param next function the rest of the call's way
---@return table? reply, string? message, string? code, table? detail
function flights:join(call, key, next)
  local lonely = call.loop.lonely
  if lonely and lonely() then
    if self.claims then return ask_alone(self, call, key, next) end
    return next(call)
  end
  for _ = 1, ROUNDS do
    local f = flight_for(self, call, key, next)
    if not f then return next(call) end
    local m, begun = join(self, call, f)
    if not begun then
      call:release(m)
      m:close()
      return next(call)
    end
    local outcome = wait_for(call, m)
    if call.stopped then return call:refusal() end
    if not outcome then return too_late(call, m) end
    if outcome.reply then return outcome.reply end
    if outcome.raised ~= nil then error(outcome.raised, 0) end
    local failure = outcome.failure
    if failure then return nil, failure.message, failure.code, failure.detail end
    call.failed, call.given = outcome.failed or false, outcome.given or false
  end
  return next(call)
end

-- }========================================================================

--- A call has asked anew, and what it was answered is kept.
---@param call table
---@param key userdata
function flights:renewed(call, key)
  local place = self.open[call.loop]
  for _, f in ipairs(place and place[tostring(key)] or {}) do
    if f.call ~= call and f.key == key then f:overtake() end
  end
end

-- {== In the background ===================================================

-- It has failed just now: not so soon again.
local function rest(self, id, now)
  if self.rest_count >= RESTING then self.resting, self.rest_count = {}, 0 end
  if not self.resting[id] then self.rest_count = self.rest_count + 1 end
  self.resting[id] = now + PAUSE
end

local function rests(self, id, now)
  local ends_at = self.resting[id]
  if not ends_at then return false end
  if now < ends_at then return true end
  self.resting[id], self.rest_count = nil, self.rest_count - 1
  return false
end

-- It ends, however that comes about.
local function on_end(self, f, id)
  return function(good)
    self.behind = self.behind - 1
    self:count("refreshed", 1)
    if not good then rest(self, id, f.loop.now()) end
  end
end

--- Asks once more in the background what the call has asked, so that the answer under its key is a
--- fresh one: behind all others in line, as long as the client's own clocks let it, and not where
--- somebody asks for it already, or it has failed just now.
---@param call table
---@param key userdata its question's, in the cache
---@param next function the rest of the call's way, below the cache
---@return boolean begun
function flights:refresh(call, key, next)
  local loop, id = call.loop, tostring(key)
  if self.client.closed or call.stopped or loop.apart then return false end
  local list = list_of(place_of(self, loop), id)
  for i = 1, #list do
    if list[i].key == key then return false end
  end
  if self.behind >= MOST_BEHIND or rests(self, id, loop.now()) then
    if not list[1] then list.place[id] = nil end
    self:count("refused", 1)
    return false
  end
  local f = flight.new(self, call, key, next, "batch")
  if self.claims and not self.claims:take(f.call, key, f.call:clock "total") then
    if not list[1] then list.place[id] = nil end
    return false
  end
  if f.call.request == call.request then f.call.request = flight.copied(call.request) end
  f.on_end = on_end(self, f, id)
  self.behind = self.behind + 1
  add_to(list, f)
  return f:begin()
end

-- }========================================================================

return flights
