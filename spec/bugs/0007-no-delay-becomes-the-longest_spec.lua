-- With `base = 0` the caller wants no pause between tries. From the 1025th on (or the 53rd with
-- `factor = 1e6`) the exponential kinds gave the longest delay instead: the power had become
-- infinite, 0 × infinite is no number, and what is no number was capped. Found by
-- backoff_model_spec.lua.
local backoff = require "unbusy.backoff"

describe("a backoff of base 0", function()
  it("never waits, however often it is asked", function()
    for _, kind in ipairs { "exponential", "full", "equal", "constant", "linear" } do
      for _, factor in ipairs { 1, 2, 1e6 } do
        local b = backoff.new { kind = kind, base = 0, factor = factor, cap = 30 }
        for _, n in ipairs { 1, 52, 53, 1024, 1025, 1e9, 1e300, math.huge } do
          assert.equal(0, b:delay(n))
        end
      end
    end
  end)
end)
