-- A breaker judges nothing before it has seen so many calls. Where the last of these went well, and
-- enough of those before it had failed, it was that good call that opened it; but whoever watched
-- was told only when the next call was refused, or never, and the account's limits were not frozen
-- meanwhile. What goes well is now followed by a look at the breaker while failures are in its
-- window.
local world = require "spec.support.world"

describe("a breaker that opens at a good answer", function()
  it("is told of at once, and freezes the limit", function()
    local script = {}
    for i = 1, 3 do script[i] = world.status(500) end
    script[4] = world.good()
    local w = world.new { script = { a = script }, options = { retry = false,
      breaker = { min_calls = 4, failure_rate = 0.75 } } }
    for _ = 1, 3 do w:chat() end
    assert.equal(0, #w:seen "state")
    assert.is_table(w:chat())
    local seen = w:seen "state"
    assert.equal(1, #seen)
    assert.same({ "closed", "open" }, { seen[1].from, seen[1].to })
    assert.is_true(w.client.targets[1]:limiter(nil):stats().frozen)
  end)

  it("is not looked at where nothing has failed for as long as it looks back", function()
    local w = world.new { script = { a = { world.status(500), world.good() } },
      options = { retry = false, breaker = { window = 5 } } }
    w:chat()
    w:chat()
    assert.is_number(w.client.targets[1].failed_at)
    w.loop.run(function() w.loop.sleep(6) end)
    w:chat()
    assert.is_false(w.client.targets[1].failed_at)
  end)
end)
