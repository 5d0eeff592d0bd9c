-- `unbusy warm` and `unbusy top`, as programmes, at the cache of a gateway that runs.
local busyd = require "spec.support.busyd"
local files = require "spec.support.files"
local json = require "unbusy.json"
local served = require "spec.support.served"

local unpack = table.unpack or unpack -- luacheck: ignore
local lua = os.getenv "UNBUSY_LUA" or "lua5.4"

local CONFIG = [[return {
  targets = { { name = "up", url = "%s/v1", models = { default = "m" } } },
  cache = { %s bytes = 1000000, entries = 100 }, gateway = { %s },
}]]

describe("the tools of the cache", function()
  local up, place
  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() up:stop() end)
  before_each(function()
    place = served.place()
    up:programme {}
    up:reset()
  end)
  after_each(function() place:remove() end)

  local function config(cache, gateway)
    return place:write("gw.lua", CONFIG:format(up.url, cache or "top = { show = true },",
      gateway or ""))
  end

  local function run(words, more) return place:run(words, more) end

  local function unbusy(...) return run { ... } end

  local function source_of(server, text)
    return (server:chat(text, "-o /dev/null -D -")):match "x%-unbusy%-source: (%w+)"
  end

  describe("unbusy warm", function()
    it("asks what is in a file, at the command line and hot, for those who run", function()
      local path = config()
      local server = served.start(place, { path })
      for _ = 1, 2 do server:chat "hot" end
      local faq = place:write("faq.txt", '# common\none\n{"messages":[{"role":"user","content":'
        .. '"two"}],"model":"m"}\n')
      local r = unbusy("warm", "--config", path, "--question", "three", "--model", "m", "--top",
        "5", faq)
      assert.same({ "", 0 }, { r.err, r.rc })
      assert.matches("^asked 3, fresh 1, failed 0 of 4 in %d+%.%d s\n$", r.out)
      local before = up:counts().received
      for _, text in ipairs { "one", "two", "three" } do
        assert.equal("cache", source_of(server, text))
      end
      assert.equal(before, up:counts().received)
    end)

    it("reads standard input, prints JSON, and says what failed", function()
      local path = config()
      local server = served.start(place, { path })
      up:programme { faults = { { share = 1, answer = { preset = "invalid_400" } } } }
      local input = place:write("input", "one\ntwo\n")
      local r = run({ "warm", "--config", path, "--json", "-" }, { input = input })
      assert.same({ "", 3 }, { r.err, r.rc })
      local told = json.decode(r.out)
      assert.same({ 2, 0, 0, 2 }, { told.all, told.asked, told.fresh, #told.failures })
      assert.equal("invalid", told.failures[1].code)
      r = run({ "warm", "--config", path, "-q", "-" }, { input = input })
      assert.same({ "", 3 }, { r.out, r.rc })
      assert.matches("unbusy: question 1: invalid: ", r.err)
      server:stop()
    end)

    it("draws a bar on a terminal, and leaves it tidy", function()
      local path = config()
      local server = served.start(place, { path })
      local line = ("script -qec '%s bin/unbusy warm --config %s --question a --question b' "
        .. "/dev/null </dev/null"):format(lua, path)
      local screen = files.trimmed("env TERM=xterm " .. line)
      assert.matches("%[%-+%] 0 of 2  asked 0, fresh 0", screen)
      assert.matches("%[#+%] 2 of 2  asked 2, fresh 0\r\27%[Kasked 2, fresh 0, failed 0 of 2",
        screen)
      server:stop()
    end)

    it("says what is wrong", function()
      local path = config()
      local bad = place:write("bad.txt", "fine\n{broken\n")
      for message, words in pairs {
        ["questions expected: a FILE, --question or --top"] = { "warm" },
        ["bad.txt:2: not JSON"] = { "warm", "--config", path, bad },
        ["/no/such: No such file"] = { "warm", "--config", path, "/no/such" },
        ["cannot read /no/conf: No such file"] = { "warm", "--config", "/no/conf", "--top", "1" },
        ["--at-once: a number at least 1"] = { "warm", "--at-once", "0", "--top", "1" },
        ["did you mean '--question'?"] = { "warm", "--qestion", "x" },
        ["there is no cache in this configuration"] = { "warm", "--top", "1", "--config",
          place:write("none.lua", "return { targets = {} }") },
      } do
        local r = unbusy(unpack(words))
        assert.same({ "", 2 }, { r.out, r.rc })
        assert.is_truthy(r.err:find(message, 1, true), r.err)
      end
      local r = unbusy("warm", "--config", path, "--question", "x")
      assert.same({ "", 1 }, { r.out, r.rc })
      assert.matches("no process has the cache of .*gw%.lua open just now", r.err)
      assert.equal(0, up:counts().received)
    end)
  end)

  describe("unbusy top", function()
    local function asked(server)
      for _, text in ipairs { "天气如何", "天气如何", "天气如何", "two", "two", "one" } do
        assert.equal(200, select(2, server:chat(text)))
      end
    end

    it("shows what the workers have counted together", function()
      local path = config()
      local server = served.start(place, { path })
      asked(server)
      local r = unbusy("top", "--questions", "--config", path)
      assert.same({ "", 0 }, { r.err, r.rc })
      assert.matches("^6%.0 questions lately, 3 of them told apart; 50%.0 %% of all lookups", r.out)
      assert.matches("\n   1       3%.0         %x+  m\n   2       2%.0         %x+  m\n", r.out)
      assert.is_nil(r.out:find "天气")
      local shown = unbusy("top", "--questions", "--config", path, "--show", "-n", "1").out
      assert.matches("  m  天气如何\n$", shown)
      local told = json.decode(unbusy("top", "--config", path, "--show", "--json").out)
      assert.same({ "天气如何", 3 }, { told.questions[1].question, told.questions[1].count })
      assert.is_nil(told.questions[3].question) -- it came once
      server:stop()
    end)

    it("asks a gateway, with its token", function()
      local path = config(nil, 'status = { token = "let-me-see" }')
      local server = served.start(place, { path })
      asked(server)
      for _, url in ipairs { server.url, server.url .. "/v1/", server.url .. "/status" } do
        local r = run({ "top", "--url", url, "--show" }, { env = "env UNBUSY_TOKEN=let-me-see" })
        assert.same({ "", 0 }, { r.err, r.rc })
        assert.matches("m  天气如何\n", r.out)
      end
      local r = run({ "top", "--url", server.url }, { env = "env UNBUSY_TOKEN=wrong" })
      assert.same({ "", 2 }, { r.out, r.rc })
      assert.matches("the gateway says 401: this key is not known here", r.err)
      server:stop()
      r = unbusy("top", "--url", server.url)
      assert.equal(1, r.rc)
    end)

    it("is drawn again and again on a terminal", function()
      local path = config()
      local server = served.start(place, { path })
      local screen = place.dir .. "/screen"
      local pid = files.trimmed(("env TERM=xterm setsid script -qfec '%s bin/unbusy top --every "
        .. "0.1 --questions --config %s' /dev/null </dev/null >%s 2>&1 & echo $!"):format(lua, path,
        screen))
      served.wait(function()
        return select(2, files.text(screen):gsub("\27%[H\27%[J0%.0 questions lately", "")) >= 3
      end, "the third drawing")
      os.execute("kill " .. pid)
      server:stop()
    end)

    it("says what is wrong", function()
      local hidden = place:write("hidden.lua", CONFIG:format(up.url, "top = true,", ""))
      local off = place:write("off.lua", CONFIG:format(up.url, "", ""))
      local servers = { served.start(place, { hidden }), served.start(place, { off }) }
      for message, words in pairs {
        ["--show: the questions may not be shown: cache.top.show is off"] =
          { "top", "--config", hidden, "--show" },
        ["nothing is counted: cache.top is off there"] =
          { "top", "--config", off, "--questions" },
        ["--url or --config, not both"] = { "top", "--config", off, "--url", "http://x" },
        ["--url: http:// or https:// expected"] = { "top", "--url", "here" },
        ["the gateway says 403: the questions may not be shown"] =
          { "top", "--url", servers[1].url, "--show" },
        ["nothing is counted: cache.top is off there "] =
          { "top", "--url", servers[2].url, "--questions" },
      } do
        local r = unbusy(unpack(words))
        assert.same({ "", 2 }, { r.out, r.rc })
        assert.is_truthy(r.err:find(message:match "^(.-) ?$", 1, true), r.err)
      end
      for _, server in ipairs(servers) do server:stop() end
    end)
  end)
end)
