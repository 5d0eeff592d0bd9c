-- The limiter's allow + report, in use and going well, against the same in plain Lua.
--
-- The peer is a limiter of additive increase and multiplicative decrease as one writes it in Lua
-- for speed: a smoothed round trip, tickets told apart, one cut for the calls of one limit; without
-- rests, edges, history and ramps. On LuaJIT all of it is compiled.
local clock = require "bench.support.clock"
local limiter = require "unbusy.limiter"
local measure = require "bench.support.measure"

-- {== The peer ============================================================

local plain = {}
plain.__index = plain

local MIN, MAX, RATIO = 1, 1000, 0.9

local function new_plain()
  return setmetatable({ limit = 20, in_flight = 0, sequence = 0, issued = {}, round_trip = 0.1,
    cut_at = 0, grown = 0, trip_at = clock() }, plain)
end

function plain:allow()
  local now = clock()
  if self.in_flight + 1 > self.limit then return nil, "no place is free", "full" end
  local ticket = self.sequence + 1
  self.sequence, self.in_flight = ticket, self.in_flight + 1
  self.issued[ticket] = now
  return ticket
end

local function grow(self, now)
  if now - self.trip_at >= self.round_trip then self.trip_at, self.grown = now, 0 end
  local more = math.min(1 / self.limit, 1 - self.grown, MAX - self.limit)
  self.grown, self.limit = self.grown + more, self.limit + more
end

function plain:report(ticket, outcome, seconds)
  local now = clock()
  local issued = self.issued[ticket]
  if not issued then return false end
  self.issued[ticket] = nil
  if outcome == "ok" then
    self.round_trip = self.round_trip + ((seconds or now - issued) - self.round_trip) / 8
    if 2 * self.in_flight >= self.limit then grow(self, now) end
  elseif outcome == "fail" and issued > self.cut_at then
    self.limit, self.cut_at = math.max(MIN, self.limit * RATIO), now
  end
  self.in_flight = self.in_flight - 1
  return true
end

-- }========================================================================

local function pairs_of(l)
  return function(n)
    for _ = 1, n do l:report(l:allow(), "ok", 0.5) end
  end
end

local full = limiter.new { kind = "fixed", initial = 1 }
full:allow()

local ns = measure.race("limiter, allow + report", {
  { name = "unbusy", run = pairs_of(limiter.new {}) },
  { name = "plain Lua", run = pairs_of(new_plain()) },
  { name = "unbusy, refused (allow alone)", run = function(n)
    for _ = 1, n do full:allow() end
  end },
  { name = "floor: the clock, twice", run = function(n)
    for _ = 1, n do
      clock()
      clock()
    end
  end },
})
measure.goal("allow + report", ns.unbusy, rawget(_G, "jit") and 120 or 250, "ns")
measure.goal("against plain Lua", ns.unbusy / ns["plain Lua"], 1, "times")
