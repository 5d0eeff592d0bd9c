-- A clock that slipped back by milliseconds (a guest that was moved, a caller's own clock) let the
-- limiter say two things at once. Slots that rest leave in the order of their drops. A drop after
-- the slip bore an earlier time than the one before it, and when several had to leave before a call
-- could start, `retry_after` counted to the last one's time and said "now", while `allow` refused:
-- the first one was still at the head of the line. A caller that waits as long as it is told asked
-- again and again without a pause. Found by limiter_model_spec.lua.
local limiter = require "unbusy.limiter"

describe("a limiter whose clock slips back between two drops", function()
  it("never says that there is room now where it refuses", function()
    local now = 1000
    local l = limiter.new { initial = 3, ratio = 0.5, clock = function() return now end }
    local tickets = { l:allow(), l:allow(), l:allow() }
    for i, ticket in ipairs(tickets) do
      l:report(ticket, "fail") -- the limit is 1.5 then: all three have to leave
      if i == 1 then now = now - 0.08 end
    end
    local let_in
    for _ = 1, 300 do
      now = now + 0.001
      local told = l:retry_after()
      local ticket = l:allow()
      assert.equal(told == 0, ticket ~= nil)
      if ticket then
        let_in = true
        l:report(ticket, "neutral")
      end
    end
    assert.is_true(let_in)
  end)
end)
