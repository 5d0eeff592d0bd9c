-- The balancer: a decision (which target, a call begins there, it is over) through Lua, against the
-- same in plain Lua; and what routing adds to a call.
--
-- The peers are written as one would write them in Lua for speed: smooth weighted round robin over
-- a list, and two draws over a peak-EWMA; without sets that are ruled out, ramps, keys, tickets and
-- lines. On LuaJIT all of it is compiled.
local balancer = require "unbusy.balancer"
local core = require "unbusy.core"
local measure = require "bench.support.measure"
local region = require "unbusy.region"
local unbusy = require "unbusy"

local GOAL_NS = 300

local function targets()
  return { { name = "a", weight = 5 }, { name = "b", weight = 3 }, { name = "c", weight = 2 } }
end

-- {== Plain Lua ===========================================================

local function plain_weighted()
  local list = { { weight = 5, credit = 0 }, { weight = 3, credit = 0 },
    { weight = 2, credit = 0 } }
  return function(n)
    for _ = 1, n do
      local sum, best = 0, nil
      for i = 1, #list do
        local t = list[i]
        t.credit, sum = t.credit + t.weight, sum + t.weight
        if not best or t.credit > best.credit then best = t end
      end
      best.credit = best.credit - sum
    end
  end
end

local function load_of(t, now)
  local cost = t.cost
  if t.pending == 0 then cost = cost * math.exp((t.at - now) / 10) end
  return cost * (t.pending + 1) / t.weight
end

local function plain_p2c()
  local list = {}
  for i, weight in ipairs { 5, 3, 2 } do
    list[i] = { weight = weight, cost = 0.5, at = core.now(), pending = 0 }
  end
  return function(n)
    for _ = 1, n do
      local now, i, j = core.now(), math.random(3), math.random(2)
      if j >= i then j = j + 1 end
      local t = load_of(list[j], now) < load_of(list[i], now) and list[j] or list[i]
      t.pending = t.pending + 1
      if 0.5 < t.cost then
        t.cost = 0.5 + (t.cost - 0.5) * math.exp((t.at - now) / 10)
      else
        t.cost = 0.5
      end
      t.at, t.pending = now, t.pending - 1
    end
  end
end

-- }========================================================================

-- As a client has them: it knows what time it is.
local function decisions(b)
  return function(n)
    for _ = 1, n do
      local now = core.now()
      b:report(b:begin(b:choose(nil, nil, false, now), now), "ok", 0.5, now)
    end
  end
end

local function choices(b, key)
  return function(n)
    for _ = 1, n do b:choose(nil, key) end
  end
end

local weighted = balancer.new { targets = targets() }
local p2c = balancer.new { kind = "p2c", targets = targets() }
local shared = assert(balancer.new { kind = "p2c", targets = targets(), name = "bench",
  region = assert(region.new { bytes = 4 * 1024 * 1024 }) })

local ns = measure.race("a choice among three", {
  { name = "weighted", run = choices(weighted) },
  { name = "weighted, plain Lua, without a clock", run = plain_weighted() },
  { name = "p2c", run = choices(p2c) },
  { name = "by key", run = choices(weighted, 12345) },
})
for _, kind in ipairs { "weighted", "p2c", "by key" } do
  measure.goal("a choice, " .. kind, ns[kind], GOAL_NS, "ns")
end

ns = measure.race("choose + begin + report among three", {
  { name = "p2c", run = decisions(p2c) },
  { name = "p2c, plain Lua", run = plain_p2c() },
  { name = "p2c, in a region", run = decisions(shared) },
  { name = "floor: the clock", run = function(n)
    for _ = 1, n do core.now() end
  end },
})
measure.goal("choose + begin + report", ns.p2c, GOAL_NS, "ns")

-- {== In a client =========================================================

-- What a client's router takes for the order of a call's targets.
local function orders(route, weights)
  local list = {}
  for i, weight in ipairs { 5, 3, 2 } do
    list[i] = { name = "t" .. i, url = "http://127.0.0.1:1", weight = weights and weight or nil }
  end
  local client = unbusy.new { targets = list, route = route }
  local call = { tries = {}, kind = "chat", loop = { now = core.now }, moving = false,
    request = { messages = { { role = "system", content = "You help." },
      { role = "user", content = ("a question of some length "):rep(20) } } } }
  local router, all = client.router, client.pools.ordinary
  return function(n)
    for _ = 1, n do router:order(call, all, false) end
  end
end

ns = measure.race("the order of a call's three targets", {
  { name = "as they are listed", run = orders({}, false) },
  { name = "weighted", run = orders({}, true) },
  { name = "p2c", run = orders({ balance = "p2c" }, false) },
  { name = "sticky by prefix (500 bytes)", run = orders({ sticky = "prefix" }, false) },
})
measure.goal("the order by weight", ns.weighted, _VERSION == "Lua 5.4" and 1000 or 300, "ns")

-- }========================================================================
