-- A second try that waits for a permit of the budget asks again and again: whenever one comes back,
-- and among processes ten times a second. Each time counted in `unbusy_retry_budget_refused_total`,
-- the second tries that were not allowed, though it was allowed in the end: where many waited for a
-- moment, the alert UnbusyRetryBudgetExhausted said that most second tries were turned down, and
-- not one was.
local region = require "unbusy.region"
local world = require "spec.support.world"

local function refused_in(client)
  return tonumber(client:metrics():match "\nunbusy_retry_budget_refused_total (%d+)")
end

-- So many calls at once, whose first tries all fail: how many were answered, how many found the
-- budget spent, and what was counted.
local function burst(calls, options, second)
  local sent = 0
  local w = world.new { options = options, script = { a = function()
    sent = sent + 1
    return sent <= calls and world.status(500, nil, "{}", 0.1) or second
  end } }
  local answered, spent = 0, 0
  w.loop.run(function()
    for _ = 1, calls do
      w.loop.spawn(function()
        local reply, message = w:chat()
        if reply then answered = answered + 1 end
        if message and message:find "budget is spent" then spent = spent + 1 end
      end)
    end
  end)
  w:assert_clean()
  return { answered, spent, refused_in(w.client) }
end

local function options_of(budget, shared)
  return { metrics = true, breaker = false, limiter = false, budget = budget,
    region = shared and assert(region.new { bytes = 8 * 1024 * 1024 }) or nil,
    retry = { attempts = 2, base = 0.1, jitter = 0 } }
end

for name, shared in pairs { ["of one process"] = false, ["among processes"] = true } do
  describe("a second try " .. name, function()
    it("that has waited and was allowed is none that was turned down", function()
      assert.same({ 20, 0, 0 }, burst(20, options_of({ ratio = 0.1, floor = 2 }, shared),
        world.good("x", 1)))
    end)

    it("that was turned down counts once", function()
      assert.same({ 0, 17, 17 }, burst(20, options_of({ tokens = 42, floor = 2 }, shared),
        world.status(500, nil, "{}", 1)))
    end)

    it("beside the first counts once, however often it was wanted", function()
      local o = options_of({ tokens = 0 }, shared)
      o.hedge = { after = 0.5, most = 1 }
      local w = world.new { options = o, order = { "a", "b" },
        script = { a = { world.good("x", 9) }, b = { world.good("x", 9) } } }
      for _ = 1, 3 do assert.is_truthy(w:chat()) end
      assert.is_true(w.client:status().hedge.refused.budget > 3)
      assert.equal(3, refused_in(w.client))
      w:assert_clean()
    end)
  end)
end
