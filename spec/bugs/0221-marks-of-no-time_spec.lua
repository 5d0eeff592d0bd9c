-- A time above 0 that was less than half a microsecond became 0 on its way into the counters, which
-- raised: "seconds above 0 expected". Where a server asked to be left alone for so short a time
-- (`retry-after-ms: 0.0001`, `x-ratelimit-reset-requests: 100ns`), each call raised that shared its
-- targets with other processes.
local counters = require "unbusy.counters"
local guard = require "spec.support.leak_guard"
local regions = require "spec.support.regions"
local world = require "spec.support.world"

describe("a time of less than a microsecond", function()
  after_each(world.end_all)
  after_each(regions.collect)
  guard.watch(before_each, after_each)

  it("is a time for counters", function()
    local now = 5
    local c = counters.new { clock = function() return now end }
    assert.equal(7, c:peak("p", 7, 1e-7))
    assert.equal(1, c:add("a", 1, 1e-9))
    assert.is_true(c:take("t", 1, 1, 1e-300))
    now = now + 2e-6
    assert.equal(0, c:get "p" + c:get "a" + c:get "t")
  end)

  it("is none where it is 0, below 0 or no number", function()
    local c = counters.new {}
    for _, wrong in ipairs { 0, -1e-9, 0 / 0, -math.huge } do
      assert.has_error(function() c:peak("p", 7, wrong) end)
    end
  end)

  for header, value in pairs { ["retry-after-ms"] = "0.0001",
    ["x-ratelimit-reset-requests"] = "100ns" } do
    it("in which the server is left alone raises nothing in a region: " .. header, function()
      local w = world.new { options = { region = {} },
        script = { a = { world.status(429, { [header] = value }), world.good() } } }
      assert.equal("hello", w:chat().text)
    end)
  end
end)
