local breaker = require "unbusy.breaker"
local breakers = require "spec.support.breakers"

local YEAR, make, run = breakers.YEAR, breakers.make, breakers.run
local refusal, has, half_open = breakers.refusal, breakers.has, breakers.half_open

describe("force", function()
  it("opens for the time given, or the open time, chance on top", function()
    local b, at = make { open_jitter = 0.5 }
    b:force("open", 60)
    local seconds = refusal(b)
    assert.is_true(seconds > 60 and seconds <= 90)
    at.now = at.now + seconds
    assert.equal("half_open", b:state())
    b:force("open")
    seconds = refusal(b)
    assert.is_true(seconds > 5 and seconds <= 7.5)
  end)

  it("takes a time that is over for none, and an endless one for long", function()
    local b, at = make()
    for _, seconds in ipairs { 0, -3, -math.huge } do
      b:force("open", seconds)
      assert.equal("half_open", b:state())
      b:force("forced_open", seconds)
      assert.equal("half_open", b:state())
      b:force("disabled", seconds)
      assert.equal("closed", b:state())
    end
    for _, state in ipairs { "open", "forced_open", "disabled", "metrics_only" } do
      b:force(state, math.huge)
      at.now = at.now + YEAR
      assert.equal(state, b:state())
    end
  end)

  it("closes and forgets the window", function()
    local b = make { consecutive = 4 }
    run(b, 4, "fail")
    b:force("closed")
    has(b, { state = "closed", calls = 0, failures = 0 })
    assert.is_truthy(b:allow())
  end)

  it("begins a generation, whatever the state", function()
    local b = make()
    for _, state in ipairs { "closed", "disabled", "metrics_only", "closed" } do
      local before = assert(b:allow())
      b:force(state)
      has(b, { outstanding = 0 })
      assert.is_false(b:report(before, "fail"))
    end
    has(b, { calls = 0 })
  end)

  it("keeps it open until forced otherwise", function()
    local b, at = make()
    b:force("forced_open")
    at.now = at.now + 50 * YEAR
    assert.equal("forced_open", b:state())
    assert.equal(math.huge, b:retry_after())
    assert.equal(math.huge, refusal(b))
    b:force("closed")
    assert.is_truthy(b:allow())
  end)

  it("keeps it open for a time, then probes", function()
    local b, at = make()
    b:force("forced_open", 60)
    assert.equal(60, refusal(b))
    at.now = at.now + 60
    assert.equal("half_open", b:state())
    run(b, 1, "ok")
    assert.equal("closed", b:state())
  end)

  it("disables it: nothing is refused and nothing counted", function()
    local b, at = make { consecutive = 1, slow_after = 1 }
    run(b, 1, "ok")
    b:force("disabled")
    run(b, 30, "fail", 9)
    run(b, 30, "busy")
    local ticket = run(b, 1, "ok")
    assert.is_false(b:report(ticket, "ok"))
    has(b, { state = "disabled", calls = 1, failures = 0, slow = 0, refused = 0 })
    at.now = at.now + YEAR
    assert.equal("disabled", b:state())
  end)

  it("lets it only count: nothing is refused, however bad", function()
    local b, at = make { consecutive = 1 }
    b:force("metrics_only")
    run(b, 30, "fail")
    has(b, { state = "metrics_only", calls = 30, failures = 30, failure_rate = 1 })
    at.now = at.now + 10
    has(b, { state = "metrics_only", calls = 0 })
  end)

  it("ends disabled and metrics_only after their time, closed and empty", function()
    for _, state in ipairs { "disabled", "metrics_only" } do
      local b, at = make { count = 10 }
      run(b, 4, "ok")
      b:force(state, 60)
      local under_way = assert(b:allow())
      at.now = at.now + 59.999999
      assert.equal(state, b:state())
      at.now = at.now + 0.000001
      assert.equal("closed", b:state())
      has(b, { calls = 0, outstanding = 0 })
      assert.is_false(b:report(under_way, "fail"))
      has(b, { calls = 0, outstanding = 0 })
    end
  end)

  it("starts the growth of the open time anew only when it closes", function()
    local b, at = half_open { open_growth = 2 }
    run(b, 1, "fail")
    assert.equal(10, refusal(b))
    b:force("open")
    assert.equal(10, refusal(b))
    b:force("open", 1)
    at.now = at.now + 1
    run(b, 1, "fail")
    assert.equal(20, refusal(b))
    b:force("closed")
    b:force("open")
    assert.equal(5, refusal(b))
  end)

  it("gives nothing back", function()
    assert.equal(0, select("#", breaker.new {}:force("closed")))
  end)
end)
