--- Breakers on a clock of their own, and what the specs of the breaker do with them.
--
--     local b, at = breakers.make { consecutive = 3 }
--     breakers.run(b, 3, "fail")
--     at.now = at.now + 5                  -- seconds
local assert = require "luassert"
local breaker = require "unbusy.breaker"

local breakers = { YEAR = 365.25 * 86400 }

--- A breaker on a clock of its own: `at.now` is the time, in seconds.
function breakers.make(given, start)
  local at = { now = start or 1000 }
  local o = { clock = function() return at.now end, seed = 1 }
  for k, v in pairs(given or {}) do o[k] = v end
  return breaker.new(o), at
end

--- Makes n calls one after the other, all with this outcome; gives the last ticket.
function breakers.run(b, n, outcome, seconds)
  local ticket
  for _ = 1, n do
    ticket = assert(b:allow())
    assert.is_true(b:report(ticket, outcome, seconds))
  end
  return ticket
end

--- Begins n calls; gives their tickets.
function breakers.allow(b, n)
  local tickets = {}
  for i = 1, n do tickets[i] = assert(b:allow()) end
  return tickets
end

--- Asks for a call that must be refused; gives the seconds to wait.
function breakers.refusal(b)
  local ticket, message, code, detail = b:allow()
  assert.is_nil(ticket)
  assert.equal("breaker: the breaker is open", message)
  assert.equal("open", code)
  return detail.retry_after
end

--- Compares these of its numbers.
function breakers.has(b, expected)
  local stats = b:stats()
  for name, value in pairs(expected) do
    assert.equal(value, stats[name], name)
  end
end

--- A breaker whose open time is just over: the next call finds it half-open.
function breakers.half_open(given)
  local b, at = breakers.make(given)
  b:force("open", 5)
  at.now = at.now + 5
  assert.equal("half_open", b:state())
  return b, at
end

return breakers
