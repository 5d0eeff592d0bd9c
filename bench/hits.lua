--- How often the cache finds what is asked, on traces of known kinds: against LRU and against
--- Belady's optimum (MIN, which knows the future), with room for as many entries.
--
--   Zipf          20,000 questions, the n-th of which is asked in proportion to 1/n^a
--   … and scans   after every 9,000 such requests 3,000 questions that never come again
--   scan          nothing comes twice
--   loop          1,500 questions in turn, again and again; or 900, which fit
--   shifting      as Zipf, but every 10,000 requests the 200 most popular become the least
--   drift         any of 800 questions; with every fourth request one is new, one is forgotten
--   again soon    each comes twice, the second time after 500 others
--
-- All have 300,000 requests and room for 1,000 entries. The goals: never more than 2 points below
-- LRU, and ahead of it by 3 and more on Zipf with scans. Each miss sets what was not there.
local cache = require "unbusy.cache"
local measure = require "bench.support.measure"
local random = require "spec.support.random"

local ROOM, LENGTH = 1000, 300000

-- {== Traces ===============================================================

local function zipf(r, count, a)
  local sums, sum = {}, 0
  for n = 1, count do
    sum = sum + n ^ -a
    sums[n] = sum
  end
  return function()
    local at, low, high = r:float() * sum, 1, count
    while low < high do
      local middle = math.floor((low + high) / 2)
      if sums[middle] < at then low = middle + 1 else high = middle end
    end
    return low
  end
end

local traces = {}

local function trace(name, next_of)
  local r, list = random.new(11), {}
  local next = next_of(r)
  for i = 1, LENGTH do list[i] = next(i) end
  traces[#traces + 1] = { name = name, list = list }
end

for _, a in ipairs { 0.8, 0.9, 1, 1.1, 1.2 } do
  trace(("Zipf %.1f"):format(a), function(r) return zipf(r, 20000, a) end)
end

for _, a in ipairs { 0.8, 1, 1.2 } do
  trace(("Zipf %.1f and scans"):format(a), function(r)
    local popular = zipf(r, 20000, a)
    return function(i) return i % 12000 < 9000 and popular() or 20000 + i end
  end)
end

trace("scan", function() return function(i) return i end end)
trace("loop of 1,500", function() return function(i) return i % 1500 end end)
trace("loop of 900", function() return function(i) return i % 900 end end)

trace("shifting", function(r)
  local popular = zipf(r, 20000, 1)
  return function(i) return (popular() + math.floor(i / 10000) * 200) % 20000 end
end)

trace("drift", function(r)
  return function(i) return math.floor(i / 4) + r:int(800) end
end)

trace("again soon", function()
  return function(i)
    local n = math.floor(i / 2)
    return i % 2 == 0 and n or n - 250
  end
end)

-- }========================================================================

-- {== Who keeps what =======================================================

local function ours(list)
  local c = assert(cache.new { entries = ROOM, bytes = 2 ^ 24, seed = 5 })
  for i = 1, #list do
    local key = tostring(list[i])
    if not c:get(key) then c:set(key, "answer") end
  end
  return c:stats().hits
end

-- Times of the last use in a ring: the oldest use that is still the last one of its key goes.
local function lru(list)
  local used, count, oldest, hits = {}, 0, 1, 0
  for i = 1, #list do
    local key = list[i]
    if used[key] then
      hits = hits + 1
    else
      if count == ROOM then
        while used[list[oldest]] ~= oldest do oldest = oldest + 1 end
        used[list[oldest]] = nil
      else
        count = count + 1
      end
    end
    used[key] = i
  end
  return hits
end

-- A heap of keys, the one on top that comes back last; entries that have been used since are old.
local function optimum(list)
  local after, comes = {}, {}
  for i = #list, 1, -1 do
    after[i] = comes[list[i]] or math.huge
    comes[list[i]] = i
  end
  local heap, size, kept, count, hits = {}, 0, {}, 0, 0
  local function push(at, key)
    size = size + 1
    local i = size
    while i > 1 do
      local up = math.floor(i / 2)
      if heap[up].at >= at then break end
      heap[i], i = heap[up], up
    end
    heap[i] = { at = at, key = key }
  end
  local function pop()
    local top, last = heap[1], heap[size]
    size = size - 1
    local i = 1
    while 2 * i <= size do
      local down = 2 * i
      if down < size and heap[down + 1].at > heap[down].at then down = down + 1 end
      if heap[down].at <= last.at then break end
      heap[i], i = heap[down], down
    end
    heap[i] = last
    return top
  end
  for i = 1, #list do
    local key = list[i]
    if kept[key] then
      hits, count = hits + 1, count - 1
    end
    kept[key] = after[i]
    count = count + 1
    push(after[i], key)
    while count > ROOM do
      local top = pop()
      if kept[top.key] == top.at then
        kept[top.key] = nil
        count = count - 1
      end
    end
  end
  return hits
end

-- }========================================================================

print(("share of hits, %d requests, room for %d (%s)"):format(LENGTH, ROOM,
  jit and jit.version or _VERSION)) -- luacheck: ignore 113
print(("  %-22s %8s %8s %8s"):format("", "unbusy", "LRU", "optimum"))
local least, ahead = math.huge, math.huge
for _, t in ipairs(traces) do
  local a, b, best = ours(t.list), lru(t.list), optimum(t.list)
  local function percent(hits) return hits / LENGTH * 100 end
  print(("  %-22s %7.1f%% %7.1f%% %7.1f%%"):format(t.name, percent(a), percent(b), percent(best)))
  least = math.min(least, percent(a) - percent(b))
  if t.name:find "and scans" then ahead = math.min(ahead, percent(a) - percent(b)) end
end
measure.goal("beside LRU, on any of them", least, -2, "points", true)
measure.goal("ahead of LRU, Zipf with scans", ahead, 3, "points", true)
