local core = require "unbusy.core"
local guard = require "spec.support.leak_guard"
local topk = require "unbusy.topk"

-- "key count error, …" of a list; the error only where there is one.
local function words(list)
  local out = {}
  for i, e in ipairs(list) do
    out[i] = ("%s %.0f"):format(e.key, e.count) .. (e.error > 0 and (" %.0f"):format(e.error) or "")
  end
  return table.concat(out, ", ")
end

local function add_all(t, text)
  for word in text:gmatch "%S+" do t:add(word) end
  return t
end

describe("topk", function()
  guard.watch(before_each, after_each)

  describe("counts", function()
    it("exactly while there are counters for all keys", function()
      local t = add_all(topk.new { counters = 4 }, "a b a c a b")
      assert.equal("a 3, b 2, c 1", words(t:top()))
    end)

    it("nothing at the start", function()
      local t = topk.new {}
      assert.same({}, t:top())
      assert.same({}, t:top(5))
      assert.equal(0, t:stats().total)
    end)

    it("one, or as often as is said", function()
      local t = topk.new {}
      t:add("a")
      t:add("b", 5)
      t:add("a", nil)
      t:add("a", 2.0)
      assert.equal("b 5, a 4", words(t:top()))
    end)

    it("a new key from the least count on, which is its error", function()
      local t = add_all(topk.new { counters = 3 }, "a a a a b b b c c")
      assert.equal(2, t:stats().least)
      t:add("d", 3)
      assert.equal("d 5 2, a 4, b 3", words(t:top()))
      t:add("d")
      assert.equal("d 6 2, a 4, b 3", words(t:top()))
      t:add("c") -- it is not remembered that it came before
      assert.equal("d 6 2, a 4, c 4 3", words(t:top()))
    end)

    it("with a single counter", function()
      local t = add_all(topk.new { counters = 1 }, "a b c c")
      assert.equal("c 4 2", words(t:top()))
      assert.equal(4, t:stats().least)
    end)
  end)

  describe("top", function()
    it("gives the n greatest, or all", function()
      local t = topk.new { counters = 100 }
      for i = 1, 100 do t:add("k" .. i, (i * 37) % 101) end
      local all = t:top()
      assert.equal(100, #all)
      for i, e in ipairs(all) do assert.equal(101 - i, e.count) end
      for _, n in ipairs { 1, 2, 3, 10, 99, 100 } do
        local some = t:top(n)
        assert.equal(n, #some)
        for i, e in ipairs(some) do assert.same(all[i], e) end
      end
      assert.same(all, t:top(101))
      assert.same(all, t:top(2 ^ 53))
      assert.same(all, t:top(1e300))
    end)

    it("puts the smaller error first among equals, then what was listed first", function()
      local t = add_all(topk.new { counters = 4 }, "d c b a")
      assert.equal("d 1, c 1, b 1, a 1", words(t:top()))
      t:add("a", 3)
      t:add("b", 3)
      t:add("c", 3)
      t:add("e", 3) -- instead of d
      assert.equal("c 4, b 4, a 4, e 4 1", words(t:top()))
      assert.equal("c 4, b 4", words(t:top(2)))
    end)

    it("changes nothing", function()
      local t = add_all(topk.new { counters = 3 }, "a a b b c d e f e g")
      local before = t:stats()
      local list = words(t:top())
      assert.equal(list, words(t:top()))
      assert.same(before, t:stats())
    end)
  end)

  describe("keys", function()
    it("are any bytes", function()
      local t = topk.new {}
      local keys = { "", "\0", "\0\0", "a\0b", "a\0c", "\255\254", ("\0"):rep(1024) }
      for n, key in ipairs(keys) do t:add(key, n) end
      for i, e in ipairs(t:top()) do
        assert.equal(keys[#keys + 1 - i], e.key)
        assert.equal(#keys + 1 - i, e.count)
        assert.is_nil(e.cut)
      end
    end)

    it("are shown whole up to `key_bytes`, and cut beyond", function()
      local t = topk.new { key_bytes = 4 }
      t:add("abcde", 3)
      t:add("abcd", 2)
      t:add("abc")
      assert.same({ { key = "abcd", count = 3, error = 0, cut = true },
        { key = "abcd", count = 2, error = 0 }, { key = "abc", count = 1, error = 0 } }, t:top())
    end)

    it("that begin alike are never one", function()
      local head = ("天气如何"):rep(200)
      local t = topk.new { counters = 2000, key_bytes = 64 }
      local n = 0
      for _, tail in ipairs { "", " ", "a", "b", "ab", "ba", "\0", "\0\0" } do
        n = n + 1
        t:add(head .. tail, n)
      end
      for i = 1, 1000 do t:add(("%s%d%s"):format(head, i, head)) end -- also of one length
      for i = 1, 1000 do t:add(("%s%d%s"):format(head, i, head)) end
      local list = t:top()
      assert.equal(1008, #list)
      for i = 1, 6 do assert.equal(9 - i, list[i].count) end
      for i = 7, 1007 do assert.equal(2, list[i].count) end
      assert.equal(1, list[1008].count)
      for _, e in ipairs(list) do assert.is_true(e.cut) end
    end)

    it("that differ in one bit, anywhere, are never one", function()
      local t = topk.new { counters = 4000, key_bytes = 8 }
      local zeros = ("\0"):rep(400)
      t:add(zeros)
      for i = 1, 400 do
        for bit = 0, 7 do
          t:add(zeros:sub(1, i - 1) .. string.char(2 ^ bit) .. zeros:sub(i + 1))
        end
      end
      assert.equal(1 + 400 * 8, t:stats().used)
    end)

    it("are cut to whole characters", function()
      for key, shown in pairs {
        ["abcdefgh"] = "abcdef", ["abcd天气"] = "abcd", ["abc天气"] = "abc天", ["天气如何"] = "天气",
        ["abcdeé"] = "abcde", ["abcdéf"] = "abcdé", ["ab😀😀"] = "ab😀", ["abc😀é"] = "abc",
        ["abcd😀"] = "abcd", ["abcde😀"] = "abcde",
      } do
        local t = topk.new { key_bytes = 6 }
        t:add(key)
        assert.same({ { key = shown, count = 1, error = 0, cut = true } }, t:top())
      end
      local t = topk.new { key_bytes = 1 }
      t:add("天")
      assert.same({ { key = "", count = 1, error = 0, cut = true } }, t:top())
    end)

    it("that are no UTF-8 lose at most a beginning without an end", function()
      for key, shown in pairs {
        ["\128\128\128\128\128\128"] = "\128\128\128\128",
        ["\255\255\255\255\255"] = "\255\255\255", ["ab\240\128x"] = "ab",
        ["a\240\128\128x"] = "a", ["\240\128\128\128x"] = "\240\128\128\128",
        ["a\195\128\128x"] = "a\195\128\128",
      } do
        local t = topk.new { key_bytes = 4 }
        t:add(key)
        assert.equal(shown, t:top()[1].key)
      end
    end)

    it("of a mebibyte are told apart by their last byte", function()
      local t = topk.new {}
      local long = ("x"):rep(2 ^ 20)
      for _ = 1, 3 do t:add(long .. "a") end
      t:add(long .. "b")
      assert.same({ 3, 1 }, { t:top()[1].count, t:top()[2].count })
      assert.equal(1024, #t:top(1)[1].key)
    end)
  end)

  describe("counts end at 2^53", function()
    it("for a key and in all", function()
      local t = topk.new { counters = 2 }
      t:add("a", 2 ^ 53 - 1)
      t:add("b")
      assert.equal(2 ^ 53, t:stats().total)
      t:add("a")
      t:add("a", 5)
      t:add("a", 2 ^ 53)
      t:add("b", 1e300) -- as much as 2^53
      assert.equal(2 ^ 53, t:top()[1].count)
      assert.equal(2 ^ 53, t:top()[2].count)
      assert.equal(2 ^ 53, t:stats().total)
      t:add("c", 2 ^ 53)
      local last = t:top()[2]
      assert.same({ "c", 2 ^ 53, 2 ^ 53 }, { last.key, last.count, last.error })
    end)
  end)

  describe("stats", function()
    it("tell of counters, keys and memory", function()
      local t = topk.new { counters = 2, key_bytes = 100 }
      local bytes = t:stats().bytes
      assert.same({ counters = 2, used = 0, total = 0, least = 0, replaced = 0, bytes = bytes },
        t:stats())
      add_all(t, "a a a")
      t:add("b", 2)
      t:add("c", 1)
      t:add("d", 1)
      assert.same({ counters = 2, used = 2, total = 7, least = 3, replaced = 2, bytes = bytes },
        t:stats())
    end)

    it("show memory that is all taken at the start", function()
      local blocks = core.stats().blocks
      local t = topk.new { counters = 100, key_bytes = 1000 }
      local bytes = t:stats().bytes
      assert.is_true(bytes > 100 * 1000 and bytes <= 100 * (1000 + 88) + 256)
      for i = 1, 10000 do t:add(("k%d "):format(i):rep(i % 500)) end
      assert.equal(bytes, t:stats().bytes)
      assert.equal(blocks + 1, core.stats().blocks)
      t:close()
      assert.equal(blocks, core.stats().blocks)
    end)

    it("know no least count as long as a counter is free", function()
      local t = topk.new { counters = 2 }
      t:add("a", 9)
      assert.equal(0, t:stats().least)
      t:add("b", 4)
      assert.equal(4, t:stats().least)
    end)
  end)

  it("forgets all with `clear`", function()
    local t = add_all(topk.new { counters = 2 }, "a b c d d")
    t:clear()
    assert.same({}, t:top())
    local s = t:stats()
    assert.same({ 0, 0, 0, 0 }, { s.used, s.total, s.least, s.replaced })
    add_all(t, "d e e")
    assert.equal("e 2, d 1", words(t:top()))
  end)

  it("gives the same for every seed", function()
    local expected
    for _, seed in ipairs { false, 0, 1, -1, 2 ^ 53, -2 ^ 53 } do
      local t, x = topk.new { counters = 20, key_bytes = 3, seed = seed or nil }, 1
      for _ = 1, 2000 do
        x = x * 16807 % 2147483647
        t:add("key " .. math.floor(x % 100 * (x % 7) / 7))
      end
      expected = expected or words(t:top())
      assert.equal(expected, words(t:top()))
    end
  end)

  it("may have a million counters", function()
    local t = assert(topk.new { counters = 2 ^ 20, key_bytes = 16 })
    for i = 1, 2000 do t:add("k" .. i) end
    assert.equal("k1 1, k2 1", words(t:top(2)))
    t:close()
  end)

  describe("close", function()
    it("may be called twice, and nothing else afterwards", function()
      local t = topk.new {}
      t:close()
      t:close()
      for _, call in ipairs { "add", "top", "stats", "clear" } do
        assert.error_matches(function() t[call](t, "a") end, "the topk is closed")
      end
    end)

    it("is what the end of a block does in Lua 5.4", function()
      if _VERSION ~= "Lua 5.4" then return end
      local scope = load [[
        local topk, core = ...
        local before = core.stats().blocks
        do
          local t <close> = topk.new {}
          assert(core.stats().blocks == before + 1)
        end
        return core.stats().blocks - before]]
      assert.equal(0, scope(topk, core))
    end)
  end)

  it("says so when there is no memory", function()
    core.fail_alloc(1)
    local t, message, code = topk.new {}
    assert.same({ false, "topk: not enough memory", "nomem" }, { t or false, message, code })
    assert.is_truthy(topk.new {})
  end)

  describe("wrong use raises, at the caller's line:", function()
    local function raises(expected, f)
      local ok, message = pcall(f)
      assert.is_false(ok)
      assert.is_truthy(message:find("spec/topk_spec.lua:", 1, true), message)
      assert.is_truthy(message:find(expected, 1, true), message)
    end

    it("options", function()
      raises("did you mean 'counters'", function() topk.new { counter = 5 } end)
      raises("at least 1", function() topk.new { counters = 0 } end)
      raises("at most 1048576", function() topk.new { counters = 2 ^ 20 + 1 } end)
      raises("whole expected", function() topk.new { counters = 1.5 } end)
      raises("whole expected", function() topk.new { key_bytes = "many" } end)
      raises("at least 1", function() topk.new { key_bytes = 0 } end)
      raises("at most 1048576", function() topk.new { key_bytes = 1e300 } end)
      raises("whole expected", function() topk.new { seed = 0.5 } end)
    end)

    it("keys", function()
      local t = topk.new {}
      for _, key in ipairs { 5, true, {}, print, io.stdout, false } do
        raises("string expected", function() t:add(key) end)
      end
      raises("string expected", function() t:add() end)
      assert.equal(0, t:stats().total)
    end)

    it("how often", function()
      local t = topk.new {}
      for _, n in ipairs { 0, -1, 0.5, 1.5, math.huge, -math.huge, 0 / 0, -2 ^ 53 } do
        raises("whole number above 0", function() t:add("a", n) end)
        raises("whole number above 0", function() t:top(n) end)
      end
      for _, n in ipairs { "x", {}, true } do
        raises("number expected", function() t:add("a", n) end)
        raises("number expected", function() t:top(n) end)
      end
      assert.equal(0, t:stats().total)
    end)

    it("another object, or none", function()
      local t = topk.new {}
      for _, other in ipairs { {}, "t", io.stdout } do
        raises("unbusy.topk expected", function() t.add(other, "a") end)
      end
      raises("unbusy.topk expected", function() t.close() end)
    end)
  end)

  it("has a metatable that no script can reach", function()
    assert.is_false(getmetatable(topk.new {}))
  end)

  it("of the core checks its numbers once more", function()
    for _, wrong in ipairs { { counters = 0 }, { counters = 2 ^ 20 + 1 }, { key_bytes = 0 },
      { key_bytes = 2 ^ 32 + 1 } } do
      assert.error_matches(function()
        core.topk { counters = wrong.counters or 1, key_bytes = wrong.key_bytes or 1 }
      end, "out of range")
    end
  end)
end)
