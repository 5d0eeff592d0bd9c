-- frugal: the same questions cost less, and nearly all are answered; a dearer target is asked where
-- the cheap one cannot.
local outage = require "spec.support.outage"
local world = require "spec.support.world"

local dear = { input = 4, output = 16 }
local cheap = { input = 1, output = 4 }

-- A dear and a cheap target of the same weight; the cheap one has little room for 100 s.
local function run(seed, policy)
  return outage.run { seed = seed, policy = policy,
    servers = {
      { name = "dear", target = { weight = 1, price = dear },
        phases = { { capacity = 20, latency = 1 } } },
      { name = "cheap", target = { weight = 1, price = cheap },
        phases = { { capacity = 10, latency = 1.5 }, { at = 100, capacity = 2 },
          { at = 200, capacity = 10 } } },
    },
    calls = { { rate = 4, to = 300, deadline = 60, questions = 1000 } },
    options = { cache = { ttl = 60 } },
  }
end

describe("the policy frugal", function()
  for seed = 1, 3 do
    it("costs less than half of what default does, seed " .. seed, function()
      local default, mine = run(seed, "default"), run(seed, "frugal")
      assert.is_true(mine.share > 0.99, mine.share)
      assert.is_true(mine.cost < 0.5 * default.cost, mine.cost / default.cost)
      assert.is_true(mine.sources.cache > 1.5 * default.sources.cache)
      assert.is_true(mine.servers.dear.received > 0) -- while the cheap one was full
    end)
  end

  local function asked(prices, script, tries)
    local targets = {}
    for name, price in pairs(prices) do targets[name] = { price = price or nil } end
    local w = world.new { script = script, targets = targets, random = function() return 0 end,
      options = { policy = "frugal", budget = false, breaker = false, limiter = false } }
    w:chat { deadline = 200 }
    local out = {}
    for i = 1, tries do out[i] = w.log[i].host end
    return table.concat(out, " "), w
  end

  it("asks by price, what has none last, and by the order of the configuration", function()
    local good = { world.good() }
    assert.equal("b", (asked({ a = dear, b = cheap }, { a = good, b = good }, 1)))
    assert.equal("b", (asked({ a = false, b = dear }, { a = good, b = good }, 1)))
    assert.equal("a", (asked({ a = cheap, b = cheap }, { a = good, b = good }, 1)))
  end)

  it("gives a busy cheap target a second try before a dearer one is asked", function()
    local who, w = asked({ a = dear, b = cheap },
      { a = { world.good() }, b = { world.status(503) } }, 3)
    assert.equal("b b a", who)
    local waits = {}
    for i, retry in ipairs(w:seen "retry") do waits[i] = retry.seconds end
    assert.same({ 4, 8 }, waits)
  end)

  it("goes to the dearer one at once where the cheap one has no money", function()
    local who, w = asked({ a = dear, b = cheap },
      { a = { world.good() }, b = { world.status(402) } }, 2)
    assert.equal("b a", who)
    assert.near(0.2, w:now(), 1e-9)
  end)

  local function kept(request, given)
    local w = world.new { script = { a = { world.good() } },
      options = { policy = "frugal", cache = { ttl = 60 } } }
    local second
    w.loop.run(function()
      w.client:chat(request)
      w.loop.sleep(given.after)
      second = w.client:chat(given.request or request)
    end)
    return second.source
  end

  local function question(text, more)
    local out = { messages = { { role = "user", content = text } } }
    for name, value in pairs(more or {}) do out[name] = value end
    return out
  end

  it("keeps answers for a day, but not where another one is wanted each time", function()
    assert.equal("cache", kept(question "hi", { after = 23 * 3600 }))
    assert.equal("upstream", kept(question "hi", { after = 25 * 3600 }))
    assert.equal("upstream", kept(question("hi", { temperature = 1.5 }), { after = 1 }))
    assert.equal("upstream", kept(question("hi", { n = 2 }), { after = 1 }))
  end)

  it("takes a question for the same with blanks around it, and no other", function()
    assert.equal("cache", kept(question "hi", { after = 1, request = question " hi\n" }))
    assert.equal("upstream", kept(question "h i", { after = 1, request = question "hi" }))
    assert.equal("upstream", kept(question "hi", { after = 1, request = question "Hi" }))
  end)

  it("does what its page says", function()
    local rows = {}
    for i, name in ipairs { "default", "frugal" } do
      local seen = run(1, name)
      rows[i] = { name, ("%d of %d"):format(seen.answered, seen.calls),
        tostring(seen.sources.cache), ("%.2f"):format(seen.cost * 1000 / seen.answered),
        ("%.2f s"):format(seen.mean), ("%.2f s"):format(seen.p99) }
    end
    assert.same(rows, outage.page "frugal")
  end)
end)
