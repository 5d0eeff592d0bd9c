-- Scaling in simulated time: replicas that start and go, what is paid, and what comes of it.
local fleet = require "unbusy.simulate.fleet"
local generate = require "unbusy.simulate.generate"
local options = require "unbusy.scaling.options"
local scaling = require "unbusy.simulate.scaling"
local served = require "spec.support.served"
local world = require "unbusy.simulate.world"

describe("a simulated fleet", function()
  local w, up, f

  before_each(function()
    w = world.new(function() end, { wall = 0 })
    up = { in_service = 0, phase = {} }
    function up:resize(n) self.phase.capacity = n end
    f = fleet.new(w, up, { replicas = 2, places = 8, starts = 60 })
  end)

  -- Lets time pass; what is due happens.
  local function at(time, act)
    w.loop.run(function()
      w.loop.sleep(time - w.now())
      act()
    end)
  end

  it("has the places of those that serve, and pays for those that were asked for", function()
    w.loop.run(function()
      assert.equal(16, up.phase.capacity)
      f:scale(4)
      assert.equal(16, up.phase.capacity)
      w.loop.sleep(59)
      assert.equal(16, up.phase.capacity)
      w.loop.sleep(2)
      assert.equal(32, up.phase.capacity)
      assert.equal(4 * 61, f:pay(w.now()))
      f:scale(1)
      assert.equal(8, up.phase.capacity)
      w.loop.sleep(39)
      assert.equal(4 * 61 + 39, f:pay(w.now()))
    end)
    assert.same({ 1, 4, 2 }, { f.least, f.most, f.changes })
  end)

  it("gives up first who only start", function()
    f:scale(5)
    at(30, function() f:scale(3) end)
    assert.equal(16, up.phase.capacity)
    at(61, function() end)
    assert.equal(24, up.phase.capacity)
    at(200, function() end)
    assert.equal(24, up.phase.capacity)
  end)

  it("uses as much CPU as its places are taken", function()
    up.in_service = 12
    assert.same({ 1500, 2000 }, { f:cpu() })
    f:scale(4) -- their nodes are there already
    assert.same({ 1500, 4000 }, { f:cpu() })
  end)
end)

describe("a day with rules of scaling", function()
  local function read(more, rule)
    local r, g = options.read(more, rule)
    return { r, g }
  end

  -- Half an hour in which a whole day passes; all that is slow is quicker.
  local function compare(more)
    local day = assert(generate.new { kind = "day", seconds = 1800, capacity = 40, latency = 8,
      deadline = 30, seed = 3 })
    local given = { cool_down = 10, calm = 20, down_every = 5, places = 4 }
    local o = { pods = 10, places = 4, starts = 5, every = 5, cpu = read(given, "cpu"),
      load = read(given, "load") }
    for name, value in pairs(more or {}) do o[name] = value end
    return assert(scaling.compare(day, o)), day
  end

  it("costs less than a fixed number and is short for fewer minutes", function()
    local list, day = compare()
    local by = {}
    for _, f in ipairs(list) do by[f.name] = f end
    local fixed = by["fixed 10"]
    assert.is_true(math.abs(fixed.hours - 10 * 1800 / 3600) < 0.2)
    assert.same({ 10, 10, 0, day.asked }, { fixed.least, fixed.most, fixed.changes, fixed.calls })
    assert.is_true(fixed.short > 3)
    for _, name in ipairs { "load", "cpu" } do
      assert.is_true(by[name].hours < fixed.hours, name)
      assert.is_true(by[name].short < fixed.short, name)
      assert.is_true(by[name].least >= 3 and by[name].most <= 15)
    end
    assert.is_true(by["cpu, only up"].hours > fixed.hours)
    assert.equal(15, by["cpu, only up"].most)
  end)

  it("is the same each time, and another with another seed", function()
    local only = { only = { load = true } }
    local a, b = compare(only), compare(only)
    assert.same(a, b)
    assert.equal(1, #a)
  end)

  it("is what unbusy scale --trace prints", function()
    local place = served.place()
    local path = place.dir .. "/day.csv"
    local r = place:run { "trace", "--kind", "day", "--seconds", "300", "--capacity", "20",
      "--latency", "1", "--out", path }
    assert.same({ "", 0 }, { r.err, r.rc })
    r = place:run { "scale", "--trace", path, "--pods", "3", "--places", "7", "--starts", "2" }
    assert.same({ "", 0 }, { r.err, r.rc })
    for _, name in ipairs { "fixed 3", "cpu, only up", "hpa, 70 %% cpu", "cpu", "load" } do
      assert.matches("\n  " .. name .. " +%d+ to %d+ +%d+ +%d+%.%d ", r.out)
    end
    r = place:run { "scale", "--trace", path, "--json", "--pods", "3" }
    assert.equal("fixed 3", require("unbusy.json").decode(r.out)[1].name)
    r = place:run { "scale", "--trace", place.dir .. "/none.csv" }
    assert.equal(2, r.rc)
    r = place:run { "scale", "--trace", path, "--full", "0.5" }
    assert.same({ 2, "unbusy: --full-down: less than full expected\n" }, { r.rc, r.err })
    place:remove()
  end)
end)
