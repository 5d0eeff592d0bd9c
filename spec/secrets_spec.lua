-- What is secret (keys, values of a target's own headers, a proxy's password) stands in nothing
-- that a program or a log sees. A debugger still sees it: in the upvalues of a target's functions,
-- and in libcurl's memory while a request is under way.
local busyd = require "spec.support.busyd"
local engines = require "spec.support.engines"
local files = require "spec.support.files"
local guard = require "spec.support.leak_guard"
local json = require "unbusy.json"
local leaks = require "spec.support.leaks"
local unbusy = require "unbusy"

local KEY, OTHER = "Zk7!q/w\"9+m~v3&x", "zqxjk\\Wq5<t8>"
local TOKEN, WORD = "Basic Hd4$r7*Lp2", "hush:Tn6@y1"
local PASSWORD = "pr0xy-W0rd"
local ALL = { KEY, OTHER, TOKEN:sub(7), WORD, PASSWORD }

local QUESTION = { model = "m", messages = { { role = "user", content = "hi" } } }

describe("a secret", function()
  guard.watch(before_each, after_each)
  local up, events
  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() up:stop() end)
  before_each(function()
    up:programme { reset = true }
    events = {}
  end)

  local function new(target, more)
    local t = { name = "a", url = up.url, keys = { KEY, OTHER }, proxy = false,
      headers = { ["X-Token"] = TOKEN, ["X-Word"] = WORD } }
    for k, v in pairs(target or {}) do t[k] = v end
    local o = { targets = { t }, retry = { attempts = 1 },
      on_event = function(e) events[#events + 1] = e end }
    for k, v in pairs(more or {}) do o[k] = v end
    return unbusy.new(o)
  end

  local function answer(spec) up:programme { reset = true, script = { spec, spec } } end

  it("cannot be reached from a client, its answers, events and status", function()
    local client = new()
    local reply = assert(client:chat(QUESTION))
    local stream = assert(client:stream(QUESTION))
    stream:read()
    leaks.none(ALL, client, client:status(), reply, stream, events)
    assert(stream:reply())
    leaks.none(ALL, client, client:status(), stream, events)
    assert.is_true(#leaks.all_of(client) > 1000) -- it looked somewhere
  end)

  it("cannot be reached from any failure", function()
    for _, preset in ipairs { "busy_503", "rate_limited", "unauthorized", "echo_key", "redirect",
      "invalid_400", "malformed_json", "cut_stream", "garbage", "close", "error_in_stream",
      "empty_200" } do
      answer { preset = preset }
      local client = new({}, { fallback = "later" })
      leaks.none(ALL, client, events, client:chat(QUESTION))
      answer { preset = preset }
      local stream, message, code, detail = client:stream(QUESTION)
      leaks.none(ALL, client, client:status(), stream, message, code, detail, events)
      if stream then leaks.none(ALL, stream, stream:reply()) end
    end
  end)

  -- How a server may write what it was sent.
  local function hex(text, format)
    return (text:gsub("%W", function(c) return format:format(c:byte()) end))
  end
  local ways = {
    plain = function(s) return s end,
    ["as JSON does"] = function(s) return (json.encode(s):sub(2, -2)) end,
    ["as a URL does"] = function(s) return hex(s, "%%%02X") end,
    ["as a URL does in small letters"] = function(s) return hex(s, "%%%02x") end,
  }

  -- Answers that show it.
  local function answers_with(shown)
    return {
      { status = 400, json = { error = { message = "you sent " .. shown .. " to us" } } },
      { status = 401, json = { error = { message = "Bearer " .. shown, code = shown } } },
      { status = 500, json = { error = shown, error_type = shown } },
      { status = 503, json = { detail = shown .. shown } },
      { status = 429, json = { { error = { message = "x", code = shown } } } },
      { status = 200, json = { error = { message = "no " .. shown, type = shown } } },
      { status = 200, json = { message = shown, code = 50603 } },
      { status = 403, body = shown }, { status = 502, body = "<p>" .. shown .. "</p>" },
    }
  end

  for way, write in pairs(ways) do
    it("is masked where a server repeats it, " .. way, function()
      local script, shown = {}, {}
      for _, secret in ipairs { KEY, OTHER, WORD, TOKEN } do
        for _, spec in ipairs(answers_with(write(secret))) do
          script[#script + 1] = spec
          shown[#script] = write(secret)
        end
      end
      up:programme { reset = true, script = script }
      for i = 1, #script do
        local _, message, code, detail = new():chat(QUESTION)
        assert.is_string(code)
        leaks.none({ shown[i], KEY, OTHER, WORD, TOKEN:sub(7) }, message, detail, events)
      end
      assert.equal(#script, up:counts().received)
    end)
  end

  it("is masked in base64, wherever it begins there", function()
    local function base64(s)
      return files.output("printf %s '" .. s .. "' | base64 -w0")
    end
    for _, before in ipairs { "", "a", "ab", "Bearer " } do
      answer { status = 400, json = { error = { message = "got " .. base64(before .. KEY) } } }
      local _, message = new():chat(QUESTION)
      local inner = base64(before .. KEY):sub(#before + 5, #before + 15)
      assert.is_nil(message:find(inner, 1, true), message)
    end
  end)

  it("is masked where a message is cut in the middle of it", function()
    local script = {}
    local function add(text) script[#script + 1] = { status = 500, json = { error = text } } end
    for room = 1, #KEY do
      add(("word "):rep(300):sub(1, 200 - room) .. KEY .. " and so on")
      add(("word "):rep(300):sub(1, 1000 - room) .. KEY .. " and so on")
      add("not " .. KEY:sub(1, room) .. "...")
      add("not " .. KEY:sub(1, room))
    end
    up:programme { reset = true, script = script }
    for _ = 1, #script do
      local _, message, code, detail = new():chat(QUESTION)
      assert.equal("upstream", code)
      leaks.none({ KEY }, message, detail, events)
    end
  end)

  it("is masked in an answer's header", function()
    answer { headers = { ["x-echo"] = "Bearer " .. KEY, ["x-other"] = { WORD, "fine" } } }
    local reply = assert(new():chat(QUESTION))
    leaks.none(ALL, reply.headers)
    assert.matches("^Bearer %*%*%*$", reply.headers["x-echo"])
    assert.matches("fine", reply.headers["x-other"])
    answer { headers = { ["x-echo"] = "Bearer " .. KEY } }
    local stream = assert(new():stream(QUESTION))
    leaks.none(ALL, stream)
    stream:close()
  end)

  it("is masked in a stream that tells of an error, before or in its answer", function()
    local chunk = 'data: {"choices":[{"index":0,"delta":{"content":"so far"}}]}\n\n'
    local error_of = { error = { message = "with " .. KEY, code = KEY } }
    local told = ("data: %s\n\n"):format(json.encode(error_of))
    for _, body in ipairs { told, chunk .. told, "event: error\n" .. told,
      chunk .. "data: {\"error\":\"" .. KEY:sub(1, 7) .. "\n\n" } do
      answer { status = 200, headers = { ["content-type"] = "text/event-stream" }, body = body }
      local client = new()
      local stream, message, code, detail = client:stream(QUESTION)
      leaks.none(ALL, client, message, code, detail, events)
      if stream then
        local reply, why, how, more = stream:reply()
        assert.is_nil(reply)
        assert.is_string(how)
        leaks.none(ALL, client, stream, why, more, events)
      end
    end
  end)

  it("leaves the meaning of an error alone", function()
    for word, code in pairs { insufficient_quota = "quota", server_busy = "busy" } do
      answer { status = 429, json = { error = { code = word, message = "x" } } }
      assert.equal(code, (select(3, new({ keys = { word } }):chat(QUESTION))))
    end
    up:programme { reset = true }
    -- an answer is no message
    assert.equal("echo: hi", new({ keys = { "hi" } }):chat(QUESTION).text)
  end)

  it("may look like a pattern, or be short", function()
    for _, key in ipairs { "%a+", "-", ".", "%", "a", "[", "(.-)", "%1", "%0%0", "^a$",
      ".*.*.*" } do
      answer { status = 401, json = { error = { message = ("key <%s> is wrong, <%s>"):format(key,
        key) } } }
      local _, message, code = new({ keys = { key } }):chat(QUESTION)
      assert.equal("auth", code)
      assert.equal("a: 401 unauthorized: key <[masked]> is wrong, <[masked]>", message)
    end
    answer { status = 401, json = { error = { message = "a bad cat" } } }
    assert.equal("a: 401 unauthorized: [masked] bad cat",
      (select(2, new({ keys = { "a" } }):chat(QUESTION))))
  end)

  it("of which another is a part is masked whole", function()
    answer { status = 401, json = { error = { message = "key abcdefgh!" } } }
    assert.equal("a: 401 unauthorized: key [masked]!",
      (select(2, new({ keys = { "abcd", "abcdefgh" } }):chat(QUESTION))))
  end)

  describe("in a proxy's URL", function()
    local urls = {}
    for _, tail in ipairs { "127.0.0.1:1", "127.0.0.1:99999", "[::1", "no-such-host.invalid:1",
      "a b", "127.0.0.1:1/x y" } do
      urls[#urls + 1] = ("http://user:%s@%s"):format(PASSWORD, tail)
    end
    urls[#urls + 1] = ("gopher://user:%s@127.0.0.1:1"):format(PASSWORD)
    urls[#urls + 1] = ("user:%s@127.0.0.1:1"):format(PASSWORD)
    urls[#urls + 1] = ("socks5h://user:%s@127.0.0.1:1"):format(PASSWORD)

    it("stands in no failure", function()
      for _, url in ipairs(urls) do
        local client = new { proxy = url }
        local reply, message, code, detail = client:chat(QUESTION)
        assert.is_nil(reply)
        assert.is_truthy(code == "network" or code == "invalid", url)
        leaks.none(ALL, client, message, detail, events)
      end
    end)

    it("stands in no failure when it comes from the environment", function()
      for _, url in ipairs(urls) do
        local out = engines.child([[
          local unbusy = require "unbusy"
          local client = unbusy.new { retry = false, targets = {
            { name = "a", url = "http://made-up.invalid" } } }
          print(client:chat { messages = { { role = "user", content = "x" } } })
        ]], "-u no_proxy -u NO_PROXY 'http_proxy=" .. url .. "'")
        assert.matches("^nil\ta: connect: .*status 0\n$", out)
        assert.is_nil(leaks.part(out, PASSWORD))
      end
    end)
  end)

  it("stands in no message about wrong options", function()
    local function refused(target, ...)
      local ok, message = pcall(new, target, ...)
      assert.is_false(ok)
      leaks.none(ALL, message)
    end
    refused { key = KEY }
    refused { keys = { KEY, OTHER .. "\n" } }
    refused { keys = { KEY, 5 } }
    refused { keys = KEY }
    refused { keys = {}, key = { KEY } }
    refused { headers = { ["X-A"] = KEY .. "\0" } }
    refused { headers = { ["X-A"] = { KEY } } }
    refused { url = "http://user:" .. PASSWORD .. "@h" }
    refused { url = "http://h#" .. PASSWORD }
    refused { proxy = "http://user:" .. PASSWORD .. "@h\n" }
    refused { provider = KEY }
  end)

  it("stands in no message about a file that is no Lua", function()
    for _, line in ipairs { "key = '%s", 'key = "%s" "x"', "key = [[x]] [[%s]]", "key = 5 '%s'" } do
      local path = os.tmpname()
      local file = assert(io.open(path, "w"))
      file:write(("return { targets = { { name = 'a',\n" .. line .. " } } }\n"):format(PASSWORD))
      file:close()
      local ok, message = pcall(unbusy.new, path)
      assert.is_false(ok)
      assert.matches(":[12]: .*near a text$", message)
      leaks.none(ALL, message)
      local out = files.output((os.getenv "UNBUSY_LUA" or "lua5.4") .. " bin/unbusy chat --config "
        .. path .. " hi 2>&1")
      os.remove(path)
      assert.matches("near a text", out)
      leaks.none(ALL, out)
    end
  end)
end)
