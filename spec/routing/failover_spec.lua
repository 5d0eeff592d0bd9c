-- What a service mesh is asked for, in virtual time: 90 and 10 %, two retries, half a second a try.
-- The primary is killed under load, or stands still, and comes back.
local world = require "spec.support.world"

local good = world.good

local KILL, BACK, SECONDS, RATE = 5, 12, 32, 40

describe("when the primary of two", function()
  local function run(dead)
    local w
    local function primary()
      local now = w:now()
      if now >= KILL and now < BACK then return dead end
      return good("", 0.05)
    end
    w = world.new { script = { primary = primary, secondary = { good("", 0.05) } },
      targets = { primary = { weight = 90 }, secondary = { weight = 10 } },
      options = { retry = { attempts = 3, kind = "full", base = 0.025, cap = 0.25 },
        clocks = { try = 0.5 }, breaker = { consecutive = 5 }, seed = 1 } }
    local calls = {}
    w.loop.run(function()
      local tasks = {}
      for i = 1, SECONDS * RATE do
        tasks[i] = w.loop.spawn(function()
          local at = w:now()
          local reply = w:chat()
          calls[i] = { at = at, took = w:now() - at, tries = reply and reply.tries or 99 }
        end)
        w.loop.sleep(1 / RATE)
      end
      for _, task in ipairs(tasks) do task:join() end
    end)
    w:assert_clean()
    return w, calls
  end

  -- The primary's share of the tries of some seconds.
  local function share(w, from, to)
    local n, all = 0, 0
    for _, e in ipairs(w:seen "try") do
      if e.at >= from and e.at < to then
        all, n = all + 1, n + (e.target == "primary" and 1 or 0)
      end
    end
    return n / all
  end

  local function closed_at(w)
    for _, e in ipairs(w:seen "state") do
      if e.to == "closed" then return e.at end
    end
  end

  local function check(w, calls, longest)
    for _, call in ipairs(calls) do
      assert.is_true(call.tries <= 2, call.tries) -- 99: it has failed
      assert.is_true(call.took < longest, call.took)
    end
    assert.near(0.9, share(w, 1, KILL - 0.5), 0.01)
    assert.is_true(share(w, KILL + 1.2, BACK) < 0.02)
    local closed = closed_at(w)
    assert.is_true(closed - BACK <= 5.2, closed)
    for step, part in ipairs { 0.1, 0.25, 0.5, 1 } do
      local from = closed + 2 * (step - 1)
      assert.near(90 * part / (90 * part + 10), share(w, from, from + 2), 0.04)
    end
    assert.near(0.9, share(w, closed + 8, SECONDS), 0.01)
  end

  it("is gone, no call fails, and each is sent twice at most", function()
    local w, calls = run { fail = "network", message = "connection refused", phase = "connect",
      after = 0.001 }
    check(w, calls, 0.2)
  end)

  it("stands still, too: a call takes half a second more, and only the first ones do", function()
    local w, calls = run { fail = "network", after = 60 }
    check(w, calls, 0.7)
    local late = 0
    for _, call in ipairs(calls) do late = late + (call.took > 0.2 and 1 or 0) end
    assert.is_true(late <= 0.9 * RATE * 0.5 + 6, late) -- until the fifth has waited; and a probe
  end)
end)
