--- Policies against a trace of an outage, in simulated time.
--
--     local simulate = require "unbusy.simulate"
--     local trace = assert(simulate.read "examples/traces/outage.csv")
--     local report = assert(simulate.compare(trace, { { name = "default", policy = "default" } }))
--     for _, c in ipairs(report.clients) do print(c.name, c.availability, c.calls_each) end
--
-- The client, its stages and its parts are the real ones, on the `virtual` loop; only the servers
-- are a model, which the trace describes. docs/simulator.md says what a trace is and what the
-- figures mean.
local figures = require "unbusy.simulate.figures"
local observed = require "unbusy.simulate.observed"
local run = require "unbusy.simulate.run"
local setup = require "unbusy.simulate.setup"
local trace = require "unbusy.simulate.trace"

local simulate = {}

--- Reads a trace from a file; nil and a message with the file and the line.
simulate.read = trace.read

--- The names of the two clients that do without unbusy.
simulate.baselines = { setup.NAIVE, setup.LOOP }

local LOOKS = 240 -- at how things stand, in the time of a trace

-- Who is compared: the given ones, and those that do without unbusy.
local function contestants(given)
  local list = {}
  for i, what in ipairs(given) do
    list[i] = { name = what.name, policy = what.policy, kind = "policy" }
  end
  for _, name in ipairs(simulate.baselines) do
    list[#list + 1] = { name = name, kind = "without" }
  end
  return list
end

-- The seconds that charts show: the trace, and what it takes until the last call has ended.
local function horizon(span, records)
  local last = span
  for _, record in ipairs(records) do last = math.max(last, record.took) end
  return last
end

local function capacities(t, width, count, by_rows)
  local out = {}
  for i, target in ipairs(t.targets) do
    out[target.name] = figures.capacity(observed.phases(t, i, by_rows), width, count)
  end
  return out
end

local function target_names(t)
  local out = {}
  for i, target in ipairs(t.targets) do out[i] = target.name end
  return out
end

local function run_all(t, list, options, o)
  local records = {}
  for i, what in ipairs(list) do
    local record, message = run.meet(t, what, options, o)
    if not record then return nil, ("%s: %s"):format(what.name, message) end
    record.kind = what.kind
    records[i] = record
  end
  return records
end

--- Lets policies meet a trace, one after the other, and the two clients without unbusy after them.
---@param t table of `simulate.read`
---@param policies table[] { name =, policy = nil for the built-in decisions }
---@param given table? { config = options of `unbusy.new`, seed =, observed = go by the rows alone,
--- deadline = seconds a caller waits, stream = share of the calls }
---@return table? report { trace, seed, trouble, width, count, calls, capacity, clients (the
--- figures of each, with `record` and `columns`) }, string? message
function simulate.compare(t, policies, given)
  given = given or {}
  t.calls.deadline, t.calls.stream = given.deadline or t.calls.deadline,
    given.stream or t.calls.stream
  local options, message = setup.options(t, given.config)
  if not options then return nil, message end
  local seed, span = given.seed or t.seed, figures.span(t)
  local o = { seed = seed, calls = run.calls(t, seed), observed = given.observed,
    width = math.max(span, t.calls.deadline / 2) / LOOKS }
  local records
  records, message = run_all(t, contestants(policies), options, o)
  if not records then return nil, message end
  local report = { trace = t, seed = seed, span = span, width = o.width, calls = o.calls,
    count = math.ceil(horizon(span, records) / o.width - 1e-9), targets = target_names(t),
    trouble = figures.trouble(t, o.calls, o.observed), clients = {} }
  report.capacity = capacities(t, o.width, report.count, o.observed)
  for i, record in ipairs(records) do
    local f = figures.of(record, o.calls.n)
    f.recovery = figures.recovery(record, o.calls, t, report.trouble, o.observed)
    f.record, f.columns = record, figures.columns(record, o.calls, o.width, report.count)
    report.clients[i] = f
  end
  return report
end

return simulate
