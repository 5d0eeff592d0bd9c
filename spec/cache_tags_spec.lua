-- Tags of entries, going through all of them, and keys as plain bytes.
local cache = require "unbusy.cache"
local caches = require "spec.support.caches"
local guard = require "spec.support.leak_guard"

local timed, keys_in = caches.timed, caches.keys_in

describe("cache", function()
  guard.watch(before_each, after_each)

  describe("tags", function()
    it("take out what has them, and nothing else", function()
      local t = timed { ttl = 10, stale = 5 }
      local c = t.c
      c:set("a", "1", nil, { "model:m", "x" })
      c:set("b", "2", nil, { "model:n" })
      c:set("c", "3", nil, {})
      c:set("d", "4")
      c:set("e", "5", 100, { "y", "model:m" })
      assert.equal(0, c:purge "model")
      assert.equal(0, c:purge "nothing")
      assert.equal(2, c:purge "model:m")
      assert.equal("b c d", keys_in(c, { "a", "b", "c", "d", "e" }))
      assert.equal(2, c:stats().purged)
      t.forward(15)
      assert.equal(0, c:purge "model:n") -- was gone
      assert.equal(1, c:stats().expired)
    end)

    it("are room, too, and go with a replacement", function()
      local c = cache.new { bytes = 100 }
      c:set("k", ("v"):rep(90), nil, { "12345678" })
      assert.equal(100, c:stats().bytes)
      assert.equal("full", select(3, c:set("k", ("v"):rep(90), nil, { "123456789" })))
      assert.equal(1, c:purge "12345678")
      assert.equal(0, c:stats().bytes)
      c:set("k", "1", nil, { "old" })
      c:set("k", "2", nil, { "new" })
      assert.equal(0, c:purge "old")
      assert.equal(1, c:purge "new")
    end)

    it("may be 16 of 255 bytes, of 10,000 entries in many chunks", function()
      local c, tags = cache.new { entries = 10000 }, {}
      for i = 1, 16 do tags[i] = (("%d"):format(i % 10)):rep(254) .. string.char(i) end
      for i = 1, 10000 do
        c:set("k" .. i, ("v"):rep(i % 1000), nil, i % 100 == 0 and tags or { "other" })
      end
      assert.equal(100, c:purge(tags[16]))
      assert.equal(9900, c:stats().entries)
      assert.equal(9900, c:purge "other")
      assert.equal(0, c:stats().entries)
    end)

    it("of other kinds raise", function()
      local c = cache.new {}
      local many = {}
      for i = 1, 17 do many[i] = "t" .. i end
      for _, tags in ipairs { "tag", 1, { 1 }, { "" }, { ("x"):rep(256) }, many, { "a", false } } do
        assert.has_error(function() c:set("k", "v", nil, tags) end)
      end
      assert.has_error(function() c:purge() end)
      assert.has_error(function() c:purge "" end)
      assert.has_error(function() c:purge(("x"):rep(256)) end)
      assert.equal(0, c:stats().stored)
    end)
  end)

  describe("going through all", function()
    it("gives each entry once, with all that is kept of it", function()
      local t = timed { entries = 2000, ttl = 10, stale = 10 }
      local keys = {}
      for i = 1, 1000 do
        local key = i % 2 == 0 and "k" .. i or cache.key("k", i)
        keys[cache.bytes_of_key(key)] = i
        t.c:set(key, ("v"):rep(i * 20), i == 500 and 100 or nil,
          i % 3 == 0 and { "t" .. i, "x" } or nil)
      end
      t.forward(11)
      t.c:set("late", "v")
      local cursor, key, value, about = t.c:next()
      local seen = 0
      while cursor do
        local i = keys[key]
        if i then
          keys[key] = nil
          seen = seen + 1
          assert.equal(("v"):rep(i * 20), value)
          assert.equal(11, about.age)
          assert.equal(i == 500 and "fresh" or "stale", about.state)
          assert.equal(i == 500 and 89 or -1, about.ttl)
          assert.same(i % 3 == 0 and { "t" .. i, "x" } or {}, about.tags)
          assert.is_true(t.c:get(cache.key_of_bytes(key)) == value)
        else
          assert.same({ "slate", "v", "fresh" }, { key, value, about.state })
        end
        cursor, key, value, about = t.c:next(cursor)
      end
      assert.equal(1000, seen)
      t.forward(9)
      assert.equal(2, (function()
        local n, at = 0, t.c:next()
        while at do n, at = n + 1, t.c:next(at) end
        return n
      end)()) -- the others are gone
    end)

    it("goes on while entries come and go", function()
      local c = cache.new { entries = 100 }
      for i = 1, 100 do c:set("k" .. i, "v") end
      local at, n = c:next(), 0
      while at do
        n = n + 1
        c:delete("k" .. n)
        c:set("more" .. n, "v")
        if n == 60 then c:clear() end
        at = c:next(at)
        assert.is_true(n < 1000)
      end
    end)

    it("wants what it gave as a cursor", function()
      local c = cache.new {}
      assert.is_nil(c:next())
      assert.is_nil(c:next(7))
      assert.has_error(function() c:next "x" end)
      assert.has_error(function() c:next(-1) end)
      assert.has_error(function() c:next(2 ^ 40) end)
      for _, bytes in ipairs { "", "x", "Sabc" } do
        assert.same({ nil, "key: these are no bytes of a key", "invalid" },
          { cache.key_of_bytes(bytes) })
      end
      assert.has_error(function() cache.key_of_bytes(1) end)
      assert.equal(cache.key "", cache.key_of_bytes "s")
    end)
  end)

  it("takes values that are old already", function()
    local t = timed { ttl = 10, stale = 5 }
    t.c:set("k", "v", nil, nil, nil, 4)
    assert.same({ "v", "fresh", 4 }, { t.c:get "k" })
    t.forward(6)
    assert.same({ "v", "stale", 10 }, { t.c:get "k" })
    local c = cache.new { ttl = 10, stale = 100 }
    c:set("k", "v", 5, { "t" }, nil, 7)
    assert.equal("stale", select(2, c:get "k"))
  end)
end)
