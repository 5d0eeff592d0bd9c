--- Edge and centre: calls of which one in five is hard, met by the policy `edge`, in simulated time
--- or over real HTTP.
--
--     local ms = edge.all_at_centre(1.2)
--     local ms, seen = edge.split(0.1, 1.2, 0.05)   -- seen: what was escalated
local busyd = require "spec.support.busyd"
local core = require "unbusy.core"
local run = require "unbusy.simulate.run"
local setup = require "unbusy.simulate.setup"
local trace = require "unbusy.simulate.trace"
local unbusy = require "unbusy"

local edge = {}

local RATE = 20 -- calls a second

--- Calls of a simulated run; the share of hard ones.
edge.CALLS, edge.HARD = 4000, 0.2

-- {== In simulated time ====================================================

local function server(name, latency, more)
  local out = { target = name, pool = name, capacity = 200,
    latency = { kind = "lognormal", mean = latency, sigma = 0.3 } }
  for field, value in pairs(more or {}) do out[field] = value end
  return out
end

-- Calls at regular times, so that nothing but the servers differs.
local function trace_of(servers)
  local made = trace.new "bench"
  made.calls.hard = edge.HARD
  for _, one in ipairs(servers) do assert(not trace.declare(made, one)) end
  for i = 1, edge.CALLS do trace.add(made, i / RATE, 1, 1, false, 0) end
  return made
end

local function mean(list)
  local sum = 0
  for _, value in ipairs(list) do sum = sum + value end
  return sum / #list
end

-- The mean in milliseconds, and what was escalated.
local function meet(servers, what, escalate)
  local made = trace_of(servers)
  local options = assert(setup.options(made))
  options.escalate, options.limiter = escalate, { initial = 200 } -- there is room for all
  local record = assert(run.meet(made, what, options, { seed = 1, calls = run.calls(made, 1) }))
  for i = 1, edge.CALLS do assert(record.sources[i] == "upstream", record.codes[i]) end
  return mean(record.totals) * 1000, record.escalate
end

--- The mean in milliseconds where the centre answers everything.
---@param centre number its mean seconds
function edge.all_at_centre(centre)
  return (meet({ server("centre", centre) }, { name = "all at the centre" }))
end

--- The mean in milliseconds where the edge answers what is routine, and what was escalated.
---@param near number its mean seconds
---@param far number the centre's
---@param weak number share of the edge's answers that are weak
---@param bounds table? option `escalate`; without a bound by default
---@return number ms, table seen
function edge.split(near, far, weak, bounds)
  return meet({ server("centre", far), server("edge", near, { weak = weak }) },
    { name = "edge", policy = "edge" }, bounds or { most = 1 })
end

-- }========================================================================

-- {== Over real HTTP =======================================================

--- Of a run over HTTP: calls, and how many at once.
edge.HTTP_CALLS, edge.CALLERS = 400, 40

local function ask_all(client)
  local next_one, sum = 0, 0
  unbusy.run(function()
    for _ = 1, edge.CALLERS do
      unbusy.spawn(function()
        while next_one < edge.HTTP_CALLS do
          next_one = next_one + 1
          local text = next_one % 5 == 0 and "explain why " or "when is "
          local began = core.now()
          local reply = assert(client:chat { model = "m",
            messages = { { role = "user", content = text .. next_one } } })
          assert(reply.text ~= "", "a weak answer")
          sum = sum + core.now() - began
        end
      end)
    end
  end)
  return sum / edge.HTTP_CALLS * 1000, client:status().escalate
end

--- The same over HTTP, at two busy upstreams: the mean in milliseconds of all at the centre, and of
--- both; and what was escalated.
---@param latency table { edge =, centre = seconds }
---@param weak number share of the edge's answers that are weak
---@return number all_there, number both, table seen
function edge.over_http(latency, weak)
  local near, far = busyd.start { workers = 1 }, busyd.start { workers = 1 }
  far:programme { latency = latency.centre }
  near:programme { latency = latency.edge, seed = 1,
    faults = { { share = weak, answer = { answer = { text = "" } } } } }
  local centre = { name = "far", url = far.url .. "/v1", key = "k", pool = "centre" }
  local alone = unbusy.new { targets = { centre }, limiter = { initial = 100 } }
  local both = unbusy.new { policy = "edge", escalate = { most = 1 }, limiter = { initial = 100 },
    targets = { centre, { name = "near", url = near.url .. "/v1", key = "k", pool = "edge" } } }
  local all_there = ask_all(alone)
  local ms, seen = ask_all(both)
  near:stop()
  far:stop()
  return all_there, ms, seen
end

-- }========================================================================

return edge
