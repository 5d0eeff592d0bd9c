-- Ten calls a second came to a server that could answer five, each with ten seconds of patience.
-- First come, first served: soon the head of the line had waited for so long that it was let in
-- just before its time was up. Every place was spent on an answer that nobody waited for any more,
-- and of 1000 calls 90 were answered. Those who have too little time left for an answer now let the
-- others go first.
local world = require "spec.support.world"

describe("the waiting line", function()
  it("serves a crowd that comes too fast for ever, and no place for nothing", function()
    local w = world.new { script = { a = { world.good("x", 1) } },
      options = { limiter = { kind = "fixed", initial = 5 } } } -- 5 a second
    local answered = 0
    w.loop.run(function()
      for _ = 1, 1000 do -- 10 a second
        w.loop.spawn(function()
          if w:chat { deadline = 10 } then answered = answered + 1 end
        end)
        w.loop.sleep(0.1)
      end
    end)
    assert.is_true(answered >= 500, answered)
    assert.is_true(#w.log - answered <= 25, #w.log .. " requests for " .. answered .. " answers")
    w:assert_clean()
  end)
end)
