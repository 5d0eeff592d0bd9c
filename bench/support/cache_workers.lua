--- Several processes on one cache: how many gets they do together, with more and more of them, when
--- none, one in a hundred or one in ten is a set.
--
-- More processes than processors cannot do more together; where they did less, they would be in
-- each other's way (a convoy: who is put off the processor with the lock in hand holds up all).
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

-- Works for a second from `begin` on, and writes how often.
local function work(r, path, begin, every, seed, keys, value)
  local c = open(r)
  while core.now() < begin do process.nap(500) end
  local n, at, stop = 0, seed * 97, begin + SECONDS
  while core.now() < stop do
    for _ = 1, 200 do
      n, at = n + 1, at + 1
      local key = keys[at * 31 % KEYS + 1]
      if every and n % every == 0 then c:set(key, value) else c:get(key) end
    end
  end
  local file = assert(io.open(path, "a"))
  file:write(n, "\n")
  file:close()
  process.leave()
end

-- Operations a second of so many together.
local function together(r, count, every, keys, value)
  local path, pids, sum = os.tmpname(), {}, 0
  local begin = core.now() + 0.5
  for p = 1, count do
    pids[p] = process.fork()
    if pids[p] == 0 then work(r, path, begin, every, p, keys, value) end
  end
  for _, pid in ipairs(pids) do assert(process.wait(pid) == nil) end
  for line in io.lines(path) do sum = sum + tonumber(line) end
  os.remove(path)
  return sum / SECONDS
end

return function()
  print(("gets of 2 KB a second, by workers on one cache (%s)"):format(
    jit and jit.version or _VERSION)) -- luacheck: ignore 113
  local r = assert(region.new { bytes = 64 * 1024 * 1024 })
  local c = open(r)
  local keys, value = keys_and_value()
  for _, key in ipairs(keys) do assert(c:set(key, value)) end
  for _, every in ipairs { false, 100, 10 } do
    local by = {}
    for _, count in ipairs { 1, 2, 4, 8 } do
      by[count] = 0
      for _ = 1, 3 do
        by[count] = math.max(by[count], together(r, count, every, keys, value))
      end
    end
    local what = every and ("one in %d a set"):format(every) or "no sets"
    print(("  %-18s 1: %.2f M  2: %.2f M  4: %.2f M  8: %.2f M"):format(what, by[1] / 1e6,
      by[2] / 1e6, by[4] / 1e6, by[8] / 1e6))
    measure.goal(what .. ", 8 workers of what 2 do", by[8] / by[2], 0.8, "times", true)
  end
  c:close()
  r:close()
end
