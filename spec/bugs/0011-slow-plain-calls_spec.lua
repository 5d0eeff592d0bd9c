-- A breaker's slow_after was judged by streams alone: a plain call never told how long its answer
-- took, so that a server that answered too late was never found out.
local world = require "spec.support.world"

it("a breaker judges how quickly plain calls are answered", function()
  local w = world.new { script = { a = { world.good("hello", 3) } }, options = {
    breaker = { min_calls = 4, slow_after = 1, slow_rate = 0.5 } } }
  for _ = 1, 4 do w:chat() end
  assert.equal("open", w.client:status().targets[1].state)
  assert.equal("open", w:seen "state"[1].to)
  w:assert_clean()
end)
