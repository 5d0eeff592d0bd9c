local random = require "spec.support.random"
local topk = require "unbusy.topk"

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

-- Keys of bytes, some with a common beginning, all told apart by what is kept of them.
local function key_of(i)
  if i % 5 == 0 then return ("天气"):rep(i % 7) .. i end
  if i % 11 == 0 then return ("\0"):rep(i % 301) end
  return "k" .. i
end

-- {== Space-Saving once more, in the plainest way ===========================
--
-- The paper leaves open which of several least counters is taken over: that is looked up, all else
-- must be the same at every step.

describe("topk and a naive model", function()
  local function before(a, b)
    if a.count ~= b.count then return a.count > b.count end
    if a.error ~= b.error then return a.error < b.error end
    return a.arrival < b.arrival
  end

  local function new_model(counters)
    return { counters = counters, list = {}, total = 0, arrivals = 0 }
  end

  local function listed(m, key)
    for _, e in ipairs(m.list) do
      if e.key == key then return e end
    end
  end

  local function least(m)
    local count = math.huge
    for _, e in ipairs(m.list) do count = math.min(count, e.count) end
    return #m.list < m.counters and 0 or count
  end

  -- Which key of the model is not in `list` any more? Exactly one may be missing.
  local function missing(m, list)
    local here, gone = {}, nil
    for _, e in ipairs(list) do here[e.key] = true end
    for i, e in ipairs(m.list) do
      if not here[e.key] then
        if gone then return end
        gone = i
      end
    end
    return gone
  end

  local function add(m, t, key, n, step)
    local e, error = listed(m, key), 0
    m.total = math.min(2 ^ 53, m.total + n)
    if e then e.count = math.min(2 ^ 53, e.count + n) return end
    if #m.list == m.counters then
      error = least(m)
      local gone = missing(m, t:top())
      check(gone, step, "not one key of %d was replaced", m.counters)
      check(m.list[gone].count == error, step, "'%s' has not the least count", m.list[gone].key)
      table.remove(m.list, gone)
    end
    m.arrivals = m.arrivals + 1
    m.list[#m.list + 1] = { key = key, count = math.min(2 ^ 53, error + n), error = error,
      arrival = m.arrivals }
  end

  local function same(m, t, step)
    local list, s = t:top(), t:stats()
    table.sort(m.list, before)
    check(#list == #m.list, step, "%d keys, expected %d", #list, #m.list)
    for i, e in ipairs(m.list) do
      local l = list[i]
      check(l.key == e.key and l.count == e.count and l.error == e.error and not l.cut, step,
        "at %d '%s' %.0f %.0f, expected '%s' %.0f %.0f", i, l.key, l.count, l.error, e.key,
        e.count, e.error)
    end
    check(s.total == m.total and s.least == least(m) and s.used == #m.list
      and s.replaced == m.arrivals - #m.list, step, "stats")
  end

  local function walk(counters, steps, seed)
    local roll = dice(seed)
    local t, m = topk.new { counters = counters }, new_model(counters)
    for step = 1, steps do
      local kind, n = roll(1000), 1
      if kind <= 100 then n = roll(50) elseif kind == 999 then n = 2 ^ (20 + roll(33)) end
      if kind == 1000 and roll(10) == 1 then
        t:clear()
        m = new_model(counters)
      end
      local key = key_of(roll(roll(counters * 4)))
      t:add(key, n)
      add(m, t, key, n, step)
      same(m, t, step)
    end
    t:close()
  end

  it("agree at each of 100,000 random steps", function()
    walk(1, STEPS / 10, SEED)
    walk(2, STEPS / 10, SEED + 1)
    walk(5, STEPS / 2, SEED + 2)
    walk(17, STEPS / 5, SEED + 3)
    walk(64, STEPS / 10, SEED + 4)
  end)
end)

-- }=========================================================================

-- {== The paper's guarantees ===============================================

describe("topk and exact counts", function()
  local function guarantees(t, exact, total, step)
    local s, sum, here = t:stats(), 0, {}
    check(s.total == total, step, "total %.0f, expected %.0f", s.total, total)
    for _, e in ipairs(t:top()) do
      local count = exact[e.key]
      check(count and e.count - e.error <= count and count <= e.count, step,
        "'%s' came %s times, not from %.0f to %.0f", e.key, tostring(count), e.count - e.error,
        e.count)
      check(e.error <= total / s.counters, step, "an error of %.0f", e.error)
      here[e.key] = true
      sum = sum + e.count
    end
    check(sum == total, step, "all counts are %.0f, expected %.0f", sum, total)
    for key, count in pairs(exact) do
      check(here[key] or count <= total / s.counters, step, "'%s' is not listed", key)
      check(here[key] or count <= s.least, step, "'%s' came more than 'least' times", key)
    end
  end

  -- Adds what `next_key(step, roll, t)` gives, key and n, and looks at many points.
  local function stream(counters, next_key)
    local roll = dice(SEED)
    local t, exact, total = topk.new { counters = counters, key_bytes = 350 }, {}, 0
    for step = 1, STEPS do
      local key, n = next_key(step, roll, t)
      t:add(key, n)
      exact[key] = (exact[key] or 0) + (n or 1)
      total = total + (n or 1)
      if step % 2500 == 0 or step <= 3 * counters and step % 40 == 0 then
        guarantees(t, exact, total, step)
      end
    end
    return t, exact
  end

  -- Rank r with a chance of about 1 / r^1.1, by inverting a sum of all chances.
  local function zipf(ranks)
    local sums, sum = {}, 0
    for r = 1, ranks do
      sum = sum + r ^ -1.1
      sums[r] = sum
    end
    return function(roll)
      local x, low, high = roll(2147483646) / 2147483647 * sum, 1, ranks
      while low < high do
        local mid = math.floor((low + high) / 2)
        if sums[mid] < x then low = mid + 1 else high = mid end
      end
      return low
    end
  end

  it("agree for a Zipf stream, and the ten most frequent are found", function()
    local draw = zipf(20000)
    local t, exact = stream(200, function(_, roll) return key_of(draw(roll)) end)
    local truly = {}
    for key in pairs(exact) do truly[#truly + 1] = key end
    table.sort(truly, function(a, b) return exact[a] > exact[b] end)
    local here = {}
    for _, e in ipairs(t:top(20)) do here[e.key] = true end
    for i = 1, 10 do check(here[truly[i]], STEPS, "'%s' is not among the first", truly[i]) end
  end)

  it("agree for a Zipf stream with weights", function()
    local draw = zipf(5000)
    stream(100, function(_, roll) return key_of(draw(roll)), roll(roll(1000)) end)
  end)

  it("agree for a uniform stream", function()
    stream(100, function(_, roll) return key_of(roll(3000)) end)
  end)

  it("agree for more counters than keys, exactly", function()
    local t, exact = stream(500, function(_, roll) return key_of(roll(400)), roll(9) end)
    for _, e in ipairs(t:top()) do assert.same({ 0, exact[e.key] }, { e.error, e.count }) end
  end)

  it("agree when each key comes once, around some that come often", function()
    stream(50, function(step, roll)
      return roll(10) == 1 and "often " .. roll(3) or "once " .. step
    end)
  end)

  it("agree when keys come in turn, one more than there are counters", function()
    stream(50, function(step) return "turn " .. step % 51 end)
  end)

  it("agree when the often ones come first, and when they come last", function()
    for _, first in ipairs { true, false } do
      stream(60, function(step)
        return (step <= STEPS / 2) == first and "often " .. step % 40 or "once " .. step
      end)
    end
  end)

  it("agree when what was just replaced comes next", function()
    local known, latest = {}, 0
    stream(20, function(_, roll, t)
      local here = {}
      for _, e in ipairs(t:top()) do here[e.key] = true end
      for i = math.max(1, #known - 40), #known do
        if not here[known[i]] and roll(2) == 1 then return known[i] end
      end
      latest = latest + 1
      known[#known + 1] = "k" .. latest
      return known[#known]
    end)
  end)

  it("agree when counts fall and rise by leaps", function()
    stream(30, function(step, roll)
      local n = step % 1000 == 0 and 1e6 or step % 100 == 0 and 5000 or roll(3)
      return "k" .. roll(step % 100 == 0 and 500 or 90), n
    end)
  end)
end)

-- }=========================================================================
