local limiters = require "spec.support.limiters"

local timed = limiters.timed

-- A server that lets in `good` of each `good + bad` calls: what is sent to it in so many seconds by
-- somebody who always wants more, ten times a second.
local function sent(o, good, bad, seconds)
  local t, n, accepted = timed(o), 0, 0
  for _ = 1, seconds * 10 do
    local ticket = t.l:allow()
    if ticket then
      local fine = n % (good + bad) < good
      n, accepted = n + 1, accepted + (fine and 1 or 0)
      t.l:report(ticket, fine and "ok" or "fail", 0.01)
    end
    t.forward(0.1)
  end
  return n, accepted
end

describe("limiter, throttled,", function()
  it("does not show while half of all calls are let in", function()
    assert.equal(1000, (sent({ kind = "fixed", initial = 20 }, 1, 1, 100)))
    assert.equal(1000, (sent({ kind = "fixed", initial = 20 }, 5, 1, 100)))
  end)

  it("sends one call a second where none is let in any more", function()
    local n = sent({ kind = "fixed", initial = 20 }, 0, 1, 100)
    assert.is_true(n >= 100 + 85 and n <= 100 + 101, n)
  end)

  it("sends no more than twice what is let in, and one a second", function()
    local n, accepted = sent({ kind = "fixed", initial = 20 }, 1, 3, 1000)
    assert.is_true(n <= 2 * accepted + 100 + 1000, n)
    assert.is_true(n >= 1000, n)
  end)

  it("says when the next call may start", function()
    local t = timed { kind = "fixed", initial = 20 }
    for _ = 1, 100 do
      t.l:report(t.l:allow(), "fail")
      t.forward(0.2)
    end
    t.l:report(assert(t.l:allow()), "fail")
    t.forward(0.2)
    local _, _, code, detail = t.l:allow()
    assert.equal("full", code)
    assert.near(0.8, detail.retry_after, 1e-6)
    assert.near(0.8, t.l:retry_after(), 1e-6)
    t.forward(0.8)
    assert.equal(0, t.l:retry_after())
    local ticket = assert(t.l:allow())
    t.l:report(ticket, "ok", 0.1) -- it earns one more
    assert.equal(1, t.l:stats().credit)
    assert.is_number((t.l:allow()))
  end)

  it("knows nothing of other failures, and begins anew when the breaker closes", function()
    local t = timed { kind = "fixed", initial = 20 }
    for _ = 1, 500 do t.l:report(t.l:allow(), "neutral") end
    assert.equal(100, t.l:stats().credit)
    for _ = 1, 100 do
      t.l:report(t.l:allow(), "fail")
      t.forward(0.2)
    end
    assert.equal(0, t.l:stats().credit)
    t.l:freeze(10)
    for _ = 1, 20 do assert.is_number((t.l:allow())) end -- the breaker spaces the probes
    t.l:restore()
    assert.equal(100, t.l:stats().credit)
  end)

  it("can be left out, or take another number", function()
    assert.equal(1000, (sent({ kind = "fixed", initial = 20, throttle = false }, 0, 1, 100)))
    assert.equal(1000, (sent({ kind = "fixed", initial = 20, throttle = 10 }, 1, 8, 100)))
  end)
end)

describe("limiter of the kind gradient", function()
  -- A server with so many places and a line of its own, under a load without end: first tokens come
  -- after 0.2 s, or as much later as the line takes. Gives the mean limit and wait of the end.
  local function run(o, places, seconds)
    local t = timed { kind = "gradient", initial = o.initial, max = o.max }
    local free_at, calls, limits, waits = {}, {}, 0, 0
    for i = 1, places do free_at[i] = 0 end
    local looks = 0
    while t.now < 1000 + seconds do
      while true do
        local ticket = t.l:allow()
        if not ticket then break end
        table.sort(free_at)
        local begins = math.max(free_at[1], t.now)
        free_at[1] = begins + 0.2
        calls[#calls + 1] = { ticket = ticket, at = begins + 0.2, took = begins + 0.2 - t.now }
      end
      table.sort(calls, function(a, b) return a.at < b.at end)
      local call = table.remove(calls, 1)
      t.forward(math.max(call.at - t.now, 0))
      t.l:started(call.ticket, call.took)
      t.l:report(call.ticket, "ok", call.took)
      if t.now > 1000 + seconds / 2 then
        looks, limits, waits = looks + 1, limits + t.l:limit(), waits + call.took
      end
    end
    return limits / looks, waits / looks, t.l
  end

  it("keeps the time to the first token near what it is when little goes on", function()
    for _, places in ipairs { 10, 40 } do
      local limit, wait, l = run({ initial = 5 }, places, 120)
      assert.is_true(wait > 0.2 and wait < 0.5, wait)
      assert.is_true(limit > places and limit < 2.5 * places, limit)
      assert.near(0.2, l:stats().base, 0.1)
    end
  end)

  it("does not creep up with a line that stands for ever", function()
    local limit, wait = run({ initial = 300, max = 1000 }, 10, 600)
    assert.is_true(limit < 40 and wait < 0.8, limit .. " " .. wait)
  end)

  it("is moved by nothing but first tokens and drops", function()
    local t = timed { kind = "gradient", initial = 10 }
    for _ = 1, 500 do
      t.l:report(t.l:allow(), "ok", 5)
      t.forward(0.1)
    end
    assert.equal(10, t.l:limit())
    t.l:report(t.l:allow(), "fail")
    assert.equal(9, t.l:limit())
    local ticket = t.l:allow()
    assert.is_true(t.l:started(ticket, 0.2))
    assert.is_false(t.l:started(ticket, 0.2))
    assert.is_true(t.l:report(ticket, "ok", 0.2))
    assert.is_false(t.l:started(ticket, 0.2))
    assert.has_error(function() t.l:started(ticket, 0 / 0) end)
    assert.has_error(function() t.l:started("x", 1) end)
  end)

  it("is no other kind's business", function()
    local t = timed { initial = 10 }
    for _ = 1, 100 do
      local ticket = t.l:allow()
      assert.is_true(t.l:started(ticket, 3))
      t.l:report(ticket, "neutral")
      t.forward(1)
    end
    assert.equal(10, t.l:limit())
  end)
end)
