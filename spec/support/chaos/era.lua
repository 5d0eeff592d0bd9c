--- One era of a run of chaos: clients with options drawn by chance, for some of virtual time.
--
--     arrivals ──► callers ──► one to three clients, in a region or each for itself ──► servers
--                                  │  closed and begun anew, cleared                  │
--                                  └── ledger: each ticket                 weather ───┘
--
-- When all calls have ended the weather is fair, and after a while everybody has to be answered;
-- then nothing may be left: no call, ticket, exchange, task or block of memory.
local callers = require "spec.support.chaos.callers"
local guard = require "spec.support.leak_guard"
local ledgers = require "spec.support.chaos.ledger"
local options = require "spec.support.chaos.options"
local random = require "spec.support.random"
local region = require "unbusy.region"
local regions = require "spec.support.regions"
local servers = require "spec.support.chaos.servers"
local unbusy = require "unbusy"
local words = require "spec.support.chaos.words"
local world = require "unbusy.simulate.world"

local era = {}

local MOST_OPEN = 3000  -- calls at once; who comes then comes later
local TICK = 0.01       -- seconds between arrivals
local RECOVERY = 90     -- seconds of fair weather, after which all is well
local MOST_FAULTS = 5   -- that are told

-- {== The clients =========================================================

local function new_client(self)
  local o = {}
  for name, value in pairs(self.options) do o[name] = value end
  o.loop, o.region = self.world.loop, self.region
  if self.watches then
    o.on_event = function(e) self.events[e.type] = (self.events[e.type] or 0) + 1 end
  end
  return assert(unbusy.new(o))
end

-- What a client has counted is added up before it is closed.
local function end_client(self, client)
  local s = client:status()
  local sums = self.sums
  sums.hedges, sums.hedged = sums.hedges + s.hedge.begun, sums.hedged + s.hedge.calls
  sums.more = sums.more + (s.escalate and s.escalate.asked or 0) + (s.batch.lone or 0)
    + (s.batch.split or 0)
  client:close()
  client:close()
end

local function restart(self)
  local i = self.r:int(#self.clients)
  end_client(self, self.clients[i])
  self.clients[i] = new_client(self)
  self.restarts = self.restarts + 1
end

-- }========================================================================

-- {== What must hold at all times =========================================

local function fault(self, text, ...)
  self.faults[#self.faults + 1] = text:format(...)
end

-- A request has reached a server.
local function look(self, server, x, open)
  local client = self.clients[1]
  if x.model == words.POSTED then return end
  for _, t in ipairs(client.targets) do
    if t.name == server.name then
      local l = t:limiter(t:model(x.model))
      if l and l:in_flight() < open then
        fault(self, "%s: %d calls are open for %s, its limiter counts %d", server.name, open,
          x.model, l:in_flight())
      end
    end
  end
end

local function check_status(self, client)
  local s, o = client:status(), self.options
  if s.waiting > o.queue.size then fault(self, "%d wait, %d may", s.waiting, o.queue.size) end
  if s.hedge.begun > s.hedge.calls * client.hedges.most + 1e-6 then
    fault(self, "%d second tries beside %d calls", s.hedge.begun, s.hedge.calls)
  end
  if s.event_faults > 0 then fault(self, "a watcher failed") end
  for name, pool in pairs(s.pools) do
    if pool.answers < 0 or pool.cost < 0 then fault(self, "%s: below nothing", name) end
  end
end

-- }========================================================================

-- {== What operators do ===================================================

local deeds = {
  function(_, client) client:reload() end,
  function(_, client) if client.cache then client.cache:clear() end end,
  function(_, client) if client.meter then assert(client:metrics()) end end,
  function(self) restart(self) end,
}

-- Every now and then somebody looks, and seldom does something.
local function operator(self)
  return { act = function(thing, now)
    local client = self.r:pick(self.clients)
    check_status(self, client)
    if self.r:chance(0.05) then self.world.loop.spawn(function()
      self.r:pick(deeds)(self, client)
    end) end
    if not self.is_over then self.world:at(now + 0.5 + self.r:float(), thing) end
  end }
end

-- }========================================================================

-- {== Arrivals ============================================================

local function caller(self, place)
  while place.busy do
    self.callers:call()
    self.open = self.open - 1
    if self.left == 0 and self.open == 0 then self.over:set() end
    place.busy = false
    self.idle[#self.idle + 1] = place
    place.event:clear()
    self.world.loop.wait(place.events)
  end
end

local function begin_call(self)
  local idle = self.idle
  local place = idle[#idle]
  self.open, self.left = self.open + 1, self.left - 1
  if place then
    idle[#idle], place.busy = nil, true
    place.event:set()
  else
    place = { busy = true, event = self.world.loop.event() }
    place.events = { place.event }
    self.world.loop.spawn(caller, self, place)
  end
end

local function end_callers(self)
  for _, place in ipairs(self.idle) do
    place.busy = false
    place.event:set()
  end
end

-- Some come at each tick: few or many, for a while.
local function arrivals(self, rate)
  local due, wave, turns_at = 0, 1, 0
  return { act = function(thing, now)
    if now >= turns_at then
      wave, turns_at = self.r:pick { 0.2, 0.5, 1, 1, 1.5, 3 }, now + self.r:float() * 5
    end
    due = due + rate * wave * TICK
    while due >= 1 and self.left > 0 and self.open < MOST_OPEN do
      due = due - 1
      begin_call(self)
    end
    if self.left > 0 then self.world:at(now + TICK, thing) end
  end }
end

-- }========================================================================

-- {== The end =============================================================

-- In fair weather everybody is answered.
local function check_recovery(self)
  local loop = self.world.loop
  self.servers:calm()
  loop.sleep(RECOVERY)
  for _, client in ipairs(self.clients) do
    for i = 1, 5 do
      local reply, message = client:chat({ model = "ma", user = "ann",
        messages = { { role = "user", content = ("Tell me of question %d."):format(i) } } },
        { deadline = 30, cache = false })
      if not reply or reply.source ~= "upstream" then
        fault(self, "in fair weather: %s", reply and reply.source or message)
      end
    end
  end
end

local function check_client(self, client)
  local s = client:status()
  if s.active > 0 or s.waiting > 0 then
    fault(self, "left: %d calls, %d who wait", s.active, s.waiting)
  end
  for _, t in ipairs(s.targets) do
    for model, l in pairs(t.limits) do
      if l.in_flight > 0 then fault(self, "%s %s: %d in flight", t.name, model, l.in_flight) end
    end
    if t.breaker and t.breaker.outstanding > 0 then fault(self, "%s: breaker tickets", t.name) end
    if (t.pending or 0) > 0 then fault(self, "%s: the balancer counts calls", t.name) end
    if t.queue.calls > 0 then fault(self, "%s: calls in its queue", t.name) end
  end
end

-- Every try is a call's first, its free move, or paid for.
local function check_tries(self)
  if not self.options.budget then return end
  local c = self.callers
  local permits = 0
  for _, account in ipairs(self.ledger.accounts) do permits = permits + (account.permits or 0) end
  local calls = c.begun + (c.items or 0) + self.extra
  local most = 2 * calls + permits + self.sums.more
  if self.servers.requests > most then
    fault(self, "%d requests for %d calls: %d at most", self.servers.requests, calls, most)
  end
end

local function check_end(self)
  local c = self.callers
  if c.begun ~= c.ended then fault(self, "%d calls have begun, %d ended", c.begun, c.ended) end
  for _, client in ipairs(self.clients) do
    check_client(self, client)
    check_status(self, client)
    end_client(self, client)
  end
  check_tries(self)
end

local function check_left(self, before)
  local open, out = self.servers:still_open(), self.ledger:left()
  if open > 0 then fault(self, "%d exchanges are open", open) end
  if out then fault(self, "not given back: %s", out) end
  for _, text in ipairs(self.ledger.faults) do fault(self, "%s", text) end
  for _, text in ipairs(self.servers.faults) do fault(self, "%s", text) end
  local left = guard.left(before)
  if left then fault(self, "%s", left) end
end

-- }========================================================================

local function live(self, given)
  self.over = self.world.loop.event()
  self.servers:begin(self.world)
  self.world:at(0, arrivals(self, given.calls / given.seconds))
  self.world:at(0.1, operator(self))
  self.world.loop.wait { self.over }
  self.is_over = true
  end_callers(self)
  self.world.loop.sleep(30)
  regions.collect() -- streams that were dropped
  check_recovery(self)
  self.world.loop.sleep(60)
  check_end(self)
end

local function build(self, r)
  self.options = options.draw(r)
  self.watches = r:chance(0.3)
  local count = r:pick { 1, 1, 2, 3 }
  self.count = count
  local cache = self.options.cache
  if count > 1 and cache then cache.coalesce = false end -- processes, of which there is one
  if count > 1 or r:chance(0.3) then
    self.region = assert(region.new { bytes = 32 * 1024 * 1024 })
  end
  self.servers = servers.new(options.SERVERS, { r = r, spell = self.spell,
    look = function(...) look(self, ...) end })
  self.world = world.new(self.servers.open,
    { wall = 1.7e9, random = function() return r:float() end })
  self.ledger.now = self.world.now
  for i = 1, count do self.clients[i] = new_client(self) end
  self.extra = 5 * count
  self.callers = callers.new { r = r, loop = self.world.loop, options = self.options,
    clients = self.clients, fault = function(text) fault(self, "%s", text) end }
end

--- An era, to its end.
---@param given table { seed =, number =, calls =, seconds = of virtual time in which they come }
---@return table told { faults =, met =, events =, requests =, tickets =, took = virtual seconds,
--- restarts =, options =, clients = }
function era.run(given)
  local before = guard.look()
  local r = random.new(given.seed * 1000 + given.number)
  local self = { r = r, clients = {}, faults = {}, events = {}, idle = {}, open = 0, restarts = 0,
    left = given.calls, is_over = false, spell = given.seconds / 20,
    sums = { hedges = 0, hedged = 0, more = 0 }, ledger = ledgers.open() }
  local ok, message = xpcall(function()
    build(self, r)
    self.world.loop.run(live, self, given)
  end, debug.traceback)
  self.ledger:close()
  if self.region then self.region:close() end
  self.clients, self.region = {}, nil
  if self.callers then self.callers.clients = {} end
  if ok then check_left(self, before) else fault(self, "%s", message) end
  return { faults = self.faults, met = self.callers and self.callers.met or {},
    events = self.events, requests = self.servers and self.servers.requests or 0,
    tickets = self.ledger.given, took = self.world and self.world.now() or 0,
    restarts = self.restarts, options = self.options, clients = self.count }
end

--- The faults as a text; nil for none.
function era.complaint(given, told)
  local n = #told.faults
  if n == 0 then return nil end
  return ("era %d: %d faults: %s%s (UNBUSY_SEED=%d UNBUSY_ERA=%d repeats it)"):format(given.number,
    n, table.concat(told.faults, "; ", 1, math.min(n, MOST_FAULTS)),
    n > MOST_FAULTS and "; …" or "", given.seed, given.number)
end

return era
