-- An account's limit that moves, 10 -> 50 -> 20, over real HTTP: how the limiters follow it.
--
-- The busy upstream refuses what is over its limit (429); answers take 200 ms, and a load that
-- never ends waits in the client's line. Beside `aimd` stands `gradient`, then both before a server
-- that refuses nobody and lets its callers wait: there nothing is dropped, and only the time to the
-- first token shows that it is too much. All calls are asked as streams.
local busyd = require "spec.support.busyd"
local core = require "unbusy.core"
local measure = require "bench.support.measure"
local unbusy = require "unbusy"

local LATENCY, CALLERS = 0.2, 80
local STEPS = { { at = 0, limit = 10 }, { at = 10, limit = 50 }, { at = 20, limit = 20 } }
local SECONDS = 30
local EVERY = 0.1 -- seconds between two looks
local KINDS = { "aimd", "gradient" }

local function programme(queue)
  local schedule = {}
  for i = 2, #STEPS do schedule[i - 1] = { at = STEPS[i].at, capacity = STEPS[i].limit } end
  return { capacity = STEPS[1].limit, queue = queue, latency = LATENCY, schedule = schedule,
    when_full = { preset = "rate_limited" } }
end

-- {== One client ==========================================================

local function new_client(server, kind)
  return unbusy.new { targets = { { name = "up", url = server.url .. "/v1", key = "k" } },
    upstream_stream = true, limiter = { kind = kind, initial = 10 }, breaker = false,
    clocks = { total = 30 } }
end

local question = { messages = { { role = "user", content = "x" } } }

local function call_on(run, till)
  while core.now() < till do
    local reply = run.client:chat(question)
    if reply then run.starts[#run.starts + 1] = reply.times.start end
  end
end

local function look_on(run, began, till)
  while core.now() < till do
    local limits = run.client:status().targets[1].limits[""]
    run.seen[#run.seen + 1] = { at = core.now() - began, in_flight = limits and limits.in_flight
      or 0 }
    unbusy.sleep(EVERY)
  end
end

-- Lets a client of each kind meet its own server, side by side.
local function meet(queue)
  local runs = {}
  for i, kind in ipairs(KINDS) do
    local server = busyd.start { workers = 1, programme = programme(queue) }
    runs[i] = { kind = kind, server = server, client = new_client(server, kind), starts = {},
      seen = {} }
  end
  local ok, message = pcall(unbusy.run, function()
    local began = core.now()
    for _, run in ipairs(runs) do
      run.server:programme(programme(queue)) -- its schedule begins now
      unbusy.spawn(look_on, run, began, began + SECONDS)
      for _ = 1, CALLERS do unbusy.spawn(call_on, run, began + SECONDS) end
    end
  end)
  for _, run in ipairs(runs) do
    run.counts = ok and run.server:counts()
    run.server:stop()
    run.client:close()
  end
  if not ok then error(message, 0) end
  return runs
end

-- }========================================================================

-- {== Figures =============================================================

local function mean_between(run, from, to)
  local sum, n = 0, 0
  for _, look in ipairs(run.seen) do
    if look.at >= from and look.at < to then sum, n = sum + look.in_flight, n + 1 end
  end
  return n > 0 and sum / n or 0
end

local NEAR = 0.1 -- of the limit

-- Seconds until a second's mean is near the limit; nil when it never is before the next step.
local function follows_after(run, step, till)
  for k = 0, (till - step.at - 1) / EVERY do
    local from = step.at + k * EVERY
    local mean = mean_between(run, from, from + 1)
    if math.abs(mean - step.limit) <= math.max(NEAR * step.limit, 1) then return k * EVERY end
  end
end

local function quantile(list, share)
  table.sort(list)
  return list[math.max(1, math.ceil(share * #list))] or 0
end

local function show_follow(run)
  local words, slowest = {}, 0
  for i, step in ipairs(STEPS) do
    local till = STEPS[i + 1] and STEPS[i + 1].at or SECONDS
    local after = follows_after(run, step, till)
    slowest = math.max(slowest, after or math.huge)
    words[i] = ("%d: %s, then %.1f"):format(step.limit,
      after and ("after %.1f s"):format(after) or "never", mean_between(run, till - 3, till))
  end
  local share = run.counts.refused / run.counts.received
  print(("  %-9s in flight at %s; %d calls, %.2f %% refused"):format(run.kind,
    table.concat(words, "; "), run.counts.received, share * 100))
  return slowest, share
end

-- }========================================================================

print(("an account's limit, 10 -> 50 -> 20, calls of %.1f s (%s)"):format(LATENCY,
  jit and jit.version or _VERSION)) -- luacheck: ignore 113
for _, run in ipairs(meet(0)) do
  local slowest, share = show_follow(run)
  if run.kind == "aimd" then
    measure.goal("in flight follows within", slowest, 10, "s")
    measure.goal("refused", share * 100, 3, "%")
  end
end
print "the same before a server that lets its callers wait"
for _, run in ipairs(meet(10000)) do
  print(("  %-9s in flight at the end %.1f; %d answers, first token after %.2f s, p99 %.2f s")
    :format(run.kind, mean_between(run, SECONDS - 3, SECONDS), #run.starts,
      quantile(run.starts, 0.5), quantile(run.starts, 0.99)))
end
