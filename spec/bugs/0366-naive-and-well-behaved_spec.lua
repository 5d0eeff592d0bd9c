-- The two clients of the simulator that do without unbusy were unbusy's own without its breaker,
-- limiter and retries, and behaved better than anybody's loop: where a server's refusal said
-- Retry-After, all their calls waited for that, and then came at once; a key or an account that was
-- refused was left alone for five minutes; and the configuration's limits per minute turned calls
-- away. A made-up outage whose refusals say "5 s" left `naive` 30 % where it has 72 %, and the rows
-- of `unbusy trace --retry-after` told of a client that nobody has.
local generate = require "unbusy.simulate.generate"
local simulate = require "unbusy.simulate"
local trace = require "unbusy.simulate.trace"

local CALLS = 600 -- ten a second

local function traced(line)
  local t = trace.new()
  line.target = "a"
  assert.is_nil(trace.declare(t, line))
  for i = 1, CALLS do trace.add(t, i / 10, 1, 1, false, 0) end
  return t
end

-- The figures of the two, and of unbusy, by name.
local function meet(line, config)
  local by = {}
  local report = assert(simulate.compare(traced(line), { { name = "none" } }, { config = config }))
  for _, c in ipairs(report.clients) do by[c.name] = c end
  return by
end

local function refusing(seconds)
  return { capacity = 4, latency = 1.01, when_full = { status = 503, retry_after = seconds } }
end

describe("who does without unbusy", function()
  it("hears nothing of a Retry-After", function()
    local without, with = meet(refusing(nil)), meet(refusing(5))
    for _, name in ipairs { "naive", "retry loop" } do
      local a, b = without[name], with[name]
      assert.same({ a.answered, a.upstream_calls, a.failures, a.total },
        { b.answered, b.upstream_calls, b.failures, b.total })
    end
    assert.equal(CALLS, with.naive.upstream_calls)
    assert.same({ busy = CALLS - with.naive.answered }, with.naive.failures)
    local limited = refusing(5)
    limited.when_full.status = 429
    assert.equal(without.naive.answered, meet(limited).naive.answered)
  end)

  it("asks again with a key that was refused, or without credit", function()
    for _, status in ipairs { 401, 402, 403 } do
      local by = meet { latency = 1, faults = { { share = 0.1, status = status } } }
      assert.equal(CALLS, by.naive.upstream_calls)
      assert.is_true(by.naive.answered > 0.8 * CALLS)
    end
  end)

  it("has no limits per minute", function()
    local config = { targets = { { name = "a", url = "https://api.example.com",
      limits = { requests_per_minute = 60, tokens_per_minute = 600, body = 65536 } } } }
    local by = meet({ latency = 1 }, config)
    assert.same({ CALLS, CALLS }, { by.naive.answered, by["retry loop"].answered })
    assert.is_true(by.none.answered < CALLS) -- those are for the client that has them
  end)

  it("is who made-up rows tell of", function()
    local function busy_rows(more)
      local made = assert(generate.new { kind = "brownout", seconds = 60, retry_after = more })
      local n = 0
      for i = 1, made.rows do
        if made.statuses[i] == 503 then n = n + 1 end
        assert.is_true(made.latencies[i] < 15) -- nobody stands in a line of ours
      end
      return n
    end
    assert.equal(busy_rows(nil), busy_rows(5))
  end)
end)
