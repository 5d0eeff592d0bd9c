--- Clients that meet made-up servers in simulated time: the client is the real one, the servers are
--- those of the simulator.
--
--     local t = simulated.trace { seed = 1, calls = { deadline = 30 },
--       servers = { { target = "a", capacity = 20 }, { target = "a", at = 60, capacity = 0 } },
--       rate = function(at) return 14 end, seconds = 120 }
--     local f = simulated.meet(t, { name = "none" }, { targets = … })
local chance = require "unbusy.simulate.chance"
local figures = require "unbusy.simulate.figures"
local run = require "unbusy.simulate.run"
local setup = require "unbusy.simulate.setup"
local trace = require "unbusy.simulate.trace"

local simulated = {}

--- The clients that do without unbusy: one try, and the loop that everybody writes.
simulated.NAIVE, simulated.LOOP = setup.NAIVE, setup.LOOP

local STEP = 1 -- seconds for which a rate is taken as the same

-- Calls that know nothing of each other.
local function add_calls(made, o)
  local draw = chance.stream(o.seed, "arrivals")
  for from = 0, o.seconds - STEP, STEP do
    local rate, at = o.rate(from), from
    if rate > 0 then
      at = at - math.log(1 - draw()) / rate -- waiting has no memory: drawn anew at each step
      while at < from + STEP do
        trace.add(made, at, 1, 1, false, 0)
        at = at - math.log(1 - draw()) / rate
      end
    end
  end
end

--- A trace out of header lines and a rate.
---@param o table { seed =, calls = fields of `calls`, servers = lines of targets, in order, rate =
--- function(at) -> calls a second, seconds = }
---@return table trace
function simulated.trace(o)
  local made = trace.new "claims"
  made.seed = o.seed
  for name, value in pairs(o.calls or {}) do made.calls[name] = value end
  for _, line in ipairs(o.servers) do
    local message = trace.declare(made, line)
    if message then error(message, 2) end
  end
  add_calls(made, o)
  return made
end

--- What a client makes of it.
---@param t table trace
---@param what table { name =, policy = } see `unbusy.simulate.setup`
---@param config table? options of `unbusy.new`
---@return table figures of `unbusy.simulate.figures`, table record, table calls
function simulated.meet(t, what, config)
  local options, message = setup.options(t, config)
  if not options then error(message, 2) end
  local calls = run.calls(t, t.seed)
  local record, why = run.meet(t, what, options, { seed = t.seed, calls = calls })
  if not record then error(why, 2) end
  return figures.of(record, calls.n), record, calls
end

--- The share answered of the calls that came within some seconds.
---@param record table
---@param calls table
---@param from number
---@param to number
function simulated.answered(record, calls, from, to)
  local came, answered = 0, 0
  for i = 1, calls.n do
    if calls.at[i] >= from and calls.at[i] < to then
      came = came + 1
      if figures.answers[record.sources[i]] then answered = answered + 1 end
    end
  end
  return answered / came
end

return simulated
