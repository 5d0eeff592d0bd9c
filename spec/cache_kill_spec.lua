-- Processes that are killed at each machine instruction while they change a cache that others
-- share, or while they mend what another one left. UNBUSY_KILLS=n kills at every n-th. Afterwards
-- nothing is torn, nothing but what was at work may be missing, and no room is lost.
local chance = require "spec.support.random"
local core = require "unbusy.core"
local files = require "spec.support.files"
local guard = require "spec.support.leak_guard"
local process = require "spec.support.fork"
local region = require "unbusy.region"
local regions = require "spec.support.regions"

local LEAST = 256 * 1024
local KILLED = 9
local ENTRIES, BYTES = 4, 4000

local STRIDE = tonumber(os.getenv "UNBUSY_KILLS")
  or os.getenv "UNBUSY_SANITIZED" and 10007 or 4001

-- In the quick run a long operation is not stepped through more than `most` times.
local function stride_of(instructions, most)
  local stride = 2 * STRIDE
  return os.getenv "UNBUSY_KILLS" and stride or math.max(stride, math.floor(instructions / most))
end

-- All times are given, since a clock of its own makes a method thousands of instructions longer.
local now

local function make(where)
  return assert(core.cache({ entries = ENTRIES, bytes = BYTES, ttl = 2, stale = 2, seed = 5 }, nil,
    where, "part"))
end

-- Made before, since making them takes instructions too.
local V, TAGS = {}, { "a", "b" }
for _, length in ipairs { 600, 700, 1100, 2000, 3000, 3998, 4000 } do
  V[length] = ("v"):rep(length)
end

local function set_keys(n)
  return function(c)
    for i = 1, n do
      assert(c:set("k" .. i, ("z"):rep(i * 300), nil, i % 2 == 0 and TAGS or nil, now))
      now = now + 0.1
    end
  end
end

local function used_keys(n)
  return function(c)
    set_keys(n)(c)
    for i = 1, n do
      for _ = 1, i do c:get("k" .. i, now) end
    end
  end
end

-- `loses`: a key that may be missing, since there is no room for its old value beside the new one.
local cases = {
  { what = "sets the first", work = function(c) c:set("k1", V[700], nil, nil, now) end },
  { what = "sets one of no bytes", work = function(c) c:set("", "", nil, nil, now) end },
  { what = "sets one more", prepare = set_keys(3),
    work = function(c) c:set("k7", V[600], nil, TAGS, now) end },
  { what = "sets one again", prepare = set_keys(4),
    work = function(c) c:set("k2", V[1100], 1, TAGS, now) end },
  { what = "sets one again where there is no room for both", loses = "k1",
    prepare = function(c) c:set("k1", V[3998], nil, nil, now) end,
    work = function(c) c:set("k1", V[3000], nil, nil, now) end },
  { what = "puts others out", prepare = set_keys(4),
    work = function(c) c:set("k7", V[3000], nil, nil, now) end },
  { what = "moves those that are used and puts others out", prepare = used_keys(4),
    work = function(c) c:set("k7", V[2000], nil, nil, now) end },
  { what = "puts one out that has left a ghost",
    prepare = function(c)
      set_keys(4)(c)
      c:set("k5", V[600], nil, nil, now)
    end,
    work = function(c) c:set("k1", V[700], nil, nil, now) end },
  { what = "refuses one", prepare = set_keys(4),
    work = function(c) c:set("k1", V[4000], nil, nil, now) end },
  { what = "gets", prepare = set_keys(4), work = function(c) c:get("k2", now) end },
  { what = "finds one gone", later = 4.1, prepare = set_keys(4),
    work = function(c) c:get("k2", now) end },
  { what = "deletes", prepare = set_keys(4), work = function(c) c:delete("k2", now) end },
  { what = "purges", prepare = set_keys(4), work = function(c) c:purge("b", now) end },
  { what = "clears", prepare = set_keys(4), work = function(c) c:clear() end },
}

local KEYS = { "", "k1", "k2", "k3", "k4", "k5", "k7" }

-- {== What is right ========================================================

-- What is in it, by key; the bytes of it, and how many.
local function contents(c)
  local all, bytes, count = {}, 0, 0
  for _, key in ipairs(KEYS) do
    local value = c:get(key, now)
    if value then
      all[key], bytes, count = value, bytes + #key + #value, count + 1
    end
  end
  return all, bytes, count
end

-- A part just before the killed one's doings.
local function prepared(case, where)
  now = 1000
  local c = make(where)
  if case.prepare then case.prepare(c) end
  now = now + (case.later or 0)
  return c
end

-- What has to be in it: before the work, and after it.
local function right(case)
  local before = contents(prepared(case))
  local c = prepared(case)
  case.work(c)
  return before, (contents(c))
end

-- Fails unless each key has its value of before or after.
local function check_contents(case, c, before, after, told)
  local all, bytes, count = contents(c)
  for _, key in ipairs(KEYS) do
    local value = all[key]
    local lost = value == nil and key == case.loses
    if value ~= before[key] and value ~= after[key] and not lost then
      error(("%s: '%s' is %s"):format(told, key, value and #value .. " bytes" or "missing"), 0)
    end
  end
  return all, bytes, count
end

-- Entries of lengths that take every chunk there is, and one that takes all bytes.
local function check_room(c, told)
  c:clear()
  local lengths = { 511, 511, 511, BYTES - 3 * 513 - 2 } -- with keys of two bytes
  for i, length in ipairs(lengths) do
    if not c:set("f" .. i, ("%d"):format(i):rep(length), nil, nil, now) then
      error(told .. ": no room", 0)
    end
  end
  for i, length in ipairs(lengths) do
    if c:get("f" .. i, now) ~= ("%d"):format(i):rep(length) then error(told .. ": torn", 0) end
  end
  assert.equal(BYTES, c:stats().bytes)
  c:set("k1", V[3998], nil, nil, now)
  assert.equal(V[3998], (c:get("k1", now)))
  assert.equal(1, c:stats().entries)
end

-- A random way: limits hold, and what is read is what was written.
local function check_way(c, told)
  local random, wrote = chance.new(11), {}
  for _, key in ipairs(KEYS) do wrote[key] = (c:get(key, now)) end
  for _ = 1, 80 do
    local key = random:pick(KEYS)
    if random:chance(0.5) then
      local value = random:pick { "x", "y" }:rep(random:int(1500))
      c:set(key, value, nil, random:chance(0.5) and TAGS or nil, now)
      wrote[key] = value
    elseif random:chance(0.1) then
      c:delete(key, now)
    else
      local value = c:get(key, now)
      if value and value ~= wrote[key] then error(told .. ": torn on the way", 0) end
    end
    local s = c:stats()
    if s.entries > ENTRIES or s.bytes > BYTES then error(told .. ": over its limits", 0) end
  end
end

local function check(case, c, before, after, told)
  check_contents(case, c, before, after, told) -- as it was left, mostly without a lock
  local stats = c:stats() -- mends it
  local all, bytes, count = check_contents(case, c, before, after, told)
  local tags = 0
  local cursor, key, value, about = c:next(nil, now)
  while cursor do
    count = count - 1
    assert.equal(all[key:sub(2)], value)
    for _, tag in ipairs(about.tags) do tags = tags + #tag + 1 end
    cursor, key, value, about = c:next(cursor, now)
  end
  assert.equal(0, count)
  if not case.later then -- else some may be in it that are gone
    assert.equal(bytes + tags, stats.bytes, told)
  end
  check_way(c, told)
  check_room(c, told)
end

-- }========================================================================

-- {== Killing ==============================================================

-- Runs f(c) in a process that is killed at its n-th instruction (0: lets it end). Gives the numbers
-- of the first and the last that count, if it was not killed.
local function step(c, n, f)
  local path = os.tmpname()
  local pid = process.fork()
  if pid == 0 then
    collectgarbage "stop" -- nothing but the work, the same each time
    debug.sethook() -- of an eager collector
    if jit then jit.off() jit.flush() end -- luacheck: ignore 113
    c:get("nothing", now) -- has its number
    local first, last = process.step(n, function() f(c) end)
    regions.write(path, ("%s %s"):format(tostring(first), tostring(last)))
    process.leave()
  end
  local signal = process.wait(pid)
  local first, last = files.read(path):match "(%d+) (%d+)"
  os.remove(path)
  if signal then assert.equal(KILLED, signal) end
  return tonumber(first), tonumber(last)
end

local function with_part(case, f)
  local r = assert(region.new { bytes = LEAST })
  f(prepared(case, r))
  r:close()
end

-- }========================================================================

describe("a process killed", function()
  guard.watch(before_each, after_each)
  after_each(regions.collect)

  describe("at any instruction while the cache", function()
    for _, case in ipairs(cases) do
      it(case.what, function()
        local before, after = right(case)
        local first, last
        with_part(case, function(c) first, last = step(c, 0, case.work) end)
        if not first then pending "no stepping on this processor" return end
        local killed, stride = 0, math.max(1, math.min(STRIDE, math.floor((last - first) / 6)))
        for n = first + #case.what % stride, last, stride do
          with_part(case, function(c)
            if not step(c, n, case.work) then killed = killed + 1 end
            check(case, c, before, after, ("%s, instruction %d"):format(case.what, n))
          end)
          if n % 20 == 0 then regions.collect() end
        end
        assert.is_true(killed >= 3, killed)
      end)
    end
  end)

  it("while it mends what another one left lets the next one mend it", function()
    local mended = 0
    for _, case in ipairs { cases[4], cases[7], cases[13] } do
      local before, after = right(case)
      local first, last
      with_part(case, function(c) first, last = step(c, 0, case.work) end)
      if not first then pending "no stepping on this processor" return end
      local function stats(c) c:stats() end
      for quarter = 1, 3 do
        local at, from, to = first + math.floor((last - first) * quarter / 4), nil, nil
        with_part(case, function(c)
          step(c, at, case.work)
          from, to = step(c, 0, stats)
        end)
        local stride = stride_of(to - from, 4)
        for n = from + quarter * 7, to, stride do
          with_part(case, function(c)
            step(c, at, case.work)
            step(c, n, stats)
            check(case, c, before, after, ("%s, instruction %d, then %d"):format(case.what, at, n))
            mended = mended + c:stats().rebuilt
          end)
          if n % 20 == 0 then regions.collect() end
        end
      end
    end
    assert.is_true(mended >= 3, mended)
  end)
end)
