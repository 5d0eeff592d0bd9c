-- `unbusy scale --trace` makes the client's limit out of `--places`. With more than 655 of them, or
-- with places of parts (12.345 calls, as they are measured), it failed: "limiter.max: a number at
-- most 65534 expected", of an option that nobody had given.
local options = require "unbusy.scaling.options"
local scaling = require "unbusy.simulate.scaling"
local trace = require "unbusy.simulate.trace"

local function of_rule(rule, places)
  local r, g = options.read({ places = places }, rule)
  return { r, g }
end

describe("a fleet whose replicas have", function()
  for _, places in ipairs { 0.001, 12.345, 656, 1e6 } do
    it(places .. " places each", function()
      local t = trace.new "spec"
      assert(not trace.declare(t, { target = "a", latency = 1 }))
      for i = 1, 50 do trace.add(t, i, 1, 1, false, 0) end
      local list, message = scaling.compare(t, { pods = 3, places = places, starts = 10, every = 30,
        cpu = of_rule("cpu", places), load = of_rule("load", places),
        only = { ["fixed 3"] = true, load = true } })
      assert.is_nil(message)
      assert.same({ 50, 50 }, { list[1].calls, list[2].calls })
    end)
  end
end)
