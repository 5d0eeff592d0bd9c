--- Limiters in time of their own, and what the specs of the limiter do with them.
--
--     local t = limiters.timed { initial = 2 }
--     local tickets = t.start(2)
--     t.forward(1)                         -- seconds
--     t.stop(tickets, "ok", 1)
local assert = require "luassert"
local limiter = require "unbusy.limiter"

local limiters = {}

--- A limiter in time of its own: `t.now` is the clock, `t.l` the limiter.
function limiters.timed(o)
  local t = { now = 1000 }
  o = o or {}
  o.clock = function() return t.now end
  t.l = limiter.new(o)
  function t.forward(seconds) t.now = t.now + seconds end
  function t.start(count)
    local tickets = {}
    for i = 1, count or 1 do tickets[i] = assert((t.l:allow())) end
    return tickets
  end
  function t.stop(tickets, outcome, seconds)
    for _, ticket in ipairs(tickets) do assert(t.l:report(ticket, outcome, seconds)) end
  end
  return t
end

--- As many calls as go, at once.
function limiters.fill(t)
  local tickets = {}
  for _ = 1, 70000 do
    local ticket = t.l:allow()
    if not ticket then return tickets end
    tickets[#tickets + 1] = ticket
  end
  error "never full"
end

--- A round trip of `seconds` with every slot in use: the calls end one after the other, all well,
-- and each is replaced at once.
function limiters.trip(t, seconds, took)
  t.flying = t.flying or {}
  local function refill()
    for _, ticket in ipairs(limiters.fill(t)) do t.flying[#t.flying + 1] = ticket end
  end
  refill()
  local calls = #t.flying
  for _ = 1, calls do
    t.forward(seconds / calls)
    t.stop({ table.remove(t.flying, 1) }, "ok", took or seconds)
    refill()
  end
end

--- The same, and its last call is dropped.
function limiters.drop_one(t)
  t.stop({ table.remove(t.flying) }, "fail")
end

function limiters.near(expected, got) assert.near(expected, got, 1e-9) end

return limiters
