-- How a call's cost grows with its targets, from 1 to 200: the balancer's decision by itself, and
-- whole calls in simulated time, whose server answers at once.
--
-- A decision is choose, begin and report; a choice alone is made by weight or by a key. The calls
-- are client:chat with every stage on: its targets in their order, or shared out by load.
local balancer = require "unbusy.balancer"
local core = require "unbusy.core"
local measure = require "bench.support.measure"
local unbusy = require "unbusy"
local virtual = require "unbusy.loops.virtual"
local world = require "spec.support.world"

local COUNTS = { 1, 2, 5, 10, 20, 50, 100, 200 }

local good = world.good "hello"
local question = { model = "m", messages = { { role = "user", content = "hi" } } }

local function targets(count)
  local list = {}
  for i = 1, count do
    list[i] = { name = ("target-%03d"):format(i), weight = i % 5 + 1,
      url = ("http://target-%03d.example/v1"):format(i) }
  end
  return list
end

-- {== The balancer =========================================================

local function named(list)
  local out = {}
  for i, t in ipairs(list) do out[i] = { name = t.name, weight = t.weight } end
  return out
end

local function decisions(count)
  local b = balancer.new { kind = "p2c", targets = named(targets(count)) }
  return function(n)
    for _ = 1, n do
      local now = core.now()
      b:report(b:begin(b:choose(nil, nil, false, now), now), "ok", 0.5, now)
    end
  end
end

local function choices(count, has_key)
  local b, key = balancer.new { targets = named(targets(count)) }, 12345
  return function(n)
    for _ = 1, n do
      key = key + 7919
      b:choose(nil, has_key and key or nil)
    end
  end
end

-- }=========================================================================

-- {== Whole calls ==========================================================

local function serve(_, x)
  x:head(200, { ["content-type"] = "application/json" })
  x:data(good.body)
  x:finish()
end

local function calls(count, route)
  local list = targets(count)
  for _, t in ipairs(list) do t.weight = nil end
  local simulated = virtual.new { serve = serve }
  local client = assert(unbusy.new { targets = list, route = route, loop = simulated })
  return function(n)
    simulated.run(function()
      for _ = 1, n do assert(client:chat(question)) end
    end)
  end
end

-- }=========================================================================

-- A point of each line for each count.
local function grows(title, unit, names, contestants_of)
  local point = measure.curve(title, "targets", unit)
  for _, count in ipairs(COUNTS) do
    local ns = measure.times(contestants_of(count))
    for _, name in ipairs(names) do
      point(name, count, unit == "us" and ns[name] / 1000 or ns[name])
    end
  end
end

grows("a decision of the balancer", "ns",
  { "choose + begin + report, by load", "a choice by weight", "a choice by key" },
  function(count)
    return { { name = "choose + begin + report, by load", run = decisions(count) },
      { name = "a choice by weight", run = choices(count, false) },
      { name = "a choice by key", run = choices(count, true) } }
  end)

grows("a whole call whose server takes nothing", "us",
  { "in the order of the list", "by load" },
  function(count)
    return { { name = "in the order of the list", run = calls(count, {}) },
      { name = "by load", run = calls(count, { balance = "p2c" }) } }
  end)
