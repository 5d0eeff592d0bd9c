local limiter = require "unbusy.limiter"
local limiters = require "spec.support.limiters"

local timed, fill, trip = limiters.timed, limiters.fill, limiters.trip
local drop_one, near = limiters.drop_one, limiters.near

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
        refused = 100, frozen = false, answered = false, credit = 100 }, t.l:stats())
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
end)
