-- One cache, and one list of what comes often, for many processes.
local cache = require "unbusy.cache"
local guard = require "spec.support.leak_guard"
local process = require "spec.support.fork"
local region = require "unbusy.region"
local regions = require "spec.support.regions"
local topk = require "unbusy.topk"

-- A value that shows whether it is whole: its own number over and over.
local function value_of(i, round)
  return ("%d:%d;"):format(i, round):rep(1 + i * 37 % 900)
end

local function is_whole(key, value)
  local first = value:match "^%d+:%d+;"
  return first ~= nil and first:match "^%d+" == key
    and value == first:rep(1 + tonumber(key) * 37 % 900)
end

describe("processes of one region", function()
  local r, children, fork, finish

  after_each(function()
    children:end_all()
    r:close()
    regions.collect()
  end)
  guard.watch(before_each, after_each)
  before_each(function()
    children, fork, finish = regions.family()
    r = assert(region.new { bytes = 8 * 1024 * 1024 })
  end)

  describe("have one cache", function()
    local function new_cache(more)
      local o = { region = r, name = "c", entries = 100, bytes = 200000, ttl = 100 }
      for name, value in pairs(more or {}) do o[name] = value end
      return assert(cache.new(o))
    end

    it("whose values all of them get", function()
      local c = new_cache()
      local key = cache.key("chat", { b = 1, a = { "x" } })
      assert.is_nil(c:get(key))
      finish(fork(function()
        local own = new_cache()
        own:set(cache.key("chat", { a = { "x" }, b = 1.0 }), "from another")
        own:set("large", ("x"):rep(100000))
        own:set("stale", "old", 0)
      end))
      local value, state, age = c:get(key)
      assert.same({ "from another", "fresh" }, { value, state })
      assert.is_true(age >= 0)
      assert.equal(("x"):rep(100000), c:get "large")
      assert.equal("stale", select(2, c:get "stale"))
      assert.is_true(c:delete(key))
      assert.equal("nil", finish(fork(function() return tostring(new_cache():get(key)) end)))
      local stats = c:stats()
      assert.same({ 2, 3 }, { stats.entries, stats.stored })
      c:clear()
      assert.equal(0, c:stats().entries)
    end)

    it("with one limit on entries and bytes", function()
      local makers = {}
      for p = 1, 3 do
        makers[p] = fork(function()
          local own = new_cache()
          for i = 1, 500 do own:set(("%d.%d"):format(p, i), ("v"):rep(i * 13 % 5000)) end
        end)
      end
      for _, child in ipairs(makers) do finish(child) end
      local stats = new_cache():stats()
      assert.is_true(stats.entries <= 100 and stats.bytes <= 200000)
      assert.equal(1500, stats.stored)
      local _, message, code = new_cache():set("k", ("x"):rep(200001))
      assert.same({ "cache: key and value of more than 200000 bytes", "full" }, { message, code })
    end)

    it("of which no value is ever torn, whoever is killed at work", function()
      local c, seen, cleared = new_cache(), 0, 0
      for round = 1, 100 do
        local child = fork(function()
          local own = new_cache()
          for i = 1, 1e9 do
            local k = i % 150
            own:set(tostring(k), value_of(k, round))
            own:get(tostring(i * 7 % 150))
            if i % 11 == 0 then own:delete(tostring(i * 5 % 150)) end
          end
        end)
        local before = c:stats().stored
        regions.wait_for(function() return c:stats().stored > before + round end)
        children:kill(child)
        for k = 0, 149 do
          local value = c:get(tostring(k))
          if value then
            seen = seen + 1
            assert.is_true(is_whole(tostring(k), value), "torn: " .. k)
          end
        end
        local stats = c:stats()
        if stats.entries == 0 then cleared = cleared + 1 end
        assert.is_true(stats.entries <= 100 and stats.bytes <= 200000)
      end
      assert.is_true(seen > 1000, "values that were looked at: " .. seen)
      assert.is_true(cleared < 100)
    end)

    it("that is read while others change it: what comes is whole", function()
      local o = { entries = 20, bytes = 60000 } -- so that all is used again at once
      local c, seen, missed = new_cache(o), 0, 0
      for w = 1, 3 do
        fork(function()
          local own = new_cache(o)
          for i = 1, 1e9 do
            local k = i * w % 29
            own:set(tostring(k), value_of(k, i % 1000))
            if i % 50 == 0 then own:purge "none" end
            if i % 5000 == 0 then own:clear() end
          end
        end)
      end
      regions.wait_for(function() return c:stats().stored > 1000 end)
      local before = c:stats().stored
      while seen + missed < 20000 or c:stats().stored < before + 20000 do
        for k = 0, 28 do
          local value = c:get(tostring(k))
          if value then
            seen = seen + 1
            assert(is_whole(tostring(k), value), "torn")
          else
            missed = missed + 1
          end
        end
        local cursor, key, value = c:next()
        while cursor do
          assert(is_whole(key:sub(2), value), "torn on the way through")
          cursor, key, value = c:next(cursor)
        end
      end
      assert.is_true(seen > 1000, seen)
    end)

    it("that always has what is only ever replaced", function()
      local o = { entries = 10, bytes = 100000 }
      local c = new_cache(o)
      c:set("1", value_of(1, 0))
      for w = 1, 2 do
        fork(function()
          local own = new_cache(o)
          for i = 1, 1e9 do own:set("1", value_of(1, w * i % 1000)) end
        end)
      end
      local before = c:stats().stored
      local n = 0
      while n < 20000 or c:stats().stored < before + 5000 do
        n = n + 1
        assert(is_whole("1", assert((c:get "1"), "missed")), "torn")
      end
      assert.equal(0, c:stats().misses)
    end)

    it("of 64 MB under a key of 1 MB, too", function()
      local big = assert(region.new { bytes = 2 ^ 27 })
      local c = assert(cache.new { region = big, name = "c", entries = 3, bytes = 2 ^ 26 + 2 ^ 21 })
      local key, value = cache.key(("k"):rep(2 ^ 20), 1), ("v"):rep(2 ^ 26)
      assert.is_true(c:set(key, value, nil, { "t" }))
      assert.is_true((c:get(key)) == value)
      assert.is_nil((c:get(cache.key(("k"):rep(2 ^ 20), 2))))
      assert.is_true(select(3, c:next()) == value)
      assert.is_true(c:set(key, value))
      assert.is_true((c:get(key)) == value)
      assert.equal(1, c:stats().entries)
      c:close()
      big:close()
    end)

    it("whose times are those of who opened it last", function()
      local c = new_cache { stale = 0 }
      c:set("k", "v", 0)
      assert.is_nil(c:get "k")
      c:set("k", "v", 0)
      local d = new_cache { ttl = 5, stale = 50 }
      assert.equal("stale", select(2, d:get "k"))
      c:close()
      d:close()
    end)

    it("that close leaves to the others", function()
      local c, other = new_cache(), new_cache()
      c:set("k", "v")
      c:close()
      c:close()
      assert.has_error(function() c:get "k" end)
      assert.equal("v", other:get "k")
    end)

    it("with keys and values of the right kinds", function()
      local c = new_cache()
      for _, wrong in ipairs { { 1, "v" }, { {}, "v" }, { "k", 5 }, { "k", {} }, { "k", "v", -1 },
        { "k", "v", 0 / 0 } } do
        assert.has_error(function() c:set(wrong[1], wrong[2], wrong[3]) end)
      end
      assert.has_error(function() c.get({}, "k") end)
      assert.is_nil((c:get "k"))
    end)
  end)

  describe("have one list of what comes often", function()
    local function new_list()
      return assert(topk.new { region = r, name = "t", counters = 50, key_bytes = 40 })
    end

    it("to which all of them add", function()
      local t = new_list()
      local makers = {}
      for p = 1, 4 do
        makers[p] = fork(function()
          local own = new_list()
          for i = 1, 1000 do own:add("key " .. i % 10) end
          own:add(("long "):rep(20) .. p)
        end)
      end
      for _, child in ipairs(makers) do finish(child) end
      local top = t:top()
      assert.equal(14, #top)
      for i = 1, 10 do assert.same({ 400, 0 }, { top[i].count, top[i].error }) end
      assert.is_true(top[14].cut)
      assert.equal(4004, t:stats().total)
      assert.equal(2, #t:top(2))
      t:close()
      t:close()
      assert.equal(4004, new_list():stats().total)
    end)

    it("that is whole or empty after a writer was killed", function()
      local t = new_list()
      for _ = 1, 100 do
        local child = fork(function()
          local own = new_list()
          for i = 1, 1e9 do own:add("key " .. i * i % 211) end
        end)
        local before = t:stats().total
        regions.wait_for(function() return t:stats().total ~= before end)
        process.nap(200)
        children:kill(child)
        local sum, last = 0, math.huge
        for _, entry in ipairs(t:top()) do
          assert.matches("^key %d+$", entry.key)
          assert.is_true(entry.count <= last and entry.error <= entry.count)
          sum, last = sum + entry.count, entry.count
        end
        assert.equal(t:stats().total, sum) -- Space-Saving keeps the sum of all counts
      end
    end)
  end)
end)
