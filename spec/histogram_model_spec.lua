local histogram = require "unbusy.histogram"
local random = require "spec.support.random"

local STEPS = 100000
local SEED = random.seed(1)

local function dice(seed)
  local r = random.new(seed)
  return function(n) return r:int(n) end
end

local function check(truth, step, ...)
  if truth then return end
  error(("UNBUSY_SEED=%d, step %d: %s"):format(SEED, step, (...):format(select(2, ...))))
end

local function unit(roll) return roll(2147483646) / 2147483647 end

-- Durations of many kinds: even over all sizes, calls, equal ones, and what is no duration.
local kinds = {
  function(roll) return 2 ^ (unit(roll) * 44 - 23) end,
  function(roll) return 2 ^ (unit(roll) * 38 - 20) end,
  function(roll) return 0.05 - math.log(unit(roll)) * 2 end,
  function(roll) return roll(600) end,
  function(roll) return roll(50) / 1000 end,
  function() return 30 end,
  function(roll) return unit(roll) * 1e-6 end,
  function(roll) return 262144 + roll(10) * 1e6 * unit(roll) end,
  function(roll) return roll(3) == 1 and -unit(roll) or 0 end,
}

describe("histogram and a sorted list", function()
  -- A histogram and the list of what was recorded, each value as it counts.
  local function new_pair()
    return { h = histogram.new(), list = {}, sum = 0 }
  end

  local function record(p, value)
    assert(p.h:record(value))
    value = math.max(0, value)
    p.list[#p.list + 1] = value
    p.sum = p.sum + value
  end

  local function merge(p, other)
    assert(p.h:merge(other.h))
    for i = 1, #other.list do p.list[#p.list + 1] = other.list[i] end
    p.sum = p.sum + other.sum
  end

  -- The share k / 1000: the true place is a whole number's business.
  local function quantile(p, k, step)
    local n = #p.list
    local place = math.max(1, math.floor((k * n + 999) / 1000))
    local truth = p.list[place]
    local got = p.h:quantile(k / 1000)
    local most = p.list[n]
    check(got >= p.list[1] and got <= most, step, "quantile %d: %.17g is outside", k, got)
    if place == 1 then
      check(got == truth, step, "quantile %d: %.17g is not the least, %.17g", k, got, truth)
    elseif truth >= 2 ^ 18 then
      check(got == most, step, "quantile %d: %.17g is not the greatest, %.17g", k, got, most)
    else
      check(math.abs(got - truth) <= math.max(truth / 128, truth < 2 ^ -20 and 2 ^ -20 or 0), step,
        "quantile %d: %.17g, expected %.17g", k, got, truth)
    end
    return got
  end

  local function same(p, step)
    local s, n = p.h:stats(), #p.list
    check(s.count == n, step, "count %d, expected %d", s.count, n)
    if n == 0 then
      check(not (s.min or s.max or s.mean or p.h:quantile(0.5)), step, "values of none")
      return
    end
    table.sort(p.list)
    check(s.min == p.list[1] and s.max == p.list[n], step, "min %.17g, max %.17g", s.min, s.max)
    check(math.abs(s.sum - p.sum) <= 1e-9 * p.sum, step, "sum %.17g, expected %.17g", s.sum, p.sum)
    check(s.mean == s.sum / n, step, "mean %.17g", s.mean)
    check(p.h:quantile(0) == s.min and p.h:quantile(1) == s.max, step, "the ends")
    local last = s.min
    for k = 0, 1000, n < 10000 and 37 or 1 do
      local got = quantile(p, k, step)
      check(got >= last, step, "quantile %d is below the one before", k)
      last = got
    end
  end

  it("agree over 100,000 random steps, with merges and beginnings anew", function()
    local roll = dice(SEED)
    local pairs_of = { new_pair(), new_pair(), new_pair() }
    local kind = kinds[1]
    for step = 1, STEPS do
      local p = pairs_of[roll(3)]
      if roll(300) == 1 then kind = kinds[roll(#kinds)] end
      local what = roll(10000)
      if what == 1 then
        p.h:clear()
        p.list, p.sum = {}, 0
      elseif what <= 6 and #p.list < 20000 then
        merge(p, pairs_of[roll(3)]) -- at times itself
      else
        record(p, kind(roll))
      end
      if roll(400) == 1 then same(p, step) end
    end
    for _, p in ipairs(pairs_of) do same(p, STEPS) end
  end)

  for i, kind in ipairs(kinds) do
    it("agree on every thousandth for values of kind " .. i, function()
      local roll, p = dice(SEED + i), new_pair()
      for _ = 1, 12000 do record(p, kind(roll)) end
      same(p, 12000)
    end)
  end

  it("merged from any parts are as one that recorded all", function()
    local roll = dice(SEED)
    local all, parts = new_pair(), {}
    for i = 1, 7 do parts[i] = new_pair() end
    for _ = 1, STEPS do
      local value = kinds[roll(#kinds)](roll)
      record(all, value)
      record(parts[roll(roll(7))], value)
    end
    local one = new_pair()
    for i = 7, 1, -1 do merge(one, parts[i]) end
    local a, b = all.h:stats(), one.h:stats()
    check(a.count == b.count and a.min == b.min and a.max == b.max, STEPS, "stats")
    check(math.abs(a.sum - b.sum) <= 1e-9 * a.sum, STEPS, "sum")
    for k = 0, 10000 do
      check(all.h:quantile(k / 10000) == one.h:quantile(k / 10000), STEPS, "quantile %d", k)
    end
    same(one, STEPS)
  end)
end)
