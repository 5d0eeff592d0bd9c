-- Our gateway against other ways from a client to an upstream, all with one worker, taking turns in
-- one run: requests a second, added latency, CPU and memory of the process between, on 1, 32 and
-- 256 connections; what it adds to a stream's first token; and what many open streams cost.
--
--   UNBUSY_BENCH_TURNS     turns of two seconds that each takes (3); of each figure the best counts
--   UNBUSY_BENCH_SECONDS   under load for so long, memory must stay flat (30; the goal says 600)
--   UNBUSY_BENCH_PARTS     only these of: requests streams first_tokens neighbours open_streams
--                          flat
local alone = require "bench.support.alone"
local load = require "bench.support.load"
local measure = require "bench.support.measure"
local nginx = require "bench.support.nginx"
local sites = require "bench.support.sites"
local tokens = require "bench.support.tokens"

if not jit then return print "  nginx's Lua is LuaJIT: measured there" end -- luacheck: ignore 113

local TURNS = tonumber(os.getenv "UNBUSY_BENCH_TURNS") or 3
local SECONDS = tonumber(os.getenv "UNBUSY_BENCH_SECONDS") or 30
local TURN = 2          -- seconds
local STREAMS = 5000    -- that are open at once, where there are descriptors for them

-- (What is missing comes over the network, which is not there any more when it is alone.)
local is_alone = alone.run("bench/gateway.lua", "sh bench/support/portkey.sh install")
local upstream = nginx.start()

-- The Portkey gateway, or nil when it cannot be had.
local function portkey(path)
  local site, why
  if not is_alone then why = "no network of its own here (unshare -n is not allowed)"
  elseif os.execute "sh bench/support/portkey.sh find" ~= 0 then why = "npm has not got it"
  else site, why = sites.portkey(upstream, path) end
  if site and not load.works(site, path ~= "/ok") then
    site.stop()
    site, why = nil, "its " .. (path == "/ok" and "answers" or "streams") .. " fail here"
  end
  if not site then print("  without Portkey: " .. why) end
  return site
end

local function ways(path)
  local list = {}
  for _, name in ipairs { "straight", "proxy_pass", "sockets", "cosocket", "unbusy" } do
    list[#list + 1] = sites[name](upstream, path)
  end
  list[#list + 1] = portkey(path)
  return list
end

local function stop(list)
  for _, site in ipairs(list) do site.stop() end
end

-- {== Requests and streams under load =====================================

local lowest = { p50 = true, p99 = true, cpu = true }

-- The best of each figure, except of memory: that is the last.
local function better(best, told)
  for name, value in pairs(told) do
    local old = best[name]
    if lowest[name] then best[name] = math.min(old or value, value)
    elseif name == "rate" then best[name] = math.max(old or value, value)
    else best[name] = value end
  end
end

local FIGURES = { { "cpu", "CPU of the worker", "us" }, { "rate", "requests a second", "/s" } }

local function tell(title, list, best)
  for _, figure in ipairs(FIGURES) do
    local rows = {}
    for _, site in ipairs(list) do
      local value = best[site.name][figure[1]]
      if value then rows[#rows + 1] = { site.name, value } end
    end
    measure.rows(title .. ": " .. figure[2], rows, figure[3])
  end
end

local function show(list, best)
  local straight = best.straight
  print(("  %-12s %9s %8s %8s %8s %8s %9s %8s"):format("", "per s", "p50 us", "added", "p99 us",
    "added", "CPU us", "MB"))
  for _, site in ipairs(list) do
    local b = best[site.name]
    print(("  %-12s %9.0f %8.0f %8.0f %8.0f %8.0f %9s %8s"):format(site.name, b.rate, b.p50,
      b.p50 - straight.p50, b.p99, b.p99 - straight.p99, b.cpu and ("%.1f"):format(b.cpu) or "",
      b.memory and ("%.1f"):format(b.memory / 1e6) or ""))
  end
end

local function race(title, list, given)
  title = ("%s, %d connections"):format(title, given.connections)
  print(title)
  local best = {}
  for turn = 0, TURNS do
    for _, site in ipairs(list) do
      best[site.name] = best[site.name] or {}
      given.seconds = turn == 0 and 1 or TURN
      local told = load.run(site, given)
      if turn > 0 then better(best[site.name], told) end -- the first one warms it up
    end
  end
  show(list, best)
  tell(title, list, best)
  return best
end

local PEERS = { { "proxy_pass", "nginx proxy_pass" }, { "cosocket", "a cosocket proxy" },
  { "Portkey", "Portkey" } }

local function peers(best, what, connections)
  what = ("CPU of a gateway for %s, %d connections"):format(what, connections)
  for _, peer in ipairs(PEERS) do
    local its = best[peer[1]]
    if its and its.rate > 0 then measure.peer(peer[2], what, best.unbusy.cpu / its.cpu) end
  end
end

local function ratios(best, what, connections)
  local said = ("%s on %d connections"):format(what, connections)
  measure.goal(("CPU of %s against the cosocket client's"):format(said),
    best.unbusy.cpu / best.cosocket.cpu, 1.5, "×")
  measure.goal(("CPU of %s against proxy_pass's"):format(said),
    best.unbusy.cpu / best.proxy_pass.cpu, 4, "×")
  if best.Portkey and best.Portkey.rate > 0 then
    measure.goal(said .. ", a second, against Portkey's", best.unbusy.rate / best.Portkey.rate,
      10, "×", true)
  end
end

local function requests()
  local list = ways "/ok"
  for _, connections in ipairs { 1, 32, 256 } do
    local best = race("POSTs of 500 bytes, answers of 700", list, { connections = connections })
    ratios(best, "requests", connections)
    peers(best, "requests", connections)
  end
  stop(list)
end

local function streams()
  local list = ways "/stream"
  local best = race("streams of three events", list, { connections = 32, stream = true })
  ratios(best, "streams", 32)
  peers(best, "streams", 32)
  stop(list)
end

-- }========================================================================

-- {== The first token =====================================================

local function first_tokens()
  local list = ways "/paced"
  for _, at_once in ipairs { 1, 32 } do
    print(("a stream's first token, of three in 20 ms, %d streams at once"):format(at_once))
    local best = {}
    for turn = 0, TURNS do
      for _, site in ipairs(list) do
        local told = tokens.run(site, load.body(true), at_once, TURN)
        best[site.name] = best[site.name] or {}
        if turn > 0 then better(best[site.name], told) end
      end
    end
    local rows = {}
    for i, site in ipairs(list) do
      local b = best[site.name]
      rows[i] = { site.name, b.p50 }
      print(("  %-12s p50 %6.0f us  added %6.0f    p99 %6.0f us  added %6.0f"):format(site.name,
        b.p50, b.p50 - best.straight.p50, b.p99, b.p99 - best.straight.p99))
    end
    measure.rows(("first token of a stream, %d at once: median"):format(at_once), rows, "us")
    if at_once == 1 then
      measure.goal("added to the first token (p50)", (best.unbusy.p50 - best.straight.p50) / 1000,
        0.5, "ms")
    end
  end
  stop(list)
end

-- }========================================================================

-- {== Memory, and neighbours ==============================================

local function flat()
  print(("memory of the worker under load for %d s, 32 connections"):format(SECONDS))
  local site = sites.unbusy(upstream, "/ok")
  load.run(site, { connections = 32, seconds = 5 })
  local first = load.memory(site.pid)
  local most, parts, course = first, 10, {}
  for i = 1, parts do
    local told = load.run(site, { connections = 32, seconds = math.max(1, SECONDS / parts) })
    most = math.max(most, told.memory)
    course[i] = ("%.1f"):format(told.memory / 1e6)
  end
  print(("  %.1f MB after 5 s, then %s"):format(first / 1e6, table.concat(course, " ")))
  measure.goal("growth", (most - first) / 1e6, 2, "MB")
  site.stop()
end

-- How many slow calls and held streams have reached the upstream since it is there.
local function begun()
  local pipe = assert(io.popen("curl -q -s " .. upstream.url .. "/begun"))
  local n = tonumber(pipe:read "*a")
  pipe:close()
  return n or 0
end

-- Waits until so many have.
local function until_begun(n)
  for _ = 1, 1200 do
    if begun() >= n then return end
    os.execute "sleep 0.1"
  end
  error(("only %d of %d calls have begun"):format(begun(), n))
end

-- Loads a site in the background; gives what ends that.
local function background(site, given)
  given.seconds = 3600
  local pipe = assert(io.popen("echo $$; exec " .. load.command(site, given) .. " 2>&1"))
  local pid = pipe:read "*l"
  return function()
    os.execute("kill " .. pid)
    pipe:close()
  end
end

-- As many as there are descriptors for.
local function most_streams()
  local pipe = assert(io.popen "ulimit -n")
  local files = math.min(tonumber(pipe:read "*a") or 1024, sites.FILES)
  pipe:close()
  return math.min(STREAMS, math.floor((files - 200) / 2))
end

-- The memory of each of n open streams, in KB.
local function hold(name, n)
  local site = sites[name](upstream, "/hold")
  local known = begun()
  local leave = background(site, { connections = 8, stream = true }) -- warm
  until_begun(known + 8)
  leave()
  local before = load.memory(site.pid)
  leave = background(site, { connections = n, stream = true })
  until_begun(known + 8 + n)
  os.execute "sleep 5"
  local cpu, after = load.cpu(site.pid), load.memory(site.pid)
  os.execute "sleep 5"
  local line = "  %-12s %6.1f MB before, %6.1f MB then: %4.1f KB each; %.1f ms of CPU a second"
  print(line:format(name, before / 1e6, after / 1e6, (after - before) / n / 1024,
    (load.cpu(site.pid) - cpu) / 5 * 1000))
  leave()
  site.stop()
  return (after - before) / n / 1024
end

local function open_streams()
  local n = most_streams()
  print(("%d open streams in one worker, with nothing to say"):format(n))
  hold("cosocket", n)
  measure.goal("memory of each", hold("unbusy", n), 40, "KB")
end

-- A request of one connection to a location that needs nobody: idle, and beside 500 calls.
local function beside(name)
  local site = sites[name](upstream, "/slow")
  local other = { name = "unrelated", url = site.base .. "/unrelated", headers = {} }
  local idle, busy, known = {}, {}, begun()
  load.run(other, { connections = 1, seconds = 1 })
  for _ = 1, TURNS do better(idle, load.run(other, { connections = 1, seconds = 2 * TURN })) end
  local leave = background(site, { connections = 500 })
  until_begun(known + 1000)
  for _ = 1, TURNS do better(busy, load.run(other, { connections = 1, seconds = 2 * TURN })) end
  leave()
  site.stop()
  print(("  %-12s p50 %4.0f us, idle %4.0f us    p99 %6.0f us, idle %6.0f us"):format(name,
    busy.p50, idle.p50, busy.p99, idle.p99))
  return busy.p99 / idle.p99
end

local function neighbours()
  print "an unrelated location of the same worker, while 500 calls of 2 s are under way"
  beside "cosocket"
  measure.goal("its p99 against its p99 when idle", beside "unbusy", 3, "×")
end

-- }========================================================================

local parts = { requests = requests, streams = streams, first_tokens = first_tokens,
  neighbours = neighbours, open_streams = open_streams, flat = flat }
local all = "requests streams first_tokens neighbours open_streams flat"

for name in (os.getenv "UNBUSY_BENCH_PARTS" or all):gmatch "%S+" do
  local part = parts[name] or error("UNBUSY_BENCH_PARTS: some of " .. all)
  part()
end
upstream:stop()
