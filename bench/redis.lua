-- What a hit costs that comes out of Redis: an answer of 2 KB under a key of 1 KB, over a unix
-- socket, one at a time and 64 at once.
--
--   bare hiredis     bench/c/redis_bare.c: its blocking API, replies thrown away; no Lua
--   the link         core_redis driven by hand: get, wait, step, entry (key compared, checksum)
--   the level        what a call asks: health, a deadline, the loop of plain Lua
--
-- Wall time, since the server is a process of its own, and CPU time of this one. And what keeping
-- an answer costs whoever keeps it: nobody waits for Redis.
local core = require "unbusy.core"
local core_redis = require "unbusy.core_redis"
local levels = require "spec.support.redis_levels"
local measure = require "bench.support.measure"
local redis_server = require "spec.support.redis_server"
local tasks = require "unbusy.loops.tasks"

local TURNS = tonumber(os.getenv "UNBUSY_BENCH_TURNS") or 15
local CALLS = tonumber(os.getenv "UNBUSY_BENCH_CALLS") or 2048 -- of one turn
local PROGRAM = (os.getenv "UNBUSY_BENCH_DIR" or "build/bench") .. "/redis_bare"

local server = redis_server.start()
local key = core.key("chat", { prompt = ("k"):rep(1000) })
local value = ("v"):rep(2048)
local client = levels.client(server.path)
local far = client.cache.far

far:set(key, value)
assert(client.cache:settle(60))
local name = server:cli "KEYS '*'"

-- {== Contestants =========================================================

local function bare(n, at_once)
  local pipe = io.popen(("%s %s %s %d %d"):format(PROGRAM, server.path, name, n, at_once))
  local wall, cpu = pipe:read("*n", "*n")
  pipe:close()
  return assert(wall, "redis_bare failed"), cpu
end

local link = assert(core_redis.link { path = server.path, port = 1, database = 0,
  prefix = "unbusy:", most = 1048576 })
assert(link:begin())
local engine = assert(core.engine())
engine:listen(link:descriptor())

local function by_link(n, at_once)
  local ids = {}
  for _ = 1, n / at_once do
    for i = 1, at_once do ids[i] = link:get(key) end
    while link:look() > 0 do
      engine:wait(1)
      link:step()
      engine:step()
      engine:heard()
    end
    for i = 1, at_once do
      link:next()
      if link:entry(ids[i], key) ~= value then error "no value" end
    end
  end
end

-- A call as the level sees it, the same for all.
local call = { deadline = math.huge, hold = function() end, release = function() end }

local function ask(n)
  for _ = 1, n do
    if far:get(call, key) ~= value then error "no value" end
  end
end

local function by_level(n, at_once)
  tasks.enter(function(loop)
    call.loop = loop
    if at_once == 1 then return ask(n) end
    local all = {}
    for i = 1, at_once do all[i] = loop.spawn(ask, n / at_once) end
    for i = 1, at_once do all[i]:join() end
  end)
end

-- Microseconds of one: wall and CPU.
local function timed(f)
  return function(n, at_once)
    local wall, cpu = core.now(), os.clock()
    f(n, at_once)
    return (core.now() - wall) / n * 1e6, (os.clock() - cpu) / n * 1e6
  end
end

local contestants = {
  { name = "bare hiredis", run = bare },
  { name = "the link", run = timed(by_link) },
  { name = "the level", run = timed(by_level) },
}

-- }========================================================================

for _, at_once in ipairs { 1, 64 } do
  local best = {}
  for _ = 1, TURNS do
    for i, c in ipairs(contestants) do
      collectgarbage()
      local wall, cpu = c.run(CALLS, at_once)
      local b = best[i] or { wall = math.huge, cpu = math.huge }
      best[i] = { wall = math.min(b.wall, wall), cpu = math.min(b.cpu, cpu) }
    end
  end
  print(("a hit of 2 KB under a key of 1 KB, %d at once (%s)"):format(at_once,
    jit and jit.version or _VERSION)) -- luacheck: ignore 113
  local rows = {}
  for i, c in ipairs(contestants) do
    print(("  %-20s %8.1f us  × %.2f   CPU %6.1f us"):format(c.name, best[i].wall,
      best[i].wall / best[1].wall, best[i].cpu))
    rows[i] = { c.name, best[i].cpu }
  end
  measure.rows(("CPU of a hit in Redis, 2 KB, %d at once"):format(at_once), rows, "us")
  measure.peer("hiredis", ("CPU of a hit in Redis, %d at once"):format(at_once),
    best[3].cpu / best[1].cpu)
end

-- Keeping: 256 answers, then Redis is waited for, which does not count.
local least = math.huge
for _ = 1, TURNS do
  local began = core.now()
  for _ = 1, 256 do far:set(key, value) end
  least = math.min(least, (core.now() - began) / 256 * 1e6)
  assert(client.cache:settle(60))
end
print(("keeping an answer of 2 KB, of the caller's time: %.1f us"):format(least))
measure.goal("sets that were dropped or lost", levels.stats(client).dropped
  + levels.stats(client).lost, 0, "")

engine:close()
link:close()
client:close()
server:stop()
