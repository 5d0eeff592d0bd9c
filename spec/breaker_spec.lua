local breaker = require "unbusy.breaker"
local breakers = require "spec.support.breakers"

local YEAR, make, run, allow = breakers.YEAR, breakers.make, breakers.run, breakers.allow
local refusal, has = breakers.refusal, breakers.has

describe("a closed breaker", function()
  it("starts closed, with nothing counted", function()
    local b = make()
    assert.equal("closed", b:state())
    assert.equal(0, b:retry_after())
    assert.same({ state = "closed", calls = 0, successes = 0, failures = 0, slow = 0,
      failure_rate = 0, refused = 0, opened = 0, outstanding = 0 }, b:stats())
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
