local breakers = require "spec.support.breakers"

local YEAR, make, run, allow = breakers.YEAR, breakers.make, breakers.run, breakers.allow
local has = breakers.has

describe("a later cut", function()
  it("is one failure more and no call more, the rate held at 1", function()
    local b = make { min_calls = 10 }
    local ticket = run(b, 2, "ok")
    run(b, 1, "fail")
    assert.is_true(b:record(ticket, "fail"))
    has(b, { calls = 3, failures = 2, successes = 2, failure_rate = 2 / 3 })
    for _ = 1, 5 do b:record(ticket, "fail") end
    has(b, { calls = 3, failures = 7, failure_rate = 1 })
  end)

  it("opens by rate and by row", function()
    local b = make { min_calls = 2 }
    local ticket = run(b, 2, "ok")
    assert.is_true(b:record(ticket, "fail"))
    assert.equal("open", b:state())
    b = make { consecutive = 2 }
    ticket = run(b, 5, "ok")
    b:record(ticket, "fail")
    assert.equal("closed", b:state())
    b:record(ticket, "fail")
    assert.equal("open", b:state())
  end)

  it("counts when the call itself has left the window", function()
    local b, at = make()
    local ticket = run(b, 1, "ok")
    at.now = at.now + 60
    assert.is_true(b:record(ticket, "fail"))
    has(b, { calls = 0, failures = 1, failure_rate = 1 })
    at.now = at.now + 10
    has(b, { failures = 0, failure_rate = 0 })
  end)

  it("is ignored before the report, in another generation, and when not closed", function()
    local b, at = make { consecutive = 1 }
    local early = assert(b:allow())
    assert.is_false(b:record(early, "fail"))
    assert.is_true(b:report(early, "ok"))
    run(b, 1, "fail")
    assert.is_false(b:record(early, "fail")) -- open
    at.now = at.now + 5
    local probe = assert(b:allow())
    assert.is_false(b:record(probe, "fail")) -- half-open
    b:report(probe, "ok")
    assert.is_false(b:record(early, "fail")) -- closed, but of two generations ago
    assert.is_false(b:record(probe, "fail")) -- and of the last
    b:force("disabled")
    assert.is_false(b:record(run(b, 1, "ok"), "fail"))
    has(b, { failures = 0 })
  end)

  it("counts in metrics_only as in a closed breaker, but opens nothing", function()
    local b = make { consecutive = 1 }
    b:force("metrics_only")
    assert.is_true(b:record(run(b, 1, "ok"), "fail"))
    has(b, { state = "metrics_only", failures = 1, calls = 1 })
  end)
end)

describe("busy", function()
  it("is a failure when nothing speaks for the target", function()
    local b = make { min_calls = 3 }
    run(b, 3, "busy")
    has(b, { state = "open", calls = 3, failures = 3 })
  end)

  it("is neutral while the window holds a success", function()
    local b, at = make { min_calls = 3 }
    run(b, 1, "ok")
    at.now = at.now + 9.5
    run(b, 50, "busy")
    has(b, { state = "closed", calls = 1, failures = 0 })
    at.now = at.now + 0.5
    run(b, 3, "busy")
    assert.equal("open", b:state())
  end)

  it("is neutral while the last calls hold a success, however old", function()
    local b, at = make { count = 3 }
    run(b, 1, "ok")
    run(b, 2, "fail")
    at.now = at.now + YEAR
    b:force("metrics_only")
    run(b, 9, "busy")
    has(b, { calls = 3, failures = 2 })
    run(b, 1, "fail")
    run(b, 1, "busy")
    has(b, { calls = 3, failures = 3 })
  end)

  it("is neutral while a call let in earlier is under way", function()
    local b = make()
    local tickets = allow(b, 5)
    for i = 5, 2, -1 do assert.is_true(b:report(tickets[i], "busy")) end
    has(b, { calls = 0, outstanding = 1 })
    b:report(tickets[1], "busy") -- the first: nobody was before it
    has(b, { calls = 1, failures = 1 })
  end)

  it("is a failure when only later calls are under way", function()
    local b = make { min_calls = 5 }
    local tickets = allow(b, 8)
    for i = 1, 4 do assert.is_true(b:report(tickets[i], "busy")) end
    has(b, { calls = 4, failures = 4, outstanding = 4 })
    assert.is_true(b:report(tickets[5], "busy"))
    assert.equal("open", b:state())
  end)

  it("is a failure when the earlier calls under way are older than the window", function()
    for _, given in ipairs { {}, { count = 20 } } do
      local b, at = make(given)
      assert(b:allow())
      at.now = at.now + 5
      local second = assert(b:allow())
      at.now = at.now + 4.999999
      run(b, 1, "busy")
      has(b, { failures = 0 })
      at.now = at.now + 0.000001
      b:report(second, "busy") -- the first is a window old
      has(b, { failures = 1 })
    end
  end)

  it("does not hold the calls of an earlier generation for earlier ones", function()
    local b = make()
    allow(b, 3)
    b:force("closed")
    run(b, 1, "busy")
    has(b, { calls = 1, failures = 1 })
  end)

  it("without a slot is neutral while a call with one is under way", function()
    local b = make { slots = 1 }
    local tickets = allow(b, 3)
    b:report(tickets[2], "busy")
    has(b, { calls = 0 })
    b:report(tickets[1], "busy")
    has(b, { calls = 1 })
    b:report(tickets[3], "busy")
    has(b, { calls = 2, failures = 2 })
  end)

  it("is slow too when it took that long", function()
    local b = make { slow_after = 2 }
    run(b, 1, "busy", 3)
    has(b, { failures = 1, slow = 1 })
  end)
end)
