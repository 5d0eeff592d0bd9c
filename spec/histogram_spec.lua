local core = require "unbusy.core"
local histogram = require "unbusy.histogram"

local function of(values)
  local h = histogram.new()
  for _, v in ipairs(values) do assert.is_true(h:record(v)) end
  return h
end

-- Is `got` within the share `bound` of `expected`?
local function within(expected, got, bound)
  assert.is_true(math.abs(got - expected) <= bound * expected,
    ("%.17g is not within %g of %.17g"):format(got, bound, expected))
end

describe("histogram", function()
  it("has no values at the start", function()
    local h = histogram.new {}
    assert.same({ count = 0, sum = 0 }, h:stats())
    for _, q in ipairs { 0, 0.5, 1 } do assert.is_nil(h:quantile(q)) end
  end)

  it("knows count, sum, min, max and mean exactly", function()
    assert.same({ count = 4, sum = 7.75, min = 0.25, max = 4, mean = 1.9375 },
      of({ 1, 0.25, 4, 2.5 }):stats())
  end)

  describe("quantile", function()
    it("of one value is that value, whatever the share", function()
      for _, v in ipairs { 0, 1e-9, 1e-6, 0.001, 0.7, 1, 600, 86400, 262144, 1e9, 1e300 } do
        for _, q in ipairs { 0, 1e-300, 0.3, 0.5, 0.999, 1 } do
          assert.equal(v, of({ v }):quantile(q))
        end
      end
    end)

    it("of equal values is that value", function()
      local h = of { 0.3, 0.3, 0.3, 0.3, 0.3 }
      for q = 0, 1, 0.125 do assert.equal(0.3, h:quantile(q)) end
    end)

    it("0 is the least and 1 the greatest value", function()
      local h = of { 3.3, 1.1, 2.2, 1.1001, 3.2999 }
      assert.equal(1.1, h:quantile(0))
      assert.equal(3.3, h:quantile(1))
    end)

    it("is the value at place ceil(q × count)", function()
      local h = of { 10, 20, 30, 40 }
      for q, expected in pairs { [0.25] = 10, [0.26] = 20, [0.5] = 20, [0.51] = 30, [0.75] = 30,
        [0.76] = 40 } do
        within(expected, h:quantile(q), 1 / 128)
      end
    end)

    it("does not step on by a hair of rounding", function()
      local h = histogram.new()
      for i = 1, 100 do h:record(2 ^ (i / 8)) end
      for i = 1, 99 do within(2 ^ (i / 8), h:quantile(i / 100), 1 / 128) end -- 0.07 * 100 is over 7
    end)

    it("is at most 1/128 off from 1 µs to 3 days", function()
      local worst, v, last = 0, 2 ^ -20, os.getenv "UNBUSY_SANITIZED" and 2 ^ -12 or 2 ^ 18
      while v < last do
        local h = of { 0, v, 1e9 } -- no help from min and max
        within(v, h:quantile(0.5), 1 / 128)
        worst = math.max(worst, math.abs(h:quantile(0.5) - v) / v)
        v = v * 1.000417
      end
      assert.is_true(worst > 0.0077 and worst <= 1 / 128, worst)
    end)

    it("is right at both sides of every bucket's edge", function()
      for octave = -20, 17 do
        for step = 0, 63 do
          local edge = 2 ^ octave * (1 + step / 64)
          local below = edge * (1 - 2 ^ -53)
          within(edge, of({ 0, edge, 1e9 }):quantile(0.5), 1 / 128)
          if edge > 2 ^ -20 then within(below, of({ 0, below, 1e9 }):quantile(0.5), 1 / 128) end
          assert.is_true(of({ 0, below, 1e9 }):quantile(0.5) < edge)
          assert.is_true(of({ 0, edge, 1e9 }):quantile(0.5) >= edge)
        end
      end
    end)

    it("is less than 1 µs off below 1 µs", function()
      for _, v in ipairs { 0, 1e-300, 1e-12, 1e-7, 5e-7, 9.5e-7 } do
        local got = of({ 0, v, 1e9 }):quantile(0.5)
        assert.is_true(got >= 0 and math.abs(got - v) < 1e-6, v)
      end
    end)

    it("of what took more than 3 days is the greatest value", function()
      local h = of { 1, 262144, 300000, 1e7 }
      assert.equal(1e7, h:quantile(0.5))
      assert.equal(1e7, h:quantile(0.75))
      within(262143, of({ 1, 262143, 1e7 }):quantile(0.5), 1 / 128)
    end)

    it("of ten minutes' queues is as good", function()
      local h = histogram.new()
      for i = 1, 600 do h:record(i) end
      within(300, h:quantile(0.5), 1 / 128)
      within(594, h:quantile(0.99), 1 / 128)
    end)

    it("never lies outside of min and max, and never falls as the share grows", function()
      local h = of { 1.0001, 1.0002, 1.0003, 1.0004, 500000, 500001 }
      local last = 0
      for i = 0, 1000 do
        local v = h:quantile(i / 1000)
        assert.is_true(v >= 1.0001 and v <= 500001 and v >= last)
        last = v
      end
    end)
  end)

  describe("values", function()
    it("below zero count as 0: a clock slipped back", function()
      local h = of { -1, -1e300, -0.0, 2 }
      assert.same({ count = 4, sum = 2, min = 0, max = 2, mean = 0.5 }, h:stats())
      assert.equal(math.huge, 1 / h:stats().min) -- not -0
      assert.is_true(h:quantile(0.5) >= 0 and h:quantile(0.5) < 1e-6)
    end)

    it("may be too large to be true: the sum stays finite", function()
      local h = of { 1.7e308, 1.7e308, 1 }
      local s = h:stats()
      assert.is_true(s.sum < math.huge and s.sum >= 1.7e308)
      assert.equal(1.7e308, s.max)
      assert.is_true(h:merge(h))
      assert.is_true(h:stats().sum < math.huge and h:stats().mean < math.huge)
      assert.equal(1.7e308, h:quantile(0.9))
    end)

    it("may be the smallest there are", function()
      local h = of { 2 ^ -1074, 2 ^ -1022 }
      assert.same({ 2 ^ -1074, 2 ^ -1022 }, { h:quantile(0), h:quantile(1) })
    end)
  end)

  describe("merge", function()
    it("is as recording all", function()
      local a, b, all = of { 1, 2, 3 }, of { 0.5, 2.5 }, of { 1, 2, 3, 0.5, 2.5 }
      local before = b:stats()
      assert.is_true(a:merge(b))
      assert.same(all:stats(), a:stats())
      for q = 0, 1, 0.05 do assert.equal(all:quantile(q), a:quantile(q)) end
      assert.same(before, b:stats())
    end)

    it("of none changes nothing, and into none is a copy", function()
      local a, none = of { 1.5, 2 }, histogram.new()
      assert.is_true(a:merge(none))
      assert.same({ count = 2, sum = 3.5, min = 1.5, max = 2, mean = 1.75 }, a:stats())
      assert.is_true(none:merge(a))
      assert.same(a:stats(), none:stats())
      local empty = histogram.new()
      assert.is_true(empty:merge(histogram.new()))
      assert.same({ count = 0, sum = 0 }, empty:stats())
    end)

    it("with itself doubles every value", function()
      local h = of { 1, 4 }
      assert.is_true(h:merge(h))
      assert.same({ count = 4, sum = 10, min = 1, max = 4, mean = 2.5 }, h:stats())
      within(1, h:quantile(0.5), 1 / 128)
    end)

    it("is refused when there would be more than 2^53 values", function()
      local h, one = of { 3 }, of { 5 }
      for _ = 1, 53 do assert.is_true(h:merge(h)) end
      local before = h:stats()
      assert.equal(2 ^ 53, before.count)
      for _, other in ipairs { h, one } do
        local done, message, code = h:merge(other)
        assert.same({ false, "histogram: no place is free", "full" },
          { done or false, message, code })
      end
      assert.same({ false, "full" }, { h:record(4) or false, (select(3, h:record(4))) })
      assert.is_nil((one:merge(h)))
      assert.same(before, h:stats())
      assert.equal(3, h:quantile(0.5))
      assert.equal(1, one:stats().count)
      assert.is_true(h:merge(histogram.new()))
    end)
  end)

  it("forgets all with `clear`", function()
    local h = of { 1, 2, 1e9, 0 }
    h:clear()
    assert.same({ count = 0, sum = 0 }, h:stats())
    assert.is_nil(h:quantile(0.5))
    h:record(7)
    assert.same({ count = 1, sum = 7, min = 7, max = 7, mean = 7 }, h:stats())
    assert.equal(7, h:quantile(0.2))
  end)

  it("takes no memory of the core's heap, and the same however much it holds", function()
    local blocks = core.stats().blocks
    local h = histogram.new()
    collectgarbage()
    collectgarbage "stop"
    local before = collectgarbage "count"
    for i = 1, 100000 do h:record(i * 0.37) end
    assert.is_true(collectgarbage "count" - before < 64) -- the compiler's own, on LuaJIT
    collectgarbage "restart"
    assert.equal(blocks, core.stats().blocks)
  end)

  describe("wrong use raises, at the caller's line:", function()
    local function raises(expected, f)
      local ok, message = pcall(f)
      assert.is_false(ok)
      assert.is_truthy(message:find("spec/histogram_spec.lua:", 1, true), message)
      assert.is_truthy(message:find(expected, 1, true), message)
    end

    it("options", function()
      raises("unknown option 'digits'", function() histogram.new { digits = 3 } end)
      raises("a table of options expected", function() histogram.new(5) end)
    end)

    it("values that are no finite numbers", function()
      local h = histogram.new()
      for _, v in ipairs { 0 / 0, math.huge, -math.huge } do
        raises("finite number of seconds", function() h:record(v) end)
      end
      for _, v in ipairs { "x", {}, true, print } do
        raises("number expected", function() h:record(v) end)
      end
      raises("number expected", function() h:record() end)
      assert.equal(0, h:stats().count)
    end)

    it("shares that are none", function()
      for _, h in ipairs { histogram.new(), of { 1 } } do
        for _, q in ipairs { -0.001, 1.001, 0 / 0, math.huge, -math.huge } do
          raises("number from 0 to 1", function() h:quantile(q) end)
        end
        raises("number expected", function() h:quantile() end)
        raises("number expected", function() h:quantile "median" end)
      end
    end)

    it("what is no histogram", function()
      local h = histogram.new()
      for _, other in ipairs { {}, 5, "h", io.stdout } do
        raises("unbusy.histogram expected", function() h:merge(other) end)
        raises("unbusy.histogram expected", function() h.record(other, 1) end)
      end
      raises("unbusy.histogram expected", function() h:merge() end)
    end)
  end)

  it("has a metatable that no script can reach", function()
    assert.is_false(getmetatable(histogram.new()))
  end)
end)
