local busyd = require "spec.support.busyd"
local files = require "spec.support.files"
local gateways = require "spec.support.gateways"
local json = require "unbusy.json"
local leaks = require "spec.support.leaks"
local raw_server = require "spec.support.raw_server"

local KEY = "sk-q7w4711zzkvx"

local CONFIG = [[return {
  targets = { { name = "main", url = "${url}/v1", key = "sk-q7w4711zzkvx" },
    { name = "other", url = "${url}/beta", key = "sk-q7w4711zzkvx", priority = 2 } },
  retry = { attempts = 2, base = 0.01 }, cache = {},
  gateway = { ${gateway} },
}]]

local QUESTION = '{"model":"m","messages":[{"role":"user","content":"hi"}]}'
local TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

describe("the gateway's headers", function()
  local up, g

  local function start(gateway)
    g = gateways.start { config = CONFIG, values = { url = up.url, gateway = gateway or "" } }
  end

  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() if up then up:stop() end end)
  before_each(function() up:programme { log = true, reset = true } end)

  after_each(function()
    assert.is_nil(g:errors():find("[error]", 1, true))
    g:stop()
  end)

  local function chat(headers, body)
    return g:ask("/v1/chat/completions", { body = body or QUESTION, headers = headers })
  end

  it("go on where they are listed, and no others", function()
    start()
    chat { "openai-organization: org-1", "OpenAI-Project: p", "idempotency-key: i",
      "x-request-id: r", "accept-language: de", "authorization: Bearer sk-client",
      "cookie: a=b", "x-forwarded-for: 1.2.3.4", "x-other: 1", "te: trailers",
      "x-unbusy-priority: batch", "proxy-authorization: x", "user-agent: me" }
    local sent = up:log()[1].headers
    assert.same({ "org-1", "p", "i", "r", "de" }, { sent["openai-organization"],
      sent["openai-project"], sent["idempotency-key"], sent["x-request-id"],
      sent["accept-language"] })
    assert.equal("Bearer " .. KEY, sent.authorization)
    for _, name in ipairs { "cookie", "x-forwarded-for", "x-other", "te", "x-unbusy-priority",
      "proxy-authorization" } do
      assert.is_nil(sent[name])
    end
    assert.equal("unbusy", sent["user-agent"])
  end)

  it("go on where the configuration says so", function()
    start [[forward = { "X-Other", "x-forwarded-for" }]]
    chat { "x-other: 1", "x-forwarded-for: 1.2.3.4", "openai-organization: org-1" }
    local sent = up:log()[1].headers
    assert.same({ "1", "1.2.3.4" }, { sent["x-other"], sent["x-forwarded-for"] })
    assert.is_nil(sent["openai-organization"])
  end)

  it("put each try into the client's trace as a span of its own", function()
    start()
    up:programme { log = true, script = { { preset = "busy_503" } } }
    chat { "traceparent: " .. TRACE, "tracestate: a=b" }
    local spans = {}
    for i, sent in ipairs(up:log()) do
      local id, span = sent.headers.traceparent:match "^00%-(%x+)%-(%x+)%-01$"
      assert.equal("0af7651916cd43dd8448eb211c80319c", id)
      assert.equal("a=b", sent.headers.tracestate)
      spans[i] = span
    end
    assert.equal(2, #spans)
    assert.is_true(spans[1] ~= spans[2] and spans[1] ~= "b7ad6b7169203331")
    assert.equal("0af7651916cd43dd8448eb211c80319c", g:log(1).trace)
    chat { "x-unbusy-cache: no" }
    assert.is_nil(up:log()[3].headers.traceparent)
    g:stop()
    start "trace = true"
    chat()
    assert.is_truthy(up:log()[4].headers.traceparent:find "^00%-")
  end)

  it("control the call", function()
    start [[controls = { "deadline", "priority", "cache", "target" }]]
    assert.equal("cache", (chat() and chat()).headers["x-unbusy-source"])
    assert.is_truthy(tonumber(chat().headers.age))
    assert.equal("upstream", chat { "x-unbusy-cache: no" }.headers["x-unbusy-source"])
    assert.equal("upstream", chat { "x-unbusy-cache: refresh" }.headers["x-unbusy-source"])
    assert.equal("cache", chat { "x-unbusy-cache: 60" }.headers["x-unbusy-source"])
    assert.equal("other", chat { "x-unbusy-target: other" }.headers["x-unbusy-target"])
    assert.equal(200, chat { "x-unbusy-priority: batch" }.status)
    up:programme { latency = 30 }
    local answer = chat({ "x-unbusy-deadline: 0.05", "x-unbusy-cache: no" })
    assert.equal(504, answer.status)
    assert.equal("timeout", answer.headers["x-unbusy-code"])
  end)

  it("that control badly are refused", function()
    start()
    for _, line in ipairs { "x-unbusy-deadline: soon", "x-unbusy-deadline: -1",
      "x-unbusy-deadline: 0", "x-unbusy-deadline: 1e9", "x-unbusy-deadline: nan",
      "x-unbusy-deadline: 0x10", "x-unbusy-priority: high", "x-unbusy-cache: maybe",
      "x-unbusy-cache: 0", "x-unbusy-target: other" } do
      local answer = chat { line }
      assert.equal(400, answer.status)
      local message = json.decode(answer.body).error.message
      assert.equal(line:match "^[^:]+", message:match "^[^:]+")
    end
    assert.equal(400, chat { "x-unbusy-deadline: 1", "x-unbusy-deadline: 2" }.status)
    assert.equal(0, up:counts().received)
    g:stop()
    start [[controls = { "target" }]]
    assert.equal(400, chat { "x-unbusy-target: nobody" }.status)
    assert.equal(400, chat { "x-unbusy-deadline: 5" }.status)
  end)

  it("cannot be made of a value that goes on", function()
    start [[forward = { "x-other" }]]
    local body = '{"model":"m\\r\\nx-evil: 1","messages":[{"role":"user","content":"hi"}]}'
    assert.equal(200, chat(nil, body).status)
    for _, value in ipairs { "a\rx-evil: 1", "a\nx-evil: 1", "a\0x-evil: 1", "a\1b" } do
      local out = g:raw(("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-other: %s\r\n"
        .. "connection: close\r\ncontent-length: %d\r\n\r\n%s"):format(value, #QUESTION, QUESTION))
      assert.is_truthy(out:find "^HTTP/1.1 [42]00 " or out == "")
    end
    for _, sent in ipairs(up:log()) do assert.is_nil(sent.headers["x-evil"]) end
    assert.is_nil(g:raw("GET /v1/models/a%0d%0ax-evil:%201 HTTP/1.1\r\nhost: x\r\n"
      .. "connection: close\r\n\r\n"):find "\nx%-evil")
    assert.is_nil(g:raw("GET /v1/files/a%0d%0ax-evil:%201?a=%0d%0ax-evil:1 HTTP/1.1\r\nhost: x\r\n"
      .. "connection: close\r\n\r\n"):find "\nx%-evil")
  end)

  it("show no key of the upstream's, whatever it says", function()
    start()
    local stream = QUESTION:gsub("^{", '{"stream":true,')
    local all = {}
    for _, body in ipairs { QUESTION, stream } do
      for _, answer in ipairs {
        { preset = "echo_key" },
        { status = 400, body = ('{"error":{"message":"no %s"}}'):format(KEY) },
        { status = 400, body = "no " .. KEY },
        { status = 503, headers = { ["x-request-id"] = KEY, ["openai-key"] = KEY }, body = KEY },
        { body = ('{"choices":[],"error":{"message":"%s"}}'):format(KEY) },
        { headers = { ["x-request-id"] = KEY, ["openai-key"] = KEY } },
        { headers = { ["content-type"] = "text/event-stream" },
          body = ('data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
            .. 'data: {"error":{"message":"%s"}}\n\n'):format(KEY) },
      } do
        up:programme { script = { answer, answer } }
        local got = chat({ "x-unbusy-cache: no" }, body)
        for name, value in pairs(got.headers) do all[#all + 1] = name .. value end
        all[#all + 1] = got.body
        g:stop()
        start()
      end
    end
    leaks.none({ KEY }, table.concat(all, "\n"), g:errors())
  end)
end)

describe("an upstream's odd headers", function()
  local raw, g

  setup(function()
    raw = raw_server.start()
    g = gateways.start { config = CONFIG, values = { url = raw.url:gsub("/$", ""), gateway = "" } }
  end)

  teardown(function()
    if g then g:stop() end
    if raw then raw:stop() end
  end)

  -- The raw server answers with the bytes of the request's body: here, of a file that is uploaded.
  local function passed(answer)
    return g:ask("/v1/files", { method = "POST", body = answer, headers = { "expect:" } })
  end

  it("that are of one connection, or huge, or no text, end at the gateway", function()
    local answer = passed("HTTP/1.1 200 OK\r\nConnection: close, x-hop\r\nX-Hop: 1\r\n"
      .. "Keep-Alive: timeout=5\r\nTE: x\r\nUpgrade: h2c\r\nProxy-Authenticate: Basic\r\n"
      .. "Set-Cookie: a=b\r\nX-Huge: " .. ("h"):rep(20000) .. "\r\nX-Odd: a\2b\r\n"
      .. "X-Good: yes\r\nX-Latin: \228\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok")
    assert.same({ 200, "ok", "yes", "text/plain", "2" }, { answer.status, answer.body,
      answer.headers["x-good"], answer.headers["content-type"], answer.headers["content-length"] })
    for _, name in ipairs { "x-hop", "te", "upgrade", "proxy-authenticate", "set-cookie", "x-huge",
      "x-odd", "x-latin" } do
      assert.is_nil(answer.headers[name])
    end
  end)

  it("that speak for a whole site, or to browsers, are not for this one", function()
    local answer = passed("HTTP/1.1 200 OK\r\nConnection: close\r\n"
      .. "Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\n"
      .. "Alt-Svc: h2=\"evil.example:443\"\r\nStrict-Transport-Security: max-age=99999999\r\n"
      .. "Clear-Site-Data: \"*\"\r\nRefresh: 0;url=http://evil.example\r\n"
      .. "Service-Worker-Allowed: /\r\nContent-Security-Policy: script-src *\r\n"
      .. "X-Content-Type-Options: none\r\nContent-Type: text/html\r\nContent-Length: 25\r\n\r\n"
      .. "<script>alert(1)</script>")
    assert.same({ 200, "<script>alert(1)</script>", "text/html" }, { answer.status, answer.body,
      answer.headers["content-type"] })
    for _, name in ipairs { "access-control-allow-origin", "access-control-allow-credentials",
      "alt-svc", "strict-transport-security", "clear-site-data", "refresh",
      "service-worker-allowed" } do
      assert.is_nil(answer.headers[name], name)
    end
    -- nothing of it runs, should a browser take it for a page of the gateway's
    assert.same({ "default-src 'none'; sandbox", "nosniff" }, {
      answer.headers["content-security-policy"], answer.headers["x-content-type-options"] })
  end)

  it("and words show no key", function()
    local answer = passed(("HTTP/1.1 404 No\r\nConnection: close\r\nX-Key: %s\r\n"
      .. "Content-Length: 18\r\n\r\nno %s"):format(KEY, KEY))
    assert.same({ 404, "no ***", "***" }, { answer.status, answer.body, answer.headers["x-key"] })
  end)

  it("and a refused key are not for the client", function()
    local answer = passed("HTTP/1.1 401 No\r\nConnection: close\r\nWWW-Authenticate: Bearer\r\n"
      .. "Content-Length: 0\r\n\r\n")
    assert.equal(502, answer.status)
    assert.is_nil(answer.headers["www-authenticate"])
  end)

  it("in great number do not all go on", function()
    local lines = {}
    for i = 1, 500 do lines[i] = ("X-H%d: %d\r\n"):format(i, i) end
    local answer = passed("HTTP/1.1 200 OK\r\nConnection: close\r\n" .. table.concat(lines)
      .. "Content-Length: 2\r\n\r\nok")
    assert.equal("ok", answer.body)
    local count = 0
    for name in pairs(answer.headers) do count = count + (name:find "^x%-h%d" and 1 or 0) end
    assert.is_true(count <= 64)
  end)

  it("break off: so does the answer", function()
    local command = g:command("/v1/files", { method = "POST", headers = { "expect:" },
      body = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 200\r\n\r\nhalf" })
    local out = files.output(command .. "; echo \" status $?\"")
    assert.is_truthy(out:find "half")
    assert.is_truthy(out:find "status 18") -- curl: a partial file
  end)
end)
