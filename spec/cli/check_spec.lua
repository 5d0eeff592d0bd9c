-- `unbusy check`: what it prints, and its exit status.
local cjson = require "cjson"
local files = require "spec.support.files"

local lua = os.getenv "UNBUSY_LUA" or "lua5.4"

local dir

local function write(name, text)
  local file = assert(io.open(dir .. "/" .. name, "wb"))
  file:write(text)
  file:close()
  return dir .. "/" .. name
end

local function check(...)
  local words = {}
  for i, word in ipairs { ... } do words[i] = files.quote(word) end
  os.execute(("%s bin/unbusy check %s >%s/out 2>%s/err; echo $? >%s/rc"):format(lua,
    table.concat(words, " "), dir, dir, dir))
  return { out = files.read(dir .. "/out"), err = files.read(dir .. "/err"),
    rc = tonumber(files.read(dir .. "/rc")) }
end

local GOOD = "return {\n  retry = function(try) return try.number < 3 and 1 or nil end,\n}\n"
local BAD = [[
local policy = {}
function policy.retyr() end
function policy.retry(try)
  if try.code == 'quota' then return -1 end
  return try.number > 7 and os.time() or 1
end
return policy
]]

describe("unbusy check", function()
  setup(function()
    local pipe = assert(io.popen 'mktemp -d "${TMPDIR:-/tmp}/check.XXXXXX"')
    dir = pipe:read "*l"
    pipe:close()
  end)

  teardown(function() os.execute("rm -rf " .. files.quote(dir)) end)

  it("says that a policy is well, and what it decides", function()
    local path = write("good.lua", GOOD)
    local r = check(path)
    assert.same({ out = path .. ": ok (retry)\n", err = "", rc = 0 }, r)
  end)

  it("says what is wrong, by file and line", function()
    local path = write("bad.lua", BAD)
    local r = check(path)
    assert.equal(1, r.rc)
    assert.equal("", r.err)
    local lines = {}
    for line in r.out:gmatch "[^\n]+" do lines[#lines + 1] = line end
    assert.equal(path .. ":2: no decision is called 'retyr', did you mean 'retry'?", lines[1])
    assert.equal(path .. ':3: retry: seconds from 0 to 1000000, "default" or nil expected, got -1 '
      .. "(asked about: quota (402), the first try)", lines[2])
    assert.equal(path .. ":5: 'os' is outside the sandbox: now() gives the time", lines[3])
    assert.is_nil(lines[4])
  end)

  it("takes several at once: one that is bad makes the status", function()
    local good, bad = write("good.lua", GOOD), write("bad.lua", BAD)
    local r = check(good, "deepseek", bad)
    assert.equal(1, r.rc)
    assert.matches("good.lua: ok %(retry%)\n[^\n]*deepseek.lua: ok %([^\n]*\n[^\n]*bad.lua:2: ",
      r.out)
    assert.equal(0, check(good, "deepseek", "patient").rc)
  end)

  it("finds all that is shipped well, on this Lua", function()
    local r = check("default", "deepseek", "patient", "interactive", "frugal", "degrade", "edge",
      "lua/unbusy/batch/embeddings.lua", "lua/unbusy/batch/completions.lua",
      "lua/unbusy/batch/endpoint.lua")
    assert.equal(0, r.rc, r.out)
    local ok = 0
    for line in r.out:gmatch "[^\n]+" do
      assert.matches(": ok %(", line)
      ok = ok + 1
    end
    assert.equal(10, ok)
  end)

  it("prints JSON", function()
    local good, bad = write("good.lua", GOOD), write("bad.lua", BAD)
    local r = check("--json", good, bad)
    assert.equal(1, r.rc)
    local said = cjson.decode(r.out)
    assert.is_false(said.ok)
    assert.same({ file = good, ok = true, functions = { "retry" }, problems = {}, notes = {} },
      said.files[1])
    assert.same({ line = 3, decision = "retry", sample = "quota (402), the first try",
      message = 'retry: seconds from 0 to 1000000, "default" or nil expected, got -1' },
      said.files[2].problems[2])
    assert.matches('"notes":%[%]', r.out)
    assert.is_true(cjson.decode(check("--json", good).out).ok)
  end)

  it("prints texts that terminals and JSON take, whatever stands in a file or its name", function()
    local path = write("odd \27[31m\255.lua", "return \1\2\255\254\27[2J")
    local r = check(path)
    assert.equal(1, r.rc)
    assert.is_nil(r.out:find "[%z\1-\9\11-\31\127]")
    r = check("--json", path)
    assert.equal(1, r.rc)
    assert.is_false(cjson.decode(r.out).ok)
    assert.is_truthy(require("unbusy.json").is_utf8(r.out))
  end)

  it("says what it cannot read", function()
    local bytecode = write("code.lua", string.dump(function() return {} end))
    local large = write("large.lua", ("-- much\n"):rep(200000))
    for path, what in pairs { [dir .. "/none.lua"] = "No such file or directory",
      [dir .. "/"] = "Is a directory", ["lua/unbusy/policies"] = "Is a directory",
      [write("empty.lua", "")] = "a table of functions expected, got nothing",
      [bytecode] = "a text expected, got bytecode", [large] = "larger than 1048576 bytes",
      ["/dev/zero"] = "Operation not supported",
      nosuch = "there is no 'nosuch' among the policies" } do
      local r = check(path)
      assert.equal(1, r.rc, path)
      assert.equal(("%s: %s\n"):format(path, what), r.out)
    end
    os.execute(("mkfifo %s/pipe.lua"):format(files.quote(dir)))
    assert.matches("Operation not supported", check(dir .. "/pipe.lua").out)
    assert.matches("did you mean 'patient'", check("pateint").out)
  end)

  it("knows the targets, pools and models of a configuration", function()
    local config = write("config.lua", [[return { policy = "no/such.lua", targets = {
      { name = "edge", url = "http://a.test", models = { small = "their-s" } },
      { name = "spare", url = "http://b.test", pool = "spare", models = { big = "their-b" } } } }]])
    local good = write("good.lua", "return {\n route = function() return { 'spare', 'edge' } end,\n"
      .. " fallback = function() return { pool = 'spare', model = 'big' } end }")
    local bad = write("bad.lua", "return {\n route = function() return 'egde' end,\n"
      .. " fallback = function() return { model = 'bgi' } end }")
    assert.equal(0, check("--config", config, good).rc)
    assert.equal(0, check(bad).rc)
    local r = check("--config", config, bad)
    assert.equal(1, r.rc)
    assert.matches(":2: route: place 1: no target has that name", r.out)
    assert.matches(":3: fallback.*: no target has 'bgi', did you mean 'big'", r.out)
  end)

  it("ends with 2 where it is asked wrongly", function()
    for message, words in pairs { ["a policy expected"] = {},
      ["unknown option"] = { "--jsno", "x" },
      ["cannot read no/config.lua"] = { "--config", "no/config.lua", "default" },
      ["targets is missing"] = { "--config", write("config.lua", "return {}"), "default" } } do
      local r = check((table.unpack or unpack)(words)) -- luacheck: ignore
      assert.equal(2, r.rc, message)
      assert.is_truthy(r.err:find(message, 1, true), r.err)
      assert.equal("", r.out)
    end
  end)

  it("has a page of its own", function()
    local r = check "--help"
    assert.equal(0, r.rc)
    assert.matches("unbusy check %[options%] POLICY…", r.out)
    for line in r.out:gmatch "[^\n]+" do assert.is_true(#line <= 82, line) end
  end)
end)
