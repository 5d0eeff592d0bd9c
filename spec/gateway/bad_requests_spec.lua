local busyd = require "spec.support.busyd"
local files = require "spec.support.files"
local gateways = require "spec.support.gateways"
local json = require "unbusy.json"

local CONFIG = [[return {
  targets = { { name = "main", url = "${url}/v1", key = "sk-upstream-4711" } },
  retry = { attempts = 2, base = 0.01 }, gateway = { body = 300000 },
}]]

local QUESTION = '{"model":"m","messages":[{"role":"user","content":"hi"}]}'

describe("the gateway refuses", function()
  local up, g, file

  setup(function()
    up = busyd.start { workers = 1 }
    g = gateways.start { config = CONFIG, values = { url = up.url }, workers = 2,
      server = "client_body_buffer_size 64k; client_header_timeout 1s; client_body_timeout 1s;" }
    file = os.tmpname()
  end)

  teardown(function()
    if g then g:stop() end
    if up then up:stop() end
    if file then os.remove(file) end
  end)

  before_each(function() up:programme { log = true, reset = true } end)

  after_each(function() -- whatever came, the next one is served
    assert.equal(200, g:ask("/v1/chat/completions", { body = QUESTION }).status)
    assert.is_nil(g:errors():find("[error]", 1, true))
  end)

  local function refused(answer, status, kind)
    assert.equal(status, answer.status)
    assert.equal("application/json", answer.headers["content-type"])
    local e = json.decode(answer.body).error
    assert.equal(kind or "invalid_request_error", e.type)
    assert.equal("string", type(e.message))
    return e
  end

  local function chat(body, headers)
    return g:ask("/v1/chat/completions", { body = body, headers = headers })
  end

  local function asked()
    return up:counts().received
  end

  it("what is no JSON, and says where", function()
    for _, case in ipairs { { '{"model":"m",}', 14 }, { '{"messages":[', 14 }, { "{'a':1}", 2 },
      { QUESTION .. "x", #QUESTION + 1 }, { "GET / HTTP/1.1", 1 } } do
      local e = refused(chat(case[1]), 400)
      assert.equal(("the body is not JSON at byte %d"):format(case[2]), e.message)
    end
    assert.equal("JSON nested deeper than 128",
      refused(chat(("["):rep(1000)), 400).message:match "JSON nested.*")
    assert.equal(0, asked())
  end)

  it("NUL, and what is not UTF-8", function()
    for _, bytes in ipairs { QUESTION .. "\\0", (QUESTION:gsub("hi", "\\0")),
      (QUESTION:gsub("hi", "\\377")) } do
      local command = g:command("/v1/chat/completions", { body = bytes }):gsub("^printf %%s",
        "printf")
      local out = files.output(command)
      assert.is_truthy(out:find "^HTTP/1.1 400")
      assert.is_truthy(out:find("not JSON at byte", 1, true) or out:find("not UTF-8", 1, true))
    end
    assert.equal(0, asked())
  end)

  it("what is JSON, but no request", function()
    for _, body in ipairs { "[]", "[1]", "1", '"text"', "null", "true" } do
      assert.equal("the body is no JSON object", refused(chat(body), 400).message)
    end
    for _, case in ipairs {
      { "{}", "messages" }, { '{"messages":null}', "messages" }, { '{"messages":[]}', "messages" },
      { '{"messages":"hi"}', "messages" }, { '{"messages":{"a":1}}', "messages" },
      { '{"messages":[1],"model":1}', "model" }, { '{"messages":[1],"model":null}', "model" },
      { '{"messages":[1],"model":""}', "model" }, { '{"messages":[1],"stream":"yes"}', "stream" },
      { '{"messages":[1],"stream":1}', "stream" },
    } do
      assert.equal(case[2], refused(chat(case[1]), 400).param)
    end
    for path, param in pairs { ["/v1/completions"] = "prompt", ["/v1/embeddings"] = "input" } do
      assert.equal(param, refused(g:ask(path, { body = '{"model":"m"}' }), 400).param)
    end
    refused(g:ask("/v1/responses", { body = '{"model":"m"}' }), 400)
    local foreign = '{"prompt":"a","messages":[1]}'
    assert.equal("messages", refused(g:ask("/v1/completions", { body = foreign }), 400).param)
    assert.equal(0, asked())
  end)

  it("no body at all", function()
    assert.equal("the request has no body",
      refused(g:ask("/v1/chat/completions", { method = "POST" }), 400).message)
  end)

  it("a body of another type; none said is JSON", function()
    for _, kind in ipairs { "text/plain", "application/x-www-form-urlencoded", "application/xml",
      "multipart/form-data; boundary=x", "application/jsonp" } do
      refused(chat(QUESTION, { "content-type: " .. kind }), 415)
    end
    refused(chat(QUESTION, { "content-encoding: gzip" }), 415)
    for _, line in ipairs { "content-type: application/json;charset=utf-8", "content-type:",
      "content-type: Application/JSON", "content-type: application/vnd.api+json" } do
      assert.equal(200, chat(QUESTION, { line }).status)
    end
  end)

  it("a body that is too large, by its length or by its bytes", function()
    os.execute(("truncate -s 100M %s"):format(file))
    for _, options in ipairs { "", "-H 'expect:'", "-H 'transfer-encoding: chunked'" } do
      local answer = g:ask("/v1/chat/completions", { file = file, options = options })
      assert.equal("request_too_large", refused(answer, 413).code)
    end
    assert.equal(0, asked())
  end)

  it("nothing that is within the limit, though nginx puts it into a file", function()
    local long = ("é"):rep(70000)
    local body = ('{"model":"m","messages":[{"role":"user","content":"%s"}]}'):format(long)
    local f = io.open(file, "wb")
    f:write(body)
    f:close()
    for _, options in ipairs { "", "-H 'transfer-encoding: chunked'" } do
      local answer = g:ask("/v1/chat/completions", { file = file, options = options })
      assert.equal(200, answer.status)
      assert.equal("echo: " .. long, json.decode(answer.body).choices[1].message.content)
    end
    assert.is_truthy(g:errors():find("client_body_buffer_size", 1, true))
  end)

  it("other paths and methods", function()
    for _, path in ipairs { "/", "/v1", "/v1/", "/v2/chat/completions", "/chat/completions/x",
      "/v1x", "/v1/../nope", "/%00" } do
      local answer = g:ask(path)
      if path == "/%00" then -- by nginx itself
        assert.equal(400, answer.status)
      else
        assert.equal("unknown_url", refused(answer, 404, "not_found_error").code)
      end
    end
    for method, status in pairs { GET = 405, PUT = 405, DELETE = 405, OPTIONS = 405, HEAD = 405 } do
      local answer = g:ask("/v1/chat/completions", { method = method })
      assert.equal(status, answer.status)
      assert.equal("POST", answer.headers.allow)
    end
    assert.equal("GET, HEAD", g:ask("/v1/models", { method = "POST" }).headers.allow)
    assert.equal(0, asked())
  end)

  it("duplicate members in no way that an upstream reads otherwise", function()
    local twice = '{"model":"a","messages":[{"role":"user","content":"hi"}],"model":"b"}'
    assert.equal(200, chat(twice).status)
    local sent = up:log()[1].body
    assert.equal("b", json.decode(sent).model)
  end)

  it("a client that takes its time, and it alone", function()
    local slow = {}
    for i, head in ipairs { "POST /v1/chat", "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n",
      "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 90\r\n\r\n{" } do
      slow[i] = g:connect(20)
      slow[i]:write(head)
      slow[i]:flush()
    end
    assert.equal(200, chat(QUESTION).status)
    for _, s in ipairs(slow) do -- nginx' own limits end them
      local out = s:read "*a" or ""
      assert.is_truthy(out == "" or out:find "^HTTP/1.1 408")
      s:close()
    end
  end)
end)

describe("the gateway and HTTP", function()
  local up, g

  setup(function()
    up = busyd.start { workers = 1 }
    g = gateways.start { config = CONFIG, values = { url = up.url },
      server = "listen 127.0.0.1:${port2} http2;" }
  end)

  teardown(function()
    if g then g:stop() end
    if up then up:stop() end
  end)

  local function post(path, body, more)
    return ("POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n%s\r\n%s"):format(path, #body,
      more or "", body)
  end

  local function count(text, what)
    return select(2, text:gsub(what, ""))
  end

  it("answers pipelined requests in their order", function()
    local out = g:raw(post("/v1/chat/completions", (QUESTION:gsub("hi", "one")))
      .. post("/v1/chat/completions", (QUESTION:gsub("hi", "two")))
      .. post("/v1/chat/completions", (QUESTION:gsub("hi", "three")), "connection: close\r\n"))
    assert.equal(3, count(out, "HTTP/1.1 200"))
    assert.is_truthy(out:find "echo: one.*echo: two.*echo: three")
  end)

  it("takes no unread body for the next request", function()
    local inner = "GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n"
    for _, path in ipairs { "/nope", "/v1/models", "/healthz" } do
      local out = g:raw(post(path, inner)
        .. "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
      assert.equal(2, count(out, "HTTP/1.1 "))
      assert.is_truthy(out:find '"status":"ok"')
      out = g:raw(("GET %s HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n"
        .. "0\r\n\r\nGET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        :format(path, #inner, inner))
      assert.equal(2, count(out, "HTTP/1.1 "))
    end
  end)

  it("serves HTTP/1.0, streams too", function()
    local body = QUESTION:gsub("^{", '{"stream":true,')
    for _, text in ipairs { QUESTION, body } do
      local out = g:raw(("POST /v1/chat/completions HTTP/1.0\r\ncontent-length: %d\r\n\r\n%s")
        :format(#text, text))
      assert.is_truthy(out:find "^HTTP/1.1 200")
      assert.is_nil(out:lower():find "transfer%-encoding")
      assert.is_truthy(out:find "echo" or out:find '"content":"ec"')
    end
  end)

  it("serves HTTP/2, a body without a length too", function()
    local ask = ("printf %%%%s '%s' | curl -q -s --noproxy '*' --http2-prior-knowledge -X POST "
      .. "-H 'content-type: application/json' -w ' %%%%{http_code} %%%%{http_version}' %%s "
      .. "http://127.0.0.1:%d/v1/chat/completions"):format(QUESTION, g.server.port2)
    for _, sends in ipairs { "--data-binary @-", "-T -" } do
      local out = files.output(ask:format(sends))
      assert.is_truthy(out:find '"echo: hi"')
      assert.is_truthy(out:find " 200 2$")
    end
  end)

  it("says 100 to who expects it, once the body is wanted", function()
    local out = g:raw(post("/v1/chat/completions", QUESTION,
      "expect: 100-continue\r\nconnection: close\r\n"))
    assert.is_truthy(out:find "^HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")
    local s = g:connect()
    s:write("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 999999\r\n"
      .. "expect: 100-continue\r\n\r\n")
    s:flush()
    local line
    repeat line = s:read "*l" until not line or line:find " 413"
    assert.is_truthy(line)
    s:close()
  end)

  it("answers HEAD where it answers GET, without a body", function()
    for _, path in ipairs { "/healthz", "/readyz", "/v1/models" } do
      local get, head = g:ask(path), g:ask(path, { method = "HEAD" })
      assert.same({ 200, get.headers["content-length"], "" },
        { head.status, head.headers["content-length"], head.body })
    end
  end)
end)
