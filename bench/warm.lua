-- A warm cache: what counting costs, what questions cost on a slow server, and a black-out.
--
-- 1. Counting a question as hot, per call.
-- 2. A server that takes 2.1 s for each answer, asked by way of nginx: 100 questions a second out
--    of 1,000, by Zipf's law (the r-th comes with a chance of 1 / r). Past nginx's `proxy_pass`;
--    past our gateway, cold; and past it with the 500 most common asked ahead of time. How long a
--    hit takes in nginx, the gateway's log says; the others are as the client sees them.
-- 3. A black-out of ten minutes, simulated: 10 questions a second by the same law, from a client
--    that began a minute before it. Which of them are still answered, and out of what?
local cache = require "unbusy.cache"
local chance = require "unbusy.simulate.chance"
local core = require "unbusy.core"
local files = require "spec.support.files"
local gateways = require "spec.support.gateways"
local hot = require "unbusy.caching.hot"
local json = require "unbusy.json"
local launcher = require "spec.support.launcher"
local measure = require "bench.support.measure"
local region = require "unbusy.region"
local setup = require "unbusy.simulate.setup"
local shared = require "unbusy.shared"
local trace = require "unbusy.simulate.trace"
local unbusy = require "unbusy"
local upstream = require "unbusy.simulate.upstream"
local world = require "unbusy.simulate.world"

local LUA = jit and jit.version or _VERSION -- luacheck: ignore 113

-- {== Questions ===========================================================

local MANY, LISTED = 1000, 500

-- Ranks by Zipf's law: the r-th with a chance of 1 / r.
local function zipf(seed)
  local draw, sums, sum = chance.stream(seed, "zipf"), {}, 0
  for r = 1, MANY do
    sum = sum + 1 / r
    sums[r] = sum
  end
  return function()
    local u, low, high = draw() * sum, 1, MANY
    while low < high do
      local middle = math.floor((low + high) / 2)
      if sums[middle] < u then low = middle + 1 else high = middle end
    end
    return low
  end
end

local function text_of(rank)
  return ("question %d, as it is asked again and again"):format(rank)
end

local function request_of(rank)
  return { model = "m", messages = { { role = "user", content = text_of(rank) } } }
end

-- When they come: at random, `rate` a second.
local function arrivals(seed, rate, seconds)
  local draw, at, out = chance.stream(seed, "arrivals"), 0, {}
  while true do
    at = at - math.log(1 - draw()) / rate
    if at >= seconds then return out end
    out[#out + 1] = at
  end
end

local function list()
  local out = {}
  for rank = 1, LISTED do out[rank] = request_of(rank) end
  return out
end

-- }========================================================================

-- {== Counting ============================================================

local function counting()
  local next_rank, keys = zipf(3), {}
  for i = 1, 4096 do
    keys[i] = cache.key("chat", request_of(next_rank()), { system = ("word "):rep(80) })
  end
  local r = assert(region.new { bytes = 64 * 1024 * 1024 })
  local call = { ahead = false, again = false }
  local function fed(name, list_)
    local i = 0
    return { name = name, run = function(n)
      for _ = 1, n do
        i = i % 4096 + 1
        list_:count(call, keys[i])
      end
    end }
  end
  local ns = measure.race(("counting a question, its key %d bytes"):format(#keys[1]), {
    fed("in this process", assert(hot.new(true, true, "x"))),
    fed("in a region", assert(hot.new(true, true, "x", assert(shared.open(r))))),
    fed("nothing but the loop", { count = function() end }),
  })
  measure.goal("counting in a region", ns["in a region"], 1000, "ns")
end

-- }========================================================================

-- {== A slow server behind nginx ==========================================

local RATE, SECONDS, SLOW = 100, 15, 2.1

local GATEWAY = [[return {
  targets = { { name = "up", url = "${up}/v1", key = "k" } }, clocks = { total = 60 },
  limiter = { kind = "fixed", initial = 2000 }, retry = false,
  cache = { entries = 4000, ttl = 3600, jitter = 0, coalesce = ${coalesce}, warm = ${warm} },
  gateway = { ping = false },
}]]

local PROXY = [[
  upstream slow { server ${address}; keepalive 1000; }
]]

local PROXY_SERVER = [[
  location /v1/ { proxy_pass http://slow; proxy_http_version 1.1;
    proxy_set_header Connection ""; }
]]

-- The slow server: nginx that sleeps and says something of 1 KB.
local SLOW_CONFIG = [[
${modules}
daemon off;
${user}
pid ${dir}/nginx.pid;
error_log ${dir}/error.log crit;
worker_processes 1;
worker_rlimit_nofile 16384;
events { worker_connections 8192; }
http {
  access_log off;
  ${temp_paths}
  keepalive_requests 1000000;
  server {
    listen 127.0.0.1:${port} backlog=4096;
    default_type application/json;
    location / { content_by_lua_block {
      ngx.req.read_body()
      ngx.sleep(${slow})
      ngx.print '${answer}'
    } }
  }
}
]]

local ANSWER = assert(json.encode { id = "x", object = "chat.completion", model = "m",
  choices = { { index = 0, finish_reason = "stop",
    message = { role = "assistant", content = ("word "):rep(160) } } },
  usage = { prompt_tokens = 20, completion_tokens = 160, total_tokens = 180 } })

local function start_slow()
  return launcher.start { config = SLOW_CONFIG, values = { answer = ANSWER, slow = tostring(SLOW),
    user = files.trimmed "id -u" == "0" and "user root root;" or "" } }
end

-- Asks at these times; gives the seconds of each answer, and how many failed.
local function ask_all(url)
  local client = unbusy.new { targets = { { name = "gateway", url = url .. "/v1", key = "k" } },
    limiter = { kind = "fixed", initial = 5000 }, retry = false, clocks = { total = 60 } }
  local all, failed, next_rank = {}, 0, zipf(1)
  local bodies = {}
  for rank = 1, MANY do bodies[rank] = assert(json.encode(request_of(rank))) end
  unbusy.run(function()
    local began = core.now()
    for _, at in ipairs(arrivals(2, RATE, SECONDS)) do
      local pause = began + at - core.now()
      if pause > 0 then unbusy.sleep(pause) end
      local body = bodies[next_rank()]
      unbusy.spawn(function()
        local asked = core.now()
        local reply = client:post("/chat/completions", body)
        local seconds = core.now() - asked
        if not reply then failed = failed + 1 return end
        all[#all + 1] = seconds
      end)
    end
  end)
  client:close()
  table.sort(all)
  return all, failed
end

-- The seconds of the hits, in nginx, of its log.
local function hits_of(g)
  local out = {}
  for line in io.lines(g.dir .. "/access.log") do
    local told = line:find('"source":"cache"', 1, true) and line:match '"seconds":([^,}]+)'
    if told then out[#out + 1] = tonumber(told) end
  end
  table.sort(out)
  return out
end

local function quantile(sorted, q)
  return sorted[math.max(1, math.ceil(q * #sorted))] or 0 / 0
end

local function below(sorted, most)
  local n = 0
  for _, seconds in ipairs(sorted) do n = n + (seconds < most and 1 or 0) end
  return n
end

local function show(name, all, hits, failed)
  print(("  %-12s %4d answers, %d failed: p50 %6.1f, p90 %6.1f, p99 %6.1f ms"):format(name, #all,
    failed, quantile(all, 0.5) * 1e3, quantile(all, 0.9) * 1e3, quantile(all, 0.99) * 1e3))
  if not hits[1] then return end
  print(("  %-12s %.1f %% hits, in nginx: p50 %.3f, p90 %.3f, p99 %.3f, most %.3f ms"):format("",
    100 * #hits / #all, quantile(hits, 0.5) * 1e3, quantile(hits, 0.9) * 1e3,
    quantile(hits, 0.99) * 1e3, hits[#hits] * 1e3))
end

local function site_of(slow, given)
  local values = { up = ("http://127.0.0.1:%d"):format(slow.port), coalesce = "true",
    warm = given.warm or "nil", address = ("127.0.0.1:%d"):format(slow.port) }
  return gateways.start { config = GATEWAY, values = values, workers = 1, http = given.http,
    server = given.server }
end

local function run_at(slow, name, given)
  local g = site_of(slow, given)
  if given.wait then given.wait(g) end
  local all, failed = ask_all(("http://127.0.0.1:%d"):format(g.port))
  local hits = hits_of(g)
  show(name, all, hits, failed)
  g:stop()
  return all, hits
end

-- Waits until the gateway has asked its list.
local function warmed(g)
  local began = core.now()
  repeat
    os.execute "sleep 0.2"
    local told = json.decode(g:ask("/status").body).warm
    if core.now() > began + 300 then error "the list is not asked" end
  until told.asked >= LISTED
  print(("  the list of %d: asked ahead of time in %.1f s, 100 at once"):format(LISTED,
    core.now() - began))
end

local function over_http()
  print(("a server that takes %.1f s, %d questions a second of %d, by Zipf (client: %s)"):format(
    SLOW, RATE, MANY, LUA))
  local slow = start_slow()
  local path = os.tmpname()
  local file = assert(io.open(path, "wb"))
  for _, request in ipairs(list()) do file:write(assert(json.encode(request)), "\n") end
  file:close()
  local ok, message = pcall(function()
    run_at(slow, "proxy_pass", { http = PROXY:gsub("%${address}", "127.0.0.1:" .. slow.port),
      server = PROXY_SERVER })
    run_at(slow, "unbusy, cold", {})
    local all, hits = run_at(slow, "unbusy, warm", { wait = warmed,
      http = "init_worker_by_lua_block { gateway:begin() }",
      warm = ("{ file = %q, at_once = 100 }"):format(path) })
    measure.goal("hits after warm-up", 100 * #hits / #all, 90, "%", true)
    measure.goal("of the hits under 1 ms in nginx", 100 * below(hits, 1e-3) / #hits, 99, "%", true)
    measure.goal("p90 of all (the source's claim: 150)", quantile(all, 0.9) * 1e3, 150, "ms")
  end)
  os.remove(path)
  slow:stop()
  if not ok then error(message, 0) end
end

-- }========================================================================

-- {== A black-out =========================================================

local FROM, TO, TILL, PER_SECOND, PATIENCE = 60, 660, 700, 10, 30

local CLIENTS = {
  { name = "no cache", cache = false },
  { name = "a cache, cold", cache = { ttl = 300, entries = 4000, top = true } },
  { name = "a cache, warm", cache = { ttl = 300, entries = 4000, top = true }, warm = true },
}

local function new_server(w)
  local t = trace.new "blackout"
  for _, line in ipairs {
    { target = "up", capacity = 200, latency = { kind = "lognormal", mean = 2.1, sigma = 0.4 },
      when_full = { status = 503, latency = 0.05 } },
    { target = "up", at = FROM, capacity = 0 }, { target = "up", at = TO, capacity = 200 },
  } do
    assert(not trace.declare(t, line))
  end
  return upstream.new(w, { name = "up", phases = t.targets[1].phases },
    { seed = 1, usage = t.calls })
end

local function meet(c)
  local counts, came, up = {}, 0, nil
  local w = world.new(function(_, body)
    return up:open({ upstream = up, kind = "chat", streams = false }, body)
  end, { random = chance.stream(1, "scripts") })
  up = new_server(w)
  local given = {}
  for name, value in pairs(c.cache or {}) do given[name] = value end
  if c.warm then given.warm = { questions = list(), at_once = 100, every = 10, top = 100 } end
  local contestant = assert(setup.contestant({ name = "none" },
    { targets = { { name = "up", url = "http://up.invalid/v1", key = "k" } },
      limiter = { kind = "fixed", initial = 200 }, cache = c.cache and given },
    { loop = w.loop, seed = 1, deadline = PATIENCE, kind = "chat" }))
  local next_rank = zipf(5)
  w.loop.run(function()
    for _, at in ipairs(arrivals(6, PER_SECOND, TILL)) do
      w.loop.sleep(math.max(at - w.loop.now(), 0))
      local rank, during = next_rank(), at >= FROM and at < TO
      if during then came = came + 1 end
      w.loop.spawn(function()
        local reply = contestant.ask(request_of(rank), "up", false)
        if not during then return end
        local source = reply and reply.source or "none"
        counts[source] = (counts[source] or 0) + 1
      end)
    end
  end)
  contestant.client:close()
  return counts, came
end

local function share(counts, came, source)
  return 100 * (counts[source] or 0) / came
end

local function black_out()
  print(("a black-out of %d s, %d s after the start: %d questions a second of %d, by Zipf (%s)")
    :format(TO - FROM, FROM, PER_SECOND, MANY, LUA))
  local answered
  for _, c in ipairs(CLIENTS) do
    local counts, came = meet(c)
    answered = 100 - share(counts, came, "none")
    print(("  %-14s %5.1f %% of %d answered: fresh %.1f %%, stale %.1f %%, by the server %.1f %%, "
      .. "shared %.1f %%"):format(c.name, answered, came, share(counts, came, "cache"),
        share(counts, came, "stale"), share(counts, came, "upstream"),
        share(counts, came, "coalesced")))
  end
  measure.goal("answered with a warm cache", answered, 90, "%", true)
end

-- }========================================================================

counting()
over_http()
black_out()
