local breaker = require "unbusy.breaker"
local random = require "spec.support.random"

-- The model: lists of all that happened, searched through each time. Time is in whole microseconds.
-- It must be told which tickets the breaker gave out, and how long chance let it stay open.
local model = {}
model.__index = model

local LIVES_ON = {
  open = "half_open", forced_open = "half_open", disabled = "closed", metrics_only = "closed",
}

function model.new(o, now)
  local m = setmetatable({ o = o, t0 = now, now = now, refused = 0, generation = 0 }, model)
  m.width = math.ceil(o.window / o.buckets)
  m.cooling = o.open_for
  m:close()
  return m
end

function model:enter(state)
  self.state, self.ends, self.generation = state, math.huge, self.generation + 1
  self.row, self.trial, self.out = 0, {}, self.out or {}
  self.reported, self.loose = {}, 0
end

function model:close()
  self.events, self.cooling = {}, self.o.open_for
  self:enter("closed")
end

function model:at(now)
  self.now = math.max(self.now, now)
  if self.now >= self.ends then
    if LIVES_ON[self.state] == "closed" then self:close() else self:enter("half_open") end
  end
end

-- The events that lie in the window.
function model:window()
  local o, live = self.o, {}
  if o.count then
    local first, calls = #self.events + 1, 0
    while first > 1 and (calls < o.count or self.events[first - 1].cut) do
      first = first - 1
      if not self.events[first].cut then calls = calls + 1 end
    end
    while self.events[first] and self.events[first].cut do first = first + 1 end
    for i = first, #self.events do live[#live + 1] = self.events[i] end
  else
    local function bucket(t) return math.floor((t - self.t0) / self.width) end
    for _, e in ipairs(self.events) do
      if bucket(self.now) - bucket(e.at) < o.buckets then live[#live + 1] = e end
    end
  end
  self.events = live
  return live
end

local function tally(events)
  local t = { calls = 0, successes = 0, failures = 0, slow = 0 }
  for _, e in ipairs(events) do
    if not e.cut then t.calls = t.calls + 1 end
    if e.failed then t.failures = t.failures + 1 else t.successes = t.successes + 1 end
    if e.slow then t.slow = t.slow + 1 end
  end
  return t
end

-- Opens, for a time that the caller fills in from the breaker and checks against `least`.
function model:open(least)
  self:enter("open")
  self.least, self.ends = least, nil
end

function model:over(t, n)
  return t.failures / n >= self.o.failure_rate
    or self.o.slow_rate ~= nil and t.slow / n >= self.o.slow_rate
end

function model:judge()
  local t = tally(self:window())
  if self.state ~= "closed" then return end
  if self.o.consecutive and self.row >= self.o.consecutive
      or t.calls >= self.o.min_calls and self:over(t, t.calls) then
    self:open(self.cooling)
  end
end

function model:fresh()
  local n, first = 0, nil
  for _, c in ipairs(self.out) do
    if c.generation == self.generation and self.now - c.at < self.cooling then
      n, first = n + 1, first or c.at
    end
  end
  return n, first
end

function model:admits()
  if self.state == "open" or self.state == "forced_open" then return false end
  return self.state ~= "half_open" or self:fresh() < self.o.permits
end

-- Takes note of a ticket given out; says whether it must have had a slot.
function model:issue(ticket)
  if #self.out >= self.o.slots then
    if self.out[1].generation ~= self.generation or self.state == "half_open" then
      table.remove(self.out, 1)
    else
      self.loose = self.loose + 1
      return false
    end
  end
  self.out[#self.out + 1] = { ticket = ticket, generation = self.generation, at = self.now }
  return true
end

function model:take(ticket, loose)
  if loose then
    if loose ~= self.generation or self.loose == 0 then return false end
    self.loose = self.loose - 1
    return true, self.out
  end
  local earlier = {}
  for i, c in ipairs(self.out) do
    if c.ticket == ticket then
      table.remove(self.out, i)
      return c.generation == self.generation, earlier
    end
    earlier[i] = c
  end
  return false
end

function model:full(earlier)
  if self.state == "half_open" then return false end
  if tally(self:window()).successes > 0 then return true end
  for _, c in ipairs(earlier) do
    if c.generation == self.generation and self.now - c.at < self.o.window then return true end
  end
  return false
end

function model:report(ticket, loose, outcome, took)
  local current, earlier = self:take(ticket, loose)
  if not current then return false end
  self.reported[ticket] = true
  if outcome == "busy" then outcome = self:full(earlier) and "neutral" or "fail" end
  if outcome == "neutral" or self.state == "disabled" then return true end
  local e = { at = self.now, failed = outcome == "fail" }
  e.slow = took ~= nil and self.o.slow_after ~= nil and took >= self.o.slow_after
  if self.state == "half_open" then
    self.trial[#self.trial + 1] = e
    local t, wanted = tally(self.trial), math.min(self.o.min_calls, self.o.permits)
    if self:over(t, wanted) then
      self.cooling = math.min(math.floor(self.cooling * self.o.open_growth), self.o.open_cap)
      self:open(self.cooling)
    elseif t.calls >= wanted then
      self:close()
    end
    return true
  end
  self.events[#self.events + 1] = e
  self.row = e.failed and self.row + 1 or 0
  self:judge()
  return true
end

function model:record(ticket)
  if self.state ~= "closed" and self.state ~= "metrics_only" then return false end
  if not self.reported[ticket] then return false end
  if self.o.count and #self:window() == 0 then return false end
  self.events[#self.events + 1] = { at = self.now, cut = true, failed = true }
  self.row = self.row + 1
  self:judge()
  return true
end

function model:force(state, length)
  if state == "closed" then
    self:close()
  elseif state == "open" then
    self:open(length or self.cooling)
  else
    self:enter(state)
    self.ends = length and self.now + length or math.huge
  end
end

function model:retry_after()
  if self.state == "open" or self.state == "forced_open" then return self.ends - self.now end
  if self.state ~= "half_open" then return 0 end
  local n, first = self:fresh()
  return n < self.o.permits and 0 or first + self.cooling - self.now
end

function model:stats()
  local t = tally(self.state == "half_open" and self.trial or self:window())
  t.failure_rate = t.failures == 0 and 0 or math.min(1, t.failures / t.calls)
  t.state, t.refused, t.outstanding = self.state, self.refused, self.loose
  for _, c in ipairs(self.out) do
    if c.generation == self.generation then t.outstanding = t.outstanding + 1 end
  end
  return t
end

describe("a breaker and its naive model", function()
  local floor = math.floor

  local defaults = { window = 10e6, buckets = 10, min_calls = 20, failure_rate = 0.5,
    open_for = 5e6, open_growth = 1, open_cap = 1e15, open_jitter = 0, permits = 1, slots = 1024 }
  local in_us = { "window", "slow_after", "open_for", "open_cap" }

  local function both(given, seed)
    local m, o, time = {}, { seed = seed }, 12345678
    for k, v in pairs(defaults) do m[k] = v end
    for k, v in pairs(given) do m[k], o[k] = v, v end
    if m.count and not given.min_calls then m.min_calls = math.min(20, m.count) end
    for _, k in ipairs(in_us) do o[k] = o[k] and o[k] / 1e6 end
    local at = { us = time }
    o.clock = function() return at.us / 1e6 end
    return breaker.new(o), model.new(m, time), at
  end

  local forces = { "open", "closed", "forced_open", "disabled", "metrics_only" }

  local function walk(given, seed, steps, which)
    local b, m, at = both(given, seed)
    local r = random.new(seed)
    local function roll(n) return r:int(n) end
    local known, bad = {}, 50

    local function known_ticket()
      -- Mostly one of the youngest; else any, late and double ones too.
      local back = roll(3) > 1 and math.min(8, #known) or #known
      return known[#known - roll(back) + 1]
    end

    local function outcome()
      local kind = roll(100)
      if kind <= 8 then return "neutral" end
      if kind <= 25 then return "busy" end
      return kind <= 25 + bad * 0.75 and "fail" or "ok"
    end

    local function allow_one()
      local ticket, message, code, detail = b:allow()
      if not m:admits() then
        m.refused = m.refused + 1
        assert(ticket == nil and code == "open" and message, "should refuse")
        assert(detail.retry_after == m:retry_after() / 1e6, "retry_after of a refusal")
        return
      end
      assert(ticket, "should allow")
      local slotted = m:issue(ticket)
      assert(slotted == (ticket % 65536 ~= 65535), "slot")
      known[#known + 1] = { ticket = ticket, loose = not slotted and m.generation or nil }
    end

    local function report_one()
      if #known == 0 then return end
      local k, what = known_ticket(), outcome()
      local took = roll(3) > 1 and roll(4000000) or nil
      local expected = m:report(k.ticket, k.loose, what, took)
      assert(b:report(k.ticket, what, took and took / 1e6) == expected, "report")
    end

    local function record_one()
      if #known == 0 then return end
      local k = known_ticket()
      assert(b:record(k.ticket, "fail") == m:record(k.ticket), "record")
    end

    local function force_one()
      local state = forces[roll(5)]
      local length = state ~= "closed" and roll(2) == 1 and roll(9000000) or nil
      if roll(3) > 1 then state, length = "closed", nil end
      m:force(state, length)
      b:force(state, length and length / 1e6)
    end

    local function same()
      if not m.ends then -- it has just opened: chance is not the model's
        local length = floor(b:retry_after() * 1e6 + 0.5)
        assert(length >= m.least and length <= m.least * (1 + m.o.open_jitter), "open time")
        m.ends = m.now + length
      end
      local stats, expected = b:stats(), m:stats()
      for name, value in pairs(expected) do
        if stats[name] ~= value then
          error(("%s is %s, expected %s"):format(name, tostring(stats[name]), tostring(value)))
        end
      end
      assert(b:state() == m.state, "state")
      assert(b:retry_after() == m:retry_after() / 1e6, "retry_after")
    end

    local seen = {}
    random.walk(r, steps, function(step)
      if step % 60 == 0 then bad = roll(100) end
      at.us = at.us + r:leap()
      m:at(at.us)
      local kind = roll(200)
      if kind <= 95 then allow_one() elseif kind <= 188 then report_one()
      elseif kind <= 197 then record_one() else force_one() end
      same()
      seen[m.state] = (seen[m.state] or 0) + 1
    end, which)
    return seen
  end

  local configs = {
    {},
    { min_calls = 4, permits = 3, open_for = 1e6, slots = 100 },
    { count = 12, min_calls = 6, open_for = 700001, permits = 2, slots = 50 },
    { count = 1, open_for = 300000, slots = 50 },
    { window = 1e6, buckets = 3, min_calls = 3, slow_after = 2e6, slow_rate = 0.6, slots = 50,
      failure_rate = 0.9, open_for = 2e6, open_growth = 1.7, open_cap = 9e6 },
    { consecutive = 3, failure_rate = 1, open_jitter = 0.4, open_for = 1e6, permits = 5,
      open_growth = 2, slots = 20 },
    { slots = 4, permits = 2, min_calls = 5, window = 3e6, buckets = 1, open_for = 200000 },
    { slots = 1, count = 5, failure_rate = 0.3, slow_after = 3e6, slow_rate = 1,
      open_for = 400000 },
  }

  it("agree over 100,000 random steps in a time that stands, runs, leaps and slips", function()
    local seen = {}
    for i, given in ipairs(configs) do
      local visits = walk(given, random.seed(i), 12500, "breaker " .. i)
      for state, n in pairs(visits) do seen[state] = (seen[state] or 0) + n end
    end
    local states = { "closed", "open", "half_open", "forced_open", "disabled", "metrics_only" }
    for _, state in ipairs(states) do
      assert.is_true((seen[state] or 0) > 1000, state .. ": " .. (seen[state] or 0))
    end
  end)
end)
