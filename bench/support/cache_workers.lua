--- Several processes on one cache: what an operation costs each of them, with more and more of
--- them, when none, one in a hundred or one in ten is a set.
--
-- More processes than processors cannot do more together. But they could be in each other's way: in
-- a convoy, who is put off the processor with the lock in hand holds up all others, which then wait
-- for it instead of for the processor. The system tells these two apart (/proc/self/schedstat), so
-- the figures mean something beside other work too.
local cache = require "unbusy.cache"
local core = require "unbusy.core"
local measure = require "bench.support.measure"
local process = require "spec.support.fork"
local region = require "unbusy.region"

local KEYS, SECONDS = 1000, 1

local function open(r)
  return assert(cache.new { region = r, name = "workers", entries = KEYS, bytes = 2 ^ 24 })
end

local function keys_and_value()
  local keys = {}
  for i = 1, KEYS do keys[i] = cache.key(("k"):rep(500) .. ("%08d"):format(i) .. ("t"):rep(500)) end
  return keys, ("v"):rep(2048)
end

-- Seconds that this process has had a processor, and has waited for one.
local function scheduled()
  local file = assert(io.open "/proc/self/schedstat")
  local ran, waited = file:read "*l":match "^(%d+) (%d+)"
  file:close()
  return ran / 1e9, waited / 1e9
end

-- Works for a second from `begin` on, and writes what came of it.
local function work(r, path, begin, every, seed, keys, value)
  local c = open(r)
  while core.now() < begin do process.nap(500) end
  local n, at, from = 0, seed * 97, core.now()
  local ran, waited = scheduled()
  while core.now() < begin + SECONDS or n == 0 do
    for _ = 1, 200 do
      n, at = n + 1, at + 1
      local key = keys[at * 31 % KEYS + 1]
      if every and n % every == 0 then c:set(key, value) else c:get(key) end
    end
  end
  local ran_to, waited_to = scheduled()
  local file = assert(io.open(path, "a"))
  file:write(("%d %.9f %.9f %.9f\n"):format(n, ran_to - ran, waited_to - waited, core.now() - from))
  file:close()
  process.leave()
end

-- ns of processor for an operation, and the share of the time that they stood still, of so many.
local function together(r, count, every, keys, value)
  local path, pids = os.tmpname(), {}
  local begin = core.now() + 0.3
  for p = 1, count do
    pids[p] = process.fork()
    if pids[p] == 0 then work(r, path, begin, every, p, keys, value) end
  end
  for _, pid in ipairs(pids) do assert(process.wait(pid) == nil) end
  local operations, ran, waited, passed = 0, 0, 0, 0
  for line in io.lines(path) do
    local n, a, b, all = line:match "(%S+) (%S+) (%S+) (%S+)"
    operations, ran, waited, passed = operations + n, ran + a, waited + b, passed + all
  end
  os.remove(path)
  return ran / operations * 1e9, math.max(0, 1 - (ran + waited) / passed)
end

return function()
  print(("gets of 2 KB by several processes on one cache, by each (%s)"):format(
    jit and jit.version or _VERSION)) -- luacheck: ignore 113
  local r = assert(region.new { bytes = 64 * 1024 * 1024 })
  local c = open(r)
  local keys, value = keys_and_value()
  for _, key in ipairs(keys) do assert(c:set(key, value)) end
  for _, every in ipairs { false, 100, 10 } do
    local what = every and ("one in %d a set"):format(every) or "no sets"
    local ns, still
    for _, count in ipairs { 1, 2, 4, 8 } do
      ns, still = math.huge, 1
      for _ = 1, 3 do
        local took, stood = together(r, count, every, keys, value)
        ns, still = math.min(ns, took), math.min(still, stood)
      end
      print(("  %-20s %d processes %12.1f ns, %.1f %% of the time waiting for others"):format(what,
        count, ns, still * 100))
    end
    measure.goal(what .. ", 8 waiting for others", still * 100, 10, "%")
  end
  c:close()
  r:close()
end
