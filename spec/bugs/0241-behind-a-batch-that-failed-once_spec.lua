-- A call joins a flight that is less urgent once that has its place. It also joined one that had
-- lost it again: whose first try had failed, and which slept or stood behind everybody else. So an
-- urgent call waited behind all others where somebody had asked the same in a batch.
local coalesced = require "spec.support.coalesced"
local world = require "spec.support.world"

local good, status = world.good, world.status
local ask, told, idle = coalesced.ask, coalesced.told, coalesced.assert_idle

describe("an urgent call, and a flight of a batch whose first try has failed", function()
  -- One place; the batch's call fails at 0.1 s, and then ten others take a second each.
  local function behind_others(kind)
    local script = { status(503) }
    for i = 2, 20 do script[i] = good("answer " .. i, 1) end
    local w = coalesced.world(script, { limiter = { kind = "fixed", initial = 1 }, breaker = false,
      retry = { attempts = 3, base = 0.5, jitter = 0 } })
    local list = { { given = { priority = "batch" }, kind = kind } }
    for i = 1, 10 do list[i + 1] = { text = "other " .. i, after = 0.2 } end
    list[12] = { given = { priority = "interactive" }, after = 0.4, kind = kind } -- it sleeps
    list[13] = { given = { priority = "interactive" }, after = 0.9, kind = kind } -- it is in line
    local out = ask(w, list)
    idle(w)
    return out
  end

  it("does not wait for it", function()
    local out = behind_others()
    assert.near(2.2, out[12].at, 1e-9)
    assert.near(2.2, out[13].at, 1e-9) -- with the other one
    assert.equal(out[12].reply.text, out[13].reply.text)
    assert.is_true(out[1].at > 5)
  end)

  it("does not wait for its stream", function()
    local out = behind_others "stream"
    assert.near(2.2, out[12].at, 1e-9)
    assert.near(2.2, out[13].at, 1e-9)
  end)

  it("joins it when it has a place again", function()
    local w = coalesced.world({ status(503), good("hello", 1) },
      { breaker = false, retry = { attempts = 2, base = 0.5, jitter = 0 } })
    local out = ask(w, { { given = { priority = "batch" } },
      { given = { priority = "interactive" }, after = 1 } })
    assert.equal("coalesced: 1, upstream: 1", told(out))
    assert.equal(2, #w.log)
    idle(w)
  end)
end)
