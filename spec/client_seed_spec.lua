-- A client with a seed does the same again; what chance decides is the pauses before tries, the
-- chance on top of a server's wait, and the open times of breakers.
local guard = require "spec.support.leak_guard"
local world = require "spec.support.world"

describe("a client's seed", function()
  guard.watch(before_each, after_each)

  -- The times at which a server that never answers is asked.
  local function times(options, headers)
    local w = world.new { script = { a = { world.status(503, headers) } }, options = options }
    for _ = 1, 3 do w:chat() end
    local out = {}
    for i, entry in ipairs(w.log) do out[i] = entry.at end
    return out
  end

  local function with(seed, more)
    local o = { seed = seed, limiter = false, breaker = { min_calls = 5, open_jitter = 1 } }
    for k, v in pairs(more or {}) do o[k] = v end
    return o
  end

  it("repeats the pauses and the open times", function()
    local one = times(with(7))
    assert.is_true(#one > 5)
    assert.same(one, times(with(7)))
    assert.not_same(one, times(with(8)))
  end)

  it("repeats the chance on top of what a server asks for", function()
    local asks = { ["retry-after"] = "2" }
    local one = times(with(7), asks)
    assert.is_true(one[2] - one[1] > 2)
    assert.same(one, times(with(7), asks))
    assert.not_same(one, times(with(8), asks))
  end)

  it("is another one each time where none is given", function()
    assert.not_same(times(with(nil)), times(with(nil)))
  end)
end)
