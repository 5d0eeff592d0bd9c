-- Answers of a server that means harm: what is no HTTP, what is HTTP and lies, and JSON that is
-- none. See engine_faults_spec.lua for the engine alone.
local busyd = require "spec.support.busyd"
local guard = require "spec.support.leak_guard"
local json = require "unbusy.json"
local raw_server = require "spec.support.raw_server"
local unbusy = require "unbusy"
local wire = require "unbusy.loops.wire"

local QUESTION = { model = "m", messages = { { role = "user", content = "hi" } } }

describe("a hostile server", function()
  guard.watch(before_each, after_each)
  local up, raw
  setup(function()
    up = busyd.start { workers = 1 }
    raw = raw_server.start()
  end)
  teardown(function()
    up:stop()
    raw:stop()
  end)

  local function new(url)
    return unbusy.new { retry = false, clocks = { total = 20 },
      targets = { { name = "a", url = url, key = "key-1", proxy = false } } }
  end

  -- What becomes of an answer, byte for byte; on a connection of its own, since the server ends
  -- each behind its answer, perhaps while the next one is asked for.
  local function answered(bytes)
    wire.close_idle()
    return new(raw.url):post("/", bytes)
  end

  local function fails(bytes, code, pattern, phase)
    local reply, message, got, detail = answered(bytes)
    local shown = bytes:sub(1, 120)
    assert.is_nil(reply, shown)
    assert.same({ shown, code, phase }, { shown, got, detail.phase }, message)
    assert.matches(pattern, message)
    assert.is_nil(message:find("key-1", 1, true))
  end

  local OK, JSON = "HTTP/1.1 200 OK\r\n", "\r\n\r\n{\"a\":1}"

  it("may send what comes before an answer, but not without end", function()
    local one = "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"
    local reply = assert(answered(one:rep(20) .. OK .. "Content-Length: 7" .. JSON))
    assert.same({ 200, 1, nil }, { reply.status, reply.body.a, reply.headers.link })
    fails(one:rep(100000), "upstream", "^a: headers: the answer's header ", "headers")
    fails(("HTTP/1.1 100 Continue\r\n\r\n"):rep(100000), "upstream", "^a: headers: ", "headers")
    fails(one, "network", "^a: headers: ", "headers")
  end)

  it("may not give two lengths", function()
    fails(OK .. "Content-Length: 7\r\nContent-Length: 8" .. JSON, "upstream", "^a: ", "headers")
    fails(OK .. "Content-Length: 8\r\ncontent-length:7" .. JSON, "upstream", "^a: ", "headers")
    fails(OK .. "Content-Length: 7, 8" .. JSON, "upstream", "^a: ", "headers")
    local same = "Content-Length: 7\r\nContent-Length: 7" .. JSON
    assert.equal(1, assert(answered(OK .. same)).body.a)
  end)

  it("may lie about the length", function()
    fails(OK .. "Content-Length: 70" .. JSON, "cut", "^a: body: ", "body")
    for _, length in ipairs { "-7", "0x7", "7x", "99999999999999999999999", "" } do
      local reply, message, code = answered(OK .. "Content-Length: " .. length .. JSON)
      if reply then
        assert.is_truthy(reply.body == nil or type(reply.body) == "table" and reply.body.a == 1)
      else
        assert.is_truthy(code == "upstream" or code == "network" or code == "cut", length)
        assert.matches("^a: ", message)
      end
    end
    local short = assert(answered(OK .. "Content-Length: 5" .. JSON)) -- what is behind it is not it
    assert.is_nil(short.body)
    local more = JSON .. "HTTP/1.1 200 OK"
    assert.equal(1, assert(answered(OK .. "Content-Length: 7" .. more)).body.a)
  end)

  it("may give a length and chunks: then the chunks count", function()
    local body = "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
      .. "7\r\n{\"a\":1}\r\n0\r\n\r\n"
    assert.equal(1, assert(answered(OK .. body)).body.a)
  end)

  it("may send chunks that are none", function()
    local chunked = OK .. "Transfer-Encoding: chunked\r\n\r\n"
    for _, body in ipairs { "zz\r\nx\r\n0\r\n\r\n", "-7\r\n{\"a\":1}\r\n0\r\n\r\n",
      "7\r\n{\"a\":1}XX\r\n0\r\n\r\n", "ffffffffffffffffffff\r\nx", ("0"):rep(100) .. "7\r\n{}" } do
      fails(chunked .. body, "cut", "^a: body: ", "body")
    end
    fails(chunked .. "7\r\n{\"a\"", "cut", "^a: body: ", "body")
    fails(chunked .. "7\r\n{\"a\":1}\r\n", "cut", "^a: body: ", "body") -- no last chunk
    fails(chunked .. "", "cut", "^a: body: ", "body")
    local extension = chunked .. "7;x=\"" .. ("y"):rep(1000) .. "\"\r\n{\"a\":1}\r\n0\r\n\r\n"
    assert.equal(1, assert(answered(extension)).body.a)
  end)

  it("may send trailers, which are no headers", function()
    local reply = assert(answered(OK .. "Transfer-Encoding: chunked\r\n\r\n7\r\n{\"a\":1}\r\n"
      .. "0\r\nRetry-After: 99\r\nx-should-retry: false\r\n\r\n"))
    assert.same({ 1 }, { reply.body.a, reply.headers["retry-after"] })
    fails(OK .. "Transfer-Encoding: chunked\r\n\r\n7\r\n{\"a\":1}\r\n0\r\n"
      .. ("X: y\r\n"):rep(1000000), "upstream", "^a: ", "body")
  end)

  it("may send a header that is none", function()
    for _, line in ipairs { "no colon here\r\n", ": no name\r\n", " folded first\r\n", "X:\r\n",
      "\255\254: \255\r\n", ("X"):rep(1000) .. ": y\r\n" } do
      local reply, _, code = answered(OK .. line .. "Content-Length: 7" .. JSON)
      assert.is_truthy(reply and reply.body.a == 1 or code == "upstream", line)
    end
    fails(OK .. "X: a\0b\r\nContent-Length: 7" .. JSON, "upstream", "^a: ", "headers")
  end)

  it("may send a status that is none", function()
    for _, line in ipairs { "HTTP/1.1 20 OK", "HTTP/1.1 2000 OK", "HTTP/1.1 abc", "HTTP/1.1",
      "HTTP/7.1 200 OK", "HTTP/0.9 200 OK", "ICY 200 OK", "{\"a\":1}", "", "\0\0\0" } do
      local reply, message, code = answered(line .. "\r\nContent-Length: 7" .. JSON)
      assert.is_nil(reply, line)
      assert.is_truthy(code == "upstream" or code == "network" or code == "empty", line .. code)
      assert.matches("^a: ", message)
    end
    for status, code in pairs { [999] = "upstream", [600] = "upstream", [499] = "upstream",
      [300] = "upstream", [304] = "upstream", [418] = "invalid" } do
      local line = ("HTTP/1.1 %d X\r\nContent-Length: 7"):format(status)
      local _, message, got = answered(line .. JSON)
      assert.same({ status, code }, { status, got }, message)
    end
    for _, status in ipairs { 201, 204, 205, 299 } do
      assert.equal(status, assert(answered(("HTTP/1.1 %d\r\nContent-Length: 0\r\n\r\n"):format(
        status))).status)
    end
  end)

  it("may ask for what nobody does: an upgrade, a login, a cookie, another place", function()
    fails("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
      "upstream", "^a: headers: the answer's status makes no sense$", "headers")
    fails("HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n",
      "auth", "^a: 401 unauthorized$")
    fails("HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n",
      "invalid", "^a: 407 ")
    local client = new(raw.url)
    for _, line in ipairs { "Set-Cookie: a=b; path=/", "Refresh: 0; url=http://127.0.0.1:1",
      "Alt-Svc: h2=\"127.0.0.1:1\"", "Strict-Transport-Security: max-age=99", "X: y" } do
      assert(client:post("/", OK .. line .. "\r\nContent-Length: 7" .. JSON))
    end
  end)

  -- What a chat becomes whose answer has this body.
  local function chat(body, more)
    local spec = { status = 200, body = body }
    for k, v in pairs(more or {}) do spec[k] = v end
    up:programme { reset = true, script = { spec } }
    return new(up.url):chat(QUESTION)
  end

  local function whole(more)
    return '{"choices":[{"index":0,"message":{"content":"x"},"finish_reason":"stop"}]'
      .. more .. "}"
  end

  it("may send JSON that is none", function()
    for _, body in ipairs { "{1:2}", "{\"a\":1,}", "{'a':1}", "[1,2", "nul", "{\"a\":NaN}",
      "\"\\x\"", "{\"a\":Infinity}", "{\"a\":0x10}", "{} {}", "{}\0",
      "\0", "{\"a\":1e999}x", "\239\187\191" } do
      local reply, message, code = chat(body)
      assert.is_nil(reply, body)
      assert.same({ body, "upstream" }, { body, code }, message)
    end
  end)

  it("may send names twice, numbers as names and numbers that are too large", function()
    local reply = assert(chat(whole ',"choices_":1,"id":"one","id":"two"'))
    assert.same({ "x", "two" }, { reply.text, reply.body.id })
    reply = assert(chat(whole ',"1":"a","2":"b","usage":{"1":2}'))
    assert.same({ "x", "a", "b" }, { reply.text, reply.body["1"], reply.body["2"] })
    assert.is_nil(reply.body[1])
    reply = assert(chat(whole [[,"usage":{"prompt_tokens":1e999,"completion_tokens":-5,
      "total_tokens":123456789012345678901234567890}]]))
    assert.equal("x", reply.text)
    assert.is_true(reply.usage.prompt_tokens >= 0 and reply.usage.completion_tokens == 0)
    assert.is_string(json.encode(reply.text))
    reply = assert(chat('{"choices":[{"index":1e308,"message":{"content":"x"},'
      .. '"finish_reason":"stop"},{"index":-1,"message":{"content":"y"},"finish_reason":"stop"}]}'))
    assert.equal("x", reply.text)
  end)

  it("may send an object where a list stands, and a list where an object stands", function()
    for body, code in pairs {
      ['{"choices":{"0":{}}}'] = "empty", ['{"choices":"x"}'] = "upstream", ['{"choices":[1]}'] =
      "upstream", ['{"choices":[null]}'] = "upstream", ['{"choices":[[]]}'] = "empty",
      ['{"choices":[{"message":[]}]}'] = "empty", ['{"choices":[{"message":"x"}]}'] = "empty",
      ['{"choices":null,"error":null}'] = "upstream", ['{"error":[]}'] = "upstream",
      ['{"error":[[[]]]}'] = "upstream", ['{"error":{"message":{"a":1},"code":[1]}}'] = "upstream",
      ['{"error":true}'] = "upstream", ['[[]]'] = "upstream", ['[]'] = "upstream",
      ['{"object":"error","message":5}'] = "upstream",
    } do
      local reply, message, got = chat(body)
      assert.is_nil(reply, body)
      assert.same({ body, code }, { body, got }, message)
    end
  end)

  it("may ask for waits that are none", function()
    for _, value in ipairs { "-5", "1e999", "NaN", "99999999999999999999", "Thu, 99 Foo 9999",
      ("9"):rep(10000), "0x10", "\255" } do
      local _, _, code, detail = chat("", { status = 503, headers = { ["retry-after"] = value } })
      assert.equal("busy", code)
      local wait = detail.retry_after
      assert.is_truthy(wait == nil or wait >= 0 and wait < 1e9, value)
    end
  end)
end)
