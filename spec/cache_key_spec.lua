local cache = require "unbusy.cache"
local core = require "unbusy.core"
local guard = require "spec.support.leak_guard"
local json = require "unbusy.json"
local when_collected = require "spec.support.when_collected"

local key, key_without = cache.key, cache.key_without
local unpack = table.unpack or unpack -- luacheck: ignore

-- Two lists of pieces whose keys must be equal, or differ.
local function is_same(a, b)
  local one, other = assert(key(unpack(a))), assert(key(unpack(b)))
  assert.is_true(one == other)
  local c = cache.new { bytes = 1e6 }
  c:set(one, "v")
  assert.equal("v", (c:get(other)))
  c:close()
end

local function differs(a, b)
  local one, other = assert(key(unpack(a))), assert(key(unpack(b)))
  assert.is_false(one == other)
  local c = cache.new { bytes = 1e6 }
  c:set(one, "v")
  assert.is_nil(c:get(other))
  c:close()
end

local function refused(message, ...)
  local made, text, code = key(...)
  assert.is_nil(made)
  assert.equal("key: " .. message, text)
  assert.equal("invalid", code)
end

local function nested(depth, inner)
  local t = inner or {}
  for _ = 2, depth do t = { t } end
  return t
end

describe("cache key", function()
  guard.watch(before_each, after_each)

  describe("of pieces", function()
    it("is the same for the same pieces", function()
      is_same({ "a", "bc", 1, true, json.null }, { "a", "bc", 1, true, json.null })
      is_same({ ("x"):rep(100000), 1 }, { ("x"):rep(100000), 1 })
      is_same({ "" }, { "" })
      is_same({ "", "" }, { "", "" })
    end)

    it("tells where one ends and the next begins", function()
      differs({ "a", "bc" }, { "ab", "c" })
      differs({ "a", "" }, { "", "a" })
      differs({ "a", "" }, { "a" })
      differs({ "" }, { "", "" })
      differs({ { "a" }, "b" }, { { "a", "b" } })
      differs({ { "a" }, { "b" } }, { { "a", "b" } })
      differs({ { { "a" } } }, { { "a" } })
      differs({ { a = "b" }, "c" }, { { a = "b", c = "c" } })
      differs({ { a = { b = 1 } } }, { { a = {}, b = 1 } })
      differs({ {}, {} }, { {} })
      differs({ "s\1\0\0\0a" }, { "a", "a" })
    end)

    it("tells kinds apart", function()
      local all = { { "1" }, { 1 }, { 1.5 }, { true }, { "true" }, { false }, { json.null },
        { "null" }, { "" }, { 0 }, { {} }, { json.array() }, { { 1 } }, { { "1" } },
        { { ["1"] = 1 } }, { "{}" }, { "[]" } }
      for i = 1, #all do
        for j = i + 1, #all do differs(all[i], all[j]) end
      end
    end)

    it("is no string that has its bytes", function()
      local c = cache.new {}
      c:set(key(1), "number")
      assert.equal(9, #key(1))
      assert.is_nil(c:get "i\1\0\0\0\0\0\0\0")
      assert.is_nil(c:get(key "i\1\0\0\0\0\0\0\0"))
      assert.is_false(key(1) == key "i\1\0\0\0\0\0\0\0")
    end)

    it("of one string is that string", function()
      local c = cache.new {}
      for _, text in ipairs { "", "k", "a\0b", ("long"):rep(1000) } do
        c:set(text, "plain")
        assert.equal("plain", (c:get(key(text))))
        c:set(key(text), "key")
        assert.equal("key", (c:get(text)))
        assert.equal(#text, #key(text))
        assert.is_true(c:delete(key(text)))
        assert.is_nil(c:get(text))
      end
      assert.is_nil(c:get(key("k", "")))
    end)
  end)

  describe("of numbers", function()
    it("is of what they are worth, not of how they are held", function()
      is_same({ 1 }, { 1.0 })
      is_same({ 0 }, { -0.0 })
      is_same({ 2 ^ 53 }, { 9007199254740992 })
      is_same({ { 3.0, { a = 2 ^ 40 } } }, { { 3, { a = 1099511627776 } } })
      is_same({ -2 ^ 63 }, { -9223372036854775808 })
      differs({ 1 }, { -1 })
      differs({ 0.1 }, { 0.1 + 2 ^ -56 })
      differs({ 2 ^ 53 }, { 2 ^ 53 + 2 })
      differs({ 1e300 }, { 1e301 })
      differs({ 2 ^ 63 }, { -2 ^ 63 })
      differs({ 2 ^ -1074 }, { 0 })
    end)

    if math.type then -- luacheck: ignore 143
      it("is exact for integers beyond 2^53", function()
        differs({ 9007199254740993 }, { 9007199254740992 })
        differs({ math.maxinteger }, { math.maxinteger - 1 }) -- luacheck: ignore 143
        differs({ math.maxinteger }, { 2 ^ 63 }) -- luacheck: ignore 143
        is_same({ 2 ^ 62 }, { 0x4000000000000000 })
      end)
    end

    it("is refused to what is none", function()
      refused("piece 1: not a finite number", 0 / 0)
      refused("piece 2: not a finite number", 1, math.huge)
      refused("piece 1: not a finite number", { a = { -math.huge } })
    end)
  end)

  describe("of tables", function()
    it("does not depend on the order of names", function()
      local names = {}
      for i = 1, 300 do names[i] = ("%x"):format(i * 7919 % 1000003) end
      local one, other = {}, {}
      for i = 1, 300 do
        one[names[i]] = { i, n = nil }
        other[names[301 - i]] = { 301 - i }
      end
      for i = 1, 500 do other["gone" .. i] = i end
      for i = 1, 500 do other["gone" .. i] = nil end
      is_same({ one }, { other })
      other[names[150]] = { 0 }
      differs({ one }, { other })
    end)

    it("sorts names by their bytes, at every level", function()
      local function build(first, last, step)
        local t = {}
        for i = first, last, step do
          local name = ("a"):rep(i % 5) .. string.char(i)
          t[name] = { [name .. "\0"] = i, [name] = -i, b = { [name] = "x", z = {}, a = "" } }
        end
        return t
      end
      is_same({ build(0, 255, 1) }, { build(255, 0, -1) })
    end)

    it("keeps the order of lists", function()
      differs({ { 1, 2 } }, { { 2, 1 } })
      local backwards = {}
      for i = 100, 1, -1 do backwards[i] = i end
      local forwards = {}
      for i = 1, 100 do forwards[i] = i end
      is_same({ backwards }, { forwards })
      differs({ { 1, json.null } }, { { 1 } })
    end)

    it("takes an empty one as an object, unless it is marked", function()
      is_same({ {} }, { setmetatable({}, {}) })
      is_same({ json.array() }, { json.decode "[]" })
      is_same({ json.decode "{}" }, { {} })
      differs({ {} }, { json.array() })
      is_same({ json.array { 1 } }, { { 1 } })
      is_same({ { tools = json.array(), stop = json.null } },
        { json.decode '{"stop":null,"tools":[]}' })
    end)

    it("calls no metamethod", function()
      local function never() error "called" end
      local t = setmetatable({ a = 1 }, { __index = never, __pairs = never, __len = never,
        __eq = never, __tostring = never, __call = never })
      is_same({ t }, { { a = 1 } })
      is_same({ setmetatable({}, { __index = { a = 1 }, __metatable = {} }) }, { {} })
    end)

    it("is the same whichever Lua makes it", function()
      -- The hash that 'tostring' shows has no seed: so the bytes are these, everywhere.
      local made = key({ b = { 1, 2.5, json.null, true, json.array() }, a = "x" }, "y", false)
      assert.equal("unbusy.key: 26473d3bd94df272, 51 bytes", tostring(made))
    end)

    it("refuses what JSON could not say, by its kind and place", function()
      refused("piece 1: a function", print)
      refused("piece 2: a function", "a", { { f = print } })
      refused("piece 1: a thread", coroutine.create(print))
      refused("piece 1: a userdata", io.stdout)
      refused("piece 2: nil", "a", nil)
      refused("piece 1: nil", nil)
      refused("piece 1: a list with holes", { 1, nil, 3 })
      refused("piece 1: a list with holes", { [2] = 1 })
      refused("piece 1: a list with holes", { { [2 ^ 31 - 1] = 1 } })
      refused("piece 1: a table with a number below 1 or not whole as a key", { [0] = 1 })
      refused("piece 1: a table with a number below 1 or not whole as a key", { [1.5] = 1 })
      refused("piece 1: a table with a number below 1 or not whole as a key", { [2 ^ 40] = 1 })
      refused("piece 1: a table with a number below 1 or not whole as a key", { [-math.huge] = 1 })
      refused("piece 1: a table with names and numbers as keys", { 1, a = 2 })
      refused("piece 1: a table with names and numbers as keys", { a = 2, b = 3, [7] = 1 })
      refused("piece 1: a table with a boolean as a key", { [true] = 1 })
      refused("piece 1: a table with a boolean as a key", { [true] = 1, 2 })
      refused("piece 3: a table with an object as a key", 1, 2, { [{}] = 1 })
      refused("piece 1: a table with an object as a key", { [print] = 1, a = 1 })
    end)

    it("never shows what they hold", function()
      for _, secret in ipairs { { hunter2 = print }, { hunter2 = { "hunter2", 0 / 0 } },
        { "hunter2", x = 1 }, { hunter2 = { [{}] = "hunter2" } } } do
        local _, message = key(secret)
        assert.is_nil(message:find("hunter2", 1, true))
      end
      local shown = tostring(key { password = "hunter2" })
      assert.matches("^unbusy%.key: %x+, %d+ bytes$", shown)
      assert.matches("^unbusy%.key: %x+, 7 bytes$", tostring(key "hunter2"))
    end)

    it("goes 128 deep and no deeper, whatever is inside what", function()
      assert.is_truthy(key(nested(128)))
      assert.is_truthy(key({}, nested(128, { a = "x", b = "y" })))
      local deep = "piece 1: nested deeper than 128 (a table inside itself?)"
      refused(deep, nested(129))
      refused(deep, nested(100000))
      local named = {}
      for _ = 1, 200 do named = { a = named, b = 1 } end
      refused(deep, named)
      local round = { name = "x" }
      round.inside = round
      refused(deep, round)
      local list = {}
      list[1], list[2] = list, list
      refused(deep, list)
      local a, b = {}, {}
      a.b, b.a = b, a
      refused("piece 2: nested deeper than 128 (a table inside itself?)", 1, a)
    end)

    it("ends at 64 MiB, so tables that hold each other twice end too", function()
      local t = { ("x"):rep(1000) }
      for _ = 1, 100 do t = { t, t } end
      local made, message, code = key(t)
      assert.is_nil(made)
      assert.equal("key: more than 64 MiB", message)
      assert.equal("invalid", code)
    end)

    it("takes many members and many pieces", function()
      local t, u, pieces, more = {}, {}, {}, {}
      for i = 1, 20000 do t[("%d"):format(i * 7919 % 20011)] = i end
      for i = 20000, 1, -1 do u[("%d"):format(i * 7919 % 20011)] = i end
      is_same({ t }, { u })
      for i = 1, 200 do
        pieces[i] = { i }
        more[i] = { i }
      end
      is_same(pieces, more)
      more[200] = { 0 }
      differs(pieces, more)
    end)
  end)

  describe("without some fields", function()
    it("leaves them out at the top of tables", function()
      local names = { user = true, stream = true, kept = false }
      local request = { model = "m", user = "u", stream = print, kept = 1,
        messages = { { user = 1 } } }
      local expected = key { model = "m", kept = 1, messages = { { user = 1 } } }
      assert.is_true(key_without(names, request) == expected)
      request.user, request.stream = nil, 0 / 0
      assert.is_true(key_without(names, request) == expected)
      request.messages[1].user = 2
      assert.is_false(key_without(names, request) == expected)
    end)

    it("of every piece that is a table", function()
      assert.is_true(key_without({ a = true }, { a = 1, b = 2 }, "a", { a = 3 }, { { a = 4 } })
        == key({ b = 2 }, "a", {}, { { a = 4 } }))
      assert.is_true(key_without({}, { a = 1 }) == key { a = 1 })
      assert.is_true(key_without({ a = true }, "a") == key "a")
    end)

    it("still refuses what the others hold", function()
      local made, message = key_without({ a = true }, { a = print, b = { a = print } })
      assert.is_nil(made)
      assert.equal("key: piece 1: a function", message)
    end)
  end)

  describe("as a value", function()
    it("has a length, equality and a name", function()
      local k = key("a", 1)
      assert.equal(6 + 9, #k)
      assert.is_true(k == key("a", 1))
      assert.is_false(k == key("a", 2))
      assert.is_false(k == "a")
      assert.is_false(k == io.stdout)
      assert.equal(tostring(key("a", 1)), tostring(k))
      assert.is_true(tostring(k) ~= tostring(key("a", 2)))
      assert.is_false(getmetatable(k))
    end)

    it("keeps what it was made of, whatever becomes of that", function()
      local t = { "a" }
      local k = key(t)
      t[1] = "b"
      collectgarbage()
      assert.is_true(k == key { "a" })
    end)
  end)

  it("raises at the caller's line when used wrongly", function()
    for _, call in ipairs {
      function() key() end, function() key_without() end, function() key_without({}) end,
      function() key_without("user", {}) end, function() key_without(nil, {}) end,
      function() key_without({ "user" }, {}) end,
    } do
      local ok, message = pcall(call)
      assert.is_false(ok)
      assert.matches("^spec/cache_key_spec%.lua:%d+: ", message)
    end
    assert.matches("names expected %(name = true%), got a list",
      select(2, pcall(key_without, { "user" }, {})))
  end)

  describe("without memory", function()
    it("is none, wherever an allocation fails, and the next one is whole", function()
      local request = { model = "m", messages = {} }
      for i = 1, 50 do
        request.messages[i] = { role = "user", content = ("x"):rep(i * 40), n = i }
      end
      local expected, failures = key(request, "a"), 0
      for n = 1, 100 do
        core.fail_alloc(n)
        local made, message, code = key(request, "a")
        core.fail_alloc(0)
        if made then
          assert.is_true(made == expected)
          break
        end
        failures = failures + 1
        assert.equal("key: not enough memory", message)
        assert.equal("nomem", code)
        assert.is_true(key(request, "a") == expected)
      end
      assert.is_true(failures >= 5 and failures < 100, failures)
    end)

    it("of the core is made from one string all the same", function()
      core.fail_alloc(1)
      local k = key(("x"):rep(5000))
      core.fail_alloc(0)
      assert.equal(5000, #k)
    end)

    it("leaves none of the core's", function()
      local blocks = core.stats().blocks
      for i = 1, 100 do
        key({ i, { a = 1, b = ("x"):rep(i * 1000) } }, i)
        key({ ("x"):rep(i * 1000), { b = 1, a = print } }, i)
      end
      assert.equal(blocks, core.stats().blocks)
    end)
  end)

  it("may be made by a finalizer while another is made", function()
    local ran = 0
    local function meddle()
      ran = ran + 1
      assert(#key({ z = ("y"):rep(3000), a = 1 }, ran) > 3000)
    end
    local expected = key({ a = ("x"):rep(2000), b = 2 }, 7)
    for _ = 1, 3000 do
      when_collected(meddle)
      assert.is_true(key({ a = ("x"):rep(2000), b = 2 }, 7) == expected)
    end
    collectgarbage()
    assert.is_true(ran > 1000)
  end)
end)
