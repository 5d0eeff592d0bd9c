-- What counting costs a call; what a page of metrics of 200 targets costs, and how long it keeps
-- others waiting; and that it costs nothing where it is off.
--
-- The contestants count what a client counts of one good answer: begin of the call and the try,
-- end of the try (status, duration, first token, tokens, cost) and of the call (source, duration,
-- own work, GenAI's duration and tokens). The peers do the same in Lua tables, which one process
-- alone sees, and in named counters under a lock.
local counters = require "unbusy.counters"
local measure = require "bench.support.measure"
local recorder = require "unbusy.metrics.recorder"
local region = require "unbusy.region"
local text = require "unbusy.metrics.text"
local unbusy = require "unbusy"
local virtual = require "unbusy.loops.virtual"
local world = require "spec.support.world"

-- {== Counting ============================================================

local function client_with(targets, options)
  local o = { targets = {}, metrics = true }
  for i = 1, targets do
    local name = ("target-%03d"):format(i)
    o.targets[i] = { name = name, url = ("http://%s.example/v1"):format(name), key = "k",
      account = ("account-%03d"):format(i), models = { default = "model-a" },
      price = { input = 1, output = 2 } }
  end
  for name, value in pairs(options or {}) do o[name] = value end
  return assert(unbusy.new(o))
end

local now = 0.95 -- (sums to which nothing is added would cost nothing)
local loop = { now = function() return now end }

-- One good answer, as the stages tell of it.
local function answers_of(client)
  local meter, target = client.meter, client.targets[1]
  local try = { number = 1, target = target.name, model = "model-a", began = 0, status = 200,
    seconds = 0.8, start = 0.3 }
  local call = { kind = "chat", streaming = false, tries = { try }, past = 0, race = false,
    model = "model-a", loop = loop, started = 0, options = {}, in_line = 0,
    last_try = function(c) return c.tries[1] end }
  local reply = { source = "upstream", target = target.name, cost = 0.001,
    usage = { prompt_tokens = 120, completion_tokens = 80, cached_tokens = 20 },
    times = { queued = 0, total = 0.9 } }
  return function(n)
    local calls = client.calls
    for _ = 1, n do
      calls[call] = recorder.COUNTS
      meter:call_begins()
      meter:try_begins(call, target)
      meter:try_ends(call, try, target, true, reply)
      meter:call_ends(call, reply)
    end
    calls[call] = nil
  end
end

-- What is passed to C of such an answer, and nothing else: less it cannot be.
local function notes_alone(client)
  local part = client.meter.part
  local begun = part:set { { "level", "a" }, { "level", "b" }, { "seconds", "p" } }
  local tried = part:set { { "seconds", "c" }, { "level", "a" }, { "counter", "d" },
    { "counter", "e" }, { "counter", "f" }, { "counter", "g" }, { "seconds", "h" },
    { "counter", "i", from = 0 } }
  local ended = part:set { { "seconds", "j" }, { "moments", "k" }, { "level", "b" },
    { "tokens", "l" }, { "tokens", "m" }, { "counter", "n", from = 0 },
    { "seconds", "o", from = 1 } }
  return function(n)
    for _ = 1, n do
      begun:note(1, 1, 0)
      tried:note(0.8, 0, 100, 80, 0.001, 20, 0.3)
      ended:note(0.95, 0.15, 0, 120, 80)
    end
  end
end

-- The same 18 numbers, in tables of this process.
local bounds = { 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 1.5, 2.5, 5, 10, 20, 30, 60, 120, 300,
  600 }

local function table_histogram()
  local h = { sum = 0 }
  for i = 1, #bounds + 1 do h[i] = 0 end
  return h
end

local function observe(h, value)
  local i = 1
  while bounds[i] and bounds[i] < value do i = i + 1 end
  h[i], h.sum = h[i] + 1, h.sum + value
end

local function in_tables(n)
  local c, h = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }, {}
  for i = 1, 8 do h[i] = table_histogram() end
  for _ = 1, n do
    for i = 1, 10 do c[i] = c[i] + 1 end
    for i = 1, 8 do observe(h[i], 0.8) end
  end
  return c, h
end

local shared = assert(region.new { bytes = 32 * 1024 * 1024 })
local named = assert(counters.new { region = shared, name = "bench", counters = 100 })
local names = {}
for i = 1, 24 do names[i] = ("unbusy_tries_total{number=%d}"):format(i) end

local function in_named_counters(n)
  for _ = 1, n do
    for i = 1, #names do named:add(names[i], 1) end
  end
end

local here, there = client_with(2), client_with(2, { region = shared })
local ns = measure.race("counting one good answer", {
  { name = "in a region", run = answers_of(there) },
  { name = "private", run = answers_of(here) },
  { name = "in a region, C and its arguments alone", run = notes_alone(there) },
  { name = "Lua tables, seen by one process", run = in_tables },
  { name = "24 named counters under a lock", run = in_named_counters },
})
measure.goal("a call, in a region", ns["in a region"], 300, "ns")
here:close()
there:close()

-- }========================================================================

-- {== A whole call ========================================================

local good = world.good "hello"

-- Calls in simulated time, whose server answers at once.
local function calls_with(metrics)
  local serve = function(_, x)
    x:head(200, { ["content-type"] = "application/json" })
    x:data(good.body)
    x:finish()
  end
  local simulated = virtual.new { serve = serve }
  local client = client_with(2, { metrics = metrics, loop = simulated })
  local question = { model = "model-a", messages = { { role = "user", content = "hi" } } }
  return function(n)
    simulated.run(function()
      for _ = 1, n do assert(client:chat(question)) end
    end)
  end
end

local whole = measure.race("a whole call, of which the server is none", {
  { name = "without metrics", run = calls_with(false) },
  { name = "with metrics", run = calls_with(true) },
  { name = "without, once more", run = calls_with(false) },
})
print(("  metrics: %.2f µs more; twice the same differs by %.2f"):format(
  (whole["with metrics"] - math.min(whole["without metrics"], whole["without, once more"])) / 1000,
  math.abs(whole["without metrics"] - whole["without, once more"]) / 1000))

-- }========================================================================

-- {== The page ============================================================

local TARGETS = 200

local function busy_client()
  local client = client_with(TARGETS, { region = shared })
  for _, target in ipairs(client.targets) do
    target.account:scope("model-a")
    for _, end_of in ipairs { { nil, 200 }, { "busy", 503 }, { "limited", 429 }, { "timeout" } } do
      local code, status = end_of[1], end_of[2]
      local try = { number = 2, target = target.name, began = 0, status = status, seconds = 1,
        start = 0.5 }
      local call = { loop = loop, kind = "chat", past = 0, tries = { try }, started = 0,
        model = "model-a", options = {}, in_line = 0, last_try = function() return try end }
      local answer = not code and { source = "upstream", target = target.name, cost = 1,
        usage = { prompt_tokens = 10, completion_tokens = 5 }, times = { queued = 0 } } or nil
      client.calls[call] = recorder.COUNTS
      client.meter:call_begins()
      client.meter:try_begins(call, target)
      client.meter:try_ends(call, try, target, true, answer, code)
      client.meter:call_ends(call, answer, code)
      client.calls[call] = nil
    end
  end
  return client
end

local busy = busy_client()
local page = busy:metrics()
local lines = select(2, page:gsub("\n", "\n"))
print(("a page of %d targets: %d lines, %.0f KB (%s)"):format(TARGETS, lines, #page / 1024,
  jit and jit.version or _VERSION)) -- luacheck: ignore 113

local best, longest = math.huge, math.huge
for _ = 1, 20 do
  collectgarbage()
  local began = os.clock()
  local last, worst = began, 0
  local function pause()
    local at = os.clock()
    last, worst = at, math.max(worst, at - last)
  end
  text.pieces(busy, "openmetrics", pause)
  pause()
  best, longest = math.min(best, os.clock() - began), math.min(longest, worst)
end
measure.goal("all of it", best * 1000, 20, "ms")
measure.goal("its longest piece, after which others have their turn", longest * 1000, 0.5, "ms")
print(("  metrics: %d series in %.0f KB, %d refused"):format(busy.meter.part:stats().series,
  busy.meter.part:stats().used / 1024, busy.meter.part:stats().refused))
busy:close()

-- }========================================================================

-- {== Calls while the page is written =====================================

if not rawget(_G, "jit") then return end -- nginx's Lua is LuaJIT: measured there

local cqueues = require "cqueues"
local gateways = require "spec.support.gateways"
local process = require "spec.support.fork"

local CONFIG = [[
  local targets = {}
  for i = 1, 200 do
    targets[i] = { name = ("target-%03d"):format(i), url = "http://127.0.0.1:9/v1" }
  end
  return { targets = targets, retry = false, breaker = { open_for = 0.001 } }
]]

local function get(s, path)
  s:write(("GET %s HTTP/1.1\r\nhost: localhost\r\n\r\n"):format(path))
  s:flush()
  local length
  for line in function() return s:read "*l" end do
    length = length or line:lower():match "^content%-length: (%d+)"
    if line == "\r" or line == "" then break end
  end
  local body = assert(s:read(tonumber(length)))
  return #body, body
end

local function in_loop(f)
  local host = cqueues.new()
  host:wrap(f)
  assert(host:loop())
end

-- Milliseconds that each of so many requests took, in order.
local function waits(g, count)
  local out = {}
  in_loop(function()
    local s = g:connect()
    for i = 1, count do
      local began = cqueues.monotime()
      get(s, "/healthz")
      out[i] = (cqueues.monotime() - began) * 1000
      cqueues.sleep(0.002)
    end
  end)
  table.sort(out)
  return out
end

-- Does that while a page is written every 50 ms, for a process of its own: reading it would keep
-- this one from measuring.
local function while_scraped(g, f, ...)
  local pid = process.fork()
  if pid == 0 then
    in_loop(function()
      local s = g:connect()
      while true do
        get(s, "/metrics")
        cqueues.sleep(0.05)
      end
    end)
    process.leave()
  end
  local out = f(g, ...)
  os.execute("kill " .. pid)
  process.wait(pid)
  return out
end

-- How many pages the gateway has written.
local function pages_of(g)
  local _, body = get(g:connect(), "/metrics")
  return tonumber(body:match 'http_requests_total{path="/metrics",status="200"} (%d+)')
end

-- Milliseconds of CPU that the only worker has taken.
local function cpu_of(g)
  local pipe = io.popen("pgrep -P " .. g.server.pid)
  local pid = pipe:read "*l"
  pipe:close()
  local file = assert(io.open("/proc/" .. pid .. "/stat"))
  local fields = file:read "*a":match "%) (.*)"
  file:close()
  local user, system = fields:match("^" .. ("%S+ "):rep(11) .. "(%d+) (%d+)")
  return (user + system) * 10
end

local PAGES = 100

local function cpu_of_pages(g)
  local s, size = g:connect(), 0
  local before = cpu_of(g)
  in_loop(function()
    for _ = 1, PAGES do size = get(s, "/metrics") end
  end)
  return (cpu_of(g) - before) / PAGES, size
end

local g = gateways.start { config = CONFIG, workers = 1 }
for _ = 1, 50 do
  g:ask("/v1/chat/completions", { body = '{"messages":[{"role":"user","content":"x"}]}' })
end
local cpu, size = cpu_of_pages(g) -- (the first ones of a worker take longer: they are compiled)
local quiet, before = waits(g, 1000), pages_of(g)
local under = while_scraped(g, waits, 1000)
local pages = pages_of(g) - before - 1
g:stop()
local function at(list, share) return list[math.ceil(share * #list)] end
print(("a gateway of %d targets, a page of %.0f KB every 50 ms (%d of them)"):format(TARGETS,
  size / 1024, pages))
print(("  another request: p50 %.2f ms, p99 %.2f ms; without pages %.2f, %.2f ms"):format(
  at(under, 0.5), at(under, 0.99), at(quiet, 0.5), at(quiet, 0.99)))
measure.goal("CPU of the worker for a page", cpu, 20, "ms")

-- }========================================================================
