local limiter = require "unbusy.limiter"

describe("limiter", function()
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
      assert.matches("limiter_options_spec%.lua:%d+: limiter: min", text)
    end)

    it("raise when they are wrong, at the caller's line", function()
      assert.matches("limiter: a table of options expected, got 5", message(5))
      assert.matches("unknown option 'initail', did you mean 'initial'%?", message { initail = 1 })
      assert.matches("unknown option 'slots'", message { slots = 1 })
      assert.matches("kind: one of aimd, gradient, fixed expected", message { kind = "vegas" })
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
      assert.matches("throttle: a number at least 1 expected", message { throttle = 0.5 })
      assert.matches("throttle: a number at most 1000000 expected", message { throttle = 1e7 })
      assert.matches("throttle: a number or false expected", message { throttle = true })
      local ok, text = pcall(function() limiter.new { limt = 1 } end)
      assert.is_false(ok)
      assert.matches("limiter_options_spec%.lua:%d+: limiter: unknown option", text)
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
