local limiters = require "spec.support.limiters"

local timed, trip, drop_one = limiters.timed, limiters.trip, limiters.drop_one
local near = limiters.near

describe("limiter", function()
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
end)
