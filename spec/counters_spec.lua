local counters = require "unbusy.counters"
local guard = require "spec.support.leak_guard"
local region = require "unbusy.region"
local regions = require "spec.support.regions"

describe("counters", function()
  local now, c

  local function new(given)
    given = given or {}
    given.clock = function() return now end
    return counters.new(given)
  end

  before_each(function()
    now = 1000
    c = new()
  end)

  it("add up", function()
    assert.equal(1, c:add "a")
    assert.equal(3.5, c:add("a", 2.5))
    assert.equal(3, c:add("a", -0.5))
    assert.equal(3, c:get "a")
    assert.equal(0, c:get "b")
    assert.same({ a = 3 }, c:list())
    assert.is_true(c:delete "a")
    assert.is_false(c:delete "a")
    assert.equal(0, c:get "a")
    assert.same({}, c:list())
  end)

  it("tell names apart to the last byte", function()
    local long = ("x"):rep(127)
    c:add(long .. "a")
    c:add(long .. "b", 2)
    c:add("x\0y", 3)
    c:add("x", 4)
    assert.same({ [long .. "a"] = 1, [long .. "b"] = 2, ["x\0y"] = 3, x = 4 }, c:list())
  end)

  it("count within a window that slides", function()
    for _ = 1, 10 do c:add("a", 1, 60) end
    now = 1030
    assert.equal(10, c:get "a")
    now = 1060 -- the next window has begun: the one before still counts whole
    assert.equal(10, c:get "a")
    now = 1075 -- a quarter of it has passed
    assert.equal(7.5, c:get "a")
    assert.equal(8.5, c:add("a", 1, 60))
    now = 1119
    assert.is_true(c:get "a" > 1 and c:get "a" < 1.2)
    now = 1e9
    assert.equal(0, c:get "a")
  end)

  it("take several from a quota at once, or none of them", function()
    assert.is_true(c:take("a", 4, 10, 60))
    assert.is_false((c:take("a", 7, 10, 60)))
    assert.equal(4, c:get "a")
    assert.is_true(c:take("a", 6, 10, 60))
    local fine, seconds = c:take("a", 5, 10, 60)
    assert.is_false(fine)
    now = now + seconds - 0.01
    assert.is_false((c:take("a", 5, 10, 60)))
    now = now + 0.02
    assert.is_true(c:take("a", 5, 10, 60))
    assert.is_false((c:take("b", 11, 10, 60)))
  end)

  it("take from a quota, and say when there is room again", function()
    for _ = 1, 3 do assert.is_true(c:take("a", 1, 3, 60)) end
    local fine, seconds = c:take("a", 1, 3, 60)
    assert.is_false(fine)
    -- A window later the three are those of the one before, of which two may still count.
    assert.is_true(math.abs(seconds - 80) < 1e-5)
    assert.equal(3, c:get "a")
    now = now + seconds - 0.001
    assert.is_false((c:take("a", 1, 3, 60)))
    now = now + 0.002
    assert.is_true(c:take("a", 1, 3, 60))
    assert.is_true(c:take("b", 0, 10, 60)) -- only looks
    assert.equal(0, c:get "b")
    c:add("b", 25, 60)
    fine, seconds = c:take("b", 0, 10, 60)
    assert.is_false(fine)
    now = now + seconds + 0.001
    assert.is_true(c:take("b", 0, 10, 60))
    fine, seconds = c:take("c", 1, 0.5, 60) -- never
    assert.is_false(fine)
    assert.is_true(seconds > 0 and seconds <= 120)
  end)

  it("begin anew when a name is used in another way", function()
    c:add("a", 5)
    assert.equal(1, c:add("a", 1, 60))
    assert.equal(1, c:add("a", 1, 30))
    assert.equal(7, c:peak("a", 7, 10))
    assert.equal(1, c:add "a")
  end)

  it("keep the highest for its time", function()
    assert.equal(5, c:peak("a", 5, 10))
    assert.equal(5, c:peak("a", 3, 100))
    now = 1009.9
    assert.equal(5, c:get "a")
    now = 1010
    assert.equal(0, c:get "a")
    assert.equal(3, c:peak("a", 3, 10))
    assert.equal(0, c:peak("b", -1, 10)) -- nothing is 0
  end)

  it("let no time go back", function()
    c:add("a", 4, 60)
    now = 1090
    assert.equal(2, c:get "a")
    now = 0
    assert.equal(2, c:get "a")
    assert.equal(3, c:add("a", 1, 60))
  end)

  it("put out the name not asked for the longest when they are full", function()
    c = new { counters = 3 }
    for i, name in ipairs { "a", "b", "c" } do
      now = 1000 + i
      c:add(name)
    end
    now = 1010
    c:get "a"
    now = 1011
    c:add "d"
    assert.same({ a = 1, c = 1, d = 1 }, c:list())
    assert.same({ counters = 3, used = 3, evicted = 1 }, c:stats())
  end)

  it("raise on wrong use, at the caller's line", function()
    local function message(f, ...)
      local ok, text = pcall(f, ...)
      assert.is_false(ok)
      return text
    end
    assert.matches("counters_spec%.lua:%d+: counters: unknown option 'counter'",
      message(function() counters.new { counter = 1 } end))
    assert.matches("counters: a number at least 1", message(counters.new, { counters = 0 }))
    assert.matches("name: belongs to a region", message(counters.new, { name = "c" }))
    local p = counters.new {}
    assert.matches("1 to 128 bytes", message(p.add, p, ""))
    assert.matches("1 to 128 bytes", message(p.add, p, ("x"):rep(129)))
    assert.matches("finite", message(p.add, p, "a", 0 / 0))
    assert.matches("finite", message(p.add, p, "a", 1 / 0))
    assert.matches("seconds above 0", message(p.add, p, "a", 1, 0))
    assert.matches("seconds above 0", message(p.add, p, "a", 1, -5))
    assert.matches("NaN", message(p.add, p, "a", 1, 0 / 0))
    assert.matches("number expected", message(p.peak, p, "a", 1))
    assert.matches("finite", message(p.take, p, "a", 1, 0 / 0, 60))
    assert.matches("seconds above 0", message(p.take, p, "a", 1, 5, 0))
    assert.matches("counters", message(p.add, {}, "a"))
    assert.same({}, p:list())
  end)

  describe("of several processes", function()
    local r, children

    after_each(function()
      for _, child in ipairs(children) do child:kill() end
      r:close()
      regions.collect()
    end)
    guard.watch(before_each, after_each)
    before_each(function()
      children = {}
      r = assert(region.new { bytes = 1024 * 1024 })
    end)

    local function shared()
      return assert(counters.new { region = r, name = "c" })
    end

    it("are one", function()
      local mine = shared()
      mine:add("a", 2, 600)
      local others = {}
      for i = 1, 4 do
        others[i] = regions.fork(function()
          local own = shared()
          for _ = 1, 5000 do own:add "sum" end
          return ("%d"):format(own:add("a", 1, 600))
        end)
      end
      for _, child in ipairs(others) do child:wait() end
      assert.equal(20000, mine:get "sum")
      assert.is_true(mine:get "a" > 5 and mine:get "a" <= 6)
    end)

    it("let no more through together than the quota", function()
      local others = {}
      for i = 1, 4 do
        others[i] = regions.fork(function()
          local own, taken = shared(), 0
          for _ = 1, 500 do if own:take("q", 1, 700, 600) then taken = taken + 1 end end
          return taken
        end)
      end
      local sum = 0
      for _, child in ipairs(others) do sum = sum + tonumber(child:wait()) end
      assert.equal(700, sum)
    end)

    it("are whole after each of many is killed at work", function()
      local mine = shared()
      for round = 1, 60 do
        local child = regions.fork(function()
          local own = shared()
          for i = 1, 1e9 do
            local name = "n" .. i % 1500 -- more than there is room for
            own:add(name, 2)
            if i % 3 == 0 then own:delete(name) end
            if i % 5 == 0 then own:peak("p" .. i % 10, 8, 100) end
          end
        end)
        regions.wait_for(function() return (mine:get "n1") + (mine:get "n7") > 0 end)
        child:kill()
        local count = 0
        for name, value in pairs(mine:list()) do
          count = count + 1
          assert.matches("^[np]%d+$", name)
          assert.is_true(value % 2 == 0, name)
          assert.equal(value, mine:get(name))
        end
        assert.equal(count, mine:stats().used, "round " .. round)
      end
    end)

    it("have no room when the region has none", function()
      local none, message, code = counters.new { region = r, name = "c", counters = 100000 }
      assert.is_nil(none)
      assert.equal("full", code)
      assert.matches("region", message)
    end)
  end)
end)
