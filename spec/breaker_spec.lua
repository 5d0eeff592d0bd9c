local breaker = require "unbusy.breaker"

local YEAR = 365.25 * 86400

-- A breaker on a clock of its own: `at.now` is the time, in seconds.
local function make(given, start)
  local at = { now = start or 1000 }
  local o = { clock = function() return at.now end, seed = 1 }
  for k, v in pairs(given or {}) do o[k] = v end
  return breaker.new(o), at
end

-- Makes n calls one after the other, all with this outcome; gives the last ticket.
local function run(b, n, outcome, seconds)
  local ticket
  for _ = 1, n do
    ticket = assert(b:allow())
    assert.is_true(b:report(ticket, outcome, seconds))
  end
  return ticket
end

local function allow(b, n)
  local tickets = {}
  for i = 1, n do tickets[i] = assert(b:allow()) end
  return tickets
end

local function refusal(b)
  local ticket, message, code, detail = b:allow()
  assert.is_nil(ticket)
  assert.equal("breaker: the breaker is open", message)
  assert.equal("open", code)
  return detail.retry_after
end

local function has(b, expected)
  local stats = b:stats()
  for name, value in pairs(expected) do
    assert.equal(value, stats[name], name)
  end
end

-- A breaker whose open time is just over: the next call finds it half-open.
local function half_open(given)
  local b, at = make(given)
  b:force("open", 5)
  at.now = at.now + 5
  assert.equal("half_open", b:state())
  return b, at
end

describe("a closed breaker", function()
  it("starts closed, with nothing counted", function()
    local b = make()
    assert.equal("closed", b:state())
    assert.equal(0, b:retry_after())
    assert.same({ state = "closed", calls = 0, successes = 0, failures = 0, slow = 0,
      failure_rate = 0, refused = 0, outstanding = 0 }, b:stats())
  end)

  it("opens when exactly half of exactly 20 calls failed, whichever came last", function()
    local b = make()
    run(b, 10, "ok")
    run(b, 9, "fail")
    assert.equal("closed", b:state())
    run(b, 1, "fail")
    assert.equal("open", b:state())
    b = make()
    run(b, 10, "fail")
    run(b, 9, "ok")
    assert.equal("closed", b:state())
    run(b, 1, "ok")
    assert.equal("open", b:state())
  end)

  it("stays closed under the rate and under min_calls", function()
    local b = make()
    run(b, 11, "ok")
    run(b, 9, "fail")
    assert.equal("closed", b:state())
    b = make()
    run(b, 19, "fail")
    assert.equal("closed", b:state())
    has(b, { calls = 19, failures = 19, failure_rate = 1 })
  end)

  it("judges rates that no double holds exactly", function()
    for tenths = 1, 9 do
      local b = make { min_calls = 10, failure_rate = tenths / 10 }
      run(b, 10 - tenths, "ok")
      run(b, tenths - 1, "fail")
      assert.equal("closed", b:state())
      run(b, 1, "fail")
      assert.equal("open", b:state())
    end
  end)

  it("opens when enough calls were slow, well or not", function()
    local b = make { min_calls = 4, failure_rate = 1, slow_after = 2, slow_rate = 0.5 }
    run(b, 2, "ok", 1.999999)
    run(b, 1, "ok", 2)
    assert.equal("closed", b:state())
    run(b, 1, "fail", 1e300)
    assert.equal("open", b:state())
    has(b, { calls = 4, successes = 3, failures = 1, slow = 2 })
  end)

  it("takes a missing, negative or infinite length for what it is", function()
    local b = make { slow_after = 2 }
    run(b, 1, "ok")
    run(b, 1, "ok", -5)
    run(b, 1, "ok", -math.huge)
    has(b, { slow = 0 })
    run(b, 1, "ok", math.huge)
    has(b, { slow = 1, calls = 4 })
    b = make {}
    run(b, 1, "ok", math.huge)
    has(b, { slow = 0 })
  end)

  it("counts slow calls without opening when no slow_rate is given", function()
    local b = make { slow_after = 1 }
    run(b, 50, "ok", 3)
    has(b, { state = "closed", slow = 50 })
  end)

  it("opens after failures in a row, which a success ends and nothing else", function()
    local b, at = make { consecutive = 3 }
    run(b, 2, "fail")
    run(b, 1, "ok")
    run(b, 2, "fail")
    run(b, 5, "neutral")
    at.now = at.now + YEAR
    assert.equal("closed", b:state())
    run(b, 1, "fail")
    assert.equal("open", b:state())
  end)

  it("begins a new row when it closes", function()
    local b = make { consecutive = 3 }
    run(b, 2, "fail")
    b:force("closed")
    run(b, 2, "fail")
    assert.equal("closed", b:state())
  end)

  it("counts neither neutral outcomes nor calls under way", function()
    local b = make()
    run(b, 30, "neutral")
    allow(b, 3)
    has(b, { calls = 0, outstanding = 3, state = "closed" })
  end)
end)

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

describe("an open breaker", function()
  it("refuses, says for how long, and counts refusals apart", function()
    local b, at = make { consecutive = 1 }
    run(b, 1, "fail")
    assert.equal(5, refusal(b))
    at.now = at.now + 1.5
    assert.equal(3.5, refusal(b))
    assert.equal(3.5, b:retry_after())
    has(b, { state = "open", refused = 2, calls = 1, failures = 1, outstanding = 0 })
  end)

  it("may be asked at the very moment that retry_after names", function()
    for _, start in ipairs { 0, 0.1, 1e3 / 3, 1e9 + 0.3 } do
      local b, at = make({ consecutive = 1, open_for = 0.7, open_jitter = 1 }, start)
      run(b, 1, "fail")
      at.now = at.now + refusal(b) * 0.999
      at.now = at.now + refusal(b)
      assert.is_truthy(b:allow())
    end
  end)

  it("shows the end of its time without being asked for a call", function()
    local b, at = make { consecutive = 1 }
    run(b, 1, "fail")
    at.now = at.now + 4.999999
    assert.equal("open", b:state())
    at.now = at.now + 0.000001
    assert.equal("half_open", b:state())
    assert.equal(0, b:retry_after())
    has(b, { state = "half_open", calls = 0, failures = 0, failure_rate = 0 })
    at.now = at.now - 0.000001 -- asking changed nothing, not even the time seen
    assert.equal("open", b:state())
    assert.equal(0.000001, b:retry_after())
  end)

  it("ignores the answers of calls begun before it opened", function()
    local b = make { consecutive = 2 }
    local old = allow(b, 3)
    run(b, 2, "fail")
    assert.is_false(b:report(old[1], "ok"))
    assert.is_false(b:report(old[1], "ok"))
    has(b, { state = "open", successes = 0, calls = 2, outstanding = 0 })
  end)

  it("forgets the row and the window when it closes again", function()
    local b, at = make { min_calls = 2 }
    run(b, 2, "fail")
    at.now = at.now + 5
    run(b, 1, "ok")
    has(b, { state = "closed", calls = 0, failures = 0, successes = 0 })
    run(b, 1, "fail")
    assert.equal("closed", b:state())
    run(b, 1, "fail")
    assert.equal("open", b:state())
  end)
end)

describe("the open time", function()
  it("grows with each re-opening in a row up to the cap, and starts anew after a close", function()
    local b, at = make { consecutive = 1, open_for = 2, open_growth = 3, open_cap = 20 }
    for _ = 1, 2 do
      run(b, 1, "fail")
      for _, seconds in ipairs { 2, 6, 18, 20, 20 } do
        assert.equal(seconds, refusal(b))
        at.now = at.now + seconds
        run(b, 1, "fail")
      end
      at.now = at.now + 20
      run(b, 1, "ok")
      assert.equal("closed", b:state())
    end
  end)

  it("stays finite when it grows without a cap", function()
    local b, at = make { open_growth = 1e6, consecutive = 1, open_for = 1e9, open_jitter = 1 }
    run(b, 1, "fail")
    for _ = 1, 3 do
      local seconds = refusal(b)
      assert.is_true(seconds >= 1e9 and seconds <= 2e9)
      at.now = at.now + seconds
      run(b, 1, "fail")
    end
  end)

  it("spreads by chance over open_jitter, never below, differently for each seed", function()
    local least, most, first = math.huge, 0, {}
    for seed = 1, 300 do
      local b, at = make { consecutive = 1, open_jitter = 0.5, seed = seed }
      run(b, 1, "fail")
      local seconds = refusal(b)
      first[seed] = seconds
      least, most = math.min(least, seconds), math.max(most, seconds)
      at.now = at.now + seconds
      run(b, 1, "fail")
      assert.not_equal(seconds, refusal(b))
    end
    assert.is_true(least >= 5 and least < 5.1, least)
    assert.is_true(most <= 7.5 and most > 7.4, most)
    local again = make { consecutive = 1, open_jitter = 0.5, seed = 7 }
    run(again, 1, "fail")
    assert.equal(first[7], refusal(again))
  end)

  it("draws a seed of its own when none is given", function()
    local function seconds()
      local b = breaker.new { consecutive = 1, open_jitter = 1, clock = function() return 0 end }
      run(b, 1, "fail")
      return refusal(b)
    end
    assert.not_equal(seconds(), seconds())
  end)
end)

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

describe("a ticket", function()
  it("is a whole number under 2^53 and good for one report", function()
    local b = make()
    local seen = {}
    for _ = 1, 2000 do
      local ticket = assert(b:allow())
      assert.is_true(ticket > 0 and ticket < 2 ^ 53 and ticket == math.floor(ticket))
      assert.is_nil(seen[ticket])
      seen[ticket] = true
      assert.is_true(b:report(ticket, "ok"))
      assert.is_false(b:report(ticket, "fail"))
    end
    has(b, { calls = 2000, failures = 0, outstanding = 0 })
  end)

  it("is ignored when it is garbage, of another kind of number, or someone else's", function()
    local b, other = make(), make()
    local own = allow(b, 3)
    allow(other, 9)
    for _, ticket in ipairs { 0, -1, 1, 1.5, own[1] + 0.5, own[3] + 1, 2 ^ 31, 2 ^ 53, 1e300,
        math.huge, -math.huge, 0 / 0, 65535, 65536 + 65535, own[1] + 2000, 9 * 65536 + 8 } do
      assert.is_false(b:report(ticket, "fail"), ticket)
      if ticket ~= own[3] + 1 then -- a number of the right time: a cut of it cannot be told
        assert.is_false(b:record(ticket, "fail"), ticket)
      end
    end
    has(b, { calls = 0, failures = 0, outstanding = 3 })
  end)

  it("has no slot once all are taken, yet counts", function()
    local b = make { slots = 2 }
    local tickets = allow(b, 5)
    has(b, { outstanding = 5 })
    assert.equal(65535, tickets[3] % 65536)
    assert.equal(tickets[3], tickets[5])
    assert.is_true(b:report(tickets[3], "ok"))
    assert.is_true(b:report(tickets[4], "fail"))
    assert.is_true(b:report(tickets[5], "ok"))
    assert.is_false(b:report(tickets[5], "ok")) -- as many as were given out are back
    has(b, { calls = 3, failures = 1, outstanding = 2 })
    assert.is_true(b:report(tickets[1], "ok"))
    assert.not_equal(65535, b:allow() % 65536)
    has(b, { calls = 4, outstanding = 2 })
  end)

  it("without a slot is of one generation too", function()
    local b = make { slots = 1 }
    local tickets = allow(b, 2)
    assert.is_false(b:record(tickets[2], "fail")) -- none of its kind is back
    b:force("closed")
    assert.is_false(b:report(tickets[2], "fail"))
    tickets = allow(b, 3)
    assert.equal(65535, tickets[3] % 65536)
    assert.is_true(b:report(tickets[3], "ok"))
    assert.is_true(b:record(tickets[3], "fail"))
    b:force("closed")
    assert.is_false(b:record(tickets[3], "fail"))
    has(b, { calls = 0, failures = 0 })
  end)

  it("takes the slot of a call of an earlier generation before it goes without", function()
    local b = make { slots = 2 }
    local old = allow(b, 2)
    b:force("closed")
    local new = allow(b, 2)
    assert.not_equal(65535, new[1] % 65536)
    assert.not_equal(65535, new[2] % 65536)
    assert.is_false(b:report(old[1], "fail"))
    assert.is_false(b:report(old[2], "fail"))
    assert.is_true(b:report(new[1], "ok"))
    assert.is_true(b:report(new[2], "ok"))
  end)
end)

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

describe("without a clock of the caller's", function()
  it("is the C object, reads the monotonic clock, and takes a time behind its arguments", function()
    local b = breaker.new { open_for = 1e6, consecutive = 1 }
    assert.equal("userdata", type(b))
    assert.is_true(b:report(assert(b:allow()), "fail", 0.1))
    local seconds = refusal(b)
    assert.is_true(seconds > 999990 and seconds <= 1e6)
    assert.equal("open", b:state())
    assert.equal("half_open", b:state(1e9))
    assert.equal(0, b:retry_after(1e9))
    assert.equal("half_open", b:stats(1e9).state)
    local ticket = assert(b:allow(1e9))
    assert.is_true(b:report(ticket, "ok", nil, 1e9))
    assert.is_false(b:record(ticket, "fail", 1e9))
    b:force("open", 10, 1e9)
    assert.equal(10, b:retry_after(1e9))
  end)

  it("keeps breakers apart", function()
    local a, b = breaker.new { consecutive = 1 }, breaker.new { consecutive = 1 }
    run(a, 1, "fail")
    assert.equal("open", a:state())
    assert.equal("closed", b:state())
  end)
end)

describe("wrong use of a breaker", function()
  local function message(given)
    local ok, text = pcall(breaker.new, given)
    assert.is_false(ok)
    return text
  end

  it("raises for options, one by one", function()
    assert.matches("breaker: a table of options expected, got 5", message(5))
    assert.matches("unknown option 'open_fo', did you mean 'open_for'%?", message { open_fo = 1 })
    local numbers = { "window", "buckets", "count", "min_calls", "failure_rate", "slow_after",
      "slow_rate", "consecutive", "open_for", "open_growth", "open_cap", "open_jitter", "permits",
      "slots" }
    for _, name in ipairs(numbers) do
      for _, wrong in ipairs { "1", true, 0 / 0, -1, math.huge, {} } do
        assert.matches("breaker: " .. name .. ": ", message { [name] = wrong }, 1, true)
      end
      if name ~= "open_jitter" then
        assert.matches("breaker: " .. name .. ": ", message { [name] = 0 }, 1, true)
      end
    end
    local wholes = { "buckets", "count", "min_calls", "consecutive", "permits", "slots", "seed" }
    for _, name in ipairs(wholes) do
      assert.matches(name .. ": whole expected", message { [name] = 1.5 })
    end
    assert.matches("clock: function expected, got 3", message { clock = 3 })
    assert.matches("failure_rate: a number at most 1 expected", message { failure_rate = 1.01 })
    assert.matches("slots: a number at most 65534 expected", message { slots = 65535 })
  end)

  it("raises for options that contradict each other", function()
    assert.matches("slow_rate needs slow_after", message { slow_rate = 0.5 })
    assert.matches("buckets belong to a window of seconds", message { count = 50, buckets = 5 })
    assert.matches("min_calls: a number at most count %(10%) expected, got 11",
      message { count = 10, min_calls = 11 })
    assert.matches("open_cap: a number at least open_for %(5%) expected, got 2",
      message { open_cap = 2 })
    assert.matches("permits: a number at most slots %(4%) expected, got 5",
      message { permits = 5, slots = 4 })
    local ok, text = pcall(function() breaker.new { slow_rate = 0.5 } end)
    assert.is_false(ok)
    assert.matches("breaker_spec%.lua:%d+: breaker: slow_rate", text)
  end)

  it("takes the most and the least of every option", function()
    for name, field in pairs(breaker.schema) do
      for _, value in ipairs { field.min or false, field.max or false } do
        if value then
          local o = { [name] = value, slots = name == "permits" and 65534 or nil }
          if name == "slots" then o.slots = value end
          if name == "slow_rate" then o.slow_after = 1 end
          if name == "open_cap" then o.open_for = 0.001 end
          local b = make(o)
          run(b, 3, "ok", 1)
          assert.equal(name == "count" and value == 1 and 1 or 3, b:stats().calls)
        end
      end
    end
    local b = make { slots = 65534 }
    allow(b, 65535)
    has(b, { outstanding = 65535 })
  end)

  it("raises for arguments", function()
    for _, b in ipairs { breaker.new {}, (make()) } do
      local ticket = b:allow()
      local wrong = {
        function() b:report() end, function() b:report("x", "ok") end,
        function() b:report(nil, "ok") end, function() b:report({}, "ok") end,
        function() b:report(ticket) end,
        function() b:report(ticket, "o") end, function() b:report(ticket, "okay") end,
        function() b:report(ticket, "OK") end, function() b:report(ticket, "") end,
        function() b:report(ticket, 1) end, function() b:report(ticket, true) end,
        function() b:report(ticket, "ok", "soon") end, function() b:report(ticket, "ok", 0 / 0) end,
        function() b:record(ticket) end, function() b:record(ticket, "ok") end,
        function() b:record("x", "fail") end,
        function() b:force() end, function() b:force("half_open") end,
        function() b:force("shut") end, function() b:force("closed", 5) end,
        function() b:force("open", 0 / 0) end,
        function() b:force("open", "long") end,
      }
      for i, f in ipairs(wrong) do assert.is_false(pcall(f), "case " .. i) end
      assert.is_true(b:report(ticket, "ok")) -- none of them took it
      assert.equal("closed", b:state())
      assert.equal(1, b:stats().calls)
    end
  end)

  it("raises for a method on anything else, and hides the metatable", function()
    local b = breaker.new {}
    local names = { "allow", "report", "record", "state", "retry_after", "force", "stats" }
    for _, name in ipairs(names) do
      for _, other in ipairs { 1, "x", {}, io.stdout, false } do
        assert.is_false(pcall(b[name], other, 1, "ok"))
      end
      assert.is_false(pcall(b[name]))
    end
    assert.is_false(getmetatable(b))
    assert.has_error(function() b:allow(0 / 0) end)
    assert.has_error(function() b:allow("x") end)
  end)

  it("raises when a clock gives no time", function()
    assert.has_error(function() breaker.new { clock = function() return "now" end } end)
    assert.has_error(function() breaker.new { clock = function() return 0 / 0 end } end)
    assert.has_error(function() breaker.new { clock = function() error "no clock" end } end)
  end)
end)

-- The model: lists of all that happened, searched through each time. Time is in whole microseconds.
-- It must be told which tickets the breaker gave out, and how long chance let it stay open.
local model = {}
model.__index = model

local LIVES_ON = {
  open = "half_open", forced_open = "half_open", disabled = "closed", metrics_only = "closed",
}

function model.new(o, now)
  local m = setmetatable({ o = o, t0 = now, now = now, refused = 0, generation = 0 }, model)
  m.width = math.ceil(o.window / o.buckets)
  m.cooling = o.open_for
  m:close()
  return m
end

function model:enter(state)
  self.state, self.ends, self.generation = state, math.huge, self.generation + 1
  self.row, self.trial, self.out = 0, {}, self.out or {}
  self.reported, self.loose = {}, 0
end

function model:close()
  self.events, self.cooling = {}, self.o.open_for
  self:enter("closed")
end

function model:at(now)
  self.now = math.max(self.now, now)
  if self.now >= self.ends then
    if LIVES_ON[self.state] == "closed" then self:close() else self:enter("half_open") end
  end
end

-- The events that lie in the window.
function model:window()
  local o, live = self.o, {}
  if o.count then
    local first, calls = #self.events + 1, 0
    while first > 1 and (calls < o.count or self.events[first - 1].cut) do
      first = first - 1
      if not self.events[first].cut then calls = calls + 1 end
    end
    while self.events[first] and self.events[first].cut do first = first + 1 end
    for i = first, #self.events do live[#live + 1] = self.events[i] end
  else
    local function bucket(t) return math.floor((t - self.t0) / self.width) end
    for _, e in ipairs(self.events) do
      if bucket(self.now) - bucket(e.at) < o.buckets then live[#live + 1] = e end
    end
  end
  self.events = live
  return live
end

local function tally(events)
  local t = { calls = 0, successes = 0, failures = 0, slow = 0 }
  for _, e in ipairs(events) do
    if not e.cut then t.calls = t.calls + 1 end
    if e.failed then t.failures = t.failures + 1 else t.successes = t.successes + 1 end
    if e.slow then t.slow = t.slow + 1 end
  end
  return t
end

-- Opens, for a time that the caller fills in from the breaker and checks against `least`.
function model:open(least)
  self:enter("open")
  self.least, self.ends = least, nil
end

function model:over(t, n)
  return t.failures / n >= self.o.failure_rate
    or self.o.slow_rate ~= nil and t.slow / n >= self.o.slow_rate
end

function model:judge()
  local t = tally(self:window())
  if self.state ~= "closed" then return end
  if self.o.consecutive and self.row >= self.o.consecutive
      or t.calls >= self.o.min_calls and self:over(t, t.calls) then
    self:open(self.cooling)
  end
end

function model:fresh()
  local n, first = 0, nil
  for _, c in ipairs(self.out) do
    if c.generation == self.generation and self.now - c.at < self.cooling then
      n, first = n + 1, first or c.at
    end
  end
  return n, first
end

function model:admits()
  if self.state == "open" or self.state == "forced_open" then return false end
  return self.state ~= "half_open" or self:fresh() < self.o.permits
end

-- Takes note of a ticket given out; says whether it must have had a slot.
function model:issue(ticket)
  if #self.out >= self.o.slots then
    if self.out[1].generation ~= self.generation or self.state == "half_open" then
      table.remove(self.out, 1)
    else
      self.loose = self.loose + 1
      return false
    end
  end
  self.out[#self.out + 1] = { ticket = ticket, generation = self.generation, at = self.now }
  return true
end

function model:take(ticket, loose)
  if loose then
    if loose ~= self.generation or self.loose == 0 then return false end
    self.loose = self.loose - 1
    return true, self.out
  end
  local earlier = {}
  for i, c in ipairs(self.out) do
    if c.ticket == ticket then
      table.remove(self.out, i)
      return c.generation == self.generation, earlier
    end
    earlier[i] = c
  end
  return false
end

function model:full(earlier)
  if self.state == "half_open" then return false end
  if tally(self:window()).successes > 0 then return true end
  for _, c in ipairs(earlier) do
    if c.generation == self.generation and self.now - c.at < self.o.window then return true end
  end
  return false
end

function model:report(ticket, loose, outcome, took)
  local current, earlier = self:take(ticket, loose)
  if not current then return false end
  self.reported[ticket] = true
  if outcome == "busy" then outcome = self:full(earlier) and "neutral" or "fail" end
  if outcome == "neutral" or self.state == "disabled" then return true end
  local e = { at = self.now, failed = outcome == "fail" }
  e.slow = took ~= nil and self.o.slow_after ~= nil and took >= self.o.slow_after
  if self.state == "half_open" then
    self.trial[#self.trial + 1] = e
    local t, wanted = tally(self.trial), math.min(self.o.min_calls, self.o.permits)
    if self:over(t, wanted) then
      self.cooling = math.min(math.floor(self.cooling * self.o.open_growth), self.o.open_cap)
      self:open(self.cooling)
    elseif t.calls >= wanted then
      self:close()
    end
    return true
  end
  self.events[#self.events + 1] = e
  self.row = e.failed and self.row + 1 or 0
  self:judge()
  return true
end

function model:record(ticket)
  if self.state ~= "closed" and self.state ~= "metrics_only" then return false end
  if not self.reported[ticket] then return false end
  if self.o.count and #self:window() == 0 then return false end
  self.events[#self.events + 1] = { at = self.now, cut = true, failed = true }
  self.row = self.row + 1
  self:judge()
  return true
end

function model:force(state, length)
  if state == "closed" then
    self:close()
  elseif state == "open" then
    self:open(length or self.cooling)
  else
    self:enter(state)
    self.ends = length and self.now + length or math.huge
  end
end

function model:retry_after()
  if self.state == "open" or self.state == "forced_open" then return self.ends - self.now end
  if self.state ~= "half_open" then return 0 end
  local n, first = self:fresh()
  return n < self.o.permits and 0 or first + self.cooling - self.now
end

function model:stats()
  local t = tally(self.state == "half_open" and self.trial or self:window())
  t.failure_rate = t.failures == 0 and 0 or math.min(1, t.failures / t.calls)
  t.state, t.refused, t.outstanding = self.state, self.refused, self.loose
  for _, c in ipairs(self.out) do
    if c.generation == self.generation then t.outstanding = t.outstanding + 1 end
  end
  return t
end

describe("a breaker and its naive model", function()
  local floor = math.floor

  -- A generator of our own: math.random differs between the Luas.
  local function dice(seed)
    return function(n)
      seed = (seed * 16807) % 2147483647
      return seed % n + 1
    end
  end

  local defaults = { window = 10e6, buckets = 10, min_calls = 20, failure_rate = 0.5,
    open_for = 5e6, open_growth = 1, open_cap = 1e15, open_jitter = 0, permits = 1, slots = 1024 }
  local in_us = { "window", "slow_after", "open_for", "open_cap" }

  local function both(given, seed)
    local m, o, time = {}, { seed = seed }, 12345678
    for k, v in pairs(defaults) do m[k] = v end
    for k, v in pairs(given) do m[k], o[k] = v, v end
    if m.count and not given.min_calls then m.min_calls = math.min(20, m.count) end
    for _, k in ipairs(in_us) do o[k] = o[k] and o[k] / 1e6 end
    local at = { us = time }
    o.clock = function() return at.us / 1e6 end
    return breaker.new(o), model.new(m, time), at
  end

  local forces = { "open", "closed", "forced_open", "disabled", "metrics_only" }

  -- How far time moves before a step: often not, or a little, seldom years; or a little back.
  local function leap(roll)
    local kind = roll(100)
    if kind <= 40 then return 0 end
    if kind <= 85 then return roll(300000) end
    if kind <= 94 then return roll(4000000) end
    if kind <= 97 then return -roll(50000) end
    if kind <= 99 then return roll(20000000) end
    return roll(3) == 1 and roll(5) * 31557600e6 or 11e6
  end

  local function walk(given, seed, steps)
    local b, m, at = both(given, seed)
    local roll = dice(seed * 7919 + 1)
    local known, bad = {}, 50

    local function known_ticket()
      -- Mostly one of the youngest; else any, late and double ones too.
      local back = roll(3) > 1 and math.min(8, #known) or #known
      return known[#known - roll(back) + 1]
    end

    local function outcome()
      local kind = roll(100)
      if kind <= 8 then return "neutral" end
      if kind <= 25 then return "busy" end
      return kind <= 25 + bad * 0.75 and "fail" or "ok"
    end

    local function allow_one()
      local ticket, message, code, detail = b:allow()
      if not m:admits() then
        m.refused = m.refused + 1
        assert(ticket == nil and code == "open" and message, "should refuse")
        assert(detail.retry_after == m:retry_after() / 1e6, "retry_after of a refusal")
        return
      end
      assert(ticket, "should allow")
      local slotted = m:issue(ticket)
      assert(slotted == (ticket % 65536 ~= 65535), "slot")
      known[#known + 1] = { ticket = ticket, loose = not slotted and m.generation or nil }
    end

    local function report_one()
      if #known == 0 then return end
      local k, what = known_ticket(), outcome()
      local took = roll(3) > 1 and roll(4000000) or nil
      local expected = m:report(k.ticket, k.loose, what, took)
      assert(b:report(k.ticket, what, took and took / 1e6) == expected, "report")
    end

    local function record_one()
      if #known == 0 then return end
      local k = known_ticket()
      assert(b:record(k.ticket, "fail") == m:record(k.ticket), "record")
    end

    local function force_one()
      local state = forces[roll(5)]
      local length = state ~= "closed" and roll(2) == 1 and roll(9000000) or nil
      if roll(3) > 1 then state, length = "closed", nil end
      m:force(state, length)
      b:force(state, length and length / 1e6)
    end

    local function same(step)
      if not m.ends then -- it has just opened: chance is not the model's
        local length = floor(b:retry_after() * 1e6 + 0.5)
        assert(length >= m.least and length <= m.least * (1 + m.o.open_jitter), "open time")
        m.ends = m.now + length
      end
      local stats, expected = b:stats(), m:stats()
      for name, value in pairs(expected) do
        if stats[name] ~= value then
          error(("seed %d, step %d: %s is %s, expected %s"):format(seed, step, name,
            tostring(stats[name]), tostring(value)))
        end
      end
      assert(b:state() == m.state, "state")
      assert(b:retry_after() == m:retry_after() / 1e6, "retry_after")
    end

    local seen = {}
    for step = 1, steps do
      if step % 60 == 0 then bad = roll(100) end
      at.us = math.max(m.now - 50000, at.us + leap(roll))
      m:at(at.us)
      local kind = roll(200)
      if kind <= 95 then allow_one() elseif kind <= 188 then report_one()
      elseif kind <= 197 then record_one() else force_one() end
      same(step)
      seen[m.state] = (seen[m.state] or 0) + 1
    end
    return seen
  end

  local configs = {
    {},
    { min_calls = 4, permits = 3, open_for = 1e6 },
    { count = 12, min_calls = 6, open_for = 700001, permits = 2 },
    { count = 1, open_for = 300000 },
    { window = 1e6, buckets = 3, min_calls = 3, slow_after = 2e6, slow_rate = 0.6,
      failure_rate = 0.9, open_for = 2e6, open_growth = 1.7, open_cap = 9e6 },
    { consecutive = 3, failure_rate = 1, open_jitter = 0.4, open_for = 1e6, permits = 5,
      open_growth = 2 },
    { slots = 4, permits = 2, min_calls = 5, window = 3e6, buckets = 1, open_for = 200000 },
    { slots = 1, count = 5, failure_rate = 0.3, slow_after = 3e6, slow_rate = 1,
      open_for = 400000 },
  }

  it("agree over 20,000 random steps in a time that stands, runs, leaps and slips", function()
    local seen = {}
    for i, given in ipairs(configs) do
      for state, n in pairs(walk(given, i, 2500)) do seen[state] = (seen[state] or 0) + n end
    end
    local states = { "closed", "open", "half_open", "forced_open", "disabled", "metrics_only" }
    for _, state in ipairs(states) do
      assert.is_true((seen[state] or 0) > 200, state .. ": " .. (seen[state] or 0))
    end
  end)
end)
