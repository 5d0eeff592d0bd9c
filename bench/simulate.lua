-- How many calls a second the simulator makes: the real stages and parts, on a trace of an outage.
--
-- What is timed is `run.meet`, all of it: the client, the model of the servers, the records. The
-- trace is made anew from a seed. Each contestant meets it several times; the quickest counts, as
-- everywhere here, in CPU time of this process. A call is one question of a caller, however many
-- tries it takes.
local generate = require "unbusy.simulate.generate"
local measure = require "bench.support.measure"
local run = require "unbusy.simulate.run"
local setup = require "unbusy.simulate.setup"

local GOAL = _VERSION == "Lua 5.4" and 15000 or 50000 -- calls a second
local TURNS = tonumber(os.getenv "UNBUSY_BENCH_TURNS") or 15
local SECONDS = 1400 -- of simulated time

local function made(stream)
  return assert(generate.new { kind = "outage", seconds = SECONDS, seed = 7, target = "deepseek",
    backup = true, stream = stream })
end

local plain, streams = made(0), made(1)

local contestants = {
  { name = "the built-in decisions", trace = plain, what = { name = "none" } },
  { name = "the same, every call a stream", trace = streams, what = { name = "none" } },
  { name = "without unbusy: naive", trace = plain, what = { name = setup.NAIVE } },
  { name = "without unbusy: a retry loop", trace = plain, what = { name = setup.LOOP } },
}

-- Seconds of one meeting, and the upstream calls it came to.
local function meet(c)
  collectgarbage()
  local began = os.clock()
  local record = assert(run.meet(c.trace, c.what, c.options,
    { seed = 1, calls = c.calls, width = 5 }))
  local seconds, received = os.clock() - began, 0
  for _, up in ipairs(record.ups) do received = received + up.received end
  return seconds, received
end

local best = {}
for i, c in ipairs(contestants) do
  c.options, c.calls = assert(setup.options(c.trace)), run.calls(c.trace, 1)
  best[i] = math.huge
end
print(("simulated calls a second, an outage of %d s (%s)"):format(SECONDS,
  jit and jit.version or _VERSION)) -- luacheck: ignore 113
for _ = 1, TURNS do
  for i, c in ipairs(contestants) do
    local seconds, received = meet(c)
    best[i], c.received = math.min(best[i], seconds), received
  end
end
for i, c in ipairs(contestants) do
  print(("  %-34s %8.0f  %5.1f µs for each of %d calls, %.2f upstream calls each"):format(c.name,
    c.calls.n / best[i], best[i] / c.calls.n * 1e6, c.calls.n, c.received / c.calls.n))
end
measure.goal("the built-in decisions", contestants[1].calls.n / best[1], GOAL, "calls a second",
  true)
