-- What is said of periods that are made up: each cause by its numbers, and what follows from
-- another cause is no cause.
local judge = require "unbusy.diagnose.judge"
local period = require "unbusy.diagnose.period"
local text = require "unbusy.diagnose.text"

-- A period of ten seconds: codes of calls, `tries` of targets as name -> code -> number ("" for an
-- answer), and other fields.
local function of(codes, tries, more)
  local p = period.new()
  p.span = 10
  for code, n in pairs(codes) do period.add_calls(p, n, code ~= "" and code or nil) end
  for target, list in pairs(tries or {}) do
    for code, n in pairs(list) do period.add_tries(p, target, n, code ~= "" and code or nil) end
  end
  for name, value in pairs(more or {}) do p[name] = value end
  return p
end

local quiet

local function causes(trouble)
  local out = {}
  for i, c in ipairs(judge.of { trouble = trouble, quiet = quiet }) do out[i] = c.cause end
  return out
end

local function evidence(trouble)
  return table.concat(judge.of({ trouble = trouble, quiet = quiet })[1].evidence, "\n")
end

describe("the judge", function()
  before_each(function()
    quiet = of({ [""] = 100 }, { a = { [""] = 100 } }, { took = 0.2 })
  end)

  it("finds a burst where they refuse and more calls come", function()
    local t = of({ [""] = 100, busy = 200 }, { a = { [""] = 100, busy = 200 } }, { took = 0.25 })
    assert.same({ "burst" }, causes(t))
    assert.matches("30 calls came a second, 10 before: 300 %%", evidence(t))
    assert.matches("10 a second were answered", evidence(t))
  end)

  it("finds less capacity where they refuse, and neither more calls come nor slower answers",
    function()
      local t = of({ [""] = 60, busy = 40 }, { a = { [""] = 60, busy = 40 } }, { took = 0.2 })
      assert.same({ "capacity" }, causes(t))
    end)

  it("finds slow inference where they refuse because of it, or time runs out", function()
    local t = of({ [""] = 60, busy = 40 }, { a = { [""] = 60, busy = 40 } }, { took = 0.8 })
    assert.same({ "slow" }, causes(t))
    t = of({ [""] = 100 }, { a = { [""] = 100 } }, { took = 0.8 })
    assert.same({ "slow" }, causes(t))
    assert.matches("an answer began after 0.80 s, 0.20 s before", evidence(t))
    t = of({ [""] = 20, timeout = 80 }, { a = { [""] = 20, timeout = 80 } }, { took = 0.2 })
    assert.same({ "slow" }, causes(t))
  end)

  it("finds the account's limit, also where it has become a line of ours", function()
    local t = of({ [""] = 60, limited = 40 }, { a = { [""] = 60, limited = 40 } }, { took = 0.2 })
    assert.same({ "account" }, causes(t))
    t = of({ [""] = 60, full = 40 }, { a = { [""] = 60, limited = 30 } },
      { took = 0.2, queued = 2 })
    assert.equal("account", causes(t)[1])
    assert.matches("the targets refused 30 of 90 tries", evidence(t))
  end)

  it("finds our own pool where we refuse and they would have answered", function()
    local t = of({ [""] = 88, full = 12 }, { a = { [""] = 88 } }, { took = 0.2, queued = 1.5,
      limit = 4, in_flight = 4 })
    assert.same({ "pool" }, causes(t))
    assert.matches("calls waited 1.50 s in our line on average, 0 ms before", evidence(t))
    assert.matches("the targets refused 0 of 88 tries", evidence(t))
    assert.matches("4 calls are under way now, our limits allow 4", evidence(t))
    t = of({ [""] = 100 }, { a = { [""] = 100 } }, { took = 0.2, queued = 3 }) -- nobody fails yet
    assert.same({ "pool" }, causes(t))
  end)

  it("does not blame our line where answers are slow, or where they refuse", function()
    local t = of({ [""] = 60, full = 40 }, { a = { [""] = 60 } }, { took = 0.9, queued = 2 })
    assert.equal("slow", causes(t)[1])
    t = of({ [""] = 60, full = 240 }, { a = { [""] = 60, busy = 60 } }, { took = 0.2, queued = 2 })
    assert.equal("burst", causes(t)[1])
  end)

  it("finds a dead target, and its network where all are", function()
    local t = of({ [""] = 60, network = 10, open = 30 },
      { a = { [""] = 60 }, b = { network = 10 } })
    assert.same({ "dead" }, causes(t))
    assert.matches("b: 0 of 10 tries were answered %(10 network%)", evidence(t))
    t = of({ network = 20, open = 30 }, { a = { network = 10 }, b = { network = 10 } })
    assert.same({ "network" }, causes(t))
    t = of({ upstream = 20 }, { a = { upstream = 20 } })
    assert.same({ "dead" }, causes(t))
  end)

  it("finds the network where connections fail now and then", function()
    local t = of({ [""] = 60, network = 30, cut = 10 },
      { a = { [""] = 60, network = 30, cut = 10 } })
    assert.same({ "network" }, causes(t))
  end)

  it("finds a key that is refused", function()
    assert.same({ "money" }, causes(of({ quota = 50 }, { a = { quota = 50 } })))
    assert.same({ "money" }, causes(of({ auth = 50, [""] = 50 }, { a = { auth = 50 } })))
  end)

  it("says what it does not know", function()
    quiet = nil
    local t = of({ [""] = 60, busy = 40 }, { a = { [""] = 60, busy = 40 } }, { took = 0.2 })
    assert.matches("there is no quiet time to compare with", evidence(t))
    assert.same({}, causes(of({ [""] = 60, policy = 40 }, { a = { [""] = 100 } })))
    local lines = text.lines({ trouble = of { [""] = 60, policy = 40 } }, {})
    assert.equal("It is not clear from this", lines[1])
  end)

  it("does not count callers who went away", function()
    local p = of { [""] = 50, cancelled = 50 }
    assert.equal(0, period.share(p))
    assert.same({}, causes(p))
  end)

  it("never raises, whatever the numbers", function()
    local words = { "", "busy", "limited", "quota", "auth", "timeout", "network", "cut", "full",
      "open", "budget", "cancelled", "upstream", "nobody knows this one" }
    local seed = 1
    local function draw(n)
      seed = seed * 16807 % 2147483647
      return seed % n
    end
    local function any()
      local codes, tries = {}, { a = {}, b = {} }
      for _, word in ipairs(words) do
        codes[word] = draw(3) == 0 and draw(50) or 0
        for _, t in pairs(tries) do t[word] = draw(3) == 0 and draw(50) or nil end
      end
      return of(codes, tries, { took = draw(2) == 0 and draw(100) / 50 or nil,
        queued = draw(2) * draw(100) / 50, span = draw(3) > 0 and draw(10) or nil })
    end
    for _ = 1, 2000 do
      quiet = draw(3) > 0 and any() or nil
      local f = { trouble = any(), quiet = quiet }
      local list = judge.of(f)
      for _, c in ipairs(list) do assert.is_true(c.weight > 0 and c.weight <= 1) end
      assert.is_string(text.lines(f, list)[1])
      assert.is_string(text.table(f, list).cause)
    end
  end)
end)
