-- `unbusy cache`, at the cache of a gateway that runs and at one in a file.
local base64 = require "unbusy.cli.base64"
local busyd = require "spec.support.busyd"
local cache = require "unbusy.cache"
local entries = require "unbusy.cli.entries"
local files = require "spec.support.files"
local json = require "unbusy.json"
local random = require "spec.support.random"
local served = require "spec.support.served"

local unpack = table.unpack or unpack -- luacheck: ignore
local lua = os.getenv "UNBUSY_LUA" or "lua5.4"

describe("base64", function()
  it("is that of RFC 4648", function()
    for i, text in ipairs { "", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy" } do
      local plain = ("foobar"):sub(1, i - 1)
      assert.equal(text, base64.encode(plain))
      assert.equal(plain, base64.decode(text))
    end
    assert.equal("AP+A/w==", base64.encode "\0\255\128\255")
  end)

  it("takes back what it gave, whatever it was, and nothing else", function()
    local r = random.new(random.seed(1))
    for _ = 1, 500 do
      local bytes = {}
      for i = 1, r:int(50) do bytes[i] = string.char(r:int(256) - 1) end
      local text = table.concat(bytes)
      assert.equal(text, base64.decode(base64.encode(text)))
    end
    for _, wrong in ipairs { "a", "ab", "abc", "a===", "====", "ab=c", "ab c", "ab\nc", "äbc", 5,
      {}, false } do
      assert.is_nil(base64.decode(wrong))
    end
    assert.is_nil(base64.decode(nil))
  end)
end)

describe("an entry's line", function()
  local key = cache.bytes_of_key(cache.key("chat", { a = 1 }, "天气\0"))

  it("says all of it, and is read back", function()
    for _, value in ipairs { "", "text\n天气", "\1\0\255", ("x"):rep(1e5) } do
      local line = entries.line(key, value, { age = 1.5, ttl = -2.5, tags = { "model:m", "x" } })
      assert.is_nil(line:find "\n")
      assert.same({ key = key, value = value, age = 1.5, ttl = -2.5, tags = { "model:m", "x" } },
        entries.read(line))
    end
    assert.is_nil(entries.read(entries.line(key, "v", { age = 0, ttl = 1, tags = {} })).tags)
    assert.is_false(entries.read(entries.head()))
  end)

  it("that is none is told", function()
    local good = json.decode(entries.line(key, "v", { age = 1, ttl = 1 }))
    for expected, change in pairs {
      ["not of this version of unbusy"] = { unbusy = "cache", version = 2 },
      ["a key and a value expected"] = { key = "?" },
      ["age and ttl, in seconds, expected"] = { age = -1 },
      ["tags: a list of at most 16 texts expected"] = { tags = { 5 } },
    } do
      local line = {}
      for k, v in pairs(good) do line[k] = v end
      for k, v in pairs(change) do line[k] = v end
      assert.same({ nil, expected }, { entries.read(assert(json.encode(line))) })
    end
    for _, text in ipairs { "", "x", "5", "null", "[" } do
      assert.same({ nil, "not JSON" }, { entries.read(text) })
    end
    for _, text in ipairs { "{}", "[]", '{"key":"AA=="}', '{"key":5,"value":"x"}',
      '{"key":"AA==","value":5,"age":1,"ttl":1}' } do
      assert.is_nil((entries.read(text)))
    end
  end)
end)

local CONFIG = [[return {
  targets = { { name = "up", url = "%s/v1", models = { default = "m" } } },
  cache = { top = true, bytes = 1000000, entries = 100, %s }, %s
}]]

describe("unbusy cache", function()
  local up, place
  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() up:stop() end)
  before_each(function()
    place = served.place()
    up:programme {}
    up:reset()
  end)
  after_each(function() place:remove() end)

  local function run(words, input)
    return place:run({ "cache", unpack(words) }, { input = input })
  end

  describe("of a gateway", function()
    local path, server
    before_each(function()
      path = place:write("gw.lua", CONFIG:format(up.url, "", ""))
      server = served.start(place, { path })
      for _, text in ipairs { "天气如何", "two" } do server:chat(text) end
    end)
    after_each(function() server:stop() end)

    local function at(...)
      local words = { ... }
      words[#words + 1] = "--config"
      words[#words + 1] = path
      return run(words)
    end

    local function source_of(text)
      return (server:chat(text, "-o /dev/null -D -")):match "x%-unbusy%-source: (%w+)"
    end

    it("shows how much is in it, and what is kept of a question", function()
      local r = at "stats"
      assert.same({ "", 0 }, { r.err, r.rc })
      assert.matches("^ +2  entries\n", r.out)
      assert.equal(2, json.decode(at("stats", "--json").out).entries)
      assert.same({ out = "echo: 天气如何\n", err = "", rc = 0 }, at("get", "天气如何", "--model", "m"))
      local told = json.decode(at("get", "two", "--model", "m", "--json").out)
      assert.same({ "up", "cache", "echo: two" },
        { told.target, told.source, told.body.choices[1].message.content })
      local request = place:write("request.json",
        '{"model":"m","user":"u","messages":[{"role":"user","content":"two"}]}')
      assert.equal("echo: two\n", at("get", "--request", request).out)
      assert.same({ out = "", err = "unbusy: there is nothing\n", rc = 3 }, at("get", "three"))
      assert.same({ out = '{"body":null}\n', err = "", rc = 3 }, at("get", "three", "--json"))
      assert.equal(2, up:counts().received) -- nobody is asked
    end)

    it("knows the hashes that top shows, and does not count as a question", function()
      local top = json.decode(files.trimmed(("%s bin/unbusy top --json --config %s"):format(lua,
        path)))
      assert.equal(2, #top.questions)
      assert.matches("^echo: ", at("get", "--hash", top.questions[1].hash).out)
      local told = json.decode(at("get", "--hash", top.questions[1].hash, "--json").out)
      assert.same({ "cache", "up" }, { told.source, told.target })
      for _ = 1, 3 do at("get", "two", "--model", "m") end
      local again = json.decode(files.trimmed(("%s bin/unbusy top --json --config %s"):format(lua,
        path)))
      assert.is_true(again.top.asked <= 2)
      assert.equal(3, at("get", "--hash", "0123456789abcdef").rc)
      assert.same({ out = '{"body":null}\n', err = "", rc = 3 },
        at("get", "--hash", "0123456789abcdef", "--json"))
      assert.equal(3, at("delete", "--hash", top.questions[1].hash:sub(1, 1)).rc) -- not just any
    end)

    it("takes out a question, a model's or a target's answers, or everything", function()
      assert.same({ out = "", err = "", rc = 0 }, at("delete", "two", "--model", "m"))
      assert.equal("upstream", source_of "two")
      assert.equal(3, at("delete", "three", "--model", "m").rc)
      assert.same({ out = '{"deleted":0}\n', err = "", rc = 3 },
        at("delete", "two", "--model", "n", "--json"))
      assert.same({ out = "took out 2\n", err = "", rc = 0 }, at("purge", "--model", "m"))
      assert.same({ 3, "took out 0\n" }, { at("purge", "model:m").rc, at("purge", "model:m").out })
      assert.equal("upstream", source_of "two")
      assert.same({ purged = 1 }, json.decode(at("purge", "--target", "up", "--json").out))
      source_of "two"
      local refused = at "clear"
      assert.equal(2, refused.rc)
      assert.matches("it takes out all 1 entries: say %-%-yes if you mean it", refused.err)
      assert.equal("took out 1\n", at("clear", "--yes").out)
      assert.equal("upstream", source_of "two")
    end)

    it("gives all entries as lines, and takes them back", function()
      local file = place.dir .. "/cache.jsonl"
      assert.same({ out = "wrote 2\n", err = "", rc = 0 }, at("export", file))
      local lines = files.text(file)
      assert.equal(3, select(2, lines:gsub("\n", "")))
      assert.equal(lines:match "^[^\n]*", at("export").out:match "^[^\n]*")
      at("clear", "--yes")
      assert.same({ out = "took in 2, left out 0\n", err = "", rc = 0 }, at("import", file))
      assert.equal("cache", source_of "two")
      assert.equal(2, up:counts().received)
      at("clear", "--yes")
      local r = run({ "import", "--json", "--config", path }, file)
      assert.same({ imported = 2, left_out = 0 }, json.decode(r.out))
      assert.equal("took out 2\n", at("purge", "--model", "m").out) -- tags too
      local old = {}
      for line in lines:gmatch "[^\n]+" do
        line = line:gsub('"ttl":[%d.]+', '"ttl":-90000')
        old[#old + 1] = (line:gsub('"age":[%d.]+', '"age":90300'))
      end
      local r_old = run({ "import", "--config", path }, place:write("old", table.concat(old, "\n")))
      assert.equal("took in 0, left out 2\n", r_old.out)
    end)

    it("says what is wrong with a file, or with what it is told", function()
      local good = files.trimmed(("%s bin/unbusy cache export --config %s"):format(lua, path))
      local bad = place:write("bad", good:gsub("\n.*", "\n") .. "{broken\n")
      for message, words in pairs {
        ["bad:2: not JSON (0 were taken in before)"] = { "import", bad },
        ["/no/such: No such file"] = { "import", "/no/such" },
        ["this is no key of a cache"] = { "import", place:write("key",
          '{"key":"AAAA","value":"x","age":1,"ttl":1}') },
        ["an action expected: stats, get, delete"] = {},
        ["unknown action, did you mean 'purge'?"] = { "prge" },
        ["a question expected (or --request, or --hash)"] = { "get" },
        ["purge: a TAG, --model or --target expected"] = { "purge" },
        ["purge: a tag has 1 to 64 bytes"] = { "purge", ("x"):rep(65) },
        ["get: 2 words are too many: put a question in quotes"] = { "get", "two", "words" },
        ["--hash: hexadecimal digits expected"] = { "get", "--hash", "xyz" },
        ["--request: not JSON"] = { "get", "--request", bad },
        ["a text, or a request with messages"] = { "get", "--request", place:write("r", "{}") },
      } do
        local r = at(unpack(words))
        assert.same({ "", 2 }, { r.out, r.rc })
        assert.is_truthy(r.err:find(message, 1, true), r.err)
      end
      local r = at("export", "/no/such/folder/file")
      assert.equal(1, r.rc)
      assert.matches("/no/such/folder/file: No such file", r.err)
    end)
  end)

  it("works on a file that nobody has open just now", function()
    local file = place.dir .. "/answers"
    local path = place:write("own.lua", CONFIG:format(up.url, ("path = %q"):format(file), ""))
    local r = run({ "stats", "--config", path })
    assert.same({ "", 0 }, { r.err, r.rc })
    local unbusy = require "unbusy"
    local client = assert(unbusy.new(path))
    assert(client:chat { model = "m", messages = { { role = "user", content = "kept" } } })
    client:close()
    assert.equal("echo: kept\n", run({ "get", "kept", "--model", "m", "--config", path }).out)
    assert.equal("took out 1\n", run({ "purge", "--model", "m", "--config", path }).out)
    assert.equal(3, run({ "get", "kept", "--model", "m", "--config", path }).rc)
  end)

  it("works on no memory of its own where the file cannot be had", function()
    local file = place:write("answers", ("no cache of ours"):rep(1000))
    os.execute("chmod 600 " .. files.quote(file))
    local path = place:write("own.lua", CONFIG:format(up.url, ("path = %q"):format(file), ""))
    for _, words in ipairs { { "stats" }, { "clear", "--yes" }, { "import", "/dev/null" },
      { "purge", "x" } } do
      words[#words + 1] = "--config"
      words[#words + 1] = path
      local r = run(words)
      assert.same({ "", 1 }, { r.out, r.rc })
      assert.matches("own%.lua: cache: its file: .*the file is no region of unbusy", r.err)
    end
  end)

  it("needs somebody who has it open, where it lives in memory", function()
    local path = place:write("gw.lua", CONFIG:format(up.url, "", ""))
    local r = run({ "stats", "--config", path })
    assert.same({ "", 1 }, { r.out, r.rc })
    assert.matches("no process has the cache of .*gw%.lua open just now", r.err)
  end)
end)
