local guard = require "spec.support.leak_guard"
local rate = require "unbusy.rate"
local region = require "unbusy.region"
local regions = require "spec.support.regions"

-- A meter with a clock: `now` is its time.
local function timed(o)
  local c = { now = 1000 }
  o.clock = function() return c.now end
  c.rate = assert(rate.new(o))
  return c
end

-- As many requests of so many tokens as may go at this time.
local function burst(c, tokens)
  local n = 0
  while c.rate:take(tokens or 0) do n = n + 1 end
  return n
end

describe("rate", function()
  guard.watch(before_each, after_each)

  describe("of the options", function()
    it("lets a tenth go at once and the rest evenly", function()
      local c = timed { requests = 600 }
      assert.equal(60, burst(c))
      assert.near(60 / 541, c.rate:retry_after(0), 1e-5)
      c.now = c.now + 1
      assert.equal(9, burst(c)) -- 541 a minute
    end)

    it("lets no more than the number go in any minute", function()
      for _, limit in ipairs { 1, 2, 3, 7, 60, 500, 12345 } do
        local c, went = timed { requests = limit }, {}
        local till = c.now + 180
        while c.now < till do
          if c.rate:take(0) then went[#went + 1] = c.now end
          c.now = c.now + c.rate:retry_after(0)
        end
        local first = 1
        for i = 1, #went do
          while went[i] - went[first] >= 60 - 1e-6 do first = first + 1 end
          assert.is_true(i - first + 1 <= limit, limit .. ": " .. i - first + 1)
        end
        assert.is_true(#went >= math.floor(limit * 2.6), limit .. ": " .. #went)
      end
    end)

    it("counts tokens too, and says when there is room", function()
      local c = timed { requests = 1e6, tokens = 60000 }
      assert.equal(6, burst(c, 1000))
      local _, message, code, detail = c.rate:take(1000)
      assert.equal("full", code)
      assert.equal("rate: no place is free", message)
      assert.near(1000 / 900, detail.retry_after, 1e-5) -- 54000 a minute flow
      c.now = c.now + detail.retry_after
      assert.is_number((c.rate:take(1000)))
      assert.equal(2, c.rate:stats().refused)
    end)

    it("lets a request go that is larger than all there can be, and has it paid for", function()
      local c = timed { tokens = 1000 }
      assert.is_number((c.rate:take(1e9)))
      local left = c.rate:left "tokens"
      assert.equal(-900, left)
      assert.near(60 * 901 / 900, c.rate:retry_after(1), 1e-3)
    end)

    it("is mended by what was used", function()
      local c = timed { tokens = 10000 }
      c.rate:take(1000)
      assert.equal(0, (c.rate:left "tokens"))
      c.rate:correct(1000, 400)
      assert.equal(600, (c.rate:left "tokens"))
      c.rate:correct(0, 1e300)
      assert.equal(-9400, (c.rate:left "tokens")) -- no lie costs more than a minute
      c.rate:correct(1e300, 0)
      assert.equal(600, (c.rate:left "tokens"))
    end)
  end)

  describe("of the server", function()
    it("is what it says, less what has gone since", function()
      local c = timed {}
      assert.equal(nil, (c.rate:left "requests"))
      local mark = c.rate:take(0)
      for _ = 1, 5 do c.rate:take(0) end
      c.rate:tell("requests", 100, 20, 8, false, mark)
      assert.same({ 15, 100 }, { c.rate:left "requests" })
      assert.equal(15, burst(c))
      assert.near(0.1, c.rate:retry_after(0), 1e-6) -- 80 missing, all there after 8 s
      c.now = c.now + 1
      assert.equal(10, burst(c))
    end)

    it("comes back all at once at a window's end", function()
      local c = timed {}
      c.rate:tell("requests", 100, 0, 30, true)
      assert.equal(0, burst(c))
      assert.near(30, c.rate:retry_after(0), 1e-6)
      c.now = c.now + 29.9
      assert.equal(0, burst(c))
      c.now = c.now + 0.1
      assert.equal(100, burst(c))
      c.now = c.now + 6
      assert.equal(10, burst(c)) -- of the next window, nobody has said anything
    end)

    it("is a limit of a minute where it says no more", function()
      local c = timed {}
      c.rate:tell("tokens", 6000)
      assert.equal(6, burst(c, 1000))
      assert.near(10, c.rate:retry_after(1000), 1e-6)
      c.rate:tell("tokens", nil, 3000) -- a limit was said before
      assert.equal(3, burst(c, 1000))
    end)

    it("says nothing without a limit", function()
      local c = timed {}
      c.rate:tell("requests", nil, 0, 60, false)
      assert.equal(nil, (c.rate:left "requests"))
      assert.is_number((c.rate:take(0)))
    end)

    it("may change its mind", function()
      local c = timed {}
      c.rate:tell("requests", 10, 0, 60, false)
      assert.is_nil((c.rate:take(0)))
      c.rate:tell("requests", 1000, 999, 0.06, false)
      assert.equal(999, burst(c))
      c.rate:tell("requests", 5, 1e12, 0, false) -- more than its limit
      assert.same({ 5, 5 }, { c.rate:left "requests" })
    end)

    it("does not lift a limit of the options", function()
      local c = timed { requests = 10 }
      c.rate:tell("requests", 1000, 1000, 0, false)
      assert.equal(1, burst(c))
    end)
  end)

  it("does not mind a clock that slips back", function()
    local c = timed { requests = 600 }
    burst(c)
    c.now = c.now - 500
    assert.equal(0, burst(c))
    c.now = c.now + 501
    assert.equal(9, burst(c))
  end)

  it("raises for what is no number, or too large", function()
    local r = rate.new {}
    for _, wrong in ipairs { -1, 0 / 0, "x", {} } do
      assert.has_error(function() r:take(wrong) end)
      assert.has_error(function() r:correct(wrong, 1) end)
      assert.has_error(function() r:tell("tokens", wrong) end)
      assert.has_error(function() r:tell("tokens", 1, wrong) end)
      assert.has_error(function() r:tell("tokens", 1, 1, wrong) end)
    end
    assert.has_error(function() r:tell("tokens", 1e13) end)
    assert.has_error(function() r:tell("tokens", 1, 1, 86401) end)
    assert.has_error(function() r:tell("money", 1) end)
    for _, wrong in ipairs { 0, 0.5, -1, 1e13, "x" } do
      assert.has_error(function() rate.new { requests = wrong } end)
      assert.has_error(function() rate.new { tokens = wrong } end)
    end
  end)

  it("is one for all processes of a region", function()
    local r = assert(region.new { bytes = 256 * 1024 })
    local function new() return assert(rate.new { requests = 100, region = r, name = "x" }) end
    local mine = new()
    assert.is_number((mine:take(0)))
    local said = regions.child(function()
      local own, n = new(), 0
      while own:take(0) do n = n + 1 end
      own:tell("tokens", 500, 100, 50, false)
      return tostring(n)
    end)
    assert.equal("9", said)
    assert.is_nil((mine:take(0)))
    assert.is_true((mine:left "tokens") >= 100)
    local other = assert(rate.new { requests = 50, region = r, name = "x" })
    assert.is_number((other:take(0))) -- other options, another one
    r:close()
    regions.collect()
  end)
end)
