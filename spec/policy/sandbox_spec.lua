-- What a script can reach, and what it cannot.
local json = require "unbusy.json"
local sandbox = require "unbusy.policy.sandbox"
local script_utf8 = require "unbusy.policy.utf8"

local function world()
  return { clock = function() return 1700000000.5 end, chance = function() return 0.75 end }
end

-- What a text gives that runs in an environment of its own.
local function run(text, w)
  local chunk = assert(sandbox.compile(text, "s.lua", sandbox.environment(w or world())))
  return chunk()
end

local function names_of(t)
  local out = {}
  for name in pairs(t) do out[#out + 1] = name end
  table.sort(out)
  return table.concat(out, " ")
end

describe("a script's environment", function()
  it("is the same on every Lua, and holds no more than it says", function()
    local env = sandbox.environment(world())
    assert.equal("assert error fold ipairs math next now null pairs select string table tonumber "
      .. "tostring type utf8", names_of(env))
    assert.equal("abs ceil cos exp floor fmod huge log max min modf pi random sin sqrt tan",
      names_of(env.math))
    assert.equal("case marks question spaces text width", names_of(env.fold))
    assert.equal("byte char find format gmatch gsub len lower match rep reverse sub upper",
      names_of(env.string))
    assert.equal("concat insert remove sort unpack", names_of(env.table))
    assert.equal("char charpattern codepoint codes len offset", names_of(env.utf8))
    assert.equal(json.null, env.null)
    for name, value in pairs(env) do
      assert.is_true(type(value) ~= "table" or name == "null" or getmetatable(value) == nil)
    end
  end)

  it("has no way out", function()
    for _, text in ipairs { "return getmetatable('').__index", "return _G.os", "return _ENV._G.os",
      "return string.dump(function() end)", "return coroutine.yield(1)", "return require 'os'",
      "return load 'return 1'()", "return loadstring 'return 1'()", "return dofile '/etc/passwd'",
      "return loadfile '/etc/passwd'()", "return io.open '/etc/passwd'", "return os.time()",
      "return debug.getinfo(1)", "return pcall(type)", "return xpcall(type, type)",
      "return setmetatable({}, {})", "return rawset({}, 1, 1)", "return rawget({}, 1).x",
      "return collectgarbage()", "return print 'x'", "return package.loaded.os",
      "return getfenv(1).os", "return setfenv(1, {}).os", "return jit.on().x",
      "return math.randomseed(1)", "return newproxy(true).x", "return ngx.say 'x'",
      "return module 'x'", "return unpack {}", "return string.format.x.y" } do
      local ok, message = pcall(run, text)
      assert.is_false(ok, text)
      assert.matches("attempt to", message, text)
    end
  end)

  it("is its own: what it changes, nobody else sees", function()
    run "string.format, math.huge, table.concat, x = 1, 2, 3, 4"
    run "for name in pairs(string) do string[name] = nil end tostring, null = nil, nil"
    assert.equal("a1", ("%s%d"):format("a", 1))
    assert.equal(1 / 0, math.huge)
    assert.equal("ab", table.concat { "a", "b" })
    assert.is_nil(rawget(_G, "x"))
    assert.equal("s nil", run "return ('s'):format() .. ' ' .. tostring(x)")
  end)

  it("tells the world's time and rolls its dice", function()
    assert.equal(1700000000.5, run "return now()")
    local dice = { run [[
      return math.random(), math.random(4), math.random(-2, 1), math.random(3, 3)]] }
    assert.same({ 0.75, 4, 1, 3 }, dice)
    local w = world()
    w.chance = function() return 0.999999 end
    assert.same({ 10, 5 }, { run("return math.random(10), math.random(5, 5)", w) })
    w.chance = function() return 0 end
    assert.same({ 1, -3 }, { run("return math.random(10), math.random(-3, 5)", w) })
    for _, wrong in ipairs { "0", "2, 1", "'x'", "1, 'x'", "{}" } do
      local ok, message = pcall(run, "local n = math.random(" .. wrong .. ")")
      assert.is_false(ok, wrong)
      assert.matches("s.lua:1: random: ", message)
    end
  end)

  it("makes no text that is too long, nor for ever none", function()
    assert.equal("ababab", run "return string.rep('ab', 3)")
    assert.equal("ab,ab", run "return string.rep('ab', 2, ',')")
    assert.equal("77", run "return string.rep(7, 2)")
    assert.equal("", run "return string.rep('x', -1)")
    for _, wrong in ipairs { "'x', 5e8", "'', 1e18", "'x', 1e6, ('y'):rep(100)", "7, 1e9" } do
      local ok, message = pcall(run, "local s = string.rep(" .. wrong .. ")")
      assert.is_false(ok, wrong)
      assert.matches("s.lua:1: rep: ", message)
    end
  end)

  it("raises errors of its own at the right line, and the world knows", function()
    local cases = {
      { "error 'oh'", "s.lua:1: oh" }, { "error('oh', 1)", "s.lua:1: oh" },
      { "error('oh', 0)", "oh" }, { "local function f() error('oh', 2) end\nf()", "s.lua:2: oh" },
      { "assert(false, 'no')", "s.lua:1: no" }, { "assert(nil)", "s.lua:1: assertion failed" },
      { "\nassert(1 == 2, 'no')", "s.lua:2: no" },
    }
    for _, case in ipairs(cases) do
      local w = world()
      local ok, message = pcall(run, case[1], w)
      assert.is_false(ok)
      assert.equal(case[2], message, case[1])
    end
    local w = world()
    pcall(run, "error(now())", w)
    assert.is_true(w.raised)
    local ok, value = pcall(run, "error {}")
    assert.same({ false, {} }, { ok, value })
    assert.same({ 1, 2, 3 }, { run "return assert(1, 2, 3)" })
  end)

  it("takes texts only", function()
    for _, mode in ipairs { true, false } do
      local code = string.dump(function() return 1 end, mode)
      local chunk, message = sandbox.compile(code, "b.lua", {})
      assert.is_nil(chunk)
      assert.equal("b.lua: a text expected, got bytecode", message)
    end
    local chunk, message = sandbox.compile("return +", "policies/x.lua", {})
    assert.is_nil(chunk)
    assert.matches("^policies/x.lua:1: ", message)
    assert.equal(3, sandbox.compile("\239\187\191return 3", "bom.lua", {})())
  end)
end)

describe("utf8 for scripts", function()
  local text = "a¬汉😀b"

  it("counts and cuts characters", function()
    assert.equal(5, script_utf8.len(text))
    assert.equal(0, script_utf8.len "")
    assert.equal(2, script_utf8.len(text, 1, 3))
    assert.same({ nil, 2 }, { script_utf8.len "a\255" })
    for _, wrong in ipairs { "\192\128", "\237\160\128", "\244\144\128\128", "\230\177",
      "\128", "\240\128\128\128" } do
      assert.is_nil((script_utf8.len(wrong)))
    end
    assert.equal("a¬汉", text:sub(1, script_utf8.offset(text, 4) - 1))
    assert.same({ 1, 2, 4, 7, 11, 12, nil }, { script_utf8.offset(text, 1),
      script_utf8.offset(text, 2), script_utf8.offset(text, 3), script_utf8.offset(text, 4),
      script_utf8.offset(text, 5), script_utf8.offset(text, 6), script_utf8.offset(text, 7) })
    assert.same({ 11, 7, 1, nil }, { script_utf8.offset(text, -1), script_utf8.offset(text, -2),
      script_utf8.offset(text, -5), script_utf8.offset(text, -6) })
    assert.equal(4, script_utf8.offset(text, 0, 5))
    assert.has_error(function() script_utf8.offset(text, 1, 5) end)
  end)

  it("takes them apart and puts them together", function()
    local out, places = {}, {}
    for at, code in script_utf8.codes(text) do
      out[#out + 1], places[#places + 1] = code, at
    end
    assert.same({ 97, 172, 0x6C49, 0x1F600, 98 }, out)
    assert.same({ 1, 2, 4, 7, 11 }, places)
    assert.equal(text, script_utf8.char(97, 172, 0x6C49, 0x1F600, 98))
    assert.same(out, { script_utf8.codepoint(text, 1, -1) })
    assert.equal(97, script_utf8.codepoint(text))
    local words = {}
    for word in text:gmatch(script_utf8.charpattern) do words[#words + 1] = word end
    assert.same({ "a", "¬", "汉", "😀", "b" }, words)
    assert.has_error(function() script_utf8.codepoint("\255") end)
    local count = 0
    assert.has_error(function()
      for _ in script_utf8.codes "a\255" do count = count + 1 end
    end)
    assert.equal(1, count)
    assert.has_error(function() script_utf8.char(-1) end)
  end)
end)
