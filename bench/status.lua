-- What the status costs: each call of a gateway, to be counted for it; and whoever looks at it.
--
-- A plain table of Lua is what it would be without shared memory: of one worker, gone with it.
local facts = require "unbusy.gateway.facts"
local json = require "unbusy.json"
local measure = require "bench.support.measure"
local recent = require "unbusy.recent"
local unbusy = require "unbusy"

local TARGETS, MODELS = 200, 2

local function client_of(region)
  local targets = {}
  for i = 1, TARGETS do
    targets[i] = { name = ("target-%d"):format(i), url = "http://127.0.0.1:1/v1", key = "k" }
  end
  return assert(unbusy.new { targets = targets, region = region })
end

local shared = client_of { name = ("bench-status-%d"):format(os.time()), bytes = 64 * 1024 * 1024 }
local private = client_of(nil)

-- {== A call ==============================================================

local function told_by(r)
  return function(n)
    for i = 1, n do
      r:started("target-1", 0.1 + i % 8 / 10)
      r:answered "upstream"
    end
  end
end

local function plain(n)
  local minutes, sizes = {}, {}
  for i = 1, n do
    local size = math.floor(math.log((0.1 + i % 8 / 10) / 0.001) / math.log(1.25))
    sizes[size] = (sizes[size] or 0) + 1
    minutes[60] = (minutes[60] or 0) + 1
  end
  return minutes, sizes
end

local function failing(r)
  return function(n)
    for _ = 1, n do r:failed("target-1", "busy") end
  end
end

local of_shared, of_private = recent.attach(shared), recent.attach(private)
local ns = measure.race("one call's answer is counted: its start and its source", {
  { name = "in a region", run = told_by(of_shared) },
  { name = "in memory of its own", run = told_by(of_private) },
  { name = "a plain table of Lua, of one worker", run = plain },
})
measure.goal("counting an answer, in a region", ns["in a region"], 1000, "ns")
measure.race("one failed try is counted", {
  { name = "in a region", run = failing(of_shared) },
  { name = "in memory of its own", run = failing(of_private) },
})

-- }========================================================================

-- {== A look ==============================================================

-- All there can be: an hour of every source, fifty failures, every target with starts and models.
local function fill(client, r)
  for _, t in ipairs(client.targets) do
    for m = 1, MODELS do t.account:scope("model-" .. m) end
    for i = 1, 5 do r:started(t.name, i) end
    r:failed(t.name, "busy")
  end
  local now = r.now()
  for minute = 0, 59 do
    r.now = function() return now - 60 * minute end
    for _, source in ipairs(recent.sources) do r:answered(source) end
  end
  r.now = function() return now end
end

fill(shared, of_shared)
local text = json.encode(facts.of(shared, 20))
local look = measure.race(("one look at %d targets with %d models each: %d bytes"):format(TARGETS,
  MODELS, #text), {
  { name = "gathering and encoding", run = function(n)
    for _ = 1, n do json.encode(facts.of(shared, 20)) end
  end },
  { name = "of that, client:status()", run = function(n)
    for _ = 1, n do shared:status() end
  end },
  { name = "of that, what happened lately", run = function(n)
    for _ = 1, n do of_shared:status() end
  end },
})
measure.goal("a look", look["gathering and encoding"] / 1e6, 20, "ms")

-- }========================================================================

shared:close()
private:close()
