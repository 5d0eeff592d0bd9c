local breakers = require "spec.support.breakers"

local make, run, allow = breakers.make, breakers.run, breakers.allow
local refusal, has, half_open = breakers.refusal, breakers.has, breakers.half_open

describe("a half-open breaker", function()
  it("lets one probe go and closes when it went well", function()
    local b = half_open()
    local probe = assert(b:allow())
    assert.equal(5, refusal(b))
    has(b, { state = "half_open", outstanding = 1, refused = 1 })
    assert.is_true(b:report(probe, "ok"))
    has(b, { state = "closed", outstanding = 0, calls = 0 })
  end)

  it("opens again when the probe failed", function()
    local b = half_open()
    run(b, 1, "fail")
    assert.equal("open", b:state())
    assert.equal(5, refusal(b))
  end)

  it("judges a slow probe by the rate of slow calls", function()
    local b = half_open { slow_after = 1, slow_rate = 1 }
    run(b, 1, "ok", 1)
    assert.equal("open", b:state())
  end)

  it("is decided over min(min_calls, permits) results", function()
    local b = half_open { permits = 4 }
    local probes = allow(b, 4)
    refusal(b)
    assert.is_true(b:report(probes[1], "fail"))
    assert.is_true(b:report(probes[2], "ok"))
    assert.is_true(b:report(probes[3], "ok"))
    has(b, { state = "half_open", calls = 3, failures = 1, successes = 2, outstanding = 1 })
    assert.is_true(b:report(probes[4], "ok"))
    assert.equal("closed", b:state())
    b = half_open { permits = 4, min_calls = 2 }
    run(b, 2, "ok")
    assert.equal("closed", b:state())
  end)

  it("opens at the threshold, as soon as it must be reached", function()
    local b = half_open { permits = 4 }
    run(b, 2, "ok")
    run(b, 1, "fail")
    assert.equal("half_open", b:state())
    run(b, 1, "fail")
    assert.equal("open", b:state())
    b = half_open { permits = 4 }
    local probes = allow(b, 4)
    b:report(probes[1], "fail")
    assert.is_true(b:report(probes[2], "fail"))
    assert.equal("open", b:state())
    assert.is_false(b:report(probes[3], "ok"))
  end)

  it("does not judge by the row of failures", function()
    local b = half_open { permits = 10, consecutive = 2, min_calls = 10 }
    run(b, 3, "fail")
    assert.equal("half_open", b:state())
  end)

  it("gets the permit back from a neutral probe, and decides nothing", function()
    local b = half_open()
    for _ = 1, 5 do run(b, 1, "neutral") end
    has(b, { state = "half_open", calls = 0 })
    assert.is_truthy(b:allow())
  end)

  it("takes a busy probe for a failure", function()
    local b = half_open { permits = 2 }
    local probes = allow(b, 2)
    assert.is_true(b:report(probes[2], "busy"))
    assert.equal("open", b:state())
  end)

  it("lets no late answer of the closed state close or open it", function()
    local b, at = make()
    local old = allow(b, 4)
    b:force("open", 5)
    at.now = at.now + 5
    assert.is_truthy(b:allow())
    for i, outcome in ipairs { "ok", "fail", "busy", "neutral" } do
      assert.is_false(b:report(old[i], outcome))
    end
    has(b, { state = "half_open", calls = 0, outstanding = 1 })
    refusal(b)
  end)

  it("lets no late probe of the half-open time before count", function()
    local b, at = half_open { permits = 3, min_calls = 1, failure_rate = 1 }
    local old = allow(b, 3)
    b:report(old[1], "fail")
    at.now = at.now + 5
    local probe = assert(b:allow())
    assert.is_false(b:report(old[2], "ok"))
    assert.equal("half_open", b:state())
    assert.is_true(b:report(probe, "ok"))
    assert.is_false(b:report(old[3], "fail"))
    has(b, { state = "closed", calls = 0 })
  end)

  it("renews a permit that was never reported after the open time", function()
    local b, at = half_open()
    assert(b:allow())
    at.now = at.now + 4.999999
    assert.equal(0.000001, refusal(b))
    at.now = at.now + 0.000001
    assert.equal(0, b:retry_after())
    local second = assert(b:allow())
    assert.equal(5, refusal(b))
    has(b, { outstanding = 2 })
    assert.is_true(b:report(second, "ok"))
    assert.equal("closed", b:state())
  end)

  it("still counts the older probe once: a server that takes 8 s closes it", function()
    local b, at = half_open()
    local first = assert(b:allow())
    at.now = at.now + 5
    local second = assert(b:allow())
    at.now = at.now + 3
    assert.is_true(b:report(first, "ok"))
    assert.equal("closed", b:state())
    assert.is_false(b:report(first, "ok"))
    assert.is_false(b:report(second, "fail"))
  end)

  it("gives no permit for an older probe that comes back neutral", function()
    local b, at = half_open()
    local first = assert(b:allow())
    at.now = at.now + 5
    assert(b:allow())
    assert.is_true(b:report(first, "neutral"))
    refusal(b)
  end)

  it("renews each permit by itself, after the grown open time", function()
    local b, at = make { permits = 2, open_growth = 2, consecutive = 1 }
    run(b, 1, "fail")
    at.now = at.now + 5
    run(b, 1, "fail") -- 1 of 2: half of them failed
    assert.equal(10, refusal(b))
    at.now = at.now + 10
    assert(b:allow())
    at.now = at.now + 4
    assert(b:allow())
    assert.equal(6, refusal(b))
    at.now = at.now + 6
    assert(b:allow())
    assert.equal(4, refusal(b))
  end)

  it("renews after its own open time though a server's word kept it open for an hour", function()
    local b, at = make()
    b:force("open", 3600)
    at.now = at.now + 3600
    assert(b:allow())
    assert.equal(5, refusal(b))
  end)

  it("is never stuck, however many probes are lost", function()
    local b, at = half_open { slots = 3 }
    local lost = {}
    for i = 1, 10 do
      lost[i] = assert(b:allow())
      assert.equal(5, refusal(b))
      at.now = at.now + 5
    end
    has(b, { outstanding = 3 })
    assert.is_false(b:report(lost[7], "ok")) -- its slot was needed
    assert.is_true(b:report(lost[8], "ok"))
    assert.equal("closed", b:state())
  end)

  it("makes room among the slots of calls begun before", function()
    local b, at = make { slots = 2, permits = 2 }
    local old = allow(b, 3)
    b:force("open", 1)
    at.now = at.now + 1
    local probes = allow(b, 2)
    refusal(b)
    for _, ticket in ipairs(old) do assert.is_false(b:report(ticket, "fail")) end
    has(b, { outstanding = 2, calls = 0 })
    b:report(probes[1], "ok")
    b:report(probes[2], "ok")
    assert.equal("closed", b:state())
  end)
end)
