local budget = require "unbusy.budget"
local random = require "spec.support.random"

-- The model: a table of the permits that are out, with what each one cost.
local model = {}
model.__index = model

function model.new(o)
  return setmetatable({ o = o, tokens = o.tokens, active = 0, refused = 0, out = {}, permits = 0 },
    model)
end

function model:cost(kind)
  return kind == "throttle" and self.o.throttle_cost or self.o.retry_cost
end

function model:may_take(kind)
  local share = math.max(self.o.ratio * self.active, self.o.floor)
  return self.tokens >= self:cost(kind) and self.permits < 1024
    and self.permits + 1 <= share + 1e-9 -- 0.29 × 100 is a hair under 29
end

function model:taken(permit, kind)
  self.out[permit], self.permits = self:cost(kind), self.permits + 1
  self.tokens = self.tokens - self:cost(kind)
end

function model:earn(tokens)
  self.tokens = math.min(self.tokens + tokens, self.o.tokens)
end

function model:give(permit, outcome)
  local cost = self.out[permit]
  if not cost then return false end
  if outcome == "ok" then self:earn(cost) end
  self.out[permit], self.permits = nil, self.permits - 1
  return true
end

function model:finish(outcome)
  if self.active == 0 then return false end
  self.active = self.active - 1
  if outcome == "ok" then self:earn(1) end
  return true
end

describe("a budget and its naive model", function()
  local kinds, outcomes = { "retry", "throttle", "hedge" }, { "ok", "fail" }

  -- `full`: takes alone, for so many steps.
  local function walk(given, full, seed, steps, what)
    local o = { ratio = 0.2, floor = 3, tokens = 500, retry_cost = 14, throttle_cost = 5 }
    for name, value in pairs(given) do o[name] = value end
    local r, b, m = random.new(seed), budget.new(given), model.new(o)
    local known, flying, good, busy = {}, {}, 0.5, 0.5
    local seen = { refused = 0, late = 0, most = 0 }

    local function take()
      local kind = r:pick(kinds)
      local permit, message, code = b:take(kind)
      assert(m:may_take(kind) == (permit ~= nil), "take " .. kind)
      if permit then
        m:taken(permit, kind)
        known[#known + 1], flying[#flying + 1] = permit, permit
        seen.most = math.max(seen.most, m.permits)
      else
        m.refused, seen.refused = m.refused + 1, seen.refused + 1
        assert(message == "budget: the retry budget is spent" and code == "budget", "refusal")
      end
    end

    local function outcome() return r:chance(good) and outcomes[1] or outcomes[2] end

    local function give()
      -- Mostly one that is out; else one given before, or made up.
      local permit = flying[1] and r:chance(0.9) and table.remove(flying, r:int(#flying))
        or known[1] and r:chance(0.9) and r:pick(known) or r:int(2 ^ 50)
      local how = outcome()
      local expected = m:give(permit, how)
      if not expected then seen.late = seen.late + 1 end
      assert(b:give(permit, how) == expected, "give")
    end

    local function finish()
      local how = outcome()
      assert(b:finish(how) == m:finish(how), "finish")
    end

    local function begin()
      b:begin()
      m.active = m.active + 1
    end

    random.walk(r, steps, function(step)
      if step % 500 == 0 then good, busy = r:float(), r:float() end
      if step <= full then
        take()
      elseif r:chance(0.5) then
        if r:chance(busy) then begin() else finish() end
      elseif r:chance(0.3 + 0.4 * busy) then take() else give() end
      local s = b:stats()
      if s.active ~= m.active or s.permits ~= m.permits or s.tokens ~= m.tokens
        or s.refused ~= m.refused then
        error(("active %d and %d, permits %d and %d, tokens %.17g and %.17g, refused %d and %d")
          :format(s.active, m.active, s.permits, m.permits, s.tokens, m.tokens, s.refused,
          m.refused))
      end
    end, what)
    return seen
  end

  local configs = {
    {},
    { ratio = 0.29, floor = 0, tokens = 1e6 },
    { ratio = 0, floor = 2.9, tokens = 70, retry_cost = 0.1, throttle_cost = 0.3 },
    { ratio = 100, floor = 1024, tokens = 1e9, retry_cost = 0, throttle_cost = 0 },
    { tokens = 13.9, throttle_cost = 0 },
  }

  it("agree over 100,000 random steps", function()
    local most = 0
    for i, given in ipairs(configs) do
      local seen = walk(given, i == 4 and 1100 or 0, random.seed(i), 20000, "budget " .. i)
      assert.is_true(seen.refused > 50 and seen.late > 100, i .. ": " .. seen.refused)
      most = math.max(most, seen.most)
    end
    assert.equal(1024, most)
  end)
end)
