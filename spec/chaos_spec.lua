-- The long run of chaos (make chaos), for a moment: whatever servers, callers and operators do,
-- each call ends once, with its own answer or a clear failure; each ticket comes back; limits and
-- budgets hold; and when the weather is fair again, all is well. And a part that does not keep its
-- rules is found out.
local era = require "spec.support.chaos.era"
local guard = require "spec.support.leak_guard"
local limiter = require "unbusy.limiter"
local random = require "spec.support.random"

local slow = os.getenv "UNBUSY_SANITIZED" or os.getenv "UNBUSY_COLLECTOR"
local CALLS = slow and 100 or 500

describe("chaos", function()
  guard.watch(before_each, after_each)
  local seed = random.seed(1)

  local function run(number, more)
    local given = { seed = seed, number = number, calls = CALLS, seconds = 4 }
    for name, value in pairs(more or {}) do given[name] = value end
    local told = era.run(given)
    return era.complaint(given, told), told
  end

  for number = 1, tonumber(os.getenv "UNBUSY_ROUNDS") or 5 do
    it(("is survived, era %d (UNBUSY_SEED=%d)"):format(number, seed), function()
      local complaint, told = run(number)
      assert.is_nil(complaint)
      assert.is_true(told.requests > 0 and told.tickets > CALLS / 10)
    end)
  end

  -- Beneath the ledger, the C object does what it should not.
  local function with_method(class, name, f, body)
    local methods = debug.getmetatable(class).__index
    local own = methods[name]
    methods[name] = f(own)
    local ok, message = pcall(body)
    methods[name] = own
    assert(ok, message)
  end

  it("finds a ticket that is not given back", function()
    local l = limiter.new {}
    local n = 0
    with_method(l, "report", function(own)
      return function(self, ...)
        n = n + 1
        if n == 5 then return true end
        return own(self, ...)
      end
    end, function()
      assert.matches("it says %d+", (run(1, { seed = 1 })))
    end)
  end)
end)
