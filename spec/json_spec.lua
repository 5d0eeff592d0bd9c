local json = require "unbusy.json"

local function back(value)
  return assert(json.decode(assert(json.encode(value))))
end

local function refused(value)
  local text, message = json.encode(value)
  assert.is_nil(text)
  return message
end

local function nested(depth, inner)
  local t = inner or {}
  for _ = 2, depth do t = { t } end
  return t
end

describe("json.encode", function()
  it("writes plain values", function()
    assert.equal('{"a":[1,2,true,null,"x"]}', json.encode { a = { 1, 2, true, json.null, "x" } })
    assert.equal('"x"', json.encode "x")
    assert.equal("null", json.encode(json.null))
    assert.equal("false", json.encode(false))
    assert.equal("{}", json.encode {})
  end)

  it("writes marked tables as arrays, in any place", function()
    assert.equal("[]", json.encode(json.array()))
    assert.equal('{"tools":[]}', json.encode { tools = json.array {} })
    assert.equal('[[],{"a":[[]]}]', json.encode { json.array {}, { a = { json.array {} } } })
    assert.equal("[1]", json.encode(json.array { 1 }))
    assert.is_true(json.is_array(json.array {}))
    assert.is_false(json.is_array {})
  end)

  it("gives the same table from array, and takes none with a metatable", function()
    local t = {}
    assert.equal(t, json.array(json.array(t)))
    assert.has_error(function() json.array(setmetatable({}, {})) end)
    assert.has_error(function() json.array(5) end)
  end)

  it("writes whole numbers digit by digit", function()
    for text in ("0 -1 3 99999999999999 100000000000000 9007199254740991 9007199254740992 "
      .. "-9007199254740992"):gmatch("%S+") do
      assert.equal("[" .. text .. "]", json.encode { tonumber(text) })
      assert.equal("[" .. text .. "]", json.encode { tonumber(text .. ".0") })
    end
    assert.equal("1700000000", json.encode(1.7e9))
  end)

  it("writes 5.4's integers exactly", function()
    if not math.type then return end -- luacheck: ignore 143
    assert.equal("[9223372036854775807,-9223372036854775808]",
      json.encode { math.maxinteger, math.mininteger }) -- luacheck: ignore 143
  end)

  it("writes other numbers so that they read back the same", function()
    local numbers = { 0.1, 0.7, 1 / 3, -1e-300, 1e300, 123456789.123456789, 2 ^ 60, 5e-324, 2 ^ 0.5,
      1e22, 0.1 + 0.2 }
    for _, n in ipairs(numbers) do
      assert.equal(n, back { n }[1], n)
      assert.equal(n, back { n, json.array {} }[1], n)
    end
    assert.equal("[0.1,0.7]", json.encode { 0.1, 0.7 })
    assert.equal("[0.1,[]]", json.encode { 0.1, json.array {} })
  end)

  it("writes every byte that text may have", function()
    local text = ""
    for i = 0, 127 do text = text .. string.char(i) end
    text = text .. "é天😀\226\128\168"
    assert.equal(text, back { text }[1])
    assert.equal(text, back { [text] = 1, none = json.array {} } [text] and text)
    assert.matches('a\\u0000b', json.encode "a\0b")
  end)

  it("names the place of what cannot be written", function()
    local f = print
    assert.equal("messages[2].content: a function",
      refused { messages = { { content = "x" }, { content = f } } })
    assert.equal("a: not a finite number", refused { a = 0 / 0 })
    assert.equal("a[1]: not a finite number", refused { a = { math.huge } })
    assert.equal("a: not a finite number", refused { a = -math.huge })
    assert.equal("a[1]: a thread", refused { a = { coroutine.create(f) } })
    assert.equal("a function", refused(f))
    assert.equal("nil", refused(nil))
    assert.equal("file: a userdata", refused { file = io.stdout })
  end)

  it("refuses tables that are neither list nor object", function()
    assert.equal("logit_bias: a list with holes (names are text in JSON)",
      refused { logit_bias = { [50256] = -100 } })
    assert.matches("holes", refused { 1, 2, nil, 4 })
    assert.equal("a: a table with names and numbers as keys", refused { a = { 1, b = 2 } })
    assert.equal("a table with a number below 1 or not whole as a key", refused { [0] = 1 })
    assert.equal("a table with a number below 1 or not whole as a key", refused { [1.5] = 1 })
    assert.equal("a table with a boolean as a key", refused { [true] = 1 })
  end)

  it("refuses them however a table keeps its keys", function()
    assert.matches("^a: a list with holes", refused { a = { [1] = 1, [3] = 3 } })
    assert.matches("names and numbers", refused { a = { [1] = 1, x = 3 } })
    for _, order in ipairs { { 1, "x", 2 }, { "x", 1, 2 }, { 2, 1, "x" }, { 3, 1 }, { 1, 0 },
      { 1, 1.5, 2 }, { 1, 2, 3, 5 }, { 4, 3, 2, 1, 0 } } do
      local t = {}
      for _, key in ipairs(order) do t[key] = true end
      assert.is_string(refused(t))
    end
  end)

  it("stops at its depth, cycles too", function()
    assert.is_string(json.encode(nested(128)))
    assert.matches("deeper than 128", refused(nested(129)))
    local cycle = { a = {} }
    cycle.a.b = { cycle }
    assert.matches("^a%.b%[1%]%.a.*: nested deeper than 128 %(a table inside itself%?%)$",
      refused(cycle))
    assert.is_true(#refused(cycle) < 200)
    assert.is_string(json.decode(json.encode(nested(127, { "x" }))) and "read back")
  end)

  it("refuses text that was cut by bytes or is in another encoding", function()
    local text = "天气如何"
    for cut = 1, 2 do
      assert.equal("messages[1].content: a string that is not UTF-8",
        refused { messages = { { content = text:sub(1, -1 - cut) } } })
      assert.equal("[1]: a string that is not UTF-8", refused { text:sub(1 + cut) })
    end
    assert.matches("not UTF%-8", refused "\206\210\202\199\214\208\185\250") -- GBK
    for _, good in ipairs { "天", "a天", "天a", "é", "😀", "\194\128", "\0", "", "天\0" } do
      assert.is_string(json.encode { good }, good)
    end
  end)

  it("never shows data in a message", function()
    local secret = "my secret prompt with spaces"
    for _, value in ipairs { { [secret] = print }, { secret, print }, { secret .. "\255" },
      { [("k"):rep(50)] = print }, { [secret] = { { x = 0 / 0 } } } } do
      local message = refused(value)
      assert.is_nil(message:find("secret", 1, true), message)
      assert.is_nil(message:find("kkkk", 1, true), message)
    end
    assert.equal("?: a function", refused { [secret] = print })
  end)

  it("leaves the settings of lua-cjson alone", function()
    local cjson = require "cjson"
    assert.is_string(cjson.encode(nested(200)))
    assert.is_table(cjson.decode(("["):rep(200) .. ("]"):rep(200)))
  end)
end)

describe("json.decode", function()
  it("reads what there is", function()
    assert.same({ a = { 1, "x", true, json.null } }, json.decode '{"a":[1,"x",true,null]}')
    assert.equal(json.null, json.decode "null")
    assert.equal(false, json.decode "false")
    assert.same({ 1 }, json.decode "\239\187\191[1]")
  end)

  it("keeps an empty array one, and an empty object one", function()
    for _, text in ipairs { "[]", "{}", "[[]]", '{"a":[]}', "[{},[],[1,[]]]", '["[]",[]]',
      '["[]"]', '{"[]":[]}', '["\\"[]",[]]', '["a\\\\",[],"[]"]', '["[ ]",[]]', '["[",[],"]"]',
      '"[]"' } do
      assert.equal(text, json.encode(json.decode(text)))
    end
    assert.equal("[[],[]]", json.encode(json.decode "[[ ],[\n]]"))
    assert.equal('{"a":"[] [ ]"}', json.encode(json.decode '{"a":"[] [ ]"}'))
    assert.equal("[]", json.encode(json.decode " [ ] "))
  end)

  it("says where text is not JSON, and never what it says", function()
    local bad = { "", " ", "nul", "{", "[1,]", "[1 2]", '{"secret":}', '["secret', "secret", "[01]",
      "[+1]", "[NaN]", "[Infinity]", "[0x10]", '["\\x"]', '["\\ud800"]', "[] []", "[]secret",
      "{secret:[]}", "\0\0", "[1]\0secret", "<html>secret", "[[]", "1[]", "[-[]]", '["a"[]]' }
    for _, text in ipairs(bad) do
      local value, message = json.decode(text)
      assert.is_nil(value, text)
      assert.matches("^not JSON", message)
      assert.is_nil(message:find("secret", 1, true))
    end
    assert.equal("not JSON at byte 4", select(2, json.decode "[1,]"))
    assert.equal("not JSON at byte 7", select(2, json.decode "[[],1,]"))
  end)

  it("stops at its depth", function()
    assert.is_table(json.decode(("["):rep(128) .. "1" .. ("]"):rep(128)))
    for _, inner in ipairs { "", "1" } do
      local value, message = json.decode(("["):rep(5000) .. inner .. ("]"):rep(5000))
      assert.same({ nil, "JSON nested deeper than 128" }, { value, message })
    end
    assert.is_nil((json.decode(("["):rep(1e6))))
    assert.is_nil((json.decode(('{"a":'):rep(1e5))))
  end)

  it("survives any bytes", function()
    local seed = 42
    local function random(n)
      seed = (seed * 16807) % 2147483647
      return seed % n + 1
    end
    local parts = { "[", "]", "{", "}", '"', ":", ",", "[]", "1", "\\", "null", " ", "\255", "e" }
    for _ = 1, 3000 do
      local text = {}
      for i = 1, random(12) do text[i] = parts[random(#parts)] end
      text = table.concat(text)
      local value, message = json.decode(text)
      assert.is_true(value ~= nil or type(message) == "string")
      local plain = pcall(require "cjson".decode, text)
      if value ~= nil then assert.is_true(plain, text) end
    end
  end)

  it("raises at the caller's line for anything but a string", function()
    local ok, text = pcall(function() json.decode(nil) end)
    assert.is_false(ok)
    assert.matches("json_spec%.lua:%d+: json: a string expected, got a nil", text)
  end)
end)

describe("json.whole", function()
  it("gives whole numbers as Lua writes them, else nil", function()
    assert.equal("3", tostring(json.whole(3.0)))
    assert.equal(-2, json.whole(-2))
    for _, odd in ipairs { 1.5, 0 / 0, math.huge, -math.huge, "3", json.null, {} } do
      assert.is_nil(json.whole(odd))
    end
    assert.is_nil(json.whole(nil))
  end)
end)

describe("json.is_utf8", function()
  it("agrees with RFC 3629", function()
    for _, good in ipairs { "", "a", "\194\128", "\223\191", "\224\160\128", "\237\159\191",
      "\238\128\128", "\240\144\128\128", "\244\143\191\191", "a天b" } do
      assert.is_truthy(json.is_utf8(good))
    end
    for _, bad in ipairs { "\128", "\192\128", "\193\191", "\194", "\194a", "\224\159\128",
      "\237\160\128", "\240\143\128\128", "\244\144\128\128", "\245\128\128\128", "\255",
      "\228\184", "\228\184a", "\240\144\128", "\240\144\128a", "天\228" } do
      assert.is_falsy(json.is_utf8(bad))
    end
  end)
end)
