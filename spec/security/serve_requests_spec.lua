-- Requests that two readers would read as two things, or that are none, against `unbusy serve` as
-- a stranger runs it: what is not clear is refused and its connection closed, nothing of it reaches
-- an upstream, and what was hidden in it is never served.
local busyd = require "spec.support.busyd"
local files = require "spec.support.files"
local json = require "unbusy.json"
local raw_client = require "spec.support.raw_client"
local served = require "spec.support.served"

local QUESTION = '{"model":"m","messages":[{"role":"user","content":"hi"}]}'
local HIDDEN = "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
local SIZE = #QUESTION
local CHUNKS = ("%x\r\n%s\r\n0\r\n\r\n"):format(SIZE, QUESTION)

-- A POST with these header lines and this body, and a request hidden behind it.
local function post(lines, body, version)
  return ("POST /v1/chat/completions HTTP/%s\r\nhost: x\r\ncontent-type: application/json\r\n%s\r\n"
    .. "\r\n%s%s"):format(version or "1.1", table.concat(lines, "\r\n"), body, HIDDEN)
end

local LENGTH = "content-length: " .. SIZE
local CHUNKED = "transfer-encoding: chunked"

describe("unbusy serve, of what it is sent,", function()
  local up, place, server

  setup(function()
    up = busyd.start { workers = 1 }
    place = served.place()
    os.execute(([[cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 \
      -nodes -days 3 -subj /CN=localhost -keyout key.pem -out cert.pem 2>/dev/null]])
      :format(files.quote(place.dir)))
    server = served.start(place, { "--workers", "1", place:write("gw.lua",
      ("return { targets = { { name = 'up', url = %q } } }"):format(up.url)) })
  end)

  teardown(function()
    if place then place:remove() end
    if up then up:stop() end
  end)

  before_each(function() up:programme { reset = true, log = true } end)

  local function ask(bytes) return raw_client.ask(server.port, bytes) end

  local function answers(out)
    local list = {}
    for status in out:gmatch "HTTP/1.1 (%d%d%d) " do list[#list + 1] = tonumber(status) end
    return list
  end

  -- It is turned down once, as an OpenAI server would, and the connection ends with it.
  local function refused(name, bytes, status)
    local out = ask(bytes)
    assert.same({ status }, answers(out), name)
    local e = json.decode(out:match "\r\n\r\n(.*)$")
    assert.equal("invalid_request_error", e and e.error.type, name)
    assert.equal(0, up:counts().received, name)
  end

  local ambiguous = {
    ["a length and chunks"] = { { LENGTH, CHUNKED }, CHUNKS },
    ["chunks and no length"] = { { CHUNKED, "content-length: 0" }, CHUNKS },
    ["two lengths"] = { { LENGTH, "content-length: 1" }, QUESTION },
    ["the same length twice"] = { { LENGTH, LENGTH }, QUESTION },
    ["a list of lengths"] = { { LENGTH .. ", " .. SIZE }, QUESTION },
    ["a signed length"] = { { "content-length: +" .. SIZE }, QUESTION },
    ["a length below 0"] = { { "content-length: -1" }, QUESTION },
    ["a length in hexadecimal"] = { { "content-length: 0x38" }, QUESTION },
    ["a length beyond all numbers"] = { { "content-length: " .. ("9"):rep(30) }, QUESTION },
    ["a blank before the colon"] = { { "content-length : " .. SIZE }, QUESTION },
    ["a folded encoding"] = { { "transfer-encoding:", " chunked", LENGTH }, QUESTION },
    ["an encoding folded into another line"] = { { LENGTH, "x-a: b", " " .. CHUNKED }, QUESTION },
    ["two encodings"] = { { CHUNKED, "transfer-encoding: identity" }, CHUNKS },
    ["an encoding of tomorrow"] = { { "transfer-encoding: xchunked" }, CHUNKS, status = 501 },
    ["a packed encoding"] = { { "transfer-encoding: gzip, chunked" }, CHUNKS, status = 501 },
    ["an encoding in quotes"] = { { 'transfer-encoding: "chunked"' }, CHUNKS, status = 501 },
    ["an encoding behind a tab"] = { { "transfer-encoding:\tchunked" }, CHUNKS, status = 501 },
    ["an encoding that is none"] = { { "transfer-encoding: identity", LENGTH }, QUESTION,
      status = 501 },
    ["chunks in HTTP/1.0"] = { { CHUNKED }, CHUNKS, version = "1.0" },
    ["a carriage return in a line"] = { { "x-a: b\rcontent-length: 3", LENGTH }, QUESTION },
    ["NUL in a line"] = { { "openai-project: a\0b", LENGTH }, QUESTION },
    ["two hosts"] = { { "host: y", LENGTH }, QUESTION },
  }

  it("turns down what could be two requests, and serves none that is hidden in it", function()
    for name, case in pairs(ambiguous) do
      refused(name, post(case[1], case[2], case.version), case.status or 400)
    end
  end)

  it("turns down chunks that are none", function()
    for _, body in ipairs { ("f"):rep(18) .. "\r\n" .. QUESTION, "-1\r\n" .. QUESTION,
      "0x38\r\n" .. QUESTION .. "\r\n0\r\n\r\n",
      ("%x\r\n%sXX0\r\n\r\n"):format(SIZE, QUESTION) } do
      refused(body, post({ CHUNKED }, body), 400)
    end
  end)

  it("reads a body to its end and no further, with a trailer that means nothing", function()
    for _, body in ipairs { CHUNKS, ("%x;a=b\r\n%s\r\n0\r\n\r\n"):format(SIZE, QUESTION),
      ("%x\r\n%s\r\n0\r\nx-evil: 1\r\ncontent-length: 5\r\n\r\n"):format(SIZE, QUESTION) } do
      assert.same({ 200, 200 }, answers(ask(post({ CHUNKED }, body))))
    end
    assert.equal(3, up:counts().received)
    for _, sent in ipairs(up:log()) do
      assert.equal("hi", json.decode(sent.body).messages[1].content)
      assert.is_nil(sent.headers["x-evil"])
    end
  end)

  it("answers as an OpenAI server what is no request at all", function()
    local line = "%s HTTP/1.1\r\nhost: x\r\n\r\n"
    for status, list in pairs {
      [400] = { line:format "CONNECT evil.example:443", line:format "post /v1/chat/completions",
        line:format "GET /v1/a b", line:format "GET /v1/files?a=\1", line:format "\27[2J",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\22\3\1\0\200\1\0\0\196\3\3" .. ("\0"):rep(190) .. "\n", -- TLS
        "GET /healthz HTTP/1.1\r\n\r\n" },
      [405] = { line:format "TRACE /v1/files" },
      [414] = { line:format("GET /" .. ("a"):rep(20000)) },
    } do
      for _, bytes in ipairs(list) do refused(bytes:sub(1, 40), bytes, status) end
    end
    assert.is_nil((server:said() .. server:logged()):find "[%z\1-\8\11-\31\127]")
    assert.is_nil(server:said():find("empty URI", 1, true))
  end)

  -- Now and then one was told nothing (of 3,000 in a row: 0, 202 and 437): its connection was
  -- closed while some of what it had sent was on the way, and that was answered by a reset.
  it("says why to who is still sending, each time", function()
    local request = "GET /" .. ("a"):rep(20000) .. " HTTP/1.1\r\nhost: x\r\n\r\n"
    for i = 1, 1000 do assert.same({ 414 }, answers(ask(request)), i) end
  end)

  it("passes on no path that leads elsewhere, however it is written", function()
    for _, path in ipairs { "/v1/files/..%2f..%2fadmin", "/v1/files/%2e%2e%5cadmin",
      "/v1/files/..%252f..%252fadmin", "/v1/files/..;/admin", "/v1/%2f%2fevil.example/x",
      "/v1/files/%0d%0ax-evil:1", "/v1/files/%00" } do
      ask(("GET %s HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"):format(path))
    end
    assert.equal(0, up:counts().received)
    ask "GET http://evil.example/v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    assert.equal(up.url:match "//(.*)$", up:log()[1].headers.host)
  end)

  -- What a browser on this machine sends for a page: where it comes from, and whom it means to ask.
  local function of_page(path, origin, host)
    local origin_line = origin and ("origin: %s\r\n"):format(origin) or ""
    local method = origin and "POST" or "GET" -- which names no origin
    local body = origin and QUESTION or ""
    return answers(ask(("%s %s HTTP/1.1\r\nhost: %s\r\n%sconnection: close\r\n"
      .. "content-length: %d\r\n\r\n%s"):format(method, path, host or server.address, origin_line,
      #body, body)))[1]
  end

  it("lets no page of another site ask while there are no client keys", function()
    for _, origin in ipairs { "http://evil.example", "null", "file://", "http://203.0.113.7",
      "http://127.0.0.1.evil.example", "http://localhost.evil.example",
      "https://[2001:db8::1]" } do
      for _, path in ipairs { "/v1/chat/completions", "/v1/files", "/api/v1/batch" } do
        assert.equal(403, of_page(path, origin), origin)
      end
    end
    -- its own name leads here
    assert.equal(403, of_page("/v1/chat/completions", "http://evil.example", "evil.example"))
    assert.equal(403, of_page("/v1/files", nil, "evil.example"))
    assert.equal(403, of_page("/status.json", nil, "evil.example"))
    assert.equal(403, of_page("/metrics", nil, "evil.example"))
    assert.equal(0, up:counts().received)
    for _, origin in ipairs { "http://localhost:3000", "http://127.0.0.1", "http://[::1]:9",
      "https://app.localhost" } do
      assert.equal(200, of_page("/v1/chat/completions", origin), origin)
    end
  end)

  it("speaks TLS 1.2 and 1.3 and nothing older, whatever the machine allows", function()
    local secure = served.start(place, { "--workers", "1", "--cert", place.dir .. "/cert.pem",
      "--key", place.dir .. "/key.pem", place.dir .. "/gw.lua" }, { tls = true })
    for version, speaks in pairs { tls1 = false, tls1_1 = false, tls1_2 = true, tls1_3 = true } do
      local said = files.trimmed(("echo | timeout 20 openssl s_client -%s -connect %s "
        .. "-cipher ALL:@SECLEVEL=0 2>&1"):format(version, secure.address))
      assert.equal(speaks, said:find "Cipher is [A-Z]+[-_]" ~= nil, version)
      assert.is_truthy(speaks or said:find("alert protocol version", 1, true), version)
    end
    secure:stop()
  end)

  it("keeps its folder to itself", function()
    local function mode(path) return files.trimmed("stat -c %a " .. files.quote(path)) end
    local folder = files.trimmed(("ls -d %s/unbusy-serve.* | head -1")
      :format(files.quote(place.tmp)))
    assert.equal("711", mode(folder)) -- nothing to list
    assert.equal("600", mode(folder .. "/nginx.conf"))
    for _, name in ipairs { "client_body", "proxy" } do
      assert.equal("700", mode(folder .. "/" .. name))
    end
  end)
end)
