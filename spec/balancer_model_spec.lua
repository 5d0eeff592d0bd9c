local balancer = require "unbusy.balancer"
local random = require "spec.support.random"

-- The model: a list of all tickets that are out, and the rules in the plainest way. Of two loads
-- that p2c may have compared it knows no draw: it says which answers are possible.
local model = {}
model.__index = model

function model.new(o)
  local m = setmetatable({ o = o, out = {}, state = {}, shares = {} }, model)
  for _, t in ipairs(o.targets) do
    m.state[t.name] = { picks = 0, credit = 0, pending = 0 }
    m.shares[t.name] = t.weight > 0 and math.max(1, math.floor(t.weight * 1e6 + 0.5)) or 0
  end
  return m
end

-- The targets that are asked, in their order.
function model:asked(except)
  local out = {}
  for _, t in ipairs(self.o.targets) do
    if not except[t.name] then out[#out + 1] = t end
  end
  local function keep(test)
    local kept = {}
    for _, t in ipairs(out) do
      if test(t) then kept[#kept + 1] = t end
    end
    if #kept > 0 then out = kept end
  end
  keep(function(t) return t.weight > 0 end)
  if self.o.kind == "priority" then
    local lowest = math.huge
    for _, t in ipairs(out) do lowest = math.min(lowest, t.priority) end
    keep(function(t) return t.priority == lowest end)
  end
  return out
end

function model:share(t)
  return self.shares[t.name] > 0 and self.shares[t.name] or 1e6
end

function model:weighted(asked)
  local sum, best = 0, nil
  for _, t in ipairs(asked) do
    local s = self.state[t.name]
    s.credit, sum = s.credit + self:share(t), sum + self:share(t)
    if not best or s.credit > self.state[best.name].credit then best = t end
  end
  self.state[best.name].credit = self.state[best.name].credit - sum
  return best.name
end

function model:fade(s, now)
  return math.exp(-math.max(0, now - s.at) / (self.o.decay * 1e6))
end

function model:load(t, now)
  local s = self.state[t.name]
  local cost = s.cost or s.pending > 0 and 1e15 or 0
  if s.cost and s.pending == 0 then cost = cost * self:fade(s, now) end
  return cost * (s.pending + 1) / (self:share(t) / 1e6)
end

-- Two that are not alike cannot both be drawn without the lighter one being taken: so the heaviest
-- is never taken, but where it is alone or shares its place.
function model:may_be(name, asked, now)
  local mine, heavier
  for _, t in ipairs(asked) do
    if t.name == name then mine = self:load(t, now) end
  end
  if not mine then return false end
  for _, t in ipairs(asked) do
    if t.name ~= name and self:load(t, now) >= mine * (1 - 1e-12) then heavier = true end
  end
  return #asked == 1 or heavier or false
end

function model:make_room()
  if #self.out < self.o.slots then return end
  local lost = table.remove(self.out, 1)
  self.state[lost.name].pending = self.state[lost.name].pending - 1
end

function model:picked(name, ticket, now)
  self:make_room()
  self.out[#self.out + 1] = { ticket = ticket, name = name, at = now }
  local s = self.state[name]
  s.picks, s.pending = s.picks + 1, s.pending + 1
end

function model:take(ticket)
  for i, call in ipairs(self.out) do
    if call.ticket == ticket then return table.remove(self.out, i) end
  end
end

function model:report(ticket, outcome, took, now)
  local call = self:take(ticket)
  if not call then return false end
  local s = self.state[call.name]
  took = took or math.max(0, now - call.at)
  if outcome == "fail" then
    took = math.max(took, s.cost or 0, 1e6)
    if not s.failed or call.at > s.failed or now < s.failed then
      took, s.failed = math.max(took, math.min(2 * (s.cost or 0), 60e6)), now
    end
  end
  if outcome ~= "neutral" then
    if s.cost and took < s.cost then took = took + (s.cost - took) * self:fade(s, now) end
    s.cost, s.at = took, now
  end
  s.pending = s.pending - 1
  return true
end

describe("a balancer and its naive model", function()
  local function near(a, b)
    return a == b or a and b and math.abs(a - b) <= 1e-9 * math.max(1, math.abs(a))
  end

  local function targets_of(r, n)
    local list = {}
    for i = 1, n do
      list[i] = { name = "t" .. i, priority = r:int(3),
        weight = r:chance(0.2) and 0 or r:chance(0.5) and r:int(9) or r:float() * 3 }
    end
    return list
  end

  local function except_of(r, targets)
    local except, kind = { nobody = true }, r:int(10)
    if kind <= 5 then return {} end
    for _, t in ipairs(targets) do
      if kind == 10 or r:chance(0.4) then except[t.name] = true end
    end
    return except
  end

  local function walk(kind, n, slots, seed, steps)
    local r = random.new(seed)
    local us, known, seen = r:int(1e9) - 5e8, {}, { refused = 0, late = 0 }
    local o = { kind = kind, targets = targets_of(r, n), slots = slots, decay = r:pick { 1, 10 },
      seed = seed, clock = function() return us / 1e6 end }
    local b, m = balancer.new(o), model.new(o)

    local function pick()
      local except = except_of(r, o.targets)
      local asked = m:asked(except)
      local name, ticket, code = b:pick(next(except) and except or nil)
      if #asked == 0 then
        seen.refused = seen.refused + 1
        assert(name == nil and code == "open", "nobody should be left")
        return
      end
      if kind == "p2c" then
        assert(m:may_be(name, asked, us), ("%s, of the highest load"):format(tostring(name)))
      else
        local expected = m:weighted(asked)
        assert(name == expected, ("%s, expected %s"):format(tostring(name), expected))
      end
      m:picked(name, ticket, us)
      known[#known + 1] = ticket
    end

    local function report()
      -- Mostly one that is out; else one of the last, or of long ago, or made up.
      local ticket = m.out[1] and r:chance(0.8) and r:pick(m.out).ticket
        or known[1] and r:chance(0.9) and known[math.max(1, #known - r:int(300))] or r:int(2 ^ 50)
      local outcome = r:pick { "ok", "ok", "ok", "fail", "neutral" }
      local took = r:chance(0.7) and r:int(r:pick { 1000, 1e6, 1e8 }) or nil
      local expected = m:report(ticket, outcome, took, us)
      if not expected then seen.late = seen.late + 1 end
      assert(b:report(ticket, outcome, took and took / 1e6) == expected, "report")
    end

    local function same()
      local stats = b:stats()
      for _, t in ipairs(o.targets) do
        local got, s = stats[t.name], m.state[t.name]
        if got.picks ~= s.picks or got.pending ~= s.pending or not near(got.load * 1e6,
          m:load(t, us)) or not near(got.cost and got.cost * 1e6, s.cost) then
          error(("%s: picks %d and %d, pending %d and %d, cost %s and %s, load %g and %g"):format(
            t.name, got.picks, s.picks, got.pending, s.pending, tostring(got.cost),
            tostring(s.cost and s.cost / 1e6), got.load, m:load(t, us) / 1e6))
        end
      end
    end

    random.walk(r, steps, function()
      if us < 3e15 then us = us + r:leap() end
      if r:chance(0.52) then pick() else report() end
      same()
    end, ("%s of %d"):format(kind, n))
    return seen
  end

  it("agree over 100,000 random steps in a time that stands, runs, leaps and slips", function()
    local walks = 0
    for _, kind in ipairs { "weighted", "p2c", "priority" } do
      for i, n in ipairs { 1, 2, 3, 8 } do
        walks = walks + 1
        local seen = walk(kind, n, ({ 1, 500, 20, 40 })[i], random.seed(walks), 8400)
        assert.is_true(seen.refused > 100 and seen.late > 100)
      end
    end
  end)

  it("p2c takes every pair alike, and each of it by load alone", function()
    -- With three loads that do not change, the pairs of two draws are equally likely: the lightest
    -- is in two of three.
    local r = random.new(random.seed(5))
    local b = balancer.new { kind = "p2c", seed = r.seed, clock = function() return 1 end,
      targets = { { name = "light" }, { name = "middle" }, { name = "heavy" } } }
    for name, cost in pairs { light = 1, middle = 2, heavy = 3 } do
      local except = { light = true, middle = true, heavy = true }
      except[name] = nil
      b:report(select(2, b:pick(except)), "ok", cost)
    end
    local n = { light = 0, middle = 0, heavy = 0 }
    for _ = 1, 30000 do
      local name, ticket = b:pick()
      n[name] = n[name] + 1
      b:report(ticket, "neutral")
    end
    assert.equal(0, n.heavy)
    assert.near(2 / 3, n.light / 30000, 0.015) -- five standard deviations
  end)
end)
