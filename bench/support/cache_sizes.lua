--- A hit of caches of more and more entries, beside plain C with as many.
--
-- 20,000 of the keys are looked up in turn, spread over all entries; what the processor's caches
-- do not hold costs the C floor too. A size for which the machine has too little memory is left out
-- and said.
local cache = require "unbusy.cache"
local core = require "unbusy.core"
local measure = require "bench.support.measure"

local ASKED = 20000

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
    local pipe = assert(io.popen(("%s/cache_floor %d %d %d"):format(
      os.getenv "UNBUSY_BENCH_DIR" or "build/bench", count, key, value)))
    best = math.min(best, tonumber(pipe:read "*l") or math.huge)
    pipe:close()
  end
  return best
end

-- ns of a hit, and of the floor; nil where there is too little memory.
local function of_size(count, key_bytes, value_bytes)
  local o = { entries = count, bytes = count * (key_bytes + value_bytes), ttl = 1e6, stale = 0 }
  if core.cache_room(o, "x") * 1.3 > available() then return nil end
  local c, value = assert(cache.new(o)), ("v"):rep(value_bytes)
  local head = ("k"):rep((key_bytes - 8) / 2)
  local tail = ("t"):rep(key_bytes - 8 - #head)
  local function key_of(i) return cache.key(head .. ("%08d"):format(i) .. tail) end
  for i = 0, count - 1 do assert(c:set(key_of(i), value)) end
  assert(c:stats().entries == count)
  local keys, last = {}, math.min(count, ASKED)
  for i = 1, last do keys[i] = key_of(i * 7919 % count) end
  local at = 0
  local ns = measure.race(("a hit among %d of %d + %d bytes"):format(count, key_bytes, value_bytes),
    { { name = "get", run = function(n)
      for _ = 1, n do
        at = at % last + 1
        if not c:get(keys[at]) then error "a miss" end
      end
    end } })
  c:close()
  local beside = floor(count, key_bytes, value_bytes)
  print(("  %-44s %10.1f ns"):format("C floor", beside))
  return ns.get, beside
end

return function()
  local first, first_floor, worst
  for _, count in ipairs { 1e3, 1e4, 1e5, 1e6 } do
    local ns, beside = of_size(count, 1024, 2048)
    if not ns then
      print(("  %d entries: too little memory here"):format(count))
    else
      first, first_floor = first or ns, first_floor or beside
      worst = math.max(worst or 0, ns / beside / (first / first_floor))
    end
  end
  measure.goal("a hit of what the floor takes, beside that among 1,000", worst, 2, "times")
  for _, count in ipairs { 1e7, 1e6 } do
    if of_size(count, 16, 48) then break end
    print(("  %d entries of 64 bytes: too little memory here"):format(count))
  end
end
