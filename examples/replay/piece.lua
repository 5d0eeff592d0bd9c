--- A piece of a trace, played faster: every time in it is divided by the speed, so that minutes of
--- an outage pass in seconds of a clock. What the clients wait for is divided with it.
local json = require "unbusy.json"
local trace = require "unbusy.simulate.trace"

local piece = {}

local lengths = { "mean", "min", "max", "slow" }

local function mean_of(what)
  return type(what) == "number" and what or what.mean or (what.min + what.max) / 2
end

-- A distribution at another speed, `more` seconds longer on average.
local function faster(what, speed, more)
  if type(what) == "number" then return (what + more) / speed end
  local out, longer = {}, (mean_of(what) + more) / mean_of(what)
  for name, value in pairs(what) do out[name] = value end
  for _, name in ipairs(lengths) do
    if out[name] then out[name] = out[name] * longer / speed end
  end
  return out
end

local function failure(given, speed)
  return { status = given.status, share = given.share, latency = faster(given.latency, speed, 0),
    retry_after = given.retry_after and given.retry_after / speed }
end

-- What a header line would say of a phase. Nothing is streamed in a piece: the time that an answer
-- is written is part of its latency.
local function line_of(target, phase, at, speed)
  local faults = json.array()
  for i, fault in ipairs(phase.faults) do faults[i] = failure(fault, speed) end
  return { target = target.name, at = at, capacity = phase.capacity or json.null,
    queue = phase.queue, queue_sign = phase.queue_sign,
    keepalive_every = phase.keepalive_every / speed, when_full = failure(phase.when_full, speed),
    latency = faster(phase.latency, speed, mean_of(phase.writing)), faults = faults }
end

local function add_target(made, target, o)
  local first = target.phases[1]
  for _, phase in ipairs(target.phases) do
    if phase.at <= o.from then first = phase end
  end
  local lines = { line_of(target, first, 0, o.speed) }
  lines[1].price = target.price
  for _, phase in ipairs(target.phases) do
    if phase.at > o.from and phase.at < o.to then
      lines[#lines + 1] = line_of(target, phase, (phase.at - o.from) / o.speed, o.speed)
    end
  end
  for _, line in ipairs(lines) do
    local message = trace.declare(made, line)
    if message then error(message, 0) end
  end
end

-- The targets' names, or the only one that is wanted.
local function wanted(t, only)
  if not only then return t.targets end
  local index = t.by_name[only]
  if not index then error(("no target is named '%s'"):format(only), 0) end
  return { t.targets[index] }
end

-- The calls between the times; each `every`-th row of them.
local function add_calls(made, t, o)
  local seen = 0
  for i = 1, t.rows do
    local at = t.times[i]
    if at >= o.from and at < o.to and t.arrivals[i] > 0 then
      seen = seen + 1
      if seen % o.every == 0 then
        trace.add(made, (at - o.from) / o.speed, 1, t.arrivals[i], false, 0)
      end
    end
  end
  if made.asked == 0 then error("no call arrives between these times", 0) end
end

--- Cuts a piece out of a trace whose header says what its targets do.
---@param t table of `simulate.read`
---@param o table { from =, to = seconds, speed =, every = of so many calls one is made, only = the
--- only target there is, or nil }
---@return table trace
function piece.cut(t, o)
  local made = trace.new(("%s, %g to %g s, %g times as fast"):format(t.path, o.from, o.to, o.speed))
  made.seed, made.start = t.seed, t.start
  for name, value in pairs(t.calls) do made.calls[name] = value end
  made.calls.deadline, made.calls.stream = t.calls.deadline / o.speed, 0
  for _, target in ipairs(wanted(t, o.only)) do
    if not target.declared then
      error(("%s: no header line says what it does"):format(target.name), 0)
    end
    add_target(made, target, o)
  end
  add_calls(made, t, o)
  return made
end

--- The defaults of `unbusy.new` that are times, at a speed; for `targets` of one's own.
---@param made table a piece
---@param speed number
---@param policy string?
---@return table options
function piece.options(made, speed, policy)
  local targets = {}
  for i, target in ipairs(made.targets) do
    targets[i] = { name = target.name, url = "http://127.0.0.1:1", key = "made-up",
      price = target.price }
  end
  return { targets = targets, policy = policy, seed = made.seed,
    retry = { base = 1 / speed, cap = 30 / speed, max_wait = 120 / speed },
    breaker = { window = 10 / speed, open_for = 5 / speed }, queue = { max_wait = 30 / speed },
    clocks = { total = 300 / speed } }
end

return piece
