local chance = require "unbusy.simulate.chance"

local function draws(n, f)
  local out = {}
  for i = 1, n do out[i] = f() end
  return out
end

local function mean(list)
  local sum = 0
  for _, x in ipairs(list) do sum = sum + x end
  return sum / #list
end

describe("a stream of chance", function()
  it("is the same for a seed and a purpose, in every Lua", function()
    local list = draws(3, chance.stream(7, "latency", "a"))
    assert.same(list, draws(3, chance.stream(7, "latency", "a")))
    local text = {}
    for i, x in ipairs(list) do text[i] = ("%.15f"):format(x) end
    -- Computed by another program.
    assert.same({ "0.063650278869853", "0.770236965627520", "0.372681301726346" }, text)
  end)

  it("is another one for another seed, purpose or name", function()
    local one = draws(3, chance.stream(7, "latency", "a"))
    assert.not_same(one, draws(3, chance.stream(8, "latency", "a")))
    assert.not_same(one, draws(3, chance.stream(7, "fault", "a")))
    assert.not_same(one, draws(3, chance.stream(7, "latency", "b")))
    assert.not_same(draws(3, chance.stream(7, "ab", "c")), draws(3, chance.stream(7, "a", "bc")))
  end)

  it("lies within 0 and 1, evenly, whatever the seed", function()
    for _, seed in ipairs { 0, 1, 2147483646, 2147483647, 2 ^ 31 } do
      local tenths, draw = {}, chance.stream(seed)
      for _ = 1, 10000 do
        local x = draw()
        assert.is_true(x > 0 and x < 1)
        local k = math.floor(x * 10)
        tenths[k] = (tenths[k] or 0) + 1
      end
      for k = 0, 9 do assert.near(1000, tenths[k], 150) end
    end
  end)
end)

describe("a distribution", function()
  local function sampled(what)
    return draws(20000, chance.sampler(what, chance.stream(3, "spec")))
  end

  it("has its mean", function()
    assert.equal(2, mean(sampled(2)))
    assert.equal(2, mean(sampled { kind = "fixed", mean = 2 }))
    assert.near(3, mean(sampled { kind = "uniform", min = 2, max = 4 }), 0.02)
    assert.near(2, mean(sampled { kind = "exponential", mean = 2 }), 0.06)
    assert.near(2, mean(sampled { kind = "lognormal", mean = 2, sigma = 0.5 }), 0.03)
    assert.near(2, mean(sampled { kind = "bimodal", mean = 1, slow = 11, p = 0.1 }), 0.1)
    assert.near(4 / 3, mean(sampled { kind = "sampled", values = { 0, 1, 3 } }), 0.03)
  end)

  it("has its shape", function()
    local logs = sampled { kind = "lognormal", mean = 2, sigma = 0.5 }
    for i, x in ipairs(logs) do logs[i] = math.log(x) end
    local m, sum = mean(logs), 0
    for _, x in ipairs(logs) do sum = sum + (x - m) ^ 2 end
    assert.near(0.5, math.sqrt(sum / #logs), 0.01)
  end)

  it("stays within its bounds", function()
    for _, x in ipairs(sampled { kind = "exponential", mean = 2, min = 1, max = 3 }) do
      assert.is_true(x >= 1 and x <= 3)
    end
  end)

  it("tells its quantiles, the same each time", function()
    local what = { kind = "exponential", mean = 1 }
    assert.near(math.log(2), chance.quantile(what, 0.5), 0.05)
    assert.equal(chance.quantile(what, 0.5), chance.quantile(what, 0.5))
    assert.equal(4, chance.quantile(4, 0.99))
  end)
end)
