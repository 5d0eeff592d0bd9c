local cache = require "unbusy.cache"
local caches = require "spec.support.caches"
local core = require "unbusy.core"
local guard = require "spec.support.leak_guard"
local when_collected = require "spec.support.when_collected"

local timed, keys_in = caches.timed, caches.keys_in

describe("cache", function()
  guard.watch(before_each, after_each)

  describe("values", function()
    it("come back as they went in, with their age", function()
      local t = timed()
      assert.is_nil(t.c:get "question")
      assert.equal(1, select("#", t.c:get "question"))
      assert.is_true(t.c:set("question", "answer"))
      t.forward(1.5)
      assert.same({ "answer", "fresh", 1.5 }, { t.c:get "question" })
      assert.is_nil(t.c:get "Question")
    end)

    it("may be empty, hold any bytes, and be of any length", function()
      local c = cache.new { bytes = 100000 }
      local all = {}
      for i = 0, 255 do all[#all + 1] = string.char(i) end
      all = table.concat(all)
      for _, value in ipairs { "", "\0", "\0\0a\0", all, all:rep(100) } do
        assert.is_true(c:set("key", value))
        assert.equal(value, (c:get "key"))
        assert.is_true(c:set(value, "value"))
        assert.equal("value", (c:get(value)))
      end
    end)

    it("survive being stored in pieces, around every border of a chunk", function()
      local c = cache.new { entries = 40, bytes = 30000 }
      local expected = {}
      for round = 1, 60 do
        for _, about in ipairs { 0, 512, 1024, 1536, 9000 } do
          local length = math.max(0, about - 4 + round % 9)
          local key = ("key %d "):format(about):rep(1 + round % 200)
          local value = (("%d:%d "):format(round, about)):rep(length):sub(1, length)
          assert.is_true(c:set(key, value))
          expected[key] = value
        end
        for key, value in pairs(expected) do
          local got = c:get(key)
          if got then assert.is_true(got == value) else expected[key] = nil end
        end
      end
    end)

    it("are those of their own key, with 10,000 that differ in the middle only", function()
      local c = cache.new { entries = 10000 }
      local head, tail = ("h"):rep(500), ("t"):rep(500)
      for i = 1, 10000 do c:set(cache.key(head, i, tail), "answer " .. i) end
      for i = 1, 10000 do
        assert.is_true(c:get(cache.key(head, i, tail)) == "answer " .. i)
      end
      assert.is_nil(c:get(cache.key(head, 10001, tail)))
    end)

    it("are told apart by the whole key, where the hashes are equal", function()
      -- Two strings of 16 bytes whose XXH3 with seed 0 is the same; `tostring` shows that hash.
      local one = "\185\57\66\234\123\115\130\103\213\159\61\128\92\249\117\174"
      local other = "\184\26\7\141\242\216\79\136\58\82\150\9\59\188\86\175"
      assert.equal(tostring(cache.key(one)), tostring(cache.key(other)))
      assert.is_false(one == other)
      local c = cache.new { seed = 0 }
      c:set(one, "1")
      assert.is_nil(c:get(other))
      c:set(other, "2")
      assert.equal("1", (c:get(one)))
      assert.equal("2", (c:get(other)))
      assert.is_true(c:delete(one))
      assert.is_nil(c:get(one))
      assert.equal("2", (c:get(other)))
    end)
  end)

  describe("time", function()
    it("makes an entry stale, and then takes it", function()
      local t = timed { ttl = 10, stale = 5 }
      t.c:set("k", "v")
      t.forward(9.999)
      assert.same({ "v", "fresh", 9.999 }, { t.c:get "k" })
      t.forward(0.001)
      assert.same({ "v", "stale", 10 }, { t.c:get "k" })
      t.forward(4.999)
      assert.equal("stale", select(2, t.c:get "k"))
      t.forward(0.001)
      assert.is_nil(t.c:get "k")
      assert.equal(1, t.c:stats().expired)
      assert.equal(0, t.c:stats().entries)
    end)

    it("is told by 'set' where it differs", function()
      local t = timed { ttl = 10, stale = 5 }
      t.c:set("short", "v", 1)
      t.c:set("none", "v", 0)
      t.c:set("forever", "v", math.huge)
      assert.equal("stale", select(2, t.c:get "none"))
      t.forward(1)
      assert.equal("stale", select(2, t.c:get "short"))
      t.forward(1e9)
      assert.same({ "v", "fresh", 1e9 + 1 }, { t.c:get "forever" })
    end)

    it("begins anew with a replacement", function()
      local t = timed { ttl = 10, stale = 0 }
      t.c:set("k", "1")
      t.forward(9)
      t.c:set("k", "2")
      t.forward(9)
      assert.same({ "2", "fresh", 9 }, { t.c:get "k" })
      t.forward(1)
      assert.is_nil(t.c:get "k")
    end)

    it("may slip back: no age is below 0", function()
      local t = timed { ttl = 10, stale = 5 }
      t.c:set("k", "v")
      t.forward(-500)
      assert.same({ "v", "fresh", 0 }, { t.c:get "k" })
      t.forward(509)
      assert.equal("fresh", select(2, t.c:get "k"))
      t.forward(1)
      assert.equal("stale", select(2, t.c:get "k"))
    end)

    it("without a stale time ends it at once", function()
      local t = timed { ttl = 0, stale = 0 }
      assert.is_true(t.c:set("k", "v"))
      assert.is_nil(t.c:get "k")
    end)

    it("counts as expiry, whoever comes across it", function()
      local t = timed { entries = 2, ttl = 10, stale = 0 }
      t.c:set("a", "v")
      t.c:set("b", "v")
      t.forward(10)
      assert.equal(2, t.c:stats().entries)
      assert.is_false(t.c:delete "a")
      t.c:set("b", "v") -- the old one is past its time, not replaced
      assert.equal(2, t.c:stats().expired)
      t.c:set("a", "v")
      t.forward(10)
      t.c:set("c", "v") -- takes the place of the oldest
      assert.equal(3, t.c:stats().expired)
      assert.equal(0, t.c:stats().evicted)
    end)

    it("is the monotonic clock's by default", function()
      local c = cache.new {}
      c:set("k", "v")
      local _, state, age = c:get "k"
      assert.equal("fresh", state)
      assert.is_true(age >= 0)
    end)
  end)

  describe("room", function()
    it("is for so many entries, and those that nobody asks for go, the oldest first", function()
      local c = cache.new { entries = 3 }
      for _, key in ipairs { "a", "b", "c" } do c:set(key, "v") end
      c:get "a"
      c:get "a"
      c:set("d", "v")
      assert.equal("a c d", keys_in(c, { "a", "b", "c", "d" }))
      c:set("e", "v")
      assert.equal(3, c:stats().entries)
      assert.equal(2, c:stats().evicted)
      assert.equal("v", (c:get "a"))
    end)

    it("is kept by what is asked for, whatever else passes by", function()
      local c = cache.new { entries = 100 }
      for i = 1, 50 do c:set("kept " .. i, "v") end
      for _ = 1, 2 do
        for i = 1, 50 do assert.equal("v", (c:get("kept " .. i))) end
      end
      for i = 1, 10000 do c:set("passing " .. i, "v") end
      for i = 1, 50 do assert.equal("v", (c:get("kept " .. i))) end
      assert.equal(100, c:stats().entries)
      for i = 1, 9 do assert.equal("v", (c:get("passing " .. 10001 - i))) end
    end)

    it("is given to who comes back soon after being put out", function()
      local c = cache.new { entries = 100 }
      for i = 1, 110 do c:set("k" .. i, "v") end
      assert.is_nil(c:get "k1")
      c:set("k1", "v") -- its ghost is there
      for i = 200, 299 do c:set("k" .. i, "v") end
      assert.equal("v", (c:get "k1"))
    end)

    it("goes to a stale entry that is asked for, too", function()
      local t = timed { entries = 2, ttl = 1 }
      t.c:set("a", "v")
      t.c:set("b", "v")
      t.forward(2)
      assert.equal("stale", select(2, t.c:get "a"))
      assert.equal("stale", select(2, t.c:get "a"))
      t.c:set("c", "v")
      assert.equal("a c", keys_in(t.c, { "a", "b", "c" }))
    end)

    it("is for so many bytes of keys and values, exactly", function()
      local c = cache.new { bytes = 100 }
      c:set("a", ("v"):rep(49))
      c:set("b", ("v"):rep(49))
      assert.equal(100, c:stats().bytes)
      assert.equal("a b", keys_in(c, { "a", "b" }))
      c:set("c", "")
      assert.equal("b c", keys_in(c, { "a", "b", "c" }))
      assert.equal(51, c:stats().bytes)
      assert.is_true(c:set("d", ("v"):rep(99)))
      assert.equal("d", keys_in(c, { "b", "c", "d" }))
    end)

    it("is refused to what is larger than all, and the older entry stays", function()
      local c = cache.new { bytes = 100 }
      c:set("key", "old")
      local ok, message, code = c:set("key", ("v"):rep(98))
      assert.is_nil(ok)
      assert.equal("cache: key and value of more than 100 bytes", message)
      assert.equal("full", code)
      assert.equal("full", select(3, c:set(("k"):rep(101), "")))
      assert.equal("old", (c:get "key"))
      assert.equal(2, c:stats().refused)
      assert.equal(1, c:stats().stored)
      assert.is_true(c:set("key", ("v"):rep(97)))
    end)

    it("for a replacement is made at the cost of others, as few as will do", function()
      local c = cache.new { bytes = 103 }
      c:set("k", ("1"):rep(30))
      c:set("a", ("v"):rep(30))
      c:set("b", ("v"):rep(30))
      c:set("k", ("2"):rep(60)) -- was the oldest itself
      assert.equal(("2"):rep(60), (c:get "k"))
      assert.equal("k b", keys_in(c, { "k", "a", "b" }))
      c:set("k", ("3"):rep(71)) -- fits beside b
      assert.equal("k b", keys_in(c, { "k", "a", "b" }))
      c:set("k", ("4"):rep(102))
      assert.equal(("4"):rep(102), (c:get "k"))
      assert.equal(1, c:stats().entries)
      c:set("k", "")
      assert.equal("", (c:get "k"))
      assert.equal(1, c:stats().bytes)
    end)

    it("comes back with every entry that goes", function()
      local c = cache.new { entries = 10, bytes = 20000 }
      for i = 1, 3000 do
        assert.is_true(c:set("k" .. i % 17, ("v"):rep(i * 37 % 19000)))
        if i % 7 == 0 then c:delete("k" .. i % 5) end
      end
      c:clear()
      assert.equal(0, c:stats().bytes)
      assert.is_true(c:set("k", ("v"):rep(19999)))
      assert.equal(19999, #c:get "k")
    end)

    it("of one entry or one byte is room, too", function()
      local c = cache.new { entries = 1, bytes = 1 }
      assert.is_true(c:set("", ""))
      assert.equal("", (c:get ""))
      assert.is_true(c:set("", "x"))
      assert.equal("x", (c:get ""))
      assert.is_true(c:set("k", ""))
      assert.is_nil(c:get "")
    end)
  end)

  describe("entries", function()
    it("are deleted one by one, or all at once", function()
      local c = cache.new {}
      for _, key in ipairs { "a", "b", "c" } do c:set(key, "v") end
      assert.is_true(c:delete "b")
      assert.is_false(c:delete "b")
      assert.equal("a c", keys_in(c, { "a", "b", "c" }))
      c:clear()
      assert.equal("", keys_in(c, { "a", "b", "c" }))
      c:set("a", "v")
      assert.equal("a", keys_in(c, { "a", "b", "c" }))
    end)

    it("and calls are counted", function()
      local t = timed { entries = 2, bytes = 100, ttl = 10, stale = 10 }
      t.c:set("a", "12345")
      t.c:set("b", "1")
      t.c:get "a"
      t.c:get "x"
      t.forward(10)
      t.c:get "a"
      t.c:get "a"
      t.c:set("c", ("v"):rep(100))
      t.c:set("c", "123")
      t.forward(10)
      t.c:get "a"
      assert.same({ entries = 1, bytes = 4, hits = 1, stale = 2, misses = 2, stored = 3,
        refused = 1, evicted = 1, expired = 1, purged = 0, rebuilt = 0 }, t.c:stats())
      t.c:clear()
      assert.same({ entries = 0, bytes = 0, hits = 1, stale = 2, misses = 2, stored = 3,
        refused = 1, evicted = 1, expired = 1, purged = 0, rebuilt = 0 }, t.c:stats())
    end)
  end)

  describe("used wrongly", function()
    local function raised(f, ...)
      local ok, message = pcall(f, ...)
      assert.is_false(ok)
      return message
    end

    it("raises at the caller's line", function()
      local c = cache.new {}
      local calls = {
        function() c:get() end, function() c:get(1) end, function() c:get {} end,
        function() c:get(io.stdout) end, function() c:get(c) end, function() c:set("k") end,
        function() c:set("k", 1) end, function() c:set("k", "v", -1) end,
        function() c:set("k", "v", "x") end, function() c:set("k", "v", 0 / 0) end,
        function() c:set(nil, "v") end, function() c:delete(true) end,
        function() c.get(io.stdout, "k") end, function() c.get({}, "k") end,
        function() c.get(cache.key "k", "k") end, function() cache.new { entires = 1 } end,
      }
      for _, call in ipairs(calls) do
        assert.matches("^spec/cache_spec%.lua:%d+: ", raised(call))
      end
      assert.matches("key or string expected, got number", raised(calls[2]))
      assert.same(0, c:stats().stored)
    end)

    it("raises when it is closed; to close it again does nothing", function()
      local c = cache.new {}
      c:set("k", "v")
      c:close()
      c:close()
      local calls = { function() c:get "k" end, function() c:set("k", "v") end,
        function() c:delete "k" end, function() c:clear() end, function() c:stats() end }
      for _, call in ipairs(calls) do assert.matches("the cache is closed", raised(call)) end
    end)

    it("raises for options that are wrong", function()
      local function message(o) return raised(cache.new, o) end
      assert.matches("unknown option 'tll', did you mean 'ttl'%?", message { tll = 1 })
      assert.matches("entries: a number at least 1 expected, got 0", message { entries = 0 })
      assert.matches("entries: a number at most 16777216 expected", message { entries = 2 ^ 25 })
      assert.matches("entries: whole expected", message { entries = 1.5 })
      assert.matches("bytes: a number at least 1 expected, got 0", message { bytes = 0 })
      assert.matches("bytes: a number at most 1099511627776 expected", message { bytes = 2 ^ 41 })
      assert.matches("bytes: whole expected", message { bytes = math.huge })
      assert.matches("ttl: a number at least 0 expected, got %-1", message { ttl = -1 })
      assert.matches("stale: number expected", message { stale = 0 / 0 })
      assert.matches("clock: function expected", message { clock = 1 })
      assert.matches("seed: whole expected", message { seed = 1.5 })
      assert.has_error(function() core.cache {} end)
      assert.has_error(function() core.cache() end)
    end)

    it("passes every option and argument on with a clock of the caller's", function()
      local t = timed { entries = 2, bytes = 10 }
      assert.has_error(function() t.c:set("k", "v", -1) end)
      assert.has_error(function() t.c:get(1) end)
      assert.equal("full", select(3, t.c:set("k", "0123456789")))
      t.c:close()
      assert.has_error(function() t.c:get "k" end)
    end)
  end)

  describe("memory", function()
    it("that is not there is told, and nothing is left", function()
      core.fail_alloc(1)
      local c, message, code = cache.new {}
      core.fail_alloc(0)
      assert.is_nil(c)
      assert.equal("cache: not enough memory", message)
      assert.equal("nomem", code)
      core.fail_alloc(1)
      c, message, code = cache.new { clock = function() return 0 end }
      core.fail_alloc(0)
      assert.same({ "cache: not enough memory", "nomem" }, { message, code })
      assert.is_nil(c)
    end)

    it("is taken once: a cache in use asks for none", function()
      local c = cache.new { entries = 50, bytes = 100000 }
      core.fail_alloc(1)
      for i = 1, 2000 do
        c:set("k" .. i % 70, ("v"):rep(i * 31 % 9000))
        c:get("k" .. i % 41)
      end
      c:clear()
      core.fail_alloc(0)
      assert.equal(2000, c:stats().stored)
    end)

    local function resident() -- bytes
      local file = io.open "/proc/self/statm"
      local pages = file:read "*l":match "^%d+ (%d+)"
      file:close()
      return pages * 4096
    end

    it("of a large cache is not touched before it is needed", function()
      collectgarbage()
      local before = resident()
      local c = cache.new { bytes = 2 ^ 28, entries = 10000 }
      c:set("k", "v")
      assert.is_true(resident() - before < 2 ^ 26, resident() - before)
      c:close()
    end)

    it("goes back on close, or with the collector", function()
      local blocks = core.stats().blocks
      local c, d = cache.new {}, cache.new {}
      assert.equal(blocks + 2, core.stats().blocks)
      c:close()
      assert.equal(blocks + 1, core.stats().blocks)
      d:set("k", "v")
      d = nil -- luacheck: ignore
      collectgarbage()
      collectgarbage()
      assert.equal(blocks, core.stats().blocks)
      assert.has_error(function() c:get "k" end)
    end)

    if _VERSION >= "Lua 5.4" then
      it("goes back at the end of a variable's life", function()
        local blocks = core.stats().blocks
        load [[local c <close> = require "unbusy.cache".new {}]]()
        assert.equal(blocks, core.stats().blocks)
      end)
    end
  end)

  -- A finalizer may run whenever Lua makes a string, so in the middle of 'get' too.
  describe("and finalizers", function()
    -- Makes room in pieces: what comes next is put together, when short on the C stack.
    local fillers, filler = { "f1", "f2", "f3", "f4", "f5", "f6", "f7" }, ("f"):rep(600)
    local function scatter(c)
      c:delete "k"
      for i = 1, #fillers do c:set(fillers[i], filler) end
      for i = 1, #fillers, 2 do c:delete(fillers[i]) end
    end

    local function in_pieces(length)
      local c, value = cache.new { entries = 20, bytes = 10 * length }, {}
      for i = 1, 2 do value[i] = tostring(i):rep(length) end
      scatter(c)
      c:set("k", value[1])
      return c, value
    end

    -- Runs f(get) with `count` finalizers waiting. Each `get` makes the collector take its next
    -- step in the call itself: so f must make nothing else.
    local function with_finalizers(count, finalizer, f)
      collectgarbage()
      collectgarbage "stop"
      for _ = 1, count do when_collected(finalizer) end
      local ok, message = pcall(f, function(c)
        collectgarbage "restart"
        return c:get "k"
      end)
      collectgarbage "restart"
      if not ok then error(message, 0) end
    end

    for _, length in ipairs { 3000, 50000 } do
      it(("that change it meanwhile tear no value of %d bytes"):format(length), function()
        local c, value = in_pieces(length)
        local ran, within, other = 0, 0, ("x"):rep(length)
        local function replace_all()
          c:clear()
          for i = 1, 4 do c:set(value[2]:sub(1, i), other) end
        end
        local acts = {
          function() c:set("k", value[1]) end, replace_all, function() c:set("k", value[2]) end,
          replace_all, function() c:delete "k" end, function() c:set("k", value[1]) end,
          replace_all,
        }
        local done = false
        local function meddle()
          ran = ran + 1
          if not done then acts[ran % #acts + 1]() end
        end
        local function read(get)
          local before_all = ran
          for _ = 1, 200000 do
            if ran - before_all >= 50 then break end
            if ran % 3 > 0 then scatter(c) end
            c:set("k", value[1])
            local before = ran
            local got = get(c)
            if ran > before then within = within + 1 end
            if got and got ~= value[1] and got ~= value[2] then error "torn" end
          end
        end
        for round = 1, 14 do with_finalizers(50 + round, meddle, read) end
        done = true -- some may come later
        c:close()
        assert.is_true(within >= 7, within) -- once in each round, mostly
      end)

      it(("that close it meanwhile leave a value of %d bytes or none"):format(length), function()
        for _ = 1, 5 do
          local c, value = in_pieces(length)
          local ran = 0
          local function close()
            ran = ran + 1
            c:close()
          end
          with_finalizers(1, close, function(get)
            for _ = 1, 200000 do
              local ok, got = pcall(get, c)
              if ok and got ~= value[1] then error "torn" end
              if ran > 0 then
                if ok or not got:find "closed" then error "not closed" end
                break
              end
            end
          end)
          assert.equal(1, ran)
        end
      end)
    end
  end)
end)
