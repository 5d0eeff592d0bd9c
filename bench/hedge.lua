-- How much of a slow tail second tries cut off, and what they cost: with and without them, in turns
-- of one run.
--
-- Two upstreams, each of which lets a few of its calls wait for long before the first byte of their
-- answer. Over real HTTP these are the specs' busy servers, which count the callers that go away;
-- in the simulator the same for many more calls, and a server whose queue is long.
--
--   UNBUSY_BENCH_CALLS     calls of one turn over HTTP (1500)
local busyd = require "spec.support.busyd"
local core = require "unbusy.core"
local measure = require "bench.support.measure"
local outage = require "spec.support.outage"
local unbusy = require "unbusy"

local CALLS = tonumber(os.getenv "UNBUSY_BENCH_CALLS") or 1500
local CALLERS = 30
local MOST = 0.05 -- calls with a second try, as a share of all: the default

local function quantile(list, q)
  return list[math.max(1, math.ceil(q * #list))]
end

local function show(name, p50, p99, calls, received, more)
  print(("  %-34s p50 %7.3f s  p99 %7.3f s  extra calls %4.1f %%  %s"):format(name, p50, p99,
    100 * (received / calls - 1), more or ""))
end

-- {== Over HTTP ===========================================================

-- One of 33 waits for 1.5 s; the others for 30 ms.
local TAIL = { latency = { kind = "bimodal", mean = 0.03, slow = 1.5, p = 0.03 },
  token_interval = 0.002 }

local function programme(seed)
  return { reset = true, seed = seed, latency = TAIL.latency, token_interval = TAIL.token_interval }
end

local function question(i)
  return { model = "m", messages = { { role = "user", content = "question " .. i } } }
end

-- So many calls, half of them streams: seconds to the first byte of each, sorted.
local function run(client)
  local times, number = {}, 0
  local function caller()
    while number < CALLS do
      number = number + 1
      local i, began = number, core.now()
      local kind = i % 2 == 0 and "chat" or "stream"
      local answer = assert(client[kind](client, question(i)))
      times[#times + 1] = core.now() - began
      if kind == "stream" then answer = assert(answer:reply()) end
      assert(answer.text == busyd.expected("question " .. i), "another's answer")
    end
  end
  unbusy.run(function()
    for _ = 1, CALLERS do unbusy.spawn(caller) end
  end)
  table.sort(times)
  return times
end

-- What the servers have counted once nobody is there any more.
local function counts(ups)
  local seen = { received = 0, aborted = 0 }
  for _, up in ipairs(ups) do
    local c
    repeat c = up:counts() until c.in_service + c.queued == 0
    seen.received, seen.aborted = seen.received + c.received, seen.aborted + c.aborted_by_client
  end
  return seen
end

local function over_http()
  print(("over HTTP, %d calls by %d callers, one of 33 slow (%s)"):format(CALLS, CALLERS,
    jit and jit.version or _VERSION)) -- luacheck: ignore 113
  local ups = { busyd.start { workers = 1 }, busyd.start { workers = 1 } }
  local p99 = {}
  local contestants = { { "without" }, { "hedge = true", true },
    { "hedge = { after = 0.2 }", { after = 0.2 } } }
  for _, one in ipairs(contestants) do
    for i, up in ipairs(ups) do up:programme(programme(i)) end
    local client = unbusy.new { hedge = one[2], limiter = { initial = 200, max = 200 }, targets = {
      { name = "a", url = ups[1].url .. "/v1", weight = 1 },
      { name = "b", url = ups[2].url .. "/v1", weight = 1 } } }
    local times = run(client)
    local seen, h = counts(ups), client:status().hedge
    p99[#p99 + 1] = quantile(times, 0.99)
    show(one[1], quantile(times, 0.5), p99[#p99], CALLS, seen.received,
      ("%d second tries, %d won; called off, as the servers saw: %d"):format(h.begun, h.won,
        seen.aborted))
    if one[2] then
      measure.goal("extra calls", seen.received / CALLS - 1, MOST, "of all")
      measure.goal("p99 against that without", p99[#p99] / p99[1], 0.5, "×")
    end
    client:close()
  end
  for _, up in ipairs(ups) do up:stop() end
end

-- }========================================================================

-- {== Simulated ===========================================================

local function tail_server(name, mean)
  return { name = name, target = { weight = 1 }, phases = { { capacity = 100, writing = 2,
    latency = { kind = "bimodal", mean = mean, slow = 12, p = 0.03 } } } }
end

local plays = {
  { name = "one of 33 streams waits 12 s", given = { servers = { tail_server("a", 0.6),
    tail_server("b", 0.7) }, calls = { { rate = 10, to = 1200, deadline = 60, stream = true } } } },
  { name = "a queue with keep-alives for 60 s", given = { servers = {
    { name = "a", target = { priority = 1 }, phases = {
      { capacity = 50, latency = 0.6, writing = 2, queue = 500, queue_sign = "keepalive" },
      { at = 60, capacity = 5 }, { at = 120, capacity = 50 } } },
    { name = "b", target = { priority = 2 }, phases = {
      { capacity = 50, latency = 0.8, writing = 2 } } } },
    calls = { { rate = 5, to = 180, deadline = 120, stream = true } } } },
}

local function simulated()
  for _, play in ipairs(plays) do
    print("simulated: " .. play.name)
    local first
    for _, one in ipairs { { "without" }, { "hedge = true", { hedge = true } },
      { "policy = \"interactive\"", { policy = "interactive" } } } do
      local given = { seed = 1, options = { clocks = { start = 100 } } }
      for name, value in pairs(play.given) do given[name] = value end
      for name, value in pairs(one[2] or {}) do given.options[name] = value end
      local seen = outage.run(given)
      local h = seen.status.hedge
      first = first or seen
      show(one[1], seen.median, seen.p99, seen.calls, seen.received,
        ("%d second tries, %d won, %d left a queue; answered %.1f %%"):format(h.begun, h.won,
          h.switched, 100 * seen.share))
      if given.options.policy then
        measure.goal("p99 against that without", seen.p99 / first.p99, 0.5, "×")
      end
    end
  end
end

-- }========================================================================

over_http()
simulated()
