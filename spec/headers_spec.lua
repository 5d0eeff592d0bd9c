local busyd = require "spec.support.busyd"
local guard = require "spec.support.leak_guard"
local headers = require "unbusy.headers"
local unbusy = require "unbusy"
local world = require "spec.support.world"

local function lines_of(given)
  local list, message = headers.of_request(given)
  if not list then return nil, message end
  local out = {}
  for i, h in ipairs(list) do out[i] = h.line end
  return out
end

describe("headers of a request", function()
  it("are lines, or names and values", function()
    assert.same({ "X-A: 1", "x-b: two words" }, lines_of { "X-A:1", "x-b:\t two words \t" })
    assert.same({ "x-a: 1", "x-b: 2", "x-b: 3" },
      lines_of { ["x-b"] = { "2", "3" }, ["x-a"] = "1" })
    assert.same({ "x-a: 1", "x-b: 2" }, lines_of { "x-a: 1", ["x-b"] = "2" })
    assert.same({ "x-a: b:c" }, lines_of { "x-a: b:c" })
    assert.same({ "x-a;" }, lines_of { "x-a:  " }) -- an empty one, in libcurl's way to say so
    assert.same({}, lines_of {})
  end)

  it("end here where they belong to a connection, a body or an account", function()
    for _, name in ipairs { "Connection", "keep-alive", "Proxy-Connection", "Proxy-Authorization",
      "proxy-authenticate", "TE", "trailer", "Transfer-Encoding", "upgrade", "HTTP2-Settings",
      "Host", "Content-Length", "Expect", "Accept-Encoding", "AUTHORIZATION", "Cookie" } do
      assert.same({}, lines_of { name .. ": x" }, name)
      assert.same({}, lines_of { [name] = "x" }, name)
    end
    assert.same({ "x-c: 3" },
      lines_of { "x-a: 1", "Connection: close, X-A", "x-b: 2", "connection: x-b", "x-c: 3" })
  end)

  it("are refused where they would be more than one line, or another", function()
    for _, value in ipairs { "a\r\nHost: evil", "a\nb", "a\rb", "a\0b", "a\1b", "a\127b", "\n",
      "\r" } do
      assert.is_nil(lines_of { ["x-a"] = value })
      assert.is_nil(lines_of { ["x-a"] = { "good", value } })
      assert.is_nil(lines_of { "x-a: " .. value })
      local _, message = lines_of { ["x-a"] = value }
      assert.equal("headers: 'x-a': a control character", message)
    end
    for _, name in ipairs { "", "a b", "a\r\nb", "a\0", "ä", "a:b", "a;", " a", "a " } do
      local _, message = lines_of { [name] = "1" }
      assert.equal("headers: a name that is no token", message)
    end
    assert.same({ nil, "headers: line 2 has no colon" }, { lines_of { "a: 1", "no colon" } })
    assert.same({ nil, "headers: a name that is no token" }, { lines_of { ": no name" } })
  end)

  it("may be many and long", function()
    local many = {}
    for i = 1, 1000 do many[i] = ("x-%d: %s"):format(i, ("y"):rep(1000)) end
    assert.equal(1000, #lines_of(many))
  end)

  it("are read only where they are texts", function()
    assert.is_true(headers.is_readable { "a: b", c = "d", e = { "f" } })
    for _, given in ipairs { { 1 }, { a = 1 }, { a = { 1 } }, { a = true }, { [true] = "x" },
      { { "x" } }, { [{}] = "x" }, { [2] = "a: b" }, { [1.5] = "a: b" }, { "a: b", [3] = "c: d" },
      { [0] = "a: b" }, { [-1] = "a: b" }, { a = print } } do
      assert.is_false(headers.is_readable(given))
    end
  end)
end)

describe("headers of an answer", function()
  it("are passed on but for those of the connection and the account", function()
    assert.same({ ["content-type"] = "text/plain", ["content-length"] = "5", etag = "e" },
      headers.of_answer { ["content-type"] = "text/plain", ["content-length"] = "5", etag = "e",
        connection = "keep-alive, X-Hop", ["keep-alive"] = "timeout=5", ["x-hop"] = "1",
        ["transfer-encoding"] = "chunked", upgrade = "h2c", trailer = "x", ["set-cookie"] = "a=b",
        ["proxy-authenticate"] = "Basic" })
  end)

  it("do not tell the length of a body that was packed", function()
    assert.same({ etag = "e" }, headers.of_answer { etag = "e", ["content-encoding"] = "gzip",
      ["content-length"] = "5" })
  end)
end)

describe("a call's headers", function()
  local function sent(w, i)
    return table.concat(w.log[i or #w.log].request.headers, "\n") .. "\n"
  end

  local function new(target, script)
    return world.new { script = { a = script or { world.good "x" } }, targets = { a = target } }
  end

  it("go with the request, in each try", function()
    local w = new(nil, { { status = 503, body = "" }, world.good "x" })
    w:chat { headers = { "X-Team: 7", ["x-a"] = "b" } }
    assert.equal(2, #w.log)
    for i = 1, 2 do
      assert.matches("\nauthorization: bearer key%-of%-a\n", "\n" .. sent(w, i):lower())
      assert.matches("X%-Team: 7\n", sent(w, i))
      assert.matches("x%-a: b\n", sent(w, i))
    end
  end)

  it("stay with their call", function()
    local w = new()
    w:chat()
    local before = sent(w)
    w:chat { headers = { "x-a: b", "user-agent: me" } }
    assert.matches("x%-a: b", sent(w))
    w:chat()
    assert.equal(before, sent(w))
    assert.equal(w.log[1].request.headers, w.log[3].request.headers) -- the very same table
  end)

  it("never take the place of the target's, the key's or the body's", function()
    local w = new { headers = { ["X-Own"] = "target" } }
    w:chat { headers = { "x-own: call", "Authorization: Bearer mine", "content-type: text/html",
      "Accept: text/html", "content-encoding: br", "host: evil", "user-agent: me" } }
    assert.matches("X%-Own: target\n", sent(w))
    assert.not_matches("call", sent(w))
    assert.not_matches("mine", sent(w))
    assert.not_matches("html", sent(w))
    assert.not_matches("evil", sent(w))
    assert.not_matches("content%-encoding", sent(w))
    assert.matches("user%-agent: me\n", sent(w))
    assert.not_matches("unbusy", sent(w))
    w = new { headers = { ["User-Agent"] = "target" } }
    w:chat { headers = { "user-agent: me" } }
    assert.matches("User%-Agent: target\n", sent(w))
    assert.not_matches("me\n", sent(w))
  end)

  it("may name the body's type where the body is the caller's own", function()
    local w = new()
    w.client:post("/x", "<a/>",
      { headers = { ["content-type"] = "text/xml", accept = "text/xml" } })
    assert.matches("content%-type: text/xml\n", sent(w))
    assert.not_matches("json", sent(w))
  end)

  it("fail as invalid before anything is sent, or raise", function()
    local w = new()
    local reply, message, code, detail = w:chat { headers = { ["x-a"] = "b\r\nc: d" } }
    assert.same({ nil, "chat: headers: 'x-a': a control character", "invalid", 0 },
      { reply, message, code, detail.tries })
    assert.equal(0, #w.log)
    assert.equal(0, w.client:status().active)
    assert.has_error(function() w:chat { headers = { 1 } } end,
      "chat: headers: a list of lines or a map of strings expected")
    assert.error_matches(function() w:chat { headers = "x: y" } end, "headers: table expected")
  end)

  describe("over real HTTP", function()
    guard.watch(before_each, after_each)
    local up
    setup(function() up = busyd.start() end)
    teardown(function() up:stop() end)

    it("arrive, empty ones too", function()
      up:programme { reset = true, log = true }
      local client = unbusy.new { targets = { { name = "a", url = up.url, key = "k-1",
        headers = { ["X-None"] = "", ["X-Blank"] = " ", ["X-Own"] = "1" } } } }
      assert(client:chat(world.question, { trace = true, headers = { "X-Team: 7", "x-empty:",
        "Transfer-Encoding: chunked", "Content-Length: 3", "authorization: Bearer mine" } }))
      local seen = up:log()[1].headers
      assert.equal("7", seen["x-team"])
      assert.equal("", seen["x-empty"])
      assert.same({ "", "", "1" }, { seen["x-none"], seen["x-blank"], seen["x-own"] })
      assert.equal("Bearer k-1", seen.authorization)
      assert.is_nil(seen["transfer-encoding"])
      assert.not_equal("3", seen["content-length"])
      assert.matches("^00%-%x+%-%x+%-01$", seen.traceparent)
    end)
  end)
end)
