-- unbusy.lua_openai under what lua-openai does to its `http_provider`, as its source (1.7.0) has
-- it: `assert(http.request { sink =, source =, url =, method =, headers = })`, with a sink that is
-- a filter before a table, and status, headers and the bytes as what is looked at. LuaSocket's
-- http.request, which it is made for, is asked the same beside ours. Where lua-openai itself is
-- installed, its client is tried, too.
local busyd = require "spec.support.busyd"
local cjson = require "cjson"
local ltn12 = require "ltn12"
local lua_openai = require "unbusy.lua_openai"
local luasocket = require "socket.http"
local unbusy = require "unbusy"

local has_openai, openai = pcall(require, "openai")

describe("lua_openai", function()
  local up
  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() up:stop() end)
  before_each(function()
    up:programme {}
    up:reset()
  end)

  -- What lua-openai's `_request` does.
  local function ask(provider, method, path, payload, on_bytes, more)
    local body, out = payload and cjson.encode(payload), {}
    local headers = { Host = "127.0.0.1", Accept = "application/json",
      ["Content-Type"] = "application/json", ["Content-Length"] = body and #body,
      Authorization = "Bearer sk-of-the-app" }
    for name, value in pairs(more or {}) do headers[name] = value end
    local sink = ltn12.sink.table(out)
    if on_bytes then sink = ltn12.sink.chain(on_bytes, sink) end
    local _, status, answered = assert(provider.request { sink = sink, method = method,
      source = body and ltn12.source.string(body), url = up.url .. "/v1" .. path,
      headers = headers })
    return status, table.concat(out), answered
  end

  local function question(text, more)
    local q = { model = "m", messages = { { role = "user", content = text or "天气" } } }
    for name, value in pairs(more or {}) do q[name] = value end
    return q
  end

  local function text_of(status, body)
    assert.equal(200, status)
    return cjson.decode(body).choices[1].message.content
  end

  -- Ids and times are each answer's own; the usage in each event is what unbusy has asked for.
  local function plain(text)
    return (text:gsub("(%a+[-_])%d+", "%1"):gsub('"(created[_at]*)":%d+', '"%1":0')
      :gsub(',"usage":null}\n', "}\n"))
  end

  describe("gives what LuaSocket gives", function()
    for name, r in pairs {
      chat = { "POST", "/chat/completions", question() },
      ["a stream"] = { "POST", "/chat/completions", question("天气", { stream = true }) },
      ["a stream with usage"] = { "POST", "/chat/completions",
        question("天气", { stream = true, stream_options = { include_usage = true } }) },
      completion = { "POST", "/completions", { model = "m", prompt = "one" } },
      embedding = { "POST", "/embeddings", { model = "m", input = "one" } },
      response = { "POST", "/responses", { model = "m", input = "one" } },
      ["a response's stream"] = { "POST", "/responses",
        { model = "m", input = "one", stream = true } },
      models = { "GET", "/models" },
      ["nothing there"] = { "GET", "/files/file-1" },
      ["no messages"] = { "POST", "/chat/completions", { model = "m" } },
      ["a wrong model"] = { "POST", "/chat/completions", question("天气", { model = 3 }) },
    } do
      it(name, function()
        local status, body, headers = ask(lua_openai, r[1], r[2], r[3])
        local their_status, their_body, their_headers = ask(luasocket, r[1], r[2], r[3])
        assert.equal(their_status, status)
        assert.equal(plain(their_body), plain(body))
        assert.equal(their_headers["content-type"], headers["content-type"])
        if headers["content-length"] then
          assert.equal(#body, tonumber(headers["content-length"]))
        end
      end)
    end
  end)

  it("survives a server that is busy, where LuaSocket does not", function()
    local busy = { script = { { preset = "busy_503" }, { preset = "busy_503" } } }
    up:programme(busy)
    assert.equal(503, (ask(luasocket, "POST", "/chat/completions", question())))
    up:programme(busy)
    up:reset()
    local provider = lua_openai.new { retry = { base = 0.01 } }
    local status, body, headers = ask(provider, "POST", "/chat/completions", question())
    assert.equal("echo: 天气", text_of(status, body))
    assert.equal("3", headers["x-unbusy-tries"])
    assert.equal("upstream", headers["x-unbusy-source"])
  end)

  it("sends the app's key, bytes and headers, and nobody else's key", function()
    up:programme { log = true }
    local raw = '{"messages":[{"content":"x","role":"user"}],"n":12345678901234567890,"model":"m"}'
    local function send(key)
      assert(lua_openai.request { url = up.url .. "/v1/chat/completions", method = "POST",
        source = ltn12.source.string(raw),
        headers = { Authorization = key, ["X-Title"] = "t", Cookie = "c" } })
    end
    send "Bearer sk-one"
    send "Bearer sk-two"
    send(nil)
    local seen = {}
    for i, r in ipairs(up:log()) do
      local h = r.headers
      seen[i] = { h.authorization or "none", h["x-title"], h.cookie or "none", r.body }
    end
    assert.same({ { "Bearer sk-one", "t", "none", raw }, { "Bearer sk-two", "t", "none", raw },
      { "none", "t", "none", raw } }, seen)
  end)

  it("gives a failure as an answer with an error, as lua-openai looks for one", function()
    up:programme { script = { { preset = "insufficient_quota" } } }
    local status, body, headers = ask(lua_openai.new(), "POST", "/chat/completions", question())
    local e = cjson.decode(body).error
    assert.same({ 429, "quota", "quota" }, { status, e.code, headers["x-unbusy-code"] })
    assert.truthy(e.message:find "insufficient_quota")
    assert.is_nil((body .. cjson.encode(headers)):find("sk-of-the-app", 1, true))
  end)

  it("gives nil and a message where a stream breaks off, so that lua-openai raises", function()
    up:programme { script = { { preset = "cut_stream", after = 2 } } }
    local came = {}
    local ok, message = pcall(ask, lua_openai.new(), "POST", "/chat/completions",
      question("one two three", { stream = true }), function(bytes)
        came[#came + 1] = bytes
        return bytes
      end)
    assert.is_false(ok)
    assert.truthy(tostring(message):find "body: ")
    assert.truthy(#came > 0)
    assert.is_nil(table.concat(came):find("[DONE]", 1, true))
  end)

  it("hands the bytes of a stream on as they come, and stops when nobody takes them", function()
    up:programme { token_interval = 0.02 }
    local provider = lua_openai.new()
    local boom = { "of the app" }
    local ok, thrown = pcall(ask, provider, "POST", "/chat/completions",
      question(("word "):rep(500), { stream = true }), function() error(boom) end)
    assert.same({ false, boom }, { ok, thrown })
    local one, message = provider.request { url = up.url .. "/v1/chat/completions",
      method = "POST", source = ltn12.source.string(cjson.encode(
        question(("word "):rep(500), { stream = true }))),
      sink = function() return nil, "enough" end }
    assert.same({ nil, "enough" }, { one, message })
    up:programme {} -- what was left is cancelled: the next call has its place
    assert.equal("echo: a", text_of(ask(provider, "POST", "/chat/completions", question "a")))
  end)

  it("takes a client of ours, whose targets and fallback then answer", function()
    local client = unbusy.new { fallback = "系统繁忙", retry = false,
      targets = { { name = "mine", url = up.url, key = "sk-mine" } } }
    local provider = lua_openai.new(client, { deadline = 20 })
    up:programme { log = true, script = { { status = 200 }, { preset = "busy_503" } } }
    up:reset()
    local _, _, headers = ask(provider, "POST", "/chat/completions", question())
    assert.equal("mine", headers["x-unbusy-target"])
    assert.equal("Bearer sk-mine", up:log()[1].headers.authorization)
    local status, body
    status, body, headers = ask(provider, "POST", "/chat/completions", question())
    assert.equal("系统繁忙", text_of(status, body))
    assert.equal("fallback", headers["x-unbusy-source"])
    up:programme { script = { { preset = "busy_503" } } }
    status, body = ask(provider, "POST", "/chat/completions", question("x", { stream = true }))
    assert.equal(200, status)
    assert.truthy(body:find("系统繁忙", 1, true))
    assert.truthy(body:find("data: [DONE]\n\n", 1, true))
    client:close()
  end)

  it("is set once for the whole process by use", function()
    lua_openai.use { cache = { ttl = 60 } }
    local _, first = ask(lua_openai, "POST", "/chat/completions", question "cached")
    local _, second, headers = ask(lua_openai, "POST", "/chat/completions", question "cached")
    lua_openai.use()
    assert.equal("cache", headers["x-unbusy-source"])
    assert.equal(first, second)
    assert.equal(1, up:counts().received)
  end)

  it("keeps no more clients than it says", function()
    local provider, made = lua_openai.new { limiter = false }, setmetatable({}, { __mode = "k" })
    local new = unbusy.new
    unbusy.new = function(o)
      local client = new(o)
      made[client] = true
      return client
    end
    for i = 1, 120 do
      provider.request { url = ("%s/v1/models?%d"):format(up.url, i),
        headers = { Authorization = "Bearer k" .. i } }
    end
    unbusy.new = new
    collectgarbage()
    collectgarbage()
    local count = 0
    for _ in pairs(made) do count = count + 1 end
    assert.is_true(count <= 101, count)
  end)

  it("tells wrong use at the caller's line, and URLs that are none", function()
    for _, bad in ipairs { 7, true, { retries = 3 }, { retry = { attempts = "x" } } } do
      local ok, message = pcall(lua_openai.use, bad)
      assert.is_false(ok)
      assert.is_string(message)
    end
    assert.has_error(function() lua_openai.request "http://x" end)
    assert.has_error(function() lua_openai.new(nil, { deadlin = 3 }) end)
    assert.has_error(function() lua_openai.new(nil, { raw = "{}" }) end)
    for _, url in ipairs { "", "ftp://x/v1/models", "http://x/", "http://user@x/v1/models",
      "http:///v1/models", "http://x/v1/chat\0/models" } do
      local one, message = lua_openai.request { url = url }
      assert.is_nil(one)
      assert.is_string(message)
    end
    local one, message = lua_openai.request { url = up.url .. "/v1/files", method = "POST",
      source = function() return nil, "disk" end }
    assert.same({ nil, "lua_openai: source: disk" }, { one, message })
    assert.equal(0, up:counts().received)
  end)

  if has_openai then
    it("serves lua-openai itself", function()
      up:programme { script = { { preset = "busy_503" } } }
      lua_openai.use { retry = { base = 0.01 } }
      local client = openai.new("sk-1", { http_provider = "unbusy.lua_openai" })
      client.api_base = up.url .. "/v1"
      local status, body = client:create_chat_completion(question().messages, { model = "m" })
      assert.equal(200, status)
      assert.equal("echo: 天气", body.choices[1].message.content)
      local pieces = {}
      client:create_chat_completion(question().messages, { model = "m", stream = true },
        function(chunk) pieces[#pieces + 1] = chunk.choices[1].delta.content end)
      assert.equal("echo: 天气", table.concat(pieces))
      lua_openai.use()
    end)
  end
end)
