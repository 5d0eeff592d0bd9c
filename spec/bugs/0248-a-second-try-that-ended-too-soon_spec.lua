-- A flight lasts as long as the one may wait who has the most time, also who came late. The second
-- try beside its first one (a hedge) did not: it ended with the time of those who were there when
-- it began, just before its answer, and who had joined since waited for the slow first one.
local coalesced = require "spec.support.coalesced"
local world = require "spec.support.world"

local good, status = world.good, world.status

describe("a second try beside a flight's first one", function()
  local function hedged(a, b, kind)
    local w = world.new { script = { a = { a }, b = { b } }, order = { "a", "b" },
      options = { cache = true, retry = false, breaker = false,
        hedge = { after = 0.5, most = 1, price = "any" } },
      targets = { a = { priority = 1 }, b = { priority = 2 } } }
    local out = coalesced.ask(w, { { given = { deadline = 2 }, kind = kind },
      { given = { deadline = 100 }, after = 1, kind = kind } })
    coalesced.assert_idle(w)
    assert.equal("timeout", out[1].code)
    assert.near(2, out[1].at, 0.2)
    return out[2], w
  end

  it("goes on for who has joined since", function()
    local out, w = hedged(good("from a", 50), good("from b", 5))
    assert.equal("from b", out.reply.text)
    assert.near(5.5, out.at, 1e-6)
    assert.equal(2, #w.log)
  end)

  it("goes on where the first one has failed", function()
    local out, w = hedged(status(503, nil, nil, 3), good("from b", 5))
    assert.equal("from b", out.reply.text)
    assert.near(5.5, out.at, 1e-6)
    assert.equal(2, #w.log)
  end)

  it("goes on as a stream", function()
    local slow, quick = world.words { "from", " a" }, world.words { "from", " b" }
    slow.after, quick.after = 50, 5
    local out, w = hedged(slow, quick, "stream")
    assert.equal("from b", out.reply.text)
    assert.is_true(out.at < 6)
    assert.equal(2, #w.log)
  end)

  it("ends with the time of the last one", function()
    local out, w = hedged(good("from a", 500), good("from b", 500))
    assert.equal("timeout", out.code)
    assert.near(101, out.at, 0.2)
    assert.equal(2, #w.log)
  end)
end)
