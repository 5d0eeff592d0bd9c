-- The sums of a cache in a file were looked at after a reboot only. One that was damaged between
-- two runs within a boot (a disk at its end, a tool that wrote into it) was taken as it was: the
-- process that opened it crashed, waited for ever for a lock that was none, or was given answers
-- that nobody had stored.
local cache = require "unbusy.cache"
local chance = require "spec.support.random"
local files = require "spec.support.files"
local guard = require "spec.support.leak_guard"
local regions = require "spec.support.regions"

local STAMP = 48    -- bytes at the front; what is wrong there is refused
local BLOCK = 33024 -- where the cache is, behind the region's own
local TABLES = 67000 -- of the cache

local function value_of(k) return ("%d;"):format(k):rep(1 + k * 37 % 900) end

local function check(fine, what)
  if not fine then error(what, 0) end
end

describe("a cache in a file that was damaged while nobody had it open", function()
  local path, remove

  after_each(function()
    regions.collect()
    remove()
  end)
  guard.watch(before_each, after_each)
  before_each(function() path, remove = regions.path() end)

  local function open()
    return assert(cache.new { path = path, entries = 200, bytes = 2 ^ 20, ttl = 1000 })
  end

  local function filled()
    local c = open()
    for k = 1, 150 do assert(c:set(tostring(k), value_of(k), nil, { "t" .. k % 2 })) end
    c:close()
    return files.read(path)
  end

  -- With `count` bytes changed, of those between two places.
  local function damaged(file, random, count, from, to)
    local bytes = {}
    for _ = 1, count do bytes[from + random:int(to - from)] = string.char(random:int(255)) end
    local places, pieces, last = {}, {}, 0
    for at in pairs(bytes) do places[#places + 1] = at end
    table.sort(places)
    for _, at in ipairs(places) do
      pieces[#pieces + 1] = file:sub(last + 1, at - 1) .. bytes[at]
      last = at
    end
    return table.concat(pieces) .. file:sub(last + 1)
  end

  -- What is found in a process of its own, in which all else is done, too: how much of it.
  local function found()
    return tonumber(regions.child(function()
      local c, count = open(), 0
      for k = 1, 150 do
        local value = c:get(tostring(k))
        check(not value or value == value_of(k), "another answer")
        count = count + (value and 1 or 0)
      end
      local s = c:stats()
      check(s.rebuilt == (count < 150 and 1 or 0) or count == 0, "not told")
      for cursor, _, value in c.next, c do
        check(cursor and #value > 0, "no entry")
      end
      c:purge "t1"
      for k = 1, 200 do check(c:set(tostring(k), value_of(k + 1)), "not kept") end
      for k = 1, 200 do
        local value = c:get(tostring(k))
        check(not value or value == value_of(k + 1), "another answer in the end")
      end
      check(c:set("large", ("x"):rep(2 ^ 20 - 5)) and c:stats().entries == 1, "no room")
      c:close()
      return count
    end))
  end

  it("has what was not, and nothing else", function()
    local file, random, whole = filled(), chance.new(chance.seed(224)), 0
    for _ = 1, 40 do
      regions.write(path, damaged(file, random, 20, STAMP, #file))
      whole = whole + found()
    end
    assert.is_true(whole > 40 * 120, whole)
  end)

  it("in what leads to all the rest, too", function()
    local file, random = filled(), chance.new(chance.seed(2240))
    for _ = 1, 20 do
      regions.write(path, damaged(file, random, 8, BLOCK, BLOCK + 1500))
      found()
      regions.write(path, damaged(file, random, 100, TABLES, TABLES + 20000))
      found()
    end
  end)

  it("in its locks, too", function()
    local file, random = filled(), chance.new(chance.seed(22400))
    for _ = 1, 20 do
      regions.write(path, damaged(file, random, 20, STAMP, STAMP + 200))
      assert.equal(150, found())
    end
  end)

  it("is as it was where nothing is", function()
    filled()
    assert.equal(150, found())
  end)
end)
