local breakers = require "spec.support.breakers"

local YEAR, make, run, has = breakers.YEAR, breakers.make, breakers.run, breakers.has

describe("the window of seconds", function()
  it("drops each bucket when its time is over", function()
    local b, at = make()
    for _ = 1, 10 do
      run(b, 1, "fail")
      at.now = at.now + 1
    end
    for left = 9, 0, -1 do
      has(b, { calls = left, failures = left, failure_rate = left > 0 and 1 or 0 })
      at.now = at.now + 1
    end
  end)

  it("holds between nine and ten of ten seconds", function()
    local b, at = make()
    run(b, 1, "ok")
    at.now = at.now + 9.999999
    has(b, { calls = 1 })
    at.now = at.now + 0.000001
    has(b, { calls = 0 })
    at.now = at.now + 0.999999
    run(b, 1, "ok")
    at.now = at.now + 9
    has(b, { calls = 1 })
    at.now = at.now + 0.000001
    has(b, { calls = 0 })
  end)

  it("prunes on write too, so that old failures do not open it", function()
    local b, at = make()
    run(b, 19, "fail")
    at.now = at.now + 10
    run(b, 1, "fail")
    has(b, { state = "closed", calls = 1, failures = 1 })
  end)

  it("survives missed buckets, years, and a clock that stands still or steps back", function()
    for _, leap in ipairs { 3, 10, 11, 1e6, 100 * YEAR } do
      local b, at = make()
      run(b, 5, "fail")
      at.now = at.now + leap
      run(b, 2, "ok")
      has(b, { calls = leap < 10 and 7 or 2, successes = 2, failures = leap < 10 and 5 or 0 })
      at.now = at.now - 0.5
      run(b, 1, "ok")
      has(b, { successes = 3 })
      at.now = at.now + 0.5
      run(b, 1, "ok")
      has(b, { successes = 4 })
    end
  end)

  it("works before zero, in one bucket, and in buckets of uneven width", function()
    local windows = { { buckets = 1 }, { buckets = 7 }, { window = 0.001, buckets = 1000 } }
    for _, given in ipairs(windows) do
      local b, at = make(given, -3 * YEAR)
      run(b, 3, "ok")
      has(b, { calls = 3 })
      at.now = at.now + 10.1
      has(b, { calls = 0 })
      run(b, 2, "fail")
      has(b, { calls = 2, failures = 2 })
    end
  end)
end)

describe("the window of calls", function()
  it("holds the last so many, however old", function()
    local b, at = make { count = 5, failure_rate = 1, slow_after = 1 }
    run(b, 3, "fail", 2)
    run(b, 2, "ok")
    at.now = at.now + YEAR
    has(b, { calls = 5, failures = 3, slow = 3, failure_rate = 0.6, successes = 2 })
    run(b, 2, "ok")
    has(b, { calls = 5, failures = 1, slow = 1, successes = 4 })
    run(b, 1, "ok", 1)
    has(b, { calls = 5, failures = 0, slow = 1, successes = 5 })
  end)

  it("judges from min_calls on, which is `count` where that is less than 20", function()
    local b = make { count = 5 }
    run(b, 4, "fail")
    assert.equal("closed", b:state())
    run(b, 1, "fail")
    assert.equal("open", b:state())
    b = make { count = 100 }
    run(b, 19, "fail")
    assert.equal("closed", b:state())
    run(b, 1, "fail")
    assert.equal("open", b:state())
  end)

  it("keeps a cut with the newest call, and lets both go together", function()
    local b = make { count = 3, min_calls = 3, failure_rate = 1 }
    run(b, 1, "ok")
    local ticket = run(b, 1, "ok")
    assert.is_true(b:record(ticket, "fail"))
    has(b, { calls = 2, failures = 1, successes = 2 })
    run(b, 2, "ok")
    has(b, { calls = 3, failures = 1 })
    run(b, 1, "ok")
    has(b, { calls = 3, failures = 0 })
  end)

  it("ignores a cut when it holds no call, and the 16,384th on one call", function()
    local b = make { count = 3, min_calls = 3, failure_rate = 1 }
    local ticket = run(b, 1, "neutral")
    assert.is_false(b:record(ticket, "fail"))
    has(b, { failures = 0 })
    run(b, 1, "ok")
    for _ = 1, 16383 do assert(b:record(ticket, "fail")) end
    assert.is_false(b:record(ticket, "fail"))
    has(b, { calls = 1, failures = 16383, failure_rate = 1 })
    run(b, 1, "ok")
    assert.is_true(b:record(ticket, "fail"))
  end)
end)
