local limiter = require "unbusy.limiter"

-- A limiter in time of its own: `t.now` is the clock, `t.l` the limiter.
local function timed(o)
  local t = { now = 1000 }
  o = o or {}
  o.clock = function() return t.now end
  t.l = limiter.new(o)
  function t.forward(seconds) t.now = t.now + seconds end
  function t.start(count)
    local tickets = {}
    for i = 1, count or 1 do tickets[i] = assert((t.l:allow())) end
    return tickets
  end
  function t.stop(tickets, outcome, seconds)
    for _, ticket in ipairs(tickets) do assert(t.l:report(ticket, outcome, seconds)) end
  end
  return t
end

-- As many calls as go, at once.
local function fill(t)
  local tickets = {}
  for _ = 1, 70000 do
    local ticket = t.l:allow()
    if not ticket then return tickets end
    tickets[#tickets + 1] = ticket
  end
  error "never full"
end

-- A round trip of `seconds` with every slot in use: the calls end one after the other, all well,
-- and each is replaced at once.
local function trip(t, seconds, took)
  t.flying = t.flying or {}
  local function refill()
    for _, ticket in ipairs(fill(t)) do t.flying[#t.flying + 1] = ticket end
  end
  refill()
  local calls = #t.flying
  for _ = 1, calls do
    t.forward(seconds / calls)
    t.stop({ table.remove(t.flying, 1) }, "ok", took or seconds)
    refill()
  end
end

-- The same, and its last call is dropped.
local function drop_one(t)
  t.stop({ table.remove(t.flying) }, "fail")
end

local function near(expected, got) assert.near(expected, got, 1e-9) end

describe("limiter", function()
  describe("at its limit", function()
    it("starts at 20 and refuses the 21st call", function()
      local l = limiter.new()
      for i = 1, 20 do
        assert.is_truthy(l:allow())
        assert.equal(i, l:in_flight())
      end
      local ticket, message, code, detail = l:allow()
      assert.is_nil(ticket)
      assert.equal("limiter: no place is free", message)
      assert.equal("full", code)
      assert.same({}, detail)
      assert.equal(20, l:in_flight())
      assert.equal(20, l:limit())
      assert.equal(1, l:stats().refused)
    end)

    it("lets the next call go when one is over, whatever became of it but a drop", function()
      for _, outcome in ipairs { "ok", "neutral" } do
        local t = timed { initial = 2, max = 2 }
        local tickets = t.start(2)
        assert.is_nil((t.l:allow()))
        assert.is_true(t.l:report(tickets[1], outcome, 1))
        assert.equal(1, t.l:in_flight())
        assert.is_truthy(t.l:allow())
        assert.is_nil((t.l:allow()))
      end
    end)

    it("counts whole slots only", function()
      local t = timed { initial = 2, min = 1 }
      t.stop(t.start(), "fail")
      near(1.8, t.l:limit())
      t.forward(1)
      t.start()
      assert.is_nil((t.l:allow()))
    end)

    it("ignores tickets that come twice, late or from nowhere", function()
      local t = timed {}
      local ticket = t.start()[1]
      assert.is_true(t.l:report(ticket, "neutral"))
      local again = t.start()[1] -- the same slot, another ticket
      local before = t.l:stats()
      assert.is_false(t.l:report(ticket, "fail"))
      for _, wrong in ipairs { 0, -1, 0.5, 1, 65536, 2 ^ 53, 2 ^ 60, math.huge, 0 / 0 } do
        assert.is_false(t.l:report(wrong, "fail"))
      end
      assert.same(before, t.l:stats())
      assert.is_true(t.l:report(again, "fail"))
      t.forward(100)
      assert.is_false(t.l:report(again, "fail"))
      assert.equal(1, t.l:stats().drops)
    end)

    it("holds as many calls as fit a table, and no more", function()
      local t = timed { kind = "fixed", initial = 65534 }
      local tickets = fill(t)
      assert.equal(65534, #tickets)
      t.stop(tickets, "neutral")
      assert.equal(0, t.l:in_flight())
    end)

    it("moves by nothing that is neutral", function()
      local t = timed {}
      for _ = 1, 100 do
        t.stop(fill(t), "neutral", 1)
        t.forward(1)
      end
      assert.same({ limit = 20, in_flight = 0, resting = 0, round_trip = 0.1, drops = 0,
        refused = 100, frozen = false }, t.l:stats())
    end)
  end)

  describe("round trip", function()
    local function round_trip(t) return t.l:stats().round_trip end

    it("is 100 ms until a call went well, then its duration", function()
      local t = timed {}
      near(0.1, round_trip(t))
      t.stop(t.start(), "fail", 3)
      t.stop(t.start(), "neutral", 3)
      near(0.1, round_trip(t))
      t.stop(t.start(), "ok", 3)
      near(3, round_trip(t))
    end)

    it("is smoothed: each new duration counts for an eighth", function()
      local t = timed {}
      t.stop(t.start(), "ok", 1)
      t.stop(t.start(), "ok", 2)
      near(1.125, round_trip(t))
      t.stop(t.start(), "ok", 0.125)
      near(1, round_trip(t))
    end)

    it("is counted from `allow` when no duration is given, or a negative one", function()
      for _, seconds in ipairs { false, -1, -math.huge } do
        local t = timed {}
        local tickets = t.start()
        t.forward(2.5)
        t.stop(tickets, "ok", seconds or nil)
        near(2.5, round_trip(t))
      end
    end)

    it("is 10 ms when calls take no time at all", function()
      local t = timed {}
      t.stop(t.start(), "ok")
      near(0.01, round_trip(t))
    end)

    it("is nothing for a call that ends before it began", function()
      local t = timed {}
      t.stop(t.start(), "ok", 1)
      local tickets = t.start()
      t.forward(-0.5)
      t.stop(tickets, "ok")
      near(0.875, round_trip(t))
    end)

    it("keeps within 10 ms and 10 s", function()
      local t = timed {}
      t.stop(t.start(), "ok", 0.000001)
      near(0.01, round_trip(t))
      for _, seconds in ipairs { 600, 1e300, math.huge } do
        local u = timed {}
        u.stop(u.start(), "ok", seconds)
        near(10, round_trip(u))
        for _ = 1, 8 do u.stop(u.start(), "ok", 1) end -- one freak is soon forgotten
        assert.is_true(round_trip(u) < 4.2)
      end
    end)
  end)

  describe("drops", function()
    it("leave nine tenths of the limit, or another `ratio`", function()
      local t = timed {}
      t.stop(t.start(), "fail")
      near(18, t.l:limit())
      t = timed { ratio = 0.5 }
      t.stop(t.start(), "fail")
      near(10, t.l:limit())
    end)

    it("cut once in a round trip, however many there are", function()
      local t = timed {}
      t.stop(t.start(), "ok", 2)
      t.stop(t.start(5), "fail")
      near(18, t.l:limit())
      t.forward(1.999)
      t.stop(t.start(), "fail")
      near(18, t.l:limit())
      t.forward(0.001)
      assert.equal(1, t.l:stats().resting) -- the five are back
      t.stop(t.start(), "fail")
      assert.is_true(t.l:limit() < 18)
      assert.equal(7, t.l:stats().drops)
    end)

    it("cut by `ratio` again when no more were dropped in between than it takes away", function()
      local t = timed {}
      t.start() -- goes on
      t.stop(t.start(2), "fail") -- 20 -> 18, and one more
      t.forward(0.1)
      t.stop(t.start(), "fail")
      near(16.2, t.l:limit())
      t.forward(0.1)
      t.stop(t.start(), "fail")
      near(14.58, t.l:limit())
    end)

    it("halve the limit when the last cut missed by far, but leave what is held", function()
      for held, expected in pairs { [1] = 9, [8] = 9, [10] = 10, [14] = 14, [17] = 16.2 } do
        local t = timed {}
        t.start(held) -- these calls go on
        t.stop(t.start(3), "fail") -- 20 -> 18, and two more: over a tenth of 18
        t.forward(0.1)
        t.stop(t.start(1), "fail")
        near(expected, t.l:limit())
      end
    end)

    it("do not halve it when even a call alone was refused: numbers are not its matter", function()
      local t = timed {}
      t.stop(t.start(10), "fail")
      t.forward(0.1)
      t.stop(t.start(), "fail")
      near(16.2, t.l:limit())
    end)

    it("do not halve it for a miss three round trips ago", function()
      for seconds, expected in pairs { [0.299] = 9, [0.301] = 16.2 } do
        local t = timed {}
        t.start() -- goes on
        t.stop(t.start(10), "fail")
        t.forward(seconds)
        t.stop(t.start(), "fail")
        near(expected, t.l:limit())
      end
    end)

    it("of calls from before the last cut do not cut: they speak of another limit", function()
      local t = timed {}
      local old = t.start(2)
      t.stop(t.start(), "fail")
      t.forward(60)
      t.stop({ old[1] }, "fail")
      near(18, t.l:limit())
      local new = t.start()
      t.forward(60)
      t.stop(new, "fail")
      near(16.2, t.l:limit())
      t.stop({ old[2] }, "fail")
      near(16.2, t.l:limit())
    end)

    it("never cut below `min`, which is 1 by default", function()
      for min, least in pairs { [7] = 7, [false] = 1 } do
        local t = timed { min = min or nil }
        for _ = 1, 100 do
          t.stop(t.start(), "fail")
          t.forward(1)
        end
        assert.equal(least, t.l:limit())
      end
    end)
  end)

  describe("rests", function()
    it("keep a dropped slot for a round trip", function()
      local t = timed { kind = "fixed", initial = 2 }
      t.stop(t.start(), "ok", 2)
      local tickets = t.start(2)
      t.stop(tickets, "fail")
      assert.equal(0, t.l:in_flight())
      assert.equal(2, t.l:stats().resting)
      t.forward(1.999)
      assert.is_nil((t.l:allow()))
      t.forward(0.001)
      assert.equal(0, t.l:stats().resting)
      t.start(2)
      assert.is_nil((t.l:allow()))
    end)

    it("say when time alone makes room, in the refusal too", function()
      local t = timed { kind = "fixed", initial = 3 }
      t.stop(t.start(), "ok", 2)
      assert.equal(0, t.l:retry_after())
      local tickets = t.start(3)
      assert.is_nil(t.l:retry_after()) -- only a report can
      t.stop({ tickets[1] }, "fail")
      t.forward(0.5)
      t.stop({ tickets[2] }, "fail")
      near(1.5, t.l:retry_after())
      local _, _, code, detail = t.l:allow()
      assert.equal("full", code)
      near(1.5, detail.retry_after)
      t.forward(1.25)
      near(0.25, t.l:retry_after())
      t.forward(0.25)
      assert.equal(0, t.l:retry_after())
      t.start()
      near(0.5, t.l:retry_after()) -- the second one's
    end)

    it("wait for as many as the limit has lost", function()
      local t = timed { initial = 10 }
      t.stop(t.start(), "ok", 2)
      local tickets = t.start(10)
      t.stop({ tickets[1] }, "fail") -- limit 9: nine in flight and one rests
      assert.is_nil(t.l:retry_after()) -- its end is not enough
      t.forward(0.5)
      t.stop({ tickets[2] }, "fail")
      near(2, t.l:retry_after()) -- eight in flight: the second must be back too
      t.stop({ tickets[3] }, "neutral")
      near(1.5, t.l:retry_after())
    end)

    it("go round their ring for ever", function()
      local t = timed { kind = "fixed", initial = 3 }
      for i = 1, 1000 do
        t.stop(t.start(1 + i % 3), "fail")
        assert.equal(1 + i % 3, t.l:stats().resting)
        t.forward(0.05)
        assert.equal(i % 3 < 2 and 0 or nil, t.l:retry_after() == 0 and 0 or nil)
        t.forward(0.05)
        assert.equal(0, t.l:stats().resting)
      end
    end)
  end)

  describe("growth", function()
    it("is one slot in a full round trip, spread over its calls", function()
      local t = timed {}
      local tickets = fill(t)
      t.forward(1)
      t.stop({ tickets[1] }, "ok", 1)
      near(20.05, t.l:limit())
      t = timed {}
      trip(t, 1)
      assert.is_true(t.l:limit() > 20.95 and t.l:limit() <= 21, t.l:limit())
    end)

    it("is no more than that when the round trip has more calls", function()
      local t = timed {}
      for i = 1, 9 do
        trip(t, 0.1, 1)
        assert.is_true(t.l:limit() <= 21 + 1e-9, i)
      end
      trip(t, 0.2, 1)
      assert.is_true(t.l:limit() > 21.5)
    end)

    it("doubles after every three round trips without a drop, up to half the limit", function()
      local t, gains = timed {}, {}
      for i = 1, 18 do
        local before = t.l:limit()
        trip(t, 1)
        gains[i] = t.l:limit() - before
      end
      for i = 1, 18 do
        local expected = 2 ^ math.floor((i - 1) / 3) -- the very first one may fall a call short
        assert.is_true(gains[i] > expected * 0.8 and gains[i] < expected * 2.1,
          ("%d: %f"):format(i, gains[i]))
      end
      for i = 1, 20 do
        local before = t.l:limit()
        trip(t, 1)
        assert.is_true(t.l:limit() <= math.min(1000, before * 1.75), i) -- it grows itself
      end
      assert.equal(1000, t.l:limit())
    end)

    it("of the least limit is half a slot in a round trip", function()
      local t = timed { initial = 1 }
      trip(t, 1)
      near(1.5, t.l:limit())
      trip(t, 1)
      near(1.5 + 0.5 / 1.5, t.l:limit())
    end)

    it("starts again at one after a drop", function()
      local t = timed { initial = 100 }
      for _ = 1, 10 do trip(t, 1) end
      local before = t.l:limit()
      trip(t, 1)
      assert.is_true(t.l:limit() - before > 7)
      drop_one(t)
      trip(t, 1) -- and fifty calls are past, the edge with them
      for _ = 1, 2 do
        before = t.l:limit()
        trip(t, 1)
        local gain = t.l:limit() - before
        assert.is_true(gain > 0.8 and gain < 1.1, gain)
      end
    end)

    it("needs half the limit in use", function()
      local t = timed {}
      for _ = 1, 30 do
        local tickets = t.start(9)
        t.forward(1)
        t.stop(tickets, "ok", 1)
      end
      assert.equal(20, t.l:limit())
      t.stop({ t.start(10)[1] }, "ok", 1)
      assert.is_true(t.l:limit() > 20)
    end)

    it("never passes `max`", function()
      local t = timed { initial = 5, max = 8 }
      for _ = 1, 50 do trip(t, 1) end
      assert.equal(8, t.l:limit())
    end)

    it("does not pass the edge before fifty calls went well", function()
      local t = timed { initial = 6 }
      t.stop(t.start(), "ok", 1)
      t.flying = fill(t)
      drop_one(t) -- five are held: 6 -> 5.4
      for i = 1, 9 do -- of five calls each
        trip(t, 1)
        assert.is_true(t.l:limit() < 6, i)
      end
      near(5.4, t.l:limit())
      trip(t, 1)
      assert.is_true(t.l:limit() > 5.4)
      trip(t, 1)
      assert.is_true(t.l:limit() >= 6)
    end)

    it("knows no edge when even a call alone was refused", function()
      local t = timed { initial = 6 }
      t.stop(t.start(), "ok", 1)
      t.stop(t.start(), "fail")
      t.forward(1)
      local before = t.l:limit()
      trip(t, 1)
      trip(t, 1)
      assert.is_true(t.l:limit() > before + 1.5)
    end)

    it("goes up to the edge meanwhile", function()
      local t = timed { initial = 40, ratio = 0.5 }
      t.stop(t.start(), "ok", 100)
      t.flying = t.start(24)
      drop_one(t) -- 23 are held: 40 -> 20
      assert.equal(20, t.l:limit())
      local limit
      for i = 1, 49 do
        t.stop({ table.remove(t.flying) }, "ok", 10)
        t.forward(10)
        t.flying[#t.flying + 1] = t.l:allow() -- nil until fewer than the limit are left
        limit = t.l:limit()
        assert.is_true(limit <= 23, i)
      end
      assert.equal(23, limit)
      t.stop({ table.remove(t.flying) }, "ok", 10)
      assert.is_true(t.l:limit() > 23)
    end)
  end)

  describe("fixed", function()
    it("stays at `initial`, whatever happens", function()
      local t = timed { kind = "fixed", initial = 5 }
      for i = 1, 300 do
        local tickets = fill(t)
        t.forward(0.2)
        t.stop(tickets, ({ "ok", "fail", "neutral" })[i % 3 + 1], 0.2)
        t.forward(0.2)
        assert.equal(5, t.l:limit())
      end
      t.l:freeze()
      assert.equal(5, t.l:limit())
      t.l:restore()
      assert.equal(5, t.l:limit())
    end)
  end)

  describe("with a breaker", function()
    -- Cuts the limit once, a second from now.
    local function cut(t)
      t.forward(1)
      t.stop(t.start(), "fail")
    end

    it("stands still while it is frozen, and nothing rests", function()
      local t = timed {}
      t.stop(t.start(3), "fail")
      assert.equal(3, t.l:stats().resting)
      assert.is_true(t.l:freeze())
      assert.is_true(t.l:stats().frozen)
      assert.equal(0, t.l:stats().resting)
      for _ = 1, 50 do
        trip(t, 1)
        drop_one(t)
      end
      near(18, t.l:limit())
      assert.equal(0, t.l:stats().resting)
      assert.equal(53, t.l:stats().drops)
    end)

    it("goes back to the limit of ten seconds before the freeze", function()
      local t = timed {}
      for _ = 1, 3 do cut(t) end -- 14.58 from second 1003 on
      t.forward(6)
      for _ = 1, 5 do cut(t) end -- second 1014
      near(20 * 0.9 ^ 8, t.l:limit())
      t.l:freeze()
      near(20 * 0.9 ^ 8, t.l:limit())
      t.forward(5)
      assert.is_true(t.l:restore())
      assert.is_false(t.l:stats().frozen)
      t.forward(8)
      near(14.58, t.l:limit())
    end)

    it("goes back by another window when one is given", function()
      for window, cuts in pairs { -- counted at the start of the second that lies so far back
        [0] = 8, [1.5] = 5, [4] = 3, [7.9] = 0, [20] = 0, [1e9] = 0,
        [math.huge] = 0, [-1] = 8 } do
        local t = timed {}
        for _ = 1, 8 do cut(t) end
        t.l:freeze(window)
        t.l:restore()
        t.forward(8)
        near(20 * 0.9 ^ cuts, t.l:limit())
      end
    end)

    it("remembers 63 seconds", function()
      for window, limit in pairs { [60] = 18, [61] = 18, [62] = 20, [63] = 20, [70] = 20 } do
        local t = timed {}
        cut(t)
        t.forward(60)
        cut(t)
        t.forward(1)
        t.l:freeze(window)
        t.l:restore()
        t.forward(8)
        near(limit, t.l:limit())
      end
      local t = timed {}
      cut(t)
      t.forward(100)
      t.l:freeze(1e6)
      t.l:restore()
      t.forward(8)
      near(18, t.l:limit())
    end)

    it("lets the limit in by steps: 10, 25, 50, 100 %, two seconds each", function()
      local t = timed { initial = 100 }
      t.l:freeze()
      t.l:restore()
      for _, step in ipairs { 10, 25, 50, 100 } do
        near(step, t.l:limit())
        t.forward(1.999)
        near(step, t.l:limit())
        t.forward(0.001)
      end
      near(100, t.l:limit())
    end)

    it("keeps to `min` on the way", function()
      local t = timed { initial = 20, min = 3 }
      t.l:freeze()
      t.l:restore()
      assert.equal(3, t.l:limit())
      t.start(3)
      assert.is_nil((t.l:allow()))
      t.forward(2)
      assert.equal(5, t.l:limit())
    end)

    it("says when the next step makes room", function()
      local t = timed { initial = 20 }
      t.l:freeze()
      t.l:restore()
      assert.equal(0, t.l:retry_after())
      local tickets = t.start(2)
      near(2, t.l:retry_after())
      near(2, select(4, t.l:allow()).retry_after)
      t.forward(2)
      t.start(3)
      t.forward(1)
      near(1, t.l:retry_after())
      t.stop({ tickets[1] }, "ok", 1)
      assert.equal(0, t.l:retry_after())
    end)

    it("waits for the rest or the step, whichever makes room first", function()
      local t = timed { initial = 20 }
      t.stop(t.start(), "ok", 9)
      t.l:freeze()
      t.l:restore()
      t.stop(t.start(2), "fail") -- rests until 9; at 2 s there are five
      near(2, t.l:retry_after())
      t = timed { initial = 20 }
      t.stop(t.start(), "ok", 0.5)
      t.l:freeze()
      t.l:restore()
      t.stop(t.start(2), "fail")
      near(0.5, t.l:retry_after())
    end)

    it("waits for both when it takes both", function()
      local t = timed { initial = 20 }
      t.start(4)
      t.stop(t.start(), "ok", 0.5)
      local tickets = t.start(2)
      t.l:freeze()
      t.l:restore()
      t.stop(tickets, "fail") -- rest until 0.5; at 2 s there are five for four in flight
      near(2, t.l:retry_after())
      t.forward(1.75)
      t.l:report(t.l:allow() or 0, "fail")
      near(0.25, t.l:retry_after())
    end)

    it("holds no drops from before against it", function()
      local t = timed {}
      t.start()
      t.stop(t.start(10), "fail")
      t.l:freeze()
      t.forward(1)
      t.l:restore()
      t.forward(0.1)
      t.stop(t.start(), "fail")
      t.forward(8)
      near(18, t.l:limit())
    end)

    it("forgives the calls from before, which may still be dropped", function()
      local t = timed {}
      local old = t.start(10)
      t.l:freeze()
      t.forward(5)
      t.l:restore()
      t.forward(8)
      t.stop(old, "fail")
      assert.equal(20, t.l:limit())
    end)

    it("takes notice of calls after it", function()
      local t = timed {}
      t.l:freeze()
      t.forward(5)
      t.l:restore()
      t.forward(8)
      t.stop(t.start(), "fail")
      near(18, t.l:limit())
    end)

    it("freezes once and restores once", function()
      local t = timed {}
      assert.is_false(t.l:restore())
      assert.equal(20, t.l:limit())
      assert.is_true(t.l:freeze())
      for _ = 1, 20 do
        t.forward(1)
        assert.is_false(t.l:freeze(0))
      end
      assert.is_true(t.l:restore())
      t.forward(3)
      assert.is_false(t.l:restore())
      near(5, t.l:limit()) -- the ramp did not start again
    end)

    it("is not worn down by a breaker that flaps", function()
      for closed = 1, 15, 2 do
        local t = timed {}
        for _ = 1, 8 do cut(t) end
        for _ = 1, 10 do
          t.l:freeze()
          t.forward(5)
          t.l:restore()
          cut(t)
          cut(t)
          t.forward(math.max(0, math.min(closed, 9) - 2))
        end
        t.l:freeze()
        t.l:restore()
        t.forward(8)
        near(20, t.l:limit())
      end
    end)
  end)

  describe("time", function()
    it("may stand still", function()
      local t = timed {}
      for _ = 1, 1000 do
        local ticket = t.l:allow()
        if ticket then t.l:report(ticket, "fail") end
      end
      near(18, t.l:limit())
      assert.equal(18, t.l:stats().resting)
    end)

    it("may jump years ahead", function()
      local t = timed {}
      t.stop(t.start(5), "fail")
      t.forward(20 * 365 * 86400)
      assert.equal(0, t.l:stats().resting)
      t.l:freeze()
      t.forward(20 * 365 * 86400)
      t.l:restore()
      t.forward(20 * 365 * 86400)
      near(18, t.l:limit())
      for _ = 1, 5 do trip(t, 1) end
      assert.is_true(t.l:limit() > 18 and t.l:limit() < 26, t.l:limit())
    end)

    it("may go back a little", function()
      local t = timed {}
      t.stop(t.start(), "ok", 1)
      t.stop(t.start(), "fail")
      t.forward(-3)
      t.stop(t.start(), "fail")
      near(18, t.l:limit())
      assert.equal(2, t.l:stats().resting)
      assert.is_true(t.l:freeze(0))
      t.forward(-1)
      assert.is_true(t.l:restore())
      t.forward(-1)
      near(1.8, t.l:limit())
      t.start()
      near(3, t.l:retry_after())
      t.forward(9)
      near(18, t.l:limit())
      assert.equal(0, t.l:retry_after())
    end)

    it("may go back to before the ramp", function()
      local t = timed {}
      t.l:freeze()
      t.l:restore()
      t.forward(-100)
      assert.equal(2, t.l:limit())
    end)

    it("may go back by years", function()
      local t = timed {}
      t.stop(t.start(), "fail")
      t.forward(-1e9)
      t.stop(t.start(), "fail")
      assert.is_true(t.l:freeze())
      assert.is_true(t.l:restore())
      t.forward(8)
      near(20, t.l:limit())
    end)

    it("may be before zero, or too large to be true", function()
      for _, start in ipairs { -1000.5, 0, -1e300, 1e300, math.huge } do
        local now = start
        local l = limiter.new { clock = function() return now end }
        l:report(l:allow(), "fail")
        assert.is_true(l:freeze())
        now = start + 5
        assert.is_true(l:restore())
        assert.is_true(l:limit() >= 1 and l:limit() <= 20)
      end
    end)

    it("is the monotonic clock's without `clock`", function()
      local l = limiter.new {}
      assert.equal("userdata", type(l))
      assert.is_true(l:report(l:allow(), "ok"))
      assert.is_true(l:report(l:allow(), "fail", 0.5))
      assert.is_true(l:freeze())
      assert.is_true(l:restore())
      assert.equal("number", type(l:limit()))
      assert.equal(0, l:retry_after())
    end)
  end)

  -- An account that holds `capacity(now)` calls and refuses the next after 5 ms, under a load that
  -- never ends: whatever the limiter lets go, goes. Calls take `duration`, 30 % more or less.
  describe("under load without end", function()
    local function push(heap, at, f)
      local i = #heap + 1
      heap[i] = { at, f }
      while i > 1 do
        local up = math.floor(i / 2)
        if heap[up][1] <= heap[i][1] then break end
        heap[up], heap[i], i = heap[i], heap[up], up
      end
    end

    local function pop(heap)
      local top, i = heap[1], 1
      heap[1] = heap[#heap]
      heap[#heap] = nil
      while true do
        local least = i
        for child = 2 * i, 2 * i + 1 do
          if heap[child] and heap[child][1] < heap[least][1] then least = child end
        end
        if least == i then return top[1], top[2] end
        heap[least], heap[i], i = heap[i], heap[least], least
      end
    end

    -- One call: what becomes of it, and its report. Counts into `r`.
    local function call(r, ticket, duration)
      if r.held >= r.capacity(r.now) then
        return push(r.heap, r.now + 0.005, function()
          r.drops = r.drops + 1
          r.l:report(ticket, "fail")
        end)
      end
      r.held = r.held + 1
      push(r.heap, r.now + duration, function()
        r.held, r.ok = r.held - 1, r.ok + 1
        local second = math.floor(r.now)
        r.by_second[second] = (r.by_second[second] or 0) + 1
        r.l:report(ticket, "ok")
      end)
    end

    local function admit(r, o)
      while true do
        local ticket, _, _, detail = r.l:allow()
        if not ticket then
          local wake = detail.retry_after and r.now + detail.retry_after
          if wake and not (r.wake and r.wake > r.now and r.wake <= wake) then
            r.wake = wake
            push(r.heap, wake, function() end)
          end
          return
        end
        r.state = r.state * 16807 % 2147483647
        call(r, ticket, o.duration * (0.7 + 0.6 * r.state / 2147483647))
      end
    end

    local function run(o)
      local capacity = o.capacity
      if type(capacity) == "number" then capacity = function() return o.capacity end end
      local r = { now = 0, heap = {}, held = 0, ok = 0, drops = 0, by_second = {}, state = o.seed,
        capacity = capacity }
      r.l = limiter.new { initial = o.initial, clock = function() return r.now end }
      admit(r, o)
      while r.heap[1][1] < o.seconds do
        local f
        r.now, f = pop(r.heap)
        f()
        admit(r, o)
      end
      r.share = r.drops / (r.ok + r.drops)
      return r
    end

    -- Calls that went well in the seconds from … to, as a share of what the account could hold.
    local function use(r, from, to, capacity, duration)
      local ok = 0
      for second = from, to - 1 do ok = ok + (r.by_second[second] or 0) end
      return ok * duration / capacity / (to - from)
    end

    it("an account of 20 refuses 1 or 2 in 100 calls, and is used", function()
      for seed = 1, 3 do
        local r = run { capacity = 20, duration = 1, seconds = 200, seed = seed }
        assert.is_true(r.share < 0.02, r.share)
        assert.is_true(use(r, 10, 200, 20, 1) > 0.95)
      end
    end)

    it("so it is when calls take a minute", function()
      local r = run { capacity = 20, duration = 60, seconds = 6000, seed = 1 }
      assert.is_true(r.share < 0.025, r.share)
      assert.is_true(use(r, 100, 6000, 20, 60) > 0.95)
    end)

    it("small accounts refuse hardly more, once they are known", function()
      for capacity, most in pairs { 0.06, 0.04, 0.03, [5] = 0.03, [10] = 0.025 } do
        local r = run { capacity = capacity, initial = capacity, duration = 1, seconds = 600,
          seed = 1 }
        assert.is_true(r.share < most, ("%d: %f"):format(capacity, r.share))
        assert.is_true(use(r, 10, 600, capacity, 1) > 0.95)
      end
    end)

    it("an account of 1 has said so 50 refusals after a start at 20, within two seconds", function()
      local r = run { capacity = 1, duration = 1, seconds = 2, seed = 1 }
      assert.is_true(r.drops <= 50, r.drops)
      assert.is_true(r.l:limit() < 2)
    end)

    it("large accounts refuse next to nothing", function()
      local r = run { capacity = 500, duration = 1, seconds = 100, seed = 1 }
      assert.is_true(r.share < 0.005, r.share)
      assert.is_true(use(r, 40, 100, 500, 1) > 0.85)
    end)

    it("a limit that goes from 10 to 50 to 20 is followed within ten seconds", function()
      for seed = 1, 3 do
        local r = run { initial = 10, duration = 0.2, seconds = 30, seed = seed,
          capacity = function(now) return now < 10 and 10 or now < 20 and 50 or 20 end }
        assert.is_true(r.share < 0.03, r.share)
        assert.is_true(use(r, 2, 10, 10, 0.2) > 0.95)
        assert.is_true(use(r, 15, 20, 50, 0.2) > 0.9)
        assert.is_true(use(r, 22, 30, 20, 0.2) > 0.93)
        assert.is_true(r.l:limit() > 17 and r.l:limit() < 23)
      end
    end)

    it("a second in which everything is refused is forgotten within ten", function()
      local r = run { duration = 0.2, seconds = 40, seed = 1,
        capacity = function(now) return now >= 20 and now < 21 and 0 or 20 end }
      assert.is_true(use(r, 31, 40, 20, 0.2) > 0.93)
    end)
  end)

  -- The rules once more, in the plainest way: lists of all tickets, rests and changes.
  describe("and a naive model", function()
    local function model(o, now)
      local m = { limit = o.initial, quiet = 0, good = 50, edge = o.initial, grown = 0,
        trip_at = now, out = {}, used = 0, rests = {}, drops = 0, refused = 0, missed = 0,
        changes = {} }

      function m.trip()
        return math.floor(m.smooth and math.max(10000, math.min(1e7, m.smooth)) or 100000)
      end
      function m.in_force(at)
        if m.frozen or not m.restored then return m.limit end
        local step = math.max(0, math.floor(((at or m.now) - m.restored) / 2e6))
        return math.max(o.min, m.limit * (({ 0.1, 0.25, 0.5 })[step + 1] or 1))
      end
      function m.resting()
        while m.rests[1] and m.now - m.rests[1] >= m.trip() do table.remove(m.rests, 1) end
        return #m.rests
      end
      function m.room(at)
        local rests = 0
        for _, drop in ipairs(m.rests) do
          if at - drop < m.trip() then rests = rests + 1 end
        end
        return m.used + rests + 1 <= math.floor(m.in_force(at))
      end
      -- The first of the moments at which time changes something, where there is room.
      function m.retry_after()
        local best
        local function try(at)
          if at >= m.now and m.room(at) and not (best and best <= at) then best = at end
        end
        try(m.now)
        for _, drop in ipairs(m.rests) do try(drop + m.trip()) end
        for step = 1, 3 do try((m.restored or m.now) + step * 2e6) end
        return best and best - m.now
      end
      function m.has_edge() return m.good < 50 and m.edge >= 1 end
      function m.slow() m.growth, m.quiet = math.min(1, m.limit / 2), -1 end
      function m.move(limit)
        m.limit = limit
        local at = m.changes[#m.changes] and math.max(m.changes[#m.changes].at, m.now) or m.now
        m.changes[#m.changes + 1] = { at = at, limit = limit }
      end
      function m.held_at(at)
        local limit = o.initial
        for _, change in ipairs(m.changes) do
          if change.at < at then limit = change.limit end
        end
        return limit
      end
      function m.ok(took)
        local sample = math.min(took, 1e7)
        m.smooth = m.smooth and m.smooth + (sample - m.smooth) / 8 or sample
        if m.frozen then return end
        m.good = m.good + 1
        if 2 * m.used < m.limit then return end
        if m.now - m.trip_at >= m.trip() then
          m.trip_at, m.grown, m.quiet = m.now, 0, m.quiet + 1
          if m.quiet == 3 then m.quiet, m.growth = 0, math.min(2 * m.growth, m.limit / 2) end
        end
        local top = m.has_edge() and math.max(m.limit, m.edge) or o.max
        local more = math.max(0, math.min(m.growth / m.limit, m.growth - m.grown))
        more = math.min(more, top - m.limit)
        m.grown = m.grown + more
        m.move(m.limit + more)
      end
      function m.fail(issued)
        m.drops = m.drops + 1
        if m.frozen then return end
        m.rests[#m.rests + 1] = m.now
        m.edge = m.good < 50 and math.min(m.edge, m.used - 1) or m.used - 1
        if not m.cut_at or issued > m.cut_at and m.now - m.cut_at >= m.trip() then
          local low = m.limit * o.ratio
          local recent = m.cut_at and m.now - m.cut_at < 3 * m.trip()
          if m.has_edge() and m.missed > m.limit - low and recent then
            low = math.min(low, math.max(m.limit / 2, m.edge))
          end
          m.move(math.max(low, o.min))
          m.cut_at, m.missed = m.now, 0
        else
          m.missed = m.missed + 1
        end
        m.good = 0
        m.slow()
      end
      function m.freeze(window)
        local from = math.floor((m.now - window) / 1e6) * 1e6
        m.held = window <= 0 and m.limit or m.held_at(from)
        while m.changes[1] and m.changes[#m.changes].at >= from do table.remove(m.changes) end
        m.changes[#m.changes + 1] = { at = from - 1, limit = m.held }
        m.frozen, m.rests, m.missed = true, {}, 0
      end
      function m.restore()
        m.frozen, m.limit, m.cut_at, m.restored = false, m.held, m.now, m.now
        m.slow()
      end
      m.slow()
      m.quiet = 0
      return m
    end

    local function compare(seed, us, o)
      local state = seed
      local function random(n)
        state = state * 16807 % 2147483647
        return state % n + 1
      end
      local ever, flying, rough = {}, {}, false
      local l = limiter.new { initial = o.initial, min = o.min, max = o.max, ratio = o.ratio,
        clock = function() return us / 1e6 end }
      local m = model(o, us)
      local function allow()
        local may = m.used + m.resting() + 1 <= math.floor(m.in_force())
        local ticket = l:allow()
        assert(may == (ticket ~= nil))
        if not may then m.refused = m.refused + 1 return end
        m.out[ticket], m.used, ever[#ever + 1] = us, m.used + 1, ticket
        flying[#flying + 1] = ticket
      end
      local function report(word)
        local ticket = ever[math.max(1, #ever + 1 - random(10))] -- perhaps reported before
        if flying[1] and random(10) > 1 then ticket = table.remove(flying, random(#flying)) end
        local issued = m.out[ticket or 0]
        local took = random(4) > 1 and random(300000) or nil
        assert(l:report(ticket or 1, word, took and took / 1e6) == (issued ~= nil))
        if not issued then return end
        if word == "ok" then m.ok(took or math.max(0, us - issued)) end
        if word == "fail" then m.fail(issued) end
        m.out[ticket], m.used = nil, m.used - 1
      end
      local function ok() return report "ok" end
      local steps = { allow, allow, allow, allow, allow, allow, ok, ok, ok, ok, ok,
        function() report "neutral" end,
        function()
          if rough and random(3) == 1 then
            for _ = 1, random(8) do report "fail" end
          end
        end,
        function() us = us + random(200000) end, function() us = us + random(20000) end,
        function()
          if random(50) == 1 then us = us - random(100000) end
          if random(100) == 1 then us = us + random(30) * 1000000 end
          m.now = us
          if random(m.frozen and 2 or 30) > 1 then return end
          if m.frozen then
            assert(l:restore() and not l:restore())
            m.restore()
          else
            local window = random(20) * 500000
            assert(l:freeze(window / 1e6) and not l:freeze(window / 1e6))
            m.freeze(window)
          end
        end }
      local function same_wait()
        local got, expected = l:retry_after(), m.retry_after()
        return got == expected or got and expected and math.abs(got * 1e6 - expected) < 1.5
      end
      local least, most = math.huge, 0
      for step = 1, 10000 do
        m.now, rough = us, step % 2000 > 1000
        steps[random(#steps)]()
        m.now = us
        local s = l:stats()
        if math.abs(s.limit - m.in_force()) > 1e-9 * m.in_force() or s.in_flight ~= m.used
          or s.resting ~= m.resting() or s.drops ~= m.drops or s.refused ~= m.refused
          or math.abs(s.round_trip * 1e6 - m.trip()) > 1.5 or not same_wait() then
          error(("seed %d, step %d: limit %f and %f, in flight %d and %d, resting %d and %d, "
            .. "trip %f and %f"):format(seed, step, s.limit, m.in_force(), s.in_flight, m.used,
            s.resting, m.resting(), s.round_trip, m.trip() / 1e6))
        end
        least, most = math.min(least, m.limit), math.max(most, m.limit)
      end
      return least, most
    end

    it("agree over 20,000 random steps", function()
      local least, most = compare(1, 5e9, { initial = 20, min = 2, max = 40, ratio = 0.9 })
      assert.is_true(least < 15 and most > 21, ("%f %f"):format(least, most))
      compare(2, -3e9, { initial = 5, min = 1, max = 1000, ratio = 0.5 })
    end)
  end)

  describe("options", function()
    local function message(...)
      local ok, text = pcall(limiter.new, ...)
      assert.is_false(ok)
      return text
    end

    it("keep the start within the bounds, when only those are given", function()
      assert.equal(20, limiter.new { max = 65534 }:limit())
      assert.equal(8, limiter.new { max = 8 }:limit())
      assert.equal(50, limiter.new { min = 50 }:limit())
      assert.equal(2500, limiter.new { initial = 2500 }:limit())
      assert.equal(2000, limiter.new { min = 2000 }:limit())
      assert.equal(20, limiter.new { kind = "fixed" }:limit())
    end)

    it("raise when they contradict each other, at the caller's line", function()
      assert.matches("limiter: initial: 5 is not within 1 and 4", message { initial = 5, max = 4 })
      assert.matches("initial: 5 is not within 6 and 1000", message { initial = 5, min = 6 })
      assert.matches("limiter: min: 9 is above max, 8", message { min = 9, max = 8 })
      for _, name in ipairs { "min", "max" } do
        assert.matches("limiter: a fixed limit has no 'min' and 'max', only 'initial'",
          message { kind = "fixed", [name] = 20 })
      end
      local ok, text = pcall(function() limiter.new { min = 9, max = 8 } end)
      assert.is_false(ok)
      assert.matches("limiter_spec%.lua:%d+: limiter: min", text)
    end)

    it("raise when they are wrong, at the caller's line", function()
      assert.matches("limiter: a table of options expected, got 5", message(5))
      assert.matches("unknown option 'initail', did you mean 'initial'%?", message { initail = 1 })
      assert.matches("unknown option 'slots'", message { slots = 1 })
      assert.matches("kind: one of aimd, fixed expected", message { kind = "gradient" })
      assert.matches("did you mean 'fixed'%?", message { kind = "fixd" })
      assert.matches("kind: string expected, got 1", message { kind = 1 })
      assert.matches("clock: function expected, got 1", message { clock = 1 })
      for _, name in ipairs { "initial", "min", "max" } do
        assert.matches(name .. ": a number at least 1 expected, got 0", message { [name] = 0 })
        assert.matches(name .. ": a number at most 65534 expected", message { [name] = 65535 })
        for _, wrong in ipairs { 1.5, 0 / 0, math.huge, "1", true } do
          assert.matches(name .. ": whole expected", message { [name] = wrong })
        end
      end
      assert.matches("ratio: a number above 0 expected", message { ratio = 0 })
      assert.matches("ratio: a number at most 0.99 expected", message { ratio = 1 })
      assert.matches("ratio: number expected", message { ratio = 0 / 0 })
      local ok, text = pcall(function() limiter.new { limt = 1 } end)
      assert.is_false(ok)
      assert.matches("limiter_spec%.lua:%d+: limiter: unknown option", text)
    end)

    it("and arguments of the wrong kind raise, and move nothing", function()
      for _, l in ipairs { limiter.new {}, limiter.new { clock = function() return 7 end } } do
        local ticket = l:allow()
        local before = l:stats()
        assert.has_error(function() l:report("x", "ok") end)
        assert.has_error(function() l:report(nil, "ok") end)
        assert.has_error(function() l:report(ticket) end)
        assert.has_error(function() l:report(ticket, "busy") end)
        assert.has_error(function() l:report(ticket, "ok", "x") end)
        assert.has_error(function() l:report(ticket, "ok", 0 / 0) end)
        assert.has_error(function() l:freeze "x" end)
        assert.has_error(function() l:freeze(0 / 0) end)
        assert.has_error(function() l.allow {} end)
        assert.same(before, l:stats())
        assert.is_true(l:report(ticket, "ok", 1))
      end
      assert.has_error(function() limiter.new { clock = function() return 0 / 0 end } end)
      assert.has_error(function() limiter.new { clock = function() return "x" end } end)
    end)
  end)
end)
