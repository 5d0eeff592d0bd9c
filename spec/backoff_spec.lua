local backoff = require "unbusy.backoff"

local function delays(b, count)
  local out, previous = {}, nil
  for n = 1, count do
    out[n] = b:delay(n, previous)
    previous = out[n]
  end
  return out
end

describe("backoff", function()
  it("waits 1, 2, 4, 8, 16, 30, 30 s by default, and up to a tenth more", function()
    for seed = 1, 50 do
      local got = delays(backoff.new { seed = seed }, 7)
      for i, least in ipairs { 1, 2, 4, 8, 16, 30, 30 } do
        assert.is_true(got[i] >= least and got[i] <= least * 1.1,
          ("retry %d: %f"):format(i, got[i]))
      end
    end
  end)

  it("repeats a run for a seed, and differs between seeds", function()
    assert.same(delays(backoff.new { seed = 7 }, 20), delays(backoff.new { seed = 7 }, 20))
    assert.not_same(delays(backoff.new { seed = 7 }, 20), delays(backoff.new { seed = 8 }, 20))
    assert.not_same(delays(backoff.new {}, 20), delays(backoff.new {}, 20))
  end)

  it("keeps each kind within its bounds", function()
    local bounds = {
      exponential = function(n) local d = math.min(2 ^ (n - 1), 30) return d, d * 1.1 end,
      full = function(n) return 0, math.min(2 ^ (n - 1), 30) end,
      equal = function(n) local d = math.min(2 ^ (n - 1), 30) return d / 2, d end,
      decorrelated = function(_, previous)
        return 1, math.min(30, 3 * math.max(1, previous or 0))
      end,
      constant = function() return 1, 1.1 end,
      linear = function(n) local d = math.min(n, 30) return d, d * 1.1 end,
    }
    for kind, bound in pairs(bounds) do
      for seed = 1, 20 do
        local b, previous = backoff.new { kind = kind, seed = seed }, nil
        for n = 1, 40 do
          local d = b:delay(n, previous)
          local low, high = bound(n, previous)
          assert.is_true(d >= low and d <= high, ("%s, retry %d: %f"):format(kind, n, d))
          previous = d
        end
      end
    end
  end)

  it("spreads the random kinds over their whole range", function()
    local b, low, high = backoff.new { kind = "full", seed = 3 }, 0, 0
    for _ = 1, 1000 do
      local d = b:delay(5)
      if d < 1.6 then low = low + 1 elseif d > 14.4 then high = high + 1 end
    end
    assert.is_true(low > 60 and low < 140, low)
    assert.is_true(high > 60 and high < 140, high)
  end)

  it("stays finite for any number of retries and any delay before", function()
    for _, kind in ipairs(backoff.schema.kind.one_of) do
      local b = backoff.new { kind = kind, factor = 1e6 }
      for _, n in ipairs { -5, 0, 1, 64, 1024, 2 ^ 53, 1e300, math.huge } do
        for _, previous in ipairs { -1, 0, 30, 1e308, math.huge, 0 / 0 } do
          local d = b:delay(n, previous)
          assert.is_true(d >= 0 and d <= 33, ("%s %g: %f"):format(kind, n, d))
        end
      end
    end
  end)

  it("caps a base above the cap", function()
    assert.equal(3, backoff.new { base = 5, cap = 3, jitter = 0 }:delay(1))
  end)

  it("raises on wrong use, at the caller's line", function()
    local function message(...)
      local ok, text = pcall(backoff.new, ...)
      assert.is_false(ok)
      return text
    end
    assert.matches("backoff: a table of options expected, got 5", message(5))
    assert.matches("unknown option 'jiter', did you mean 'jitter'%?", message { jiter = 1 })
    assert.matches("base: number expected, got a string", message { base = "1" })
    assert.matches("jitter: a number at most 1 expected, got 2", message { jitter = 2 })
    assert.matches("base: number expected", message { base = 0 / 0 })
    assert.matches("did you mean 'linear'%?", message { kind = "lineer" })
    local ok, text = pcall(function() backoff.new { bas = 1 } end)
    assert.is_false(ok)
    assert.matches("backoff_spec%.lua:%d+: backoff: unknown option", text)
    assert.has_error(function() backoff.new {}:delay("x") end)
    assert.has_error(function() backoff.new {}:delay(0 / 0) end)
  end)
end)
