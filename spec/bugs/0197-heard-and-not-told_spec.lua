-- A kubectl that was cut off after the API had heard it has failed, as far as `unbusy scale` knew:
-- no cool-down began, and at the next look there were three replicas more again, and so on up to
-- the ceiling while the first ones still started.
local governor = require "unbusy.scaling.governor"
local options = require "unbusy.scaling.options"
local rules = require "unbusy.scaling.rules"
local turn = require "unbusy.scaling.turn"

describe("a change that was made by a kubectl that failed", function()
  local replicas, heard, told, now, t

  before_each(function()
    local r, g = options.read({}, "cpu")
    replicas, heard, told, now = 5, true, {}, 0
    t = turn.new { rule = rules.cpu, rule_options = r, governor = governor.new(g),
      wall = function() return 1000 + now end, replicas = function() return replicas end,
      look = function() return { cpu = 9000, cpu_whole = 10000 } end,
      scale = function(_, to)
        if heard then replicas = to end
        return nil, "no answer from kubectl for 60 s"
      end,
      tell = function(event)
        told[#told + 1] = event.kind
        return true
      end }
  end)

  local function run()
    now = now + 30
    return t:run(now).action
  end

  it("has made its change: it cools down", function()
    assert.equal("failed", run())
    assert.equal(8, replicas)
    for _ = 1, 5 do assert.equal("cooling", run()) end
    assert.equal("failed", run())
    assert.equal(11, replicas)
    run()
    assert.same({ "failed", "scaled", "failed", "scaled" }, told)
  end)

  it("was not heard: it is tried again", function()
    heard = false
    for _ = 1, 3 do assert.equal("failed", run()) end
    assert.same({ 5, { "failed" } }, { replicas, told })
  end)
end)
