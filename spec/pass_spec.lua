local busyd = require "spec.support.busyd"
local guard = require "spec.support.leak_guard"
local json = require "unbusy.json"
local launcher = require "spec.support.launcher"
local passing = require "unbusy.passing"
local raw_server = require "spec.support.raw_server"
local unbusy = require "unbusy"
local world = require "spec.support.world"

local JSON = { ["content-type"] = "application/json" }
local BUSY = { status = 503, headers = { ["retry-after"] = "0" }, body = '{"error":"busy"}' }

local function new(script, more)
  local given = { script = { a = script }, options = { retry = { base = 0.1, jitter = 0 } } }
  for k, v in pairs(more or {}) do given[k] = v end
  return world.new(given)
end

local function answer_of(status, body, headers)
  return { status = status, body = body, headers = headers or JSON }
end

describe("a request that is passed on", function()
  it("arrives as it is, with the target's key", function()
    local w = new { answer_of(200, "{}") }
    local answer = assert(w.client:pass { method = "POST", path = "/files?purpose=x&y=%20",
      headers = { "Content-Type: multipart/form-data; boundary=b", "x-a: 1",
        "Authorization: Bearer mine" }, body = "--b\r\n\0\255--b--" })
    assert.equal("{}", answer:body())
    local request = w.log[1].request
    assert.equal("http://a.test/v1/files?purpose=x&y=%20", request.url)
    assert.equal("POST", request.method)
    assert.equal("--b\r\n\0\255--b--", request.body)
    local lines = table.concat(request.headers, "\n") .. "\n"
    assert.matches("Content%-Type: multipart/form%-data; boundary=b\n", lines)
    assert.matches("x%-a: 1\n", lines)
    assert.matches("Authorization: Bearer key%-of%-a\n", lines)
    assert.not_matches("mine", lines)
    assert.not_matches("json", lines)
    w:assert_clean()
  end)

  it("is a GET without a body, unless it says more", function()
    local w = new { answer_of(200, "x") }
    assert(w.client:pass { path = "/models" }):close()
    assert.equal("GET", w.log[1].request.method)
    assert.is_nil(w.log[1].request.body)
    assert(w.client:pass { method = "POST", path = "/v1/x" }):close()
    assert.equal("http://a.test/v1/x", w.log[2].request.url)
    assert.equal("", w.log[2].request.body)
    assert.is_true(w.log[2].request.once)
    assert.is_false(w.log[1].request.once)
    w:assert_clean()
  end)

  it("stays below the target's URL", function()
    for _, path in ipairs { "/", "/a/b", "/a?b=../c", "/a..b/...", "/%41?x=%00", "/a%20b",
      "/a;b/~c",
      "/models/org%2Fname" } do
      assert.is_nil(passing.path_fault(path), path)
    end
    for _, path in ipairs { "", "a", "//evil.test/x", "http://evil.test/", "/..", "/../x",
      "/a/../b",
      "/a/..", "/.", "/a/./b", "/%2e%2e/x", "/%2E./x", "/a%2f..%2fb", "/a%5c..%5cb", "/a\\b",
      "/a b",
      "/a\r\nHost: x", "/a\0", "/a#b", "/ä", "/%00", "/%0d%0aX", "/a\127", "/%7f", "?x", "*" } do
      assert.is_truthy(passing.path_fault(path), path)
      local w = new { answer_of(200, "x") }
      local answer, message, code, detail = w.client:pass { path = path }
      assert.same({ nil, "invalid", 0 }, { answer, code, detail.tries })
      assert.matches("^pass: path: ", message)
      assert.equal(0, #w.log)
    end
  end)

  it("has one of the known methods", function()
    local w = new { answer_of(200, "x") }
    for _, method in ipairs { "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS" } do
      assert(w.client:pass { method = method, path = "/x" }):close()
      assert.equal(method, w.log[#w.log].request.method)
    end
    for _, method in ipairs { "get", "", "CONNECT", "TRACE", "GET ", "GET /\r\nX: y", "FOO" } do
      local _, message, code = w.client:pass { method = method, path = "/x" }
      assert.equal("invalid", code)
      assert.matches("^pass: method: ", message)
    end
    assert.equal("invalid", select(3, w.client:pass { method = "HEAD", path = "/x", body = "x" }))
    assert.equal("invalid", select(3, w.client:pass { path = "/x", headers = { "a: b\nc: d" } }))
    assert.equal(7, #w.log)
  end)

  it("raises for wrong use", function()
    local w = new { answer_of(200, "x") }
    local function raises(message, request, given)
      local line = debug.getinfo(1, "l").currentline + 1
      local ok, caught = pcall(function() w.client:pass(request, given) end)
      assert.is_false(ok)
      assert.equal(("spec/pass_spec.lua:%d: pass: "):format(line), caught:match "^.-: pass: ")
      assert.matches(message, caught)
    end
    raises("path is missing", {})
    raises("path: string expected", { path = 1 })
    raises("body: string expected", { path = "/", body = {} })
    raises("unknown option 'metod', did you mean 'method'", { path = "/", metod = "GET" })
    raises("headers: a list of lines or a map", { path = "/", headers = { 1 } })
    raises("headers: once", { path = "/", headers = {} }, { headers = {} })
    raises("a table of options expected", "/x")
    raises("unknown option 'dealine'", { path = "/" },
      { dealine = 1 })
  end)
end)

describe("a passed answer", function()
  it("is the server's, whatever its status", function()
    for _, status in ipairs { 200, 201, 204, 206, 301, 302, 304, 400, 401, 402, 403, 404, 405, 409,
      413, 418, 422, 500, 501, 502, 504, 520 } do
      local w = new { answer_of(status, "the body", { ["x-a"] = "1", connection = "x-hop",
        ["x-hop"] = "1", ["set-cookie"] = "a=b", location = "/x" }) }
      local answer, message = w.client:pass { path = "/x" }
      assert.is_truthy(answer, message)
      assert.equal(status, answer.status)
      assert.equal("1", answer.headers["x-a"])
      assert.equal("/x", answer.headers.location)
      assert.is_nil(answer.headers["x-hop"])
      assert.is_nil(answer.headers["set-cookie"])
      assert.equal("a", answer.target)
      assert.equal(1, answer.tries)
      assert.equal("the body", answer:body())
      assert.is_nil(answer:read())
      assert.equal("", answer:body())
      assert.equal(1, #w.log)
      w:assert_clean()
    end
  end)

  it("tells the length of an error's body that is sent", function()
    local w = new { answer_of(404, "gone: key-of-a", { ["content-length"] = "14",
      ["x-k"] = "key-of-a" }) }
    local answer = w.client:pass { path = "/x" }
    assert.equal("gone: ***", answer:body())
    assert.equal("9", answer.headers["content-length"])
    assert.equal("***", answer.headers["x-k"])
    answer = w.client:pass { method = "HEAD", path = "/x" }
    assert.equal("14", answer.headers["content-length"])
  end)

  it("sets aside neither key nor account, whatever is refused to it", function()
    for _, status in ipairs { 401, 402, 403 } do
      local w = new { answer_of(status, "no"), world.good "x" }
      assert.equal(status, w.client:pass({ path = "/x" }).status)
      assert.equal("x", w:chat().text)
    end
  end)

  it("counts for the breaker where the server fails", function()
    local w = new({ answer_of(500, "x") },
      { options = { breaker = { min_calls = 4 }, queue = { max_wait = 0 } } })
    for _ = 1, 4 do assert.equal(500, w.client:pass({ path = "/x" }).status) end
    assert.equal("open", select(3, w.client:pass { path = "/x" }))
    w = new({ answer_of(404, "x") }, { options = { breaker = { min_calls = 4 } } })
    for _ = 1, 10 do assert.equal(404, w.client:pass({ path = "/x" }).status) end
    assert.equal("closed", w.client:status().targets[1].state)
  end)

  it("comes in pieces, and holds its place to the last", function()
    local w = new({ { status = 200, steps = { { 1, "one" }, { 1, "two" }, { 1, "three" } } } },
      { options = { limiter = { kind = "fixed", initial = 1 } } })
    w.loop.run(function()
      local answer = assert(w.client:pass { path = "/x" })
      assert.equal("one", answer:read())
      local second
      w.loop.spawn(function() second = w.client:pass { path = "/y" } end)
      w.loop.sleep(10)
      assert.is_nil(second)
      assert.equal("twothree", answer:body())
      w.loop.sleep(0.1)
      w.loop.sleep(10)
      assert.is_truthy(second)
      second:close()
    end)
    w:assert_clean()
  end)

  it("that breaks off says so", function()
    local w = new { { status = 200, steps = { { 0, "one" } }, fail = "cut", message = "gone" } }
    local answer = assert(w.client:pass { path = "/x" })
    assert.equal("one", answer:read())
    local bytes, message, code, detail = answer:read()
    assert.same({ nil, "a: body: gone", "cut", 1 }, { bytes, message, code, detail.tries })
    assert.equal("cut", select(3, answer:body()))
    answer:close()
    w:assert_clean()
  end)

  it("that stalls is cut by the token clock, and by the deadline", function()
    local stalled = { status = 200, steps = { { 0, "one" }, { 1000, "two" } } }
    local w = new { stalled }
    local answer = assert(w.client:pass { path = "/x" })
    local bytes, message, code = answer:body()
    assert.same({ nil, "a: token: nothing more for 30 s", "cut" }, { bytes, message, code })
    w = new { stalled }
    answer = assert(w.client:pass({ path = "/x" }, { deadline = 5 }))
    assert.equal("timeout", select(3, answer:body()))
    w:assert_clean()
  end)

  it("may be closed early, twice, cancelled, or forgotten", function()
    local slow = { status = 200, steps = { { 0, "one" }, { 20, "two" } } }
    local w = new { slow }
    local answer = assert(w.client:pass { path = "/x" })
    answer:close()
    answer:close()
    assert.is_nil(answer:read())
    assert.is_true(w.log[1].exchange.closed)
    w:assert_clean()
    w = new { slow }
    local c = unbusy.canceller()
    answer = assert(w.client:pass({ path = "/x" }, { cancel = c }))
    assert.equal("one", answer:read())
    c:cancel()
    assert.equal("cancelled", select(3, answer:read()))
    assert.is_true(w.log[1].exchange.closed)
    w:assert_clean()
    w = new { slow }
    w.client:pass { path = "/x" }
    answer = nil -- luacheck: ignore 311
    collectgarbage()
    collectgarbage()
    w:assert_clean()
    w = new { answer_of(404, "x") }
    answer = w.client:pass { path = "/x" }
    answer:close()
    assert.is_nil(answer:read())
    assert.is_nil(getmetatable(answer).__close(answer))
  end)

  it("has a trace when one is asked for", function()
    local w = new { BUSY, answer_of(200, "x") }
    local answer = w.client:pass({ path = "/x" }, { trace = true })
    assert.equal(2, #answer.trace.spans)
    w = new { answer_of(404, "x") }
    assert.equal(1, #w.client:pass({ path = "/x" }, { trace = true }).trace.spans)
  end)
end)

describe("passing on tries again", function()
  it("where the server is busy, with every method", function()
    for _, method in ipairs { "GET", "POST", "PATCH", "DELETE" } do
      for _, refusal in ipairs { BUSY, { status = 429, body = "" }, { status = 529, body = "" },
        { status = 500, body = '{"error":{"message":"server is busy"}}' } } do
        local w = new { refusal, answer_of(201, "done") }
        local answer = assert(w.client:pass { method = method, path = "/x", body =
          method ~= "GET" and "b" or nil })
        assert.equal(201, answer.status)
        assert.equal("done", answer:body())
        assert.equal(2, answer.tries)
        w:assert_clean()
      end
    end
  end)

  it("and gives the last refusal where nothing better comes", function()
    local w = new { { status = 503, headers = { ["retry-after"] = "0.01", ["x-n"] = "1" },
      body = '{"error":"busy key-of-a"}' } }
    local answer = assert(w.client:pass { method = "POST", path = "/x", body = "b" })
    assert.equal(503, answer.status)
    assert.equal("0.01", answer.headers["retry-after"])
    assert.equal('{"error":"busy ***"}', answer:body())
    assert.equal(5, answer.tries)
    assert.equal(5, #w.log)
    w:assert_clean()
    w = new { BUSY, { status = 200, after = 1000 } }
    answer = assert(w.client:pass({ path = "/x" }, { deadline = 10 }))
    assert.equal(503, answer.status)
  end)

  it("but not in place of our own, or the caller's, end", function()
    local w = new { BUSY }
    local c = unbusy.canceller()
    w.loop.run(function()
      local task = w.loop.spawn(function() return w.client:pass({ path = "/x" },
        { cancel = c }) end)
      w.loop.sleep(0.15)
      c:cancel()
      assert.equal("cancelled", select(3, task:join()))
    end)
    w:assert_clean()
  end)

  it("elsewhere, where another target is", function()
    local w = world.new { script = { a = { BUSY }, b = { answer_of(200, "x") } } }
    local answer = assert(w.client:pass { method = "POST", path = "/x", body = "b" })
    assert.same({ "b", 2 }, { answer.target, answer.tries })
  end)

  it("where nothing was sent, with every method", function()
    local unreachable = { fail = "network", message = "refused", phase = "connect" }
    for _, method in ipairs { "GET", "POST" } do
      local w = new { unreachable, answer_of(200, "x") }
      assert.equal("x", assert(w.client:pass { method = method, path = "/x" }):body())
    end
  end)

  it("where the server may have done it, only what may be done twice", function()
    for _, failure in ipairs { { fail = "network", message = "reset", phase = "headers" },
      { fail = "upstream", message = "nonsense", phase = "headers" },
      { status = 500, body = "x", fail = "cut", message = "gone" } } do
      for _, method in ipairs { "GET", "HEAD", "PUT", "DELETE", "OPTIONS" } do
        local w = new { failure, answer_of(200, "x") }
        assert.equal(200, assert(w.client:pass { method = method, path = "/x" }).status)
        assert.equal(2, #w.log)
      end
      for _, method in ipairs { "POST", "PATCH" } do
        local w = new { failure, answer_of(200, "x") }
        local answer, message = w.client:pass { method = method, path = "/x", body = "b" }
        assert.is_nil(answer)
        assert.matches("it may have been carried out", message)
        assert.equal(1, #w.log)
        w:assert_clean()
      end
    end
  end)
end)

local CONFIG = [[
${modules}
daemon off;
master_process off;
pid ${dir}/nginx.pid;
error_log ${dir}/error.log warn;
events { worker_connections 256; }
http {
  access_log off;
  ${temp_paths}
  client_body_buffer_size 64m;
  client_max_body_size 64m;
  gzip on;
  gzip_min_length 1;
  gzip_types text/plain;
  server {
    listen 127.0.0.1:${port};
    location /echo { content_by_lua_block {
      ngx.req.read_body()
      local body = ngx.req.get_body_data() or ""
      ngx.header["x-method"] = ngx.req.get_method()
      ngx.header["x-packing"] = ngx.var.http_accept_encoding
      ngx.header["x-path"] = ngx.var.request_uri
      ngx.header["x-type"] = ngx.var.http_content_type or "none"
      ngx.header["x-key"] = ngx.var.http_authorization
      ngx.header["x-length"] = ngx.var.http_content_length or "none"
      ngx.header["Set-Cookie"] = { "a=1", "b=2" }
      ngx.status = tonumber(ngx.var.arg_status) or 200
      ngx.header.content_type = "application/octet-stream"
      ngx.header.content_length = #body
      ngx.print(body)
    } }
    location /large { gzip off; content_by_lua_block {
      local chunk = ("x"):rep(65536)
      for i = 1, 1024 do
        ngx.print(chunk)
        ngx.flush(true)
        ngx.shared.sent:set("n", i)
      end
    } }
    location /sent { content_by_lua_block { ngx.print(ngx.shared.sent:get "n" or 0) } }
    location /gzip { default_type text/plain; return 200 "a text that is packed on its way"; }
    location /secret { content_by_lua_block {
      ngx.status = 403
      ngx.print("your key ", ngx.var.http_authorization:sub(8), " is not enough")
    } }
  }
  lua_shared_dict sent 64k;
}
]]

describe("passing on over real HTTP", function()
  guard.watch(before_each, after_each)
  local server, raw, up
  setup(function()
    server, raw, up = launcher.start { config = CONFIG }, raw_server.start(), busyd.start()
  end)
  teardown(function()
    server:stop()
    raw:stop()
    up:stop()
  end)

  local function client_of(url, options)
    options = options or {}
    options.targets = { { name = "a", url = url, key = "sk-very-secret-key" } }
    return unbusy.new(options)
  end

  local function here(options)
    return client_of(("http://127.0.0.1:%d"):format(server.port), options)
  end

  it("brings every method, body and type there and back", function()
    local client, body = here(), ("\0\1\r\n\255系"):rep(50000)
    for _, method in ipairs { "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS" } do
      local answer = assert(client:pass { method = method, path = "/echo?a=%20b", body = body,
        headers = { ["content-type"] = "multipart/form-data; boundary=x" } })
      assert.equal(200, answer.status)
      assert.equal(method, answer.headers["x-method"])
      assert.equal("/echo?a=%20b", answer.headers["x-path"])
      assert.equal("multipart/form-data; boundary=x", answer.headers["x-type"])
      assert.equal("Bearer ***", answer.headers["x-key"])
      assert.equal("application/octet-stream", answer.headers["content-type"])
      assert.is_nil(answer.headers["set-cookie"])
      assert.is_nil(answer.headers.connection)
      assert.is_true(answer:body() == body)
    end
  end)

  it("makes up no type and no length", function()
    local client = here()
    local answer = assert(client:pass { method = "POST", path = "/echo" })
    assert.same({ "none", "0" }, { answer.headers["x-type"], answer.headers["x-length"] })
    answer:close()
    answer = assert(client:pass { path = "/echo" })
    assert.same({ "none", "none" }, { answer.headers["x-type"], answer.headers["x-length"] })
    answer:close()
    answer = assert(client:pass { method = "POST", path = "/echo", body = "x" })
    assert.same({ "none", "1" }, { answer.headers["x-type"], answer.headers["x-length"] })
    assert.equal("x", answer:body())
  end)

  it("hides a key from a megabyte of what looks like it, in time", function()
    local w = new { answer_of(400, ("key-of-"):rep(149000)) }
    assert.equal(149000 * 7 - 7 + 3, #assert(w.client:pass { path = "/x" }):body())
    w = new { answer_of(400, ("x"):rep(2 ^ 20 + 1)) }
    assert.equal("upstream", select(3, w.client:pass { path = "/x" }))
  end)

  it("knows answers without a body", function()
    local client = here()
    local answer = assert(client:pass { method = "HEAD", path = "/gzip" })
    assert.equal(200, answer.status)
    assert.equal("", answer:body())
    for _, status in ipairs { 204, 304 } do
      answer = assert(client:pass { path = "/echo?status=" .. status })
      assert.equal(status, answer.status)
      assert.equal("", answer:body())
    end
    assert.equal(404, client:pass({ path = "/nowhere", method = "HEAD" }).status)
  end)

  it("unpacks, and says no length that is not true", function()
    local answer = assert(here():pass { path = "/gzip", headers = { ["accept-encoding"] = "br" } })
    assert.is_nil(answer.headers["content-encoding"])
    assert.is_nil(answer.headers["content-length"])
    assert.equal("a text that is packed on its way", answer:body())
  end)

  it("asks for no packed part of an answer", function()
    local answer = assert(here():pass { path = "/echo", headers = { Range = "bytes=2-5" } })
    assert.equal("identity", answer.headers["x-packing"])
    answer:close()
    answer = assert(here():pass { path = "/echo" })
    assert.matches("gzip", answer.headers["x-packing"])
    answer:close()
    local w = new { answer_of(206, "x") }
    assert(w.client:pass { path = "/x", headers = { "range: bytes=1-2" } }):close()
    local lines = table.concat(w.log[1].request.headers, "\n")
    assert.matches("range: bytes=1%-2", lines)
    assert.matches("accept%-encoding: identity", lines)
  end)

  it("masks the key in an error", function()
    local answer = assert(here():pass { path = "/secret" })
    assert.equal("your key *** is not enough", answer:body())
    assert.equal(403, answer.status)
  end)

  it("holds a server up that is quicker than its reader", function()
    local client = here()
    unbusy.run(function()
      local answer = assert(client:pass { path = "/large" })
      assert.is_true(#answer:read() > 0)
      local function sent() return tonumber(assert(client:pass { path = "/sent" }):body()) end
      local before, now = -1, sent()
      while now ~= before do -- it stands still
        unbusy.sleep(0.2)
        before, now = now, sent()
      end
      assert.is_true(now < 512) -- of 64 MB
      local size = 0
      for bytes in answer.read, answer do size = size + #bytes end
      assert.is_true(size > 63 * 2 ^ 20)
    end)
  end)

  it("cancels what is closed early", function()
    local client = here()
    local answer = assert(client:pass { path = "/large" })
    answer:close()
    assert.is_nil(answer:read())
    assert.equal(0, client:status().active)
  end)

  it("gives the models, and waits out a busy server", function()
    up:programme { reset = true, script = { { preset = "busy_503" } } }
    local client = client_of(up.url .. "/v1", { retry = { base = 0.01 } })
    local answer = assert(client:pass { path = "/models" })
    assert.equal("list", json.decode(assert(answer:body())).object)
    answer = assert(client:pass { path = "/nothing/here" })
    assert.equal(404, answer.status)
  end)

  it("never sends a POST twice by itself", function()
    local resent = 0
    local client = client_of(raw.url, { retry = { base = 0.01 }, on_event = function(e)
      if e.type == "resent" then resent = resent + 1 end
    end })
    local good = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    assert.equal("ok", assert(client:pass { method = "POST", path = "/x", body = good }):body())
    local answer, message, code = client:pass { method = "POST", path = "/drop", body = good }
    assert.is_nil(answer)
    assert.equal("network", code)
    assert.matches("it may have been carried out", message)
    assert.equal(0, resent)
    assert.equal("ok", assert(client:pass { method = "POST", path = "/x", body = good }):body())
  end)

  it("reports answers that are none", function()
    local client = client_of(raw.url, { retry = false })
    for bytes, code in pairs { ["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"] = "cut",
      ["garbage\r\n\r\n"] = "network" } do
      local answer, _, how = client:pass { method = "POST", path = "/x", body = bytes }
      if answer then _, _, how = answer:body() end
      assert.is_truthy(how == code or how == "upstream", how)
    end
  end)
end)
