-- The balancer in two steps: choices by order and by key, those that come back, lines.
local balancer = require "unbusy.balancer"
local core = require "unbusy.core"
local guard = require "spec.support.leak_guard"
local random = require "spec.support.random"

local function list(n, more)
  local out = {}
  for i = 1, n do
    out[i] = { name = "t" .. i }
    for name, value in pairs(more and more[i] or {}) do out[i][name] = value end
  end
  return out
end

-- A balancer in time of its own: `t.now` is the clock, `t.b` the balancer.
local function timed(o)
  local t = { now = 1000 }
  o.clock, o.seed = function() return t.now end, o.seed or 1
  t.b = balancer.new(o)
  -- How often each place is chosen in n choices.
  function t.shares(n, except)
    local count = {}
    for _ = 1, n do
      local place = t.b:choose(except)
      count[place] = (count[place] or 0) + 1
    end
    return count
  end
  return t
end

describe("balancer:choose", function()
  guard.watch(before_each, after_each)

  it("names places, and rules out by name and by number alike", function()
    local t = timed { kind = "order", targets = list(3) }
    assert.equal(1, t.b:choose())
    assert.equal(2, t.b:choose { t1 = true })
    assert.equal(2, t.b:choose(1))
    assert.equal(3, t.b:choose(3))
    assert.equal(2, t.b:choose(5))
    assert.equal("open", select(3, t.b:choose(7)))
    assert.equal("open", select(3, t.b:choose { t1 = true, t2 = true, t3 = true }))
  end)

  it("counts nothing as pending before a call begins", function()
    local t = timed { kind = "p2c", targets = list(2) }
    for _ = 1, 10 do t.b:choose() end
    assert.equal(0, t.b:stats().t1.pending + t.b:stats().t2.pending)
    local ticket = t.b:begin(2)
    assert.equal(1, t.b:stats().t2.pending)
    assert.equal(1, t.b:stats().t2.picks)
    assert.is_true(t.b:report(ticket, "ok", 1))
    assert.is_false(t.b:report(ticket, "ok", 1))
    assert.equal(1, t.b:stats().t2.cost)
  end)

  it("raises for what is no set, no key, no place", function()
    local b = balancer.new { targets = list(2) }
    for _, wrong in ipairs { -1, 0.5, 2 ^ 52, 0 / 0, "t1" } do
      assert.has_error(function() b:choose(wrong) end)
    end
    for _, wrong in ipairs { -1, 2 ^ 54, 0 / 0, "x", {} } do
      assert.has_error(function() b:choose(nil, wrong) end)
    end
    for _, wrong in ipairs { 0, 3, 1.5, -1, 1e300, 0 / 0, "x" } do
      assert.has_error(function() b:begin(wrong) end)
      assert.has_error(function() b:back(wrong) end)
    end
  end)

  it("order: the first that is not ruled out; a spare last", function()
    local t = timed { kind = "order", targets = list(3, { { weight = 0 } }) }
    assert.same({ [2] = 10 }, t.shares(10))
    assert.same({ [3] = 10 }, t.shares(10, { t2 = true }))
    assert.same({ [1] = 10 }, t.shares(10, { t2 = true, t3 = true }))
  end)
end)

describe("a target that comes back", function()
  guard.watch(before_each, after_each)

  -- Its part of the calls in each of the four steps, and behind them.
  local function steps(t, place, n)
    local out = {}
    t.b:back(place)
    for i = 1, 5 do
      out[i] = (t.shares(n)[place] or 0) / n
      t.now = t.now + 2
    end
    return out
  end

  it("takes 10, 25, 50, 100 % of its weight, two seconds each", function()
    local t = timed { targets = list(2, { { weight = 90 }, { weight = 10 } }) }
    local got = steps(t, 1, 1900)
    for i, part in ipairs { 0.1, 0.25, 0.5, 1, 1 } do
      assert.near(part * 90 / (part * 90 + 10), got[i], 0.002)
    end
  end)

  it("takes that part of all calls where it is the first by order", function()
    local t = timed { kind = "order", targets = list(3) }
    assert.same({ 0.1, 0.25, 0.5, 1, 1 }, steps(t, 1, 1000))
  end)

  it("takes the whole where nobody else is left", function()
    for _, kind in ipairs { "weighted", "p2c", "order", "priority" } do
      local t = timed { kind = kind, targets = list(2) }
      t.b:back(1)
      assert.same({ [1] = 50 }, t.shares(50, { t2 = true }))
    end
  end)

  it("counts as so much smaller by load, and is new", function()
    local t = timed { kind = "p2c", targets = list(2) }
    t.b:report(t.b:begin(1), "fail", 30)
    t.b:report(t.b:begin(2), "ok", 1)
    t.b:back(1)
    assert.is_nil(t.b:stats().t1.cost)
    assert.equal(0.1, t.b:stats().t1.share)
    t.b:report(t.b:begin(1), "ok", 1)
    t.b:begin(1)
    t.b:begin(2)
    assert.near(20, t.b:stats().t1.load, 1e-9) -- 1 s × 2, of a tenth
    assert.near(2, t.b:stats().t2.load, 1e-9)
    t.now = t.now + 6
    assert.near(2, t.b:stats().t1.load, 1e-9)
    assert.is_nil(t.b:stats().t1.share)
  end)

  it("gets its keys back little by little, and no others move", function()
    local t = timed { targets = list(4) }
    local home = {}
    for key = 1, 4000 do home[key] = t.b:choose(nil, key) end
    t.b:back(2)
    local before = 0
    for _ = 1, 4 do
      local there = 0
      for key = 1, 4000 do
        local place = t.b:choose(nil, key)
        if place == 2 then there = there + 1 end
        assert.is_true(place == home[key] or home[key] == 2)
      end
      assert.is_true(there > before, there)
      before = there
      t.now = t.now + 2
    end
    for key = 1, 4000 do assert.equal(home[key], t.b:choose(nil, key)) end
  end)
end)

describe("by key", function()
  guard.watch(before_each, after_each)

  -- Where each of n keys goes, and how many go to each place.
  local function homes(b, n, except)
    local of, count = {}, {}
    for key = 1, n do
      local place = b:choose(except, core.key_hash(100, "user " .. key))
      of[key], count[place] = place, (count[place] or 0) + 1
    end
    return of, count
  end

  it("each target has its weight's share of the keys, whatever the kind", function()
    local N = 20000
    for _, kind in ipairs { "weighted", "p2c", "order", "priority" } do
      local b = balancer.new { kind = kind,
        targets = list(3, { { weight = 90 }, { weight = 9 }, { weight = 1 } }) }
      local _, count = homes(b, N)
      for place, share in ipairs { 0.9, 0.09, 0.01 } do
        local five = 5 * math.sqrt(share * (1 - share) / N) -- standard deviations
        assert.near(share, count[place] / N, five)
      end
    end
  end)

  it("one that goes moves its own keys and no other, to each its share", function()
    local N = 20000
    local b = balancer.new { targets = list(5, { { weight = 4 }, {}, {}, { weight = 2 } }) }
    local before, count = homes(b, N)
    local after = homes(b, N, { t1 = true })
    local to = {}
    for key = 1, N do
      if before[key] == 1 then
        to[after[key]] = (to[after[key]] or 0) + 1
      else
        assert.equal(before[key], after[key])
      end
    end
    for place, share in pairs { [2] = 0.2, [3] = 0.2, [4] = 0.4, [5] = 0.2 } do
      assert.near(share, to[place] / count[1], 5 * math.sqrt(share * (1 - share) / count[1]))
    end
  end)

  it("one that is added takes its share from all of them, and nothing else moves", function()
    local N = 20000
    local before = homes(balancer.new { targets = list(4) }, N)
    local after = homes(balancer.new { targets = list(5) }, N)
    local moved, from = 0, {}
    for key = 1, N do
      if before[key] ~= after[key] then
        assert.equal(5, after[key])
        moved, from[before[key]] = moved + 1, (from[before[key]] or 0) + 1
      end
    end
    assert.near(0.2, moved / N, 5 * math.sqrt(0.16 / N))
    for place = 1, 4 do assert.near(0.25, from[place] / moved, 0.05) end
  end)

  it("the place in the list does not matter, nor does the process", function()
    local b = balancer.new { targets = { { name = "x" }, { name = "y" }, { name = "z" } } }
    local c = balancer.new { targets = { { name = "z" }, { name = "x" }, { name = "y" } } }
    local name_b, name_c = { "x", "y", "z" }, { "z", "x", "y" }
    for key = 1, 1000 do
      assert.equal(name_b[b:choose(nil, key)], name_c[c:choose(nil, key)])
    end
    -- as it was in the version that first had it: other gateways may still run that one
    local told = {}
    for key = 1, 12 do told[key] = name_b[b:choose(nil, key)] end
    assert.equal("yzyzxyyzyzzy", table.concat(told))
  end)

  it("a spare has keys only when no other is left", function()
    local b = balancer.new { targets = list(3, { {}, { weight = 0 }, {} }) }
    local _, count = homes(b, 1000)
    assert.is_nil(count[2])
    assert.same({ [2] = 1000 }, select(2, homes(b, 1000, { t1 = true, t3 = true })))
  end)
end)

describe("core.key_hash", function()
  it("is the same for the same pieces, and another for others", function()
    local seen = {}
    for _, pieces in ipairs { { "a", "bc" }, { "ab", "c" }, { "abc" }, { "abc", false },
      { 1 }, { "1" }, { { "a" } }, { { a = 1, b = 2 } }, { true } } do
      local hash = core.key_hash(100, (table.unpack or unpack)(pieces)) -- luacheck: ignore
      assert.is_true(hash >= 0 and hash < 2 ^ 52 and hash % 1 == 0)
      assert.is_nil(seen[hash])
      seen[hash] = true
    end
    assert.equal(core.key_hash(9, { a = 1, b = { 2 } }), core.key_hash(9, { b = { 2 }, a = 1 }))
  end)

  it("takes no note of a text behind its first bytes", function()
    assert.equal(core.key_hash(4, "abcdX", "e"), core.key_hash(4, "abcdY", "e"))
    assert.not_equal(core.key_hash(5, "abcdX"), core.key_hash(5, "abcdY"))
    assert.not_equal(core.key_hash(4, "abcd", "e"), core.key_hash(4, "abcd", "f"))
    assert.equal(core.key_hash(0, "abcd"), core.key_hash(0, ""))
  end)

  it("says what is no piece, and shows none of it", function()
    local hash, message, code = core.key_hash(10, "a", { print })
    assert.is_nil(hash)
    assert.equal("key: piece 2: a function", message)
    assert.equal("invalid", code)
    for _, wrong in ipairs { -1, 2 ^ 40, "x" } do
      assert.has_error(function() core.key_hash(wrong, "a") end)
    end
    assert.has_error(function() core.key_hash(10) end)
  end)
end)

describe("a line", function()
  guard.watch(before_each, after_each)

  local function one(line)
    return timed { targets = list(2, { { line = line } }), hold = 5 }
  end

  it("lets everything through while answers begin in time", function()
    local t = one(2)
    local tickets = {}
    for i = 1, 500 do tickets[i] = t.b:begin(1) end
    for _, ticket in ipairs(tickets) do t.b:report(ticket, "ok", 1.9) end
    assert.is_nil(t.b:stats().t1.room)
    assert.equal(1, t.b:choose { t2 = true })
  end)

  it("bounds the calls under way once one begins late, by how late it was", function()
    for _, case in ipairs { { 2.1, 90 }, { 2.5, 80 }, { 3, 66.7 }, { 9, 50 } } do
      local t = one(2)
      local tickets = {}
      for i = 1, 100 do tickets[i] = t.b:begin(1) end
      t.now = t.now + case[1]
      t.b:started(tickets[1], case[1])
      assert.near(case[2], t.b:stats().t1.room, 0.1)
      assert.is_nil((t.b:choose { t2 = true }))
      assert.equal(1, t.b:choose({ t2 = true }, nil, true)) -- late ones too
      assert.equal(2, t.b:choose()) -- whoever has no line is asked
      for i = 2, 100 do t.b:report(tickets[i], "ok", 9) end -- sent before the cut: of no weight
      assert.near(case[2], t.b:stats().t1.room, 0.1)
      assert.equal(1, t.b:choose { t2 = true })
    end
  end)

  it("widens while answers begin early and it is in use, and is forgotten when all was well",
    function()
    local t = one(2)
    local tickets = {}
    for i = 1, 20 do tickets[i] = t.b:begin(1) end
    t.b:started(tickets[1], 3)
    local room = t.b:stats().t1.room
    for _, ticket in ipairs(tickets) do t.b:report(ticket, "neutral") end
    t.now = t.now + 1
    for i = 1, 12 do tickets[i] = t.b:begin(1) end
    t.b:report(tickets[1], "ok", 1.5) -- neither early nor late
    assert.equal(room, t.b:stats().t1.room)
    t.b:report(tickets[2], "ok", 1)
    assert.is_true(t.b:stats().t1.room > room)
    t.now = t.now + 3.9
    assert.is_number(t.b:stats().t1.room)
    t.now = t.now + 0.2
    assert.is_nil(t.b:stats().t1.room)
  end)

  it("holds on while calls are turned away", function()
    local t = one(2)
    local a, b = t.b:begin(1), t.b:begin(1)
    t.b:started(a, 30)
    for _ = 1, 10 do
      t.now = t.now + 4
      assert.is_nil((t.b:choose { t2 = true }))
    end
    assert.equal(1, t.b:stats().t1.room)
    t.b:report(a, "ok")
    t.b:report(b, "neutral")
    assert.equal(1, t.b:choose { t2 = true }) -- with nothing under way it is always asked
  end)

  it("hears of a call that still waits", function()
    local t = one(2)
    local tickets = {}
    for i = 1, 10 do tickets[i] = t.b:begin(1) end
    assert.is_true(t.b:waits(tickets[1], 1.9))
    assert.is_nil(t.b:stats().t1.room)
    assert.equal(1.9, t.b:stats().t1.cost)
    assert.is_true(t.b:waits(tickets[1], 1)) -- what is less tells nothing
    assert.equal(1.9, t.b:stats().t1.cost)
    assert.is_true(t.b:waits(tickets[1], 2.5))
    assert.equal(8, t.b:stats().t1.room)
    assert.is_true(t.b:report(tickets[1], "neutral"))
    assert.is_false(t.b:waits(tickets[1], 3))
    assert.is_false(t.b:started(tickets[1], 3))
  end)

  it("a start counts once, whatever is reported at the end", function()
    local t = one(2)
    local ticket = t.b:begin(1)
    assert.is_true(t.b:started(ticket, 0.5))
    t.now = t.now + 60
    assert.is_true(t.b:started(ticket, 60))
    t.b:report(ticket, "ok", 60)
    assert.equal(0.5, t.b:stats().t1.cost)
  end)
end)

describe("random calls, times and lines", function()
  it("leave nothing pending, and no number that is none", function()
    for n, kind in ipairs { "weighted", "p2c", "order", "priority" } do
      local r = random.new(random.seed(n))
      local t = timed { kind = kind, slots = 20,
        targets = list(4, { { weight = 0, line = 0.5 }, { line = 1 }, { weight = 3 } }) }
      local out = {}
      random.walk(r, 5000, function()
        t.now = t.now + r:float() * (r:chance(0.01) and 20 or 0.3)
        if r:chance(0.01) then t.b:back(r:int(4)) end
        if r:chance(0.5) then
          local place = t.b:choose(r:int(16) - 1, r:chance(0.3) and r:int(1e9) or nil,
            r:chance(0.3))
          if place then out[#out + 1] = t.b:begin(place) end
        elseif out[1] then
          local i = r:int(#out)
          local what = r:int(3)
          if what == 1 then t.b:started(out[i], r:float() * 3) end
          if what == 2 then t.b:waits(out[i], r:float() * 3) end
          if what == 3 then t.b:report(table.remove(out, i), r:pick { "ok", "fail", "neutral" }) end
        end
        for _, s in pairs(t.b:stats()) do
          assert(s.load == s.load and s.load >= 0 and s.pending >= 0 and s.pending <= 20)
          assert(not s.room or s.room >= 1)
        end
      end, kind)
      for _, ticket in ipairs(out) do t.b:report(ticket, "ok") end
      for _, s in pairs(t.b:stats()) do assert.equal(0, s.pending) end
    end
  end)
end)
