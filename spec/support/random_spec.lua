local random = require "spec.support.random"

describe("chance for tests", function()
  local real = os.getenv
  after_each(function() os.getenv = real end) -- luacheck: ignore 122

  local function with(seed)
    os.getenv = function(name) return name == "UNBUSY_SEED" and seed or nil end -- luacheck: ignore
  end

  it("is the same on every Lua", function()
    local r, out = random.new(7), {}
    for i = 1, 8 do out[i] = r:int(1000) end
    assert.equal("370 804 670 168 418 600 269 509", table.concat(out, " "))
    assert.equal("0.40780486118807702", ("%.17g"):format(r:float()))
  end)

  it("parts for seeds that are near each other, and repeats itself for one", function()
    local seen = {}
    for seed = -500, 500 do
      local first = random.new(seed):int(1e9)
      assert.is_nil(seen[first])
      seen[first] = true
      assert.equal(first, random.new(seed):int(1e9))
    end
    for _, seed in ipairs { 0, 2147483646, 2147483647, 2 ^ 52 } do
      local x = random.new(seed):float()
      assert.is_true(x >= 0 and x < 1)
    end
  end)

  it("is spread evenly", function()
    local r, n = random.new(1), {}
    for i = 1, 10 do n[i] = 0 end
    local trues, sum = 0, 0
    for _ = 1, 100000 do
      local i = r:int(10)
      n[i] = n[i] + 1
      if r:chance(0.3) then trues = trues + 1 end
      sum = sum + r:float()
    end
    for i = 1, 10 do assert.near(10000, n[i], 500) end
    assert.near(30000, trues, 750)
    assert.near(0.5, sum / 100000, 0.005)
    local list = {}
    for _ = 1, 100 do list[r:pick { "a", "b", "c" }] = true end
    assert.same({ a = true, b = true, c = true }, list)
  end)

  it("lets time stand still, run, leap and slip", function()
    local r, still, back, years = random.new(3), 0, 0, 0
    for _ = 1, 100000 do
      local us = r:leap()
      if us == 0 then still = still + 1 end
      if us < 0 then back = back + 1 end
      if us > 31557599e6 then years = years + 1 end
      assert(us >= -50000 and us <= 2 * 31557600e6)
    end
    assert.is_true(still > 30000 and back > 2000 and years > 50)
  end)

  it("obeys UNBUSY_SEED", function()
    with(nil)
    assert.equal(5, random.seed(5))
    with "123"
    assert.equal(123, random.seed(5))
    with "soon"
    assert.error_matches(function() random.seed(5) end, "UNBUSY_SEED: a whole number expected")
  end)

  it("says which step failed, and how to repeat it", function()
    local steps = 0
    random.walk(random.new(9), 10, function(step) steps = steps + step end)
    assert.equal(55, steps)
    local ok, message = pcall(random.walk, random.new(9), 10, function(step)
      if step == 4 then error("broken", 0) end
    end, "breaker 2")
    assert.is_false(ok)
    assert.equal("breaker 2, step 4: broken (UNBUSY_SEED=9 repeats it)", message)
  end)
end)
