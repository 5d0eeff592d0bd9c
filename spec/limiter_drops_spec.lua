local limiters = require "spec.support.limiters"

local timed, near = limiters.timed, limiters.near

describe("limiter", function()
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

    it("halve it for what was dropped since the last cut, not before", function()
      local t = timed {}
      t.start() -- goes on
      t.stop(t.start(3), "fail")
      for _, expected in ipairs { 9, 8.1, 7.29 } do
        t.forward(0.1)
        t.stop(t.start(), "fail")
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
      local t = timed { kind = "fixed", initial = 3, throttle = false }
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
end)
