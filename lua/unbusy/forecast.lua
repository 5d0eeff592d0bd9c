--- How long a place takes to come free, by how fast places came free lately.
--
-- While callers wait for a gate, it is counted how many of them it lets in; the last twenty weigh
-- most. Who waits is counted by *crowd*: all those who would go through the same gates. Of a crowd
-- that has other gates too, only that share is in the way which these gates serve of it.
--
--     seconds = (those before it at its gates, and itself) / places a second of its gates
--
-- Before a caller go those of its own priority, and of the others as many as get a turn meanwhile
-- (`unbusy.turns`). Who will come later and go first is not known, but it shows in how fast those
-- of its own priority are let in: the longer time counts. Nothing is foretold before five places
-- have been counted, and of more than fifty gates.
--
-- Troubles end. So for five minutes it is thought possible that a gate is soon again as fast as it
-- was before anybody had to wait for it, be it only for two seconds: who would be let in then may
-- hope.
local turns = require "unbusy.turns"

local forecast = {}

local MEMORY = 20  -- places
local ENOUGH = 5   -- places
local STALE = 60   -- seconds after which a rate says nothing any more
local CALM = 2     -- seconds without waiting that show what a gate lets in usually
local HOPE = 300   -- seconds for which it may be as fast again
local GATES = 50   -- each a bit of a number that is exact

--- Nobody is counted yet.
---@param now number
---@return table
function forecast.new(now)
  return { crowds = {}, gates = 0, began = now }
end

local function new_meter()
  return { places = 0, span = 0, at = 0, since = nil }
end

--- What is known of a gate, in the gate: how fast it lets in all of them, and those of each
--- priority.
function forecast.watch(self, gate)
  self.gates = self.gates + 1
  gate.bit = self.gates <= GATES and 2 ^ self.gates or nil
  gate.all, gate.let_in, gate.wanted_by = new_meter(), { 0, 0, 0 }, { 0, 0, 0 }
  for p = 1, #turns.names do gate[p] = new_meter() end
  gate.calm, gate.hope_until, gate.calm_since, gate.calm_tries = 0, 0, self.began, 0
end

-- {== Rates ===============================================================

-- So many places since the last time; `waits`: somebody goes without.
local function note(meter, now, places, waits)
  local since = meter.since
  if not since and now - meter.at > STALE then meter.places, meter.span = 0, 0 end
  if since then
    local keep = (1 - 1 / MEMORY) ^ places
    meter.places = meter.places * keep + places
    meter.span = (meter.span + math.max(now - since, 0)) * keep
  end
  meter.since, meter.at = waits and now or nil, now
end

-- Calls a second that the limit lets in (Little's law); nil where that is not known.
local function capacity_of(gate)
  local l = gate.scope.limiter
  local stats = l and l:stats()
  return stats and stats.round_trip > 0 and stats.limit / stats.round_trip or nil
end

-- When callers begin to wait for the gate: how much it could let in a second while nobody did. That
-- it has let in less may be since nobody asked for more.
local function note_calm(gate, now, refuses)
  local tries = gate.target.tries
  if refuses and gate.calm_since then
    local seconds, capacity = now - gate.calm_since, capacity_of(gate)
    local rate = capacity and math.max((tries - gate.calm_tries) / seconds, capacity)
    if rate and seconds >= CALM and (rate >= gate.calm or now >= gate.hope_until) then
      gate.calm, gate.hope_until = rate, now + HOPE
    end
    gate.calm_since = nil
  elseif not refuses and not gate.calm_since then
    gate.calm_since, gate.calm_tries = now, tries
  end
end

--- A pass is over: the gate has let in some of those who wait (`let_in`, by priority), and no more
--- (`refuses`), for want of room (`full`).
function forecast.note(gate, now, refuses, full)
  local let_in, sum = gate.let_in, 0
  note_calm(gate, now, refuses)
  for p = 1, #turns.names do
    sum = sum + let_in[p]
    note(gate[p], now, let_in[p], full and gate.wanted_by[p] > 0)
    let_in[p] = 0
  end
  note(gate.all, now, sum, full)
end

-- Places a second, while callers wait for them; nil where that is not known. What was measured
-- before a breaker opened is the trouble that opened it: it is as before, or (for long) nothing.
local function rate_of(gate, which, now)
  local meter = gate[which]
  if gate.closed then return 0 end
  if gate.open and gate.hope_until == 0 then return nil end
  if gate.open then return now < gate.hope_until and gate.calm or 0 end
  if meter.places < ENOUGH or meter.span <= 0 then return nil end
  if not meter.since and now - meter.at > STALE then return nil end
  return meter.places / meter.span
end

-- How much faster the gates may be than they are now: at least 1.
local function boost_of(gates, now)
  local rate, best = 0, 0
  for _, gate in ipairs(gates) do
    local of_gate = rate_of(gate, "all", now)
    rate = rate + of_gate
    best = best + math.max(of_gate, now < gate.hope_until and gate.calm or 0)
  end
  return best / rate
end

-- }========================================================================

-- {== Crowds ==============================================================

-- The same number for the same set of gates; nil for too many.
local function key_of(gates)
  local sum = 0
  for _, gate in ipairs(gates) do
    if not gate.bit then return nil end
    sum = sum + gate.bit
  end
  return sum
end

--- A caller with these gates begins to wait, or (-1) waits no more.
---@param by 1|-1
function forecast.count(self, gates, priority, by)
  local key = key_of(gates)
  for _, gate in ipairs(gates) do
    gate.wanted_by[priority] = gate.wanted_by[priority] + by
  end
  if not key then return end
  local crowd = self.crowds[key]
  if not crowd then
    crowd = { 0, 0, 0, gates = gates, count = 0 }
    self.crowds[key] = crowd
  end
  crowd[priority], crowd.count = crowd[priority] + by, crowd.count + by
  if crowd.count == 0 then self.crowds[key] = nil end
end

-- How much of the crowd these gates serve: 0 to 1; nil where a rate is missing.
local function share_of(crowd, gates, now)
  local mine, all = 0, 0
  for _, gate in ipairs(crowd.gates) do
    local rate = rate_of(gate, "all", now)
    if not rate then return nil end
    all = all + rate
    for _, other in ipairs(gates) do
      if other == gate then mine = mine + rate end
    end
  end
  return all > 0 and mine / all or 0
end

-- Those who wait for these gates, by priority; nil where it cannot be said.
local function waiting_for(self, gates, now)
  local counts, own = { 0, 0, 0 }, key_of(gates)
  for key, crowd in pairs(self.crowds) do
    local share = key == own and 1 or share_of(crowd, gates, now)
    if not share then return nil end
    for p = 1, 3 do counts[p] = counts[p] + crowd[p] * share end
  end
  return counts
end

-- Turns until the last one of this priority has had its own.
local function turns_until(counts, priority)
  local own, sum = math.max(counts[priority], 1), 0
  for p, share in ipairs(turns.shares) do
    local most = own * share / turns.shares[priority]
    sum = sum + (p == priority and own or math.min(counts[p], most))
  end
  return sum
end

-- }========================================================================

-- Seconds until these gates have let in so many (of a priority, or of "all"), by those of them that
-- open before `least`; and places a second. Nil where a rate is missing, or none is above 0.
local function time_by(gates, which, count, now, least)
  local rate, late = 0, 0
  for _, gate in ipairs(gates) do
    local of_gate, opens = rate_of(gate, which, now), math.max((gate.ends_at or now) - now, 0)
    if not of_gate then return nil end
    if opens < least then rate, late = rate + of_gate, late + of_gate * opens end
  end
  if rate <= 0 then return nil end
  return (count + late) / rate, rate
end

-- The same, without gates that open too late to help.
local function time_for(gates, which, count, now)
  local seconds, rate = time_by(gates, which, count, now, math.huge)
  for _ = 2, seconds and #gates or 0 do
    local sooner, other = time_by(gates, which, count, now, seconds)
    if not sooner or sooner >= seconds then break end
    seconds, rate = sooner, other
  end
  return seconds, rate
end

--- Seconds until the last of those who wait for these gates with this priority gets a place; nil
--- where nobody can say.
---@param gates table[] `ends_at` of one: when it opens by itself, if it does
---@return number? seconds, number? rate places a second, number? hope seconds that it may take
--- if the gates are soon again as fast as they were before anybody had to wait
function forecast.wait(self, gates, priority, now)
  if not key_of(gates) then return nil end
  local counts = waiting_for(self, gates, now)
  if not counts then return nil end
  local seconds, rate = time_for(gates, "all", turns_until(counts, priority), now)
  if not seconds then return nil end
  local other, own = time_for(gates, priority, math.max(counts[priority], 1), now)
  if other and other > seconds then seconds, rate = other, own end
  return seconds, rate, seconds / boost_of(gates, now)
end

return forecast
