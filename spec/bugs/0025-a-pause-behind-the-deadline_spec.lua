-- A call that was to try again took a permit of the budget, which may mean waiting for one, and
-- then slept its pause: it had been asked before, not after, whether its deadline left time for
-- that. So it ended late, by up to the longest pause.
local guard = require "spec.support.leak_guard"
local world = require "spec.support.world"

describe("a call that has waited for its permit", function()
  guard.watch(before_each, after_each)

  it("does not sleep beyond its deadline", function()
    local w = world.new { script = { a = { world.status(503) } }, options = {
      budget = { floor = 1, ratio = 0 }, breaker = false, limiter = false,
      retry = { attempts = 3, kind = "constant", base = 4, jitter = 0 } } }
    local ended = {}
    w.loop.run(function()
      for i = 1, 3 do
        w.loop.spawn(function()
          local _, message, code = w:chat { deadline = 10 }
          ended[i] = { at = w:now(), message = message, code = code }
        end)
      end
    end)
    for i = 1, 3 do
      assert.is_true(ended[i].at <= 10, ended[i].at .. " s: " .. ended[i].message)
      assert.equal("busy", ended[i].code)
    end
    assert.matches("too near to try again", ended[3].message)
    assert.equal(0, w.client:status().budget.permits)
    w:assert_clean()
  end)
end)
