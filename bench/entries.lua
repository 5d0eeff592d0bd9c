-- How a hit of the cache grows with its entries, from a thousand to ten millions, beside plain C
-- with as many (bench/c/cache_floor.c).
--
-- Up to 20,000 of the keys are looked up in turn, spread over all entries; what the processor's
-- caches do not hold costs the C floor too. Large entries have keys of 1 KB and values of 2 KB,
-- small ones 64 bytes in all. A size for which the machine has too little memory is left out and
-- said.
local cache = require "unbusy.cache"
local core = require "unbusy.core"
local gets = require "bench.support.gets"
local measure = require "bench.support.measure"

local ASKED = 20000
local PROGRAM = (os.getenv "UNBUSY_BENCH_DIR" or "build/bench") .. "/cache_floor"

local function available() -- bytes
  for line in io.lines "/proc/meminfo" do
    local kib = line:match "^MemAvailable:%s+(%d+)"
    if kib then return tonumber(kib) * 1024 end
  end
  return 0
end

local function floor(count, key, value)
  local best = math.huge
  for _ = 1, count < 1e6 and 3 or 1 do
    local pipe = assert(io.popen(("%s %d %d %d"):format(PROGRAM, count, key, value)))
    best = math.min(best, tonumber(pipe:read "*l") or math.huge)
    pipe:close()
  end
  return best
end

-- ns of a hit; nil where there is too little memory.
local function hit_among(count, key_bytes, value_bytes)
  local o = { entries = count, bytes = count * (key_bytes + value_bytes), ttl = 1e6, stale = 0 }
  if core.cache_room(o, "x") * 1.3 > available() then return nil end
  local c, value = assert(cache.new(o)), ("v"):rep(value_bytes)
  local head = ("k"):rep((key_bytes - 8) / 2)
  local tail = ("t"):rep(key_bytes - 8 - #head)
  local function key_of(i) return cache.key(head .. ("%08d"):format(i) .. tail) end
  for i = 0, count - 1 do assert(c:set(key_of(i), value)) end
  assert(c:stats().entries == count)
  local keys = {}
  for i = 1, math.min(count, ASKED) do keys[i] = key_of(i * 7919 % count) end
  for _, key in ipairs(keys) do assert(c:get(key)) end
  local ns = measure.times { { name = "get", run = gets(c, keys) } }
  c:close()
  return ns.get
end

-- The hit of the largest of what the floor takes, beside that of the smallest.
local function grows(title, counts, key_bytes, value_bytes)
  local point, first, last = measure.curve(title, "entries", "ns"), nil, nil
  for _, count in ipairs(counts) do
    local ns = hit_among(count, key_bytes, value_bytes)
    if not ns then
      print(("  %d entries: too little memory here"):format(count))
    else
      local beside = floor(count, key_bytes, value_bytes)
      point("a hit", count, ns)
      point("C floor", count, beside)
      first, last = first or ns / beside, ns / beside
    end
  end
  return last / first
end

measure.goal("a hit of what the floor takes, the most entries beside 1,000",
  grows("a hit of 2 KB under a key of 1 KB", { 1e3, 1e4, 1e5, 1e6 }, 1024, 2048), 2, "times")
grows("a hit of 48 bytes under a key of 16", { 1e3, 1e4, 1e5, 1e6, 1e7 }, 16, 48)
