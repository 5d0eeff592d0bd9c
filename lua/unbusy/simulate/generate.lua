--- Makes traces: a burst, a brown-out, a black-out, or all of an outage.
--
-- | kind | what happens |
-- |---|---|
-- | `burst` | more arrives than the target can answer: `times` as much |
-- | `brownout` | it has 0.4 of its places, takes twice as long, and fails now and then |
-- | `blackout` | it has no place at all |
-- | `outage` | a brown-out, a black-out, and a return with half the places, and those who gave up |
-- | `day` | what arrives follows the hours of a working day, up to `times` as much |
--
-- The header says what the target does; the rows are what a client that asks once sees of that.
-- That client is simulated too: so the rows fit the header, and a trace is as if it was recorded.
local chance = require "unbusy.simulate.chance"
local json = require "unbusy.json"
local offered = require "unbusy.simulate.generate_options"
local ordered = require "unbusy.simulate.ordered"
local run = require "unbusy.simulate.run"
local setup = require "unbusy.simulate.setup"
local trace = require "unbusy.simulate.trace"

local generate = {}

-- {== What the target does ================================================

local LINE = 1e6 -- places in the line of a server that lets everybody wait

-- The fields that say what those get who find no place.
local function when_full(o)
  if o.how == "silent" or o.how == "keepalive" then
    return { queue = LINE, queue_sign = o.how }
  end
  local status = o.how == "limit" and 429 or o.how == "dead" and 0 or 503
  return { when_full = { status = status, retry_after = o.retry_after, latency = 0.05 } }
end

local function seconds_of(o, factor)
  local share = o.stream > 0 and 0.6 or 1 -- of the time, to the first byte of answer
  local out = { latency = { kind = "lognormal", mean = o.latency * factor * share, sigma = 0.5 } }
  if o.stream > 0 then
    out.writing = { kind = "lognormal", mean = o.latency * factor * (1 - share), sigma = 0.3 }
  end
  return out
end

local function with(base, ...)
  local out = {}
  for name, value in pairs(base) do out[name] = value end
  for i = 1, select("#", ...) do
    for name, value in pairs((select(i, ...))) do out[name] = value end
  end
  return out
end

local function places(o, share)
  return { capacity = math.floor(o.capacity * share + 0.5) }
end

-- Each kind: what changes when, as { at, fields }, and how much arrives when, as { from, to, rate
-- as a share of what can be answered }.
local kinds = {}

function kinds.burst(o, from, to)
  return {}, { { from, to, o.times } }
end

local function worse(o, share, factor, faults)
  return with(places(o, share), seconds_of(o, factor), { faults = faults })
end

local FAULTS = { { share = 0.03, status = 500, latency = 0.2 } }

function kinds.brownout(o, from, to)
  return { { from, worse(o, 0.4, 2, FAULTS) }, { to, worse(o, 1, 1, json.null) } }, {}
end

function kinds.blackout(o, from, to)
  return { { from, with(places(o, 0), when_full(o)) }, { to, places(o, 1) } }, {}
end

function kinds.outage(o, from, to)
  local length = to - from
  local dark, back, well = from + 0.45 * length, from + 0.75 * length, to
  return {
    { from, worse(o, 0.4, 2, FAULTS) },
    { dark, with(places(o, 0), when_full(o)) },
    { back, worse(o, 0.5, 1.5, json.null) },
    { well, worse(o, 1, 1, json.null) },
  }, { { back, back + 0.25 * length, 1.2 } }
end

-- The header lines: the target, what changes there, and the one beside it.
local function targets_of(o, changes)
  local full = o.kind == "blackout" and {} or when_full(o)
  local list = { with({ target = o.target, price = { input = 1, output = 4 } }, places(o, 1),
    seconds_of(o, 1), full) }
  for _, change in ipairs(changes) do
    list[#list + 1] = with({ target = o.target, at = change[1] }, change[2])
  end
  if o.backup then
    list[#list + 1] = with({ target = "backup", price = { input = 2, output = 8 } },
      places(o, 0.5), seconds_of(o, 1.5), { when_full = { status = 429, latency = 0.05 } })
  end
  return list
end

-- What arrives in each hour of a working day, as a share of the most: quiet nights, a height before
-- noon and a higher one in the afternoon.
local HOURS = { 0.18, 0.11, 0.07, 0.05, 0.05, 0.06, 0.11, 0.23, 0.45, 0.82, 0.95, 0.91, 0.59, 0.64,
  0.91, 1, 0.95, 0.82, 0.55, 0.45, 0.45, 0.41, 0.32, 0.25 }
local PIECES = 12 -- of an hour

-- The rate goes straight from the middle of an hour to the middle of the next one.
function kinds.day(o)
  local out, n = {}, #HOURS * PIECES
  for i = 1, n do
    local hour = (i - 0.5) / PIECES - 0.5
    local before, part = math.floor(hour), hour - math.floor(hour)
    local a, b = HOURS[before % 24 + 1], HOURS[(before + 1) % 24 + 1]
    local share = (a + (b - a) * part) ^ o.contrast
    out[i] = { (i - 1) / n * o.seconds, i / n * o.seconds, share * o.times }
  end
  return {}, out
end

-- }========================================================================

-- {== What arrives ========================================================

-- Arrivals that know nothing of each other, at a rate that changes at times.
local function add_arrivals(made, o, bursts)
  local draw = chance.stream(o.seed, "arrivals")
  local capacity_rate = o.capacity / o.latency
  local changes = { { 0, o.load } }
  for _, burst in ipairs(bursts) do
    changes[#changes + 1] = { burst[1], burst[3] }
    changes[#changes + 1] = { burst[2], o.load }
  end
  for i, change in ipairs(changes) do
    local at, stop = change[1], changes[i + 1] and changes[i + 1][1] or o.seconds
    local rate = change[2] * capacity_rate
    at = at - math.log(draw()) / rate -- waiting has no memory: drawn anew at each change
    while at < math.min(stop, o.seconds) do
      trace.add(made, math.floor(at * 1000 + 0.5) / 1000, 1, 1, false, 0)
      at = at - math.log(draw()) / rate
    end
  end
end

-- }========================================================================

-- {== The recording =======================================================

-- What a failure with a good status comes to, or one without any; 0: no answer.
local by_code = { busy = 503, limited = 429, cut = 502, empty = 502, upstream = 502 }

-- Writes into the rows what a client that asks once has seen.
local function recorder(made)
  return function(i, reply, code, detail)
    local status = (reply or detail).status
    local is_failure = not reply and (not status or status < 300)
    made.statuses[i] = is_failure and (by_code[code] or 0) or status
  end
end

local function record(made, o)
  local options = assert(setup.options(made))
  local got = assert(run.meet(made, { name = setup.NAIVE }, options,
    { seed = o.seed, calls = run.calls(made, o.seed), ended = recorder(made) }))
  for i = 1, made.rows do made.latencies[i] = got.totals[i] end
end

local NAMES = { "trace", "calls", "target", "at", "capacity", "queue", "queue_sign", "when_full",
  "latency", "writing", "faults", "price", "kind", "mean", "sigma", "status", "retry_after",
  "share", "seed", "deadline", "input", "output" }

-- }========================================================================

-- A day is one of ten replicas with eight places each, whose answers are long.
local of_a_day = { seconds = 86400, times = 1.1, capacity = 80, latency = 20, deadline = 120 }

local function fill(o)
  local out, own = {}, o.kind == "day" and of_a_day or {}
  for _, option in ipairs(offered) do
    local name = option.name:gsub("-", "_")
    local value = o[name]
    if value == nil then value = own[name] end
    if value == nil then value = option.default end
    out[name] = value
  end
  out.at = out.at or out.seconds / 5
  out.length = out.length or out.seconds * (out.kind == "burst" and 0.1 or 0.3)
  return out
end

local function fault(o)
  if not o.kind then return "--kind: burst, brownout, blackout, outage or day expected" end
  if o.at + o.length > o.seconds then
    return ("the trouble lasts from %g to %g s, and the trace only %g s"):format(o.at,
      o.at + o.length, o.seconds)
  end
  local least = o.kind == "day" and 0 or 2
  local most = o.seconds * o.capacity / o.latency * math.max(o.load, o.times, least)
  if most > trace.MOST_CALLS then return "more calls than a trace may hold: make it smaller" end
  if o.target == "backup" and o.backup then return "--target: another name than backup" end
end

--- Makes a trace.
---@param given table the options above, by name with "_" for "-"
---@return table? trace, string|string[] message or the header lines for `trace.write`
function generate.new(given)
  local o = fill(given)
  local message = fault(o)
  if message then return nil, message end
  local made, header = trace.new(), {}
  local changes, bursts = kinds[o.kind](o, o.at, o.at + o.length)
  header[1] = { trace = { seed = o.seed } }
  header[2] = { calls = { deadline = o.deadline, stream = o.stream > 0 and o.stream or nil } }
  made.seed, made.calls.deadline, made.calls.stream = o.seed, o.deadline, o.stream
  for _, line in ipairs(targets_of(o, changes)) do
    message = trace.declare(made, line)
    if message then return nil, "--target: " .. message end
    header[#header + 1] = line
  end
  add_arrivals(made, o, bursts)
  if made.asked == 0 then return nil, "nobody calls in that time: more --load, or longer" end
  record(made, o)
  for i, line in ipairs(header) do header[i] = ordered.encode(line, NAMES) end
  return made, header
end

return generate
