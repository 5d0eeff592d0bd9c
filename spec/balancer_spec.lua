local balancer = require "unbusy.balancer"
local guard = require "spec.support.leak_guard"

-- A balancer in time of its own: `t.now` is the clock, `t.b` the balancer.
local function timed(o)
  local t = { now = 1000 }
  o.clock = function() return t.now end
  o.seed = o.seed or 1
  t.b = balancer.new(o)
  function t.picks(n, except)
    local names = {}
    for i = 1, n do names[i] = t.b:pick(except) end
    return table.concat(names, " ")
  end
  -- A call to just this target.
  function t.call(name, outcome, seconds)
    local except = {}
    for other in pairs(t.b:stats()) do except[other] = other ~= name end
    local picked, ticket = t.b:pick(except)
    assert.equal(name, picked)
    if outcome then assert.is_true(t.b:report(ticket, outcome, seconds)) end
    return ticket
  end
  function t.cost(name) return t.b:stats()[name].cost end
  function t.load(name) return t.b:stats()[name].load end
  return t
end

local function targets(...)
  local list = {}
  for i, weight in ipairs { ... } do
    list[i] = { name = string.char(96 + i), weight = weight }
  end
  return list
end

local function count(names)
  local n = {}
  for name in names:gmatch "%S+" do n[name] = (n[name] or 0) + 1 end
  return n
end

describe("balancer", function()
  guard.watch(before_each, after_each)

  describe("weighted", function()
    it("takes turns when all weights are the same, and is what a balancer is by default", function()
      assert.equal("a b c a b c", timed { targets = { { name = "a" }, { name = "b" },
        { name = "c" } } }.picks(6))
    end)

    it("spreads the heavy one's turns over the cycle", function()
      assert.equal("a a b a c a a", timed { targets = targets(5, 1, 1) }.picks(7))
      assert.equal("a b a c a b a", timed { targets = targets(4, 2, 1) }.picks(7))
    end)

    it("keeps the shares over each cycle, for weights in fractions too", function()
      for _, case in ipairs {
        { targets(0.1, 0.2, 0.7), 10, { a = 1, b = 2, c = 7 } },
        { targets(2.5, 1.25), 3, { a = 2, b = 1 } },
        { targets(90, 10), 10, { a = 9, b = 1 } },
        { targets(1e6, 1e6, 1e6), 3, { a = 1, b = 1, c = 1 } },
        { targets(1e-9, 1e-6), 2, { a = 1, b = 1 } }, -- a millionth is the least
      } do
        local t = timed { targets = case[1], slots = 1 }
        for _ = 1, 1000 do assert.same(case[3], count(t.picks(case[2]))) end
      end
    end)

    it("shares out among those that are wanted", function()
      local t = timed { targets = targets(3, 2, 1) }
      assert.same({ b = 20, c = 10 }, count(t.picks(30, { a = true })))
      assert.same({ a = 30, b = 20, c = 10 }, count(t.picks(60))) -- nothing is to be made up for
    end)

    it("asks a spare only when no other is left", function()
      local t = timed { targets = targets(0, 1, 0, 2) }
      assert.same({ b = 10, d = 20 }, count(t.picks(30)))
      assert.same({ b = 30 }, count(t.picks(30, { d = true })))
      assert.equal("a c a c", t.picks(4, { b = true, d = true }))
      assert.equal("c c", t.picks(2, { a = true, b = true, d = true }))
      assert.same({ b = 10, d = 20 }, count(t.picks(30)))
    end)

    it("takes no note of loads and of priorities", function()
      local t = timed { targets = { { name = "a", priority = 2 }, { name = "b", priority = 1 } } }
      t.call("a", "fail", 50)
      assert.same({ a = 50, b = 50 }, count(t.picks(100)))
    end)
  end)

  describe("priority", function()
    it("takes the lowest number that is wanted", function()
      local t = timed { kind = "priority", targets = { { name = "far", priority = 9 },
        { name = "near", priority = -1 }, { name = "middle" } } }
      assert.equal("near near near", t.picks(3))
      assert.equal("middle", t.picks(1, { near = true }))
      assert.equal("far", t.picks(1, { near = true, middle = true }))
      assert.equal("near", t.picks(1))
    end)

    it("shares out by weight among equal ones", function()
      local t = timed { kind = "priority", targets = { { name = "a", priority = 2 },
        { name = "b", priority = 1, weight = 3 }, { name = "c", priority = 1 } } }
      assert.same({ b = 30, c = 10 }, count(t.picks(40)))
    end)

    it("asks a spare of a low number after everything else", function()
      local t = timed { kind = "priority", targets = { { name = "a", priority = 1, weight = 0 },
        { name = "b", priority = 2 }, { name = "c", priority = 3, weight = 0 } } }
      assert.equal("b", t.picks(1))
      assert.equal("a", t.picks(1, { b = true }))
      assert.equal("c", t.picks(1, { b = true, a = true }))
    end)
  end)

  describe("p2c", function()
    it("takes the one with less load of two", function()
      local t = timed { kind = "p2c", targets = targets(1, 1) }
      t.call("a", "ok", 1)
      t.call("b", "ok", 2.5)
      local names = {}
      for i = 1, 5 do names[i] = t.b:pick() end
      -- a: 1, 2, [b: 2.5], 3; a call to b makes it 5
      assert.equal("a a b a a", table.concat(names, " "))
    end)

    it("divides the load by the weight, which is what a target can carry", function()
      local t = timed { kind = "p2c", targets = targets(9, 1) }
      t.call("a", "ok", 1)
      t.call("b", "ok", 1)
      t.call "a"
      t.call "b"
      assert.near(2 / 9, t.load "a", 1e-9)
      assert.near(2, t.load "b", 1e-9)
      assert.same({ a = 89, b = 9 }, count(t.picks(98)))
    end)

    it("asks a spare only when no other is left", function()
      local t = timed { kind = "p2c", targets = targets(1, 0, 1) }
      t.call("a", "ok", 50)
      t.call("c", "ok", 50)
      assert.is_nil(count(t.picks(100)).b)
      assert.equal("b b", t.picks(2, { a = true, c = true }))
    end)

    it("takes a higher sample at once", function()
      local t = timed { kind = "p2c", targets = targets(1) }
      for _, seconds in ipairs { 0.5, 2, 2, 30 } do
        t.call("a", "ok", seconds)
        assert.near(seconds, t.cost "a", 1e-9)
      end
    end)

    it("lets lower ones draw the cost down, by more the longer ago the last was", function()
      for decay, since in pairs { [10] = 10, [3] = 1, [0.5] = 20 } do
        local t = timed { kind = "p2c", targets = targets(1), decay = decay }
        t.call("a", "ok", 5)
        t.call("a", "ok", 1)
        assert.near(5, t.cost "a", 1e-9) -- no time has passed
        t.now = t.now + since
        t.call("a", "ok", 1)
        assert.near(1 + 4 * math.exp(-since / decay), t.cost "a", 1e-9)
      end
    end)

    it("counts the time from `pick` when none is given", function()
      local t = timed { kind = "p2c", targets = targets(1) }
      local ticket = t.call "a"
      t.now = t.now + 3
      t.b:report(ticket, "ok")
      assert.near(3, t.cost "a", 1e-9)
    end)

    it("lets the load fade while nothing is pending, so that a slow one is tried again", function()
      local t = timed { kind = "p2c", targets = targets(1, 1) }
      t.call("a", "ok", 20)
      t.call("b", "ok", 1)
      assert.same({ b = 9 }, count(t.picks(9)))
      t.now = t.now + 10 * math.log(2)
      assert.near(10, t.load "a", 1e-5)
      assert.near(10, t.load "b", 1e-9) -- ten are as dear as one of that
      t.now = t.now + 1
      assert.equal("a", t.picks(1))
    end)

    it("counts the whole cost while the probe is out: one at a time", function()
      local t = timed { kind = "p2c", targets = targets(1, 1) }
      t.call("a", "ok", 20)
      t.call("b", "ok", 1)
      t.now = t.now + 1000
      local ticket = t.call "a"
      assert.near(40, t.load "a", 1e-9)
      assert.same({ b = 38 }, count(t.picks(38)))
      t.now = t.now + 60 -- the probe hangs, and no more are sent
      assert.near(40, t.load "a", 1e-9)
      t.b:report(ticket, "ok", 2)
      assert.near(2, t.cost "a", 1e-9) -- the old cost is long ago
    end)

    it("probes a target without a sample, but does not flood it", function()
      local t = timed { kind = "p2c", targets = targets(1, 1, 1) }
      t.call("a", "ok", 1)
      t.call("b", "ok", 1)
      local _, ticket = t.b:pick { a = true }
      assert.equal(0, t.b:stats().b.pending) -- it was c
      assert.equal(1, t.b:stats().c.pending)
      assert.is_nil(count(t.picks(500)).c)
      t.b:report(ticket, "ok", 1)
      assert.is_true(count(t.picks(100)).c > 50)
    end)

    it("shares out a burst over targets of which nothing is known", function()
      local n = count(timed { kind = "p2c", targets = targets(1, 1, 1, 1) }.picks(400))
      for _, name in ipairs { "a", "b", "c", "d" } do
        assert.is_true(n[name] >= 90 and n[name] <= 110, name .. ": " .. n[name])
      end
    end)

    it("a seed repeats it", function()
      local function run(seed)
        return timed { kind = "p2c", targets = targets(1, 1, 1, 1, 1), seed = seed }.picks(100)
      end
      assert.equal(run(7), run(7))
      assert.not_equal(run(7), run(8))
    end)
  end)

  describe("failures", function()
    it("are dear, however quick: twice the cost, and 1 s at least", function()
      local t = timed { targets = targets(1) }
      t.call("a", "fail", 0.001)
      assert.near(1, t.cost "a", 1e-9)
      for _, expected in ipairs { 2, 4, 8, 16, 32, 60, 60 } do
        t.now = t.now + 0.1
        t.call("a", "fail", 0.001)
        assert.near(expected, t.cost "a", 1e-9)
      end
    end)

    it("count the time they took where that is more", function()
      local t = timed { targets = targets(1) }
      t.call("a", "fail", 90)
      assert.near(90, t.cost "a", 1e-9)
      t.now = t.now + 1
      t.call("a", "fail", 0)
      assert.near(90, t.cost "a", 1e-9) -- no failure lowers a cost
    end)

    it("double once for calls that were out together", function()
      local t = timed { targets = targets(1) }
      t.call("a", "ok", 3)
      local tickets = {}
      for i = 1, 10 do tickets[i] = t.call "a" end
      t.now = t.now + 1
      for _, ticket in ipairs(tickets) do t.b:report(ticket, "fail", 0.1) end
      assert.near(6, t.cost "a", 1e-9)
      t.now = t.now + 0.1
      t.call("a", "fail", 0.1)
      assert.near(12, t.cost "a", 1e-9)
    end)

    it("double also after a clock was set back", function()
      local t = timed { targets = targets(1) }
      t.call("a", "fail", 0)
      t.now = 5
      t.call("a", "fail", 0)
      assert.near(2, t.cost "a", 1e-9)
    end)

    it("draw no calls: a server that fails at once gets next to none", function()
      local t = timed { kind = "p2c", targets = targets(1, 1) }
      local n = { a = 0, b = 0 }
      local running = {}
      for step = 1, 6000 do -- a minute; b answers after half a second
        t.now = 1000 + step / 100
        while running[1] and running[1].ends <= t.now do
          t.b:report(table.remove(running, 1).ticket, "ok", 0.5)
        end
        if step % 5 == 0 then
          local name, ticket = t.b:pick()
          n[name] = n[name] + 1
          if name == "a" then
            t.b:report(ticket, "fail", 0.001)
          else
            running[#running + 1] = { ends = t.now + 0.5, ticket = ticket }
          end
        end
      end
      assert.is_true(n.a > 0 and n.a < 20, n.a .. " of 1200")
    end)

    it("neutral calls leave the cost, and end", function()
      local t = timed { targets = targets(1) }
      t.call("a", "neutral", 5)
      assert.same({ picks = 1, pending = 0, load = 0 }, t.b:stats().a)
      t.call("a", "ok", 1)
      t.now = t.now + 5
      t.call("a", "neutral", 50)
      assert.near(1, t.cost "a", 1e-9)
      assert.near(math.exp(-0.5), t.load "a", 1e-9)
    end)
  end)

  describe("tickets", function()
    it("go back once; unknown ones change nothing", function()
      local t = timed { targets = targets(1, 1) }
      local name, ticket = t.b:pick()
      assert.is_true(t.b:report(ticket, "ok", 1))
      local before = t.b:stats()
      assert.is_false(t.b:report(ticket, "fail", 9))
      for _, wrong in ipairs { 0, -1, 1.5, 2 ^ 53, 1e300, ticket + 1, ticket + 65536, 0 / 0 } do
        assert.is_false(t.b:report(wrong, "fail", 9))
      end
      assert.same(before, t.b:stats())
      assert.equal(1, before[name].picks)
      assert.equal(0, before[name].pending)
    end)

    it("are whole numbers under 2^53", function()
      local t = timed { targets = targets(1), slots = 65534 }
      for _ = 1, 70000 do
        local _, ticket = t.b:pick()
        assert(ticket % 1 == 0 and ticket > 0 and ticket < 2 ^ 53)
      end
    end)

    it("of which the oldest is given up when there are too many", function()
      local t = timed { targets = targets(1, 1), slots = 3 }
      local tickets = {}
      for i = 1, 4 do tickets[i] = select(2, t.b:pick()) end
      assert.equal(1, t.b:stats().a.pending) -- a b a, and b for the first a
      assert.equal(2, t.b:stats().b.pending)
      assert.is_false(t.b:report(tickets[1], "ok", 1))
      assert.is_true(t.b:report(tickets[2], "ok", 1))
      assert.is_nil(t.cost "a")
    end)
  end)

  it("says so when nobody is left, and changes nothing then", function()
    for _, kind in ipairs { "weighted", "p2c", "priority" } do
      local t = timed { kind = kind, targets = targets(1, 0, 2) }
      local before = t.b:stats()
      local name, message, code, more = t.b:pick { a = true, b = true, c = true, d = true }
      assert.is_nil(name)
      assert.equal("balancer: every target is ruled out", message)
      assert.equal("open", code)
      assert.is_nil(more)
      assert.same(before, t.b:stats())
    end
  end)

  it("of `except`, takes note of what is true of its own targets", function()
    local t = timed { targets = targets(1, 1) }
    local asked = setmetatable({}, { __index = function() return true end })
    assert.equal("a b a b", t.picks(4, { c = true, [1] = true, a = false }))
    assert.equal("a", t.picks(1, asked)) -- what is not in the table itself is not looked for
    assert.equal("b", t.picks(1, nil))
  end)

  it("serves a thousand targets", function()
    local list = {}
    for i = 1, 1024 do list[i] = { name = ("target %d"):format(i), weight = i % 2 } end
    for _, kind in ipairs { "weighted", "p2c", "priority" } do
      local t = timed { kind = kind, targets = list }
      local seen, n = {}, 0
      for _ = 1, 512 do seen[t.b:pick()] = true end
      for name in pairs(seen) do
        n = n + 1
        assert.equal(1, tonumber(name:match "%d+") % 2)
      end
      assert.is_true(kind == "p2c" and n > 300 or n == 512, n)
      local all = {}
      for _, target in ipairs(list) do all[target.name] = true end
      assert.equal("open", select(3, t.b:pick(all)))
      all["target 1024"] = nil
      assert.equal("target 1024", (t.b:pick(all)))
    end
  end)

  it("takes any string as a name, byte by byte", function()
    local t = timed { targets = { { name = "" }, { name = "a\0b" }, { name = "a\0c" },
      { name = ("x"):rep(5000) } } }
    assert.equal("a\0c", (t.b:pick { [""] = true, ["a\0b"] = true, [("x"):rep(5000)] = true }))
    assert.equal(1, t.b:stats()["a\0c"].picks)
  end)

  it("goes by the monotonic clock when none is given", function()
    local b = balancer.new { kind = "p2c", targets = targets(1) }
    local _, ticket = b:pick()
    assert.is_true(b:report(ticket, "ok"))
    local cost = b:stats().a.cost
    assert.is_true(cost >= 0 and cost < 60)
  end)

  it("raises at the caller's line for what is wrong with its options", function()
    for message, o in pairs {
      ["targets is missing"] = {},
      ["targets: a list of length at least 1 expected, got 0"] = { targets = {} },
      ["targets: two are named 'a'"] = { targets = { { name = "a" }, { name = "a" } } },
      ["targets%[1%].name is missing"] = { targets = { { weight = 1 } } },
      ["targets%[1%].weight: a number at least 0"] = { targets = targets(-1) },
      ["targets%[1%].weight: number expected"] = { targets = targets(0 / 0) },
      ["unknown option 'targets%[1%].wieght', did you mean 'weight'"] =
        { targets = { { name = "a", wieght = 1 } } },
      ["kind: one of weighted, p2c, priority, order expected"] =
        { targets = targets(1), kind = "p3c" },
      ["decay: a number at least 0.001"] = { targets = targets(1), decay = 0 },
      ["slots: a number at most 65534"] = { targets = targets(1), slots = 65535 },
    } do
      local ok, text = pcall(function() balancer.new(o) end)
      assert.is_false(ok)
      assert.matches("balancer_spec.lua:%d+: balancer: " .. message, text)
    end
  end)

  it("raises for arguments of the wrong type", function()
    local b = balancer.new { targets = targets(1) }
    local _, ticket = b:pick()
    assert.has_error(function() b:pick "a" end)
    assert.has_error(function() b:report(ticket, "good") end)
    assert.has_error(function() b:report("x", "ok") end)
    assert.has_error(function() b:report(ticket, "ok", 0 / 0) end)
    assert.has_error(function() b.pick({}) end)
    assert.equal(1, b:stats().a.pending)
    assert.is_false(getmetatable(b))
  end)
end)
