-- A region may be closed by whoever made it: its parts go on, and so do the clients in it. But a
-- call for a model that nobody had asked for yet needs a limiter, which was to be made in that
-- region: it raised, each time, and the breaker's ticket of the call was never given back.
local region = require "unbusy.region"
local world = require "spec.support.world"

describe("a client whose region was closed", function()
  it("has what it needs anew to itself", function()
    for _, limits in ipairs { false, { requests_per_minute = 100, tokens_per_minute = 10000 } } do
      local r = assert(region.new { bytes = 4 * 1024 * 1024 })
      local w = world.new { script = { a = { world.good "x" } }, options = { region = r },
        targets = { a = { limits = limits or nil } } }
      w.loop.run(function()
        local function ask(model)
          return w.client:chat { model = model, messages = world.question.messages }
        end
        assert.equal("x", assert(ask "first").text)
        r:close()
        for _, model in ipairs { "second", "third", "second", "first" } do
          assert.equal("x", assert(ask(model)).text)
        end
        local s = w.client:status().targets[1]
        assert.same({ 0, 0 }, { s.breaker.outstanding, s.limits.second.in_flight })
      end)
      w:assert_clean()
    end
  end)
end)
