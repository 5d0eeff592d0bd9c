-- More gateways before the same account, and more places in it: which of them answers more.
--
-- The busy upstream lets so many calls of one key in at a time, and refuses the others at once
-- (503). As many callers as before are spread over 1, 2, 4 and 8 gateways, each with a state of its
-- own, as pods have it: they ask again as soon as they are answered. Then there is one gateway
-- again and twice the places; and last four gateways, each of which takes a quarter of the places
-- and no more (`limiter.max`). Over real HTTP, one setting after the other.
local busyd = require "spec.support.busyd"
local core = require "unbusy.core"
local measure = require "bench.support.measure"
local unbusy = require "unbusy"

local PLACES, LATENCY = 20, 0.2
local CALLERS, SECONDS, WARM = 64, 12, 4 -- what comes in the first `WARM` seconds is not counted
-- Gateways, places, and the `limiter.max` of each gateway, where it has one.
local SETTINGS = { { 1, PLACES }, { 2, PLACES }, { 4, PLACES }, { 8, PLACES }, { 1, 2 * PLACES },
  { 4, PLACES, PLACES / 4 } }

local question = { model = "m", messages = { { role = "user", content = "x" } } }

local function call_on(client, run, caller)
  while core.now() < run.till do
    local reply = client:chat(question)
    local now = core.now()
    if reply and now >= run.from and now < run.till then
      run.answered, run.of[caller] = run.answered + 1, (run.of[caller] or 0) + 1
    end
  end
end

local function gateways(count, url, max)
  local out = {}
  for i = 1, count do
    out[i] = unbusy.new { targets = { { name = "up", url = url, key = "k", proxy = false } },
      queue = { max_wait = 60 }, limiter = { max = max } }
  end
  return out
end

-- Asks through so many gateways; then what came of it.
local function measured(count, places, max)
  local up = busyd.start { workers = 1, programme = { capacity = places, latency = LATENCY } }
  local list, run = gateways(count, up.url, max), { answered = 0, of = {} }
  unbusy.run(function()
    run.from = core.now() + WARM
    run.till = core.now() + SECONDS
    for i = 1, CALLERS do unbusy.spawn(call_on, list[i % count + 1], run, i) end
  end)
  run.counts = up:counts()
  for _, client in ipairs(list) do client:close() end
  up:stop()
  run.starved = 0
  for i = 1, CALLERS do run.starved = run.starved + (run.of[i] and 0 or 1) end
  return run
end

print(("gateways: %d callers without a pause, an account of %d places, answers take %g s (%s)")
  :format(CALLERS, PLACES, LATENCY, rawget(_G, "jit") and rawget(_G, "jit").version or _VERSION))
print("  gateways  places  answered each s  at most  refused (503)  callers without an answer")
local answered = {}
for i, setting in ipairs(SETTINGS) do
  local count, places = setting[1], setting[2]
  local run = measured(count, places, setting[3])
  answered[i] = run.answered / (SECONDS - WARM)
  print(("  %8d  %6d  %15.1f  %7.0f  %12.1f %%  %23d"):format(count, places, answered[i],
    places / LATENCY, 100 * run.counts.refused / run.counts.received,
    run.starved))
end
measure.goal("answered by 8 gateways, of what one answers", answered[4] / answered[1], 1.1, "")
measure.goal("answered with twice the places", answered[5] / answered[1], 1.5, "", true)
