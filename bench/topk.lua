-- What it costs to count a key, and to record a duration, against the same in pure Lua.
--
-- The plain table counts every key there is and grows without end; Space-Saving in Lua is the same
-- algorithm as ours, with a heap in tables.
local histogram = require "unbusy.histogram"
local measure = require "bench.support.measure"
local topk = require "unbusy.topk"

local COUNTERS, KEYS, DRAWS = 1000, 100000, 65536
local LUA54 = _VERSION == "Lua 5.4"

local state = 1
local function chance()
  state = state * 16807 % 2147483647
  return state / 2147483647
end

-- {== Streams ================================================================

-- Keys of about 50 bytes, drawn so that rank r comes with a chance of about 1 / r (Zipf).
local function zipf(length)
  local out = {}
  for i = 1, DRAWS do
    local rank = math.floor(KEYS ^ chance())
    out[i] = ("question %d, asked by somebody in a chat window"):format(rank):rep(length)
  end
  return out
end

-- Each key comes once: every addition takes a counter over.
local function once()
  local out = {}
  for i = 1, DRAWS do out[i] = ("question %d, asked by somebody in a chat window"):format(i) end
  return out
end

-- }===========================================================================

-- {== The peers ==============================================================

local function plain_table()
  local counts = {}
  return function(key) counts[key] = (counts[key] or 0) + 1 end
end

local function sink(heap, at)
  local moved, n = heap[at], #heap
  while 2 * at <= n do
    local child = 2 * at
    if child < n and heap[child + 1].count < heap[child].count then child = child + 1 end
    if heap[child].count >= moved.count then break end
    heap[at] = heap[child]
    heap[at].place = at
    at = child
  end
  heap[at], moved.place = moved, at
end

local function rise(heap, e)
  local at = e.place
  while at > 1 and heap[math.floor(at / 2)].count > e.count do
    local up = math.floor(at / 2)
    heap[at] = heap[up]
    heap[at].place = at
    at = up
  end
  heap[at], e.place = e, at
end

local function space_saving(counters)
  local heap, by_key = {}, {}
  return function(key)
    local e = by_key[key]
    if not e and #heap < counters then
      e = { key = key, count = 1, error = 0, place = #heap + 1 }
      by_key[key] = e
      rise(heap, e)
      return
    elseif not e then
      e = heap[1]
      by_key[e.key] = nil
      by_key[key], e.key, e.error = e, key, e.count
    end
    e.count = e.count + 1
    sink(heap, e.place)
  end
end

local function ours(counters)
  local t = topk.new { counters = counters }
  return function(key) t:add(key) end
end

local function list_of_buckets()
  local buckets, h = {}, { count = 0, sum = 0, min = math.huge, max = 0 }
  for i = 0, 2433 do buckets[i] = 0 end
  local frexp, floor = math.frexp, math.floor -- luacheck: ignore 143
  if not frexp then -- Lua 5.4 has none
    frexp = function(v)
      local exponent = floor(math.log(v, 2)) + 1
      return v / 2.0 ^ exponent, exponent
    end
  end
  return function(seconds)
    local fraction, exponent = frexp(seconds)
    local i = (exponent + 19) * 64 + floor((2 * fraction - 1) * 64) + 1
    if i < 0 then i = 0 elseif i > 2433 then i = 2433 end
    buckets[i] = buckets[i] + 1
    h.count, h.sum = h.count + 1, h.sum + seconds
    if seconds < h.min then h.min = seconds end
    if seconds > h.max then h.max = seconds end
  end
end

-- }===========================================================================

-- Feeds a contestant from a stream that goes round. The first round is not measured.
local function fed(name, stream, take)
  local at, mask = 0, #stream - 1
  for i = 1, #stream do take(stream[i]) end
  return { name = name, run = function(n)
    for _ = 1, n do
      take(stream[at + 1])
      at = at < mask and at + 1 or 0
    end
  end }
end

local function race(title, stream)
  return measure.race(title, {
    fed("topk", stream, ours(COUNTERS)),
    fed("Space-Saving in Lua", stream, space_saving(COUNTERS)),
    fed("a table that grows", stream, plain_table()),
    fed("nothing but the loop", stream, function() end),
  })
end

local many = race("topk:add, Zipf keys of 50 bytes", zipf(1))
measure.goal("of Space-Saving in Lua", many.topk / many["Space-Saving in Lua"], 0.5, "times")
race("topk:add, keys that come once", once())
race("topk:add, Zipf keys of 5,000 bytes (kept: 1,024)", zipf(100))

local t = topk.new { counters = COUNTERS }
for _, key in ipairs(once()) do t:add(key) end
measure.race("topk:top(10) of 1,000", {
  { name = "top(10)", run = function(n) for _ = 1, n do t:top(10) end end },
})

local durations = {}
for i = 1, DRAWS do durations[i] = 0.05 - math.log(chance()) * 2 end
local h = histogram.new()
local recorded = measure.race("histogram:record", {
  fed("histogram", durations, function(seconds) h:record(seconds) end),
  fed("the same in Lua", durations, list_of_buckets()),
  fed("nothing but the loop", durations, function() end),
})
measure.goal("of the same in Lua", recorded.histogram / recorded["the same in Lua"],
  LUA54 and 1 or 2, "times")
measure.race("histogram:quantile(0.99)", {
  { name = "quantile", run = function(n) for _ = 1, n do h:quantile(0.99) end end },
})
