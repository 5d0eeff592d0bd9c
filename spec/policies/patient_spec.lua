-- patient: what has time is answered behind an outage of ten minutes, or fails at its deadline; no
-- text is put in place of an answer.
local outage = require "spec.support.outage"
local world = require "spec.support.world"

-- A job that asks now and then; the server has no place for ten minutes.
local function black_out(seed, policy, how)
  return outage.run { seed = seed, policy = policy,
    servers = { { name = "main", phases = { { capacity = 4, latency = 2 },
      { at = 60, capacity = 0, when_full = how }, { at = 660, capacity = 4 } } } },
    calls = { { rate = 0.2, to = 900, deadline = 1800, priority = "batch" } },
    options = { clocks = { total = 3600 }, budget = false, queue = { max_wait = 1800 },
      fallback = "busy" },
  }
end

describe("the policy patient", function()
  for seed = 1, 3 do
    it("answers all that an outage of ten minutes holds up, seed " .. seed, function()
      for _, how in ipairs { { status = 503 }, { status = 0 } } do
        local default, mine = black_out(seed, "default", how), black_out(seed, "patient", how)
        assert.is_true(default.share < 0.9, default.share)
        assert.is_true(default.sources.fallback > 0)
        assert.equal(1, mine.share)
      end
    end)
  end

  local function waits(given, deadline)
    given.options = { policy = "patient", budget = false, breaker = false, limiter = false,
      clocks = { total = 36000 }, fallback = "busy" }
    given.random = function() return 0 end
    local w = world.new(given)
    local reply, message, code = w:chat { deadline = deadline }
    local out = {}
    for i, retry in ipairs(w:seen "retry") do out[i] = retry.seconds end
    return out, reply, code, message
  end

  it("waits longer and longer, and never lets the deadline pass between two tries", function()
    local out, reply, code = waits({ script = { a = { world.status(503) } } }, 400)
    for i, seconds in ipairs { 2, 4, 8, 16, 32, 60, 60, 60 } do assert.equal(seconds, out[i]) end
    local sum = 0
    for _, seconds in ipairs(out) do sum = sum + seconds + 0.1 end
    assert.is_true(sum > 390 and sum < 400, sum)
    assert.is_nil(reply)
    assert.equal("busy", code)
  end)

  it("goes to another target at once", function()
    local out, reply = waits({ script = { a = { world.status(500) }, b = { world.good() } } }, 60)
    assert.same({ 0 }, out)
    assert.equal("b", reply.target)
  end)

  it("obeys a server that asks for a longer wait", function()
    local out = waits({ script = { a = { world.status(503, { ["retry-after"] = "100" }),
      world.good() } } }, 3600)
    assert.is_true(out[1] >= 100 and out[1] <= 110, out[1])
  end)

  it("does what its page says", function()
    local rows = {}
    for i, name in ipairs { "default", "patient" } do
      local seen = black_out(1, name, { status = 503 })
      rows[i] = { name, ("%d of %d"):format(seen.answered, seen.calls), tostring(seen.received) }
    end
    assert.same(rows, outage.page "patient")
  end)
end)
