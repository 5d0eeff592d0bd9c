-- The engine against real servers: what works. See engine_faults_spec.lua for what does not.
local busyd = require "spec.support.busyd"
local core = require "unbusy.core"
local engines = require "spec.support.engines"
local guard = require "spec.support.leak_guard"
local raw_server = require "spec.support.raw_server"

local chat, secure, fetch = engines.chat, engines.secure, engines.fetch

describe("the engine", function()
  local up, raw, e

  after_each(function()
    e:close()
    e = nil
  end)
  guard.watch(before_each, after_each) -- looks before what follows, and after what stands above

  setup(function()
    up = busyd.start { tls = true }
    raw = raw_server.start()
  end)
  teardown(function()
    up:stop()
    raw:stop()
  end)
  before_each(function()
    up:programme { reset = true }
    e = assert(core.engine())
  end)

  describe("carries", function()
    it("a request there and an answer back", function()
      local got = fetch(e, chat(up, "天气如何"))
      assert.equal(200, got.status)
      assert.equal("application/json", got.headers["content-type"])
      assert.matches("echo: 天气如何", got.body, 1, true)
      assert.is_nil(got.code)
      assert.is_nil(got.message)
      assert.equal("body", got.info.phase)
      assert.is_false(got.info.reused)
      assert.is_false(got.info.http2)
      assert.is_true(got.info.first > 0 and got.info.first <= got.info.total)
      assert.equal(0, e:active())
    end)

    it("what was asked, and nothing that was not", function()
      up:programme { reset = true, log = true }
      fetch(e, chat(up, "x", { headers = { "X-One: 1", "x-two:2", "Authorization: Bearer k" } }))
      local seen = up:log()[1]
      assert.equal("POST", seen.method)
      assert.equal("1", seen.headers["x-one"])
      assert.equal("2", seen.headers["x-two"])
      assert.equal("Bearer k", seen.headers.authorization)
      assert.is_nil(seen.headers.expect)
      assert.is_nil(seen.headers["user-agent"])
      assert.is_nil(seen.headers.cookie)
      assert.equal(chat(up, "x").body, seen.body)
    end)

    it("a large body without asking first", function()
      up:programme { reset = true, log = true }
      fetch(e, chat(up, ("x"):rep(2 ^ 21)))
      assert.is_nil(up:log()[1].headers.expect)
    end)

    it("nothing of the request before", function()
      local models = { url = up.url .. "/v1/models", method = "GET", headers = {} }
      local trusting = { url = up.tls_url .. "/v1/models", method = "GET", headers = {} }
      assert.equal("tls", fetch(e, trusting).code)
      trusting.insecure, trusting.http1 = true, true
      assert.equal(200, fetch(e, trusting).status)
      trusting.insecure, trusting.http1 = nil, nil
      assert.equal("tls", fetch(e, trusting).code)
      trusting.ca_file = up.ca
      assert.is_true(fetch(e, trusting).info.http2)
      trusting.ca_file = nil
      assert.equal("tls", fetch(e, trusting).code)
      models.proxy = "http://127.0.0.1:1"
      assert.equal("network", fetch(e, models).code)
      models.proxy = nil
      assert.equal(200, fetch(e, models).status)
      models.method = "HEAD"
      assert.equal("", fetch(e, models).body)
      models.method, models.connect = "GET", 1e-6
      fetch(e, models)
      models.connect = nil
      assert.equal(200, fetch(e, chat(up)).status)
      assert.is_truthy(fetch(e, models).body:find("data", 1, true))
    end)

    it("every method", function()
      local got = fetch(e, { url = up.url .. "/v1/models", method = "GET", headers = {} })
      assert.equal(200, got.status)
      got = fetch(e, { url = up.url .. "/v1/models", method = "HEAD", headers = {} })
      assert.equal(405, got.status)
      assert.equal("", got.body)
      assert.is_nil(got.code)
      got = fetch(e, { url = up.url .. "/v1/models", method = "DELETE", headers = {} })
      assert.equal(405, got.status)
      got = fetch(e, { url = up.url .. "/v1/chat/completions", method = "POST", headers = {} })
      assert.equal(400, got.status)
    end)

    it("bytes of every kind, in both directions", function()
      local body = {}
      for i = 0, 255 do
        if i ~= 1 then body[#body + 1] = string.char(i) end
      end
      body = table.concat(body):rep(1000)
      local got = fetch(e, engines.raw(raw,
        ("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"):format(#body, body)))
      assert.is_true(got.body == body)
      got = fetch(e, engines.raw(raw, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
      assert.equal("", got.body)
      assert.equal(0, #got.pieces)
    end)

    it("a body of megabytes, whole", function()
      local text = ("0123456789"):rep(300000)
      for _, make in ipairs { chat, secure } do
        local got = fetch(e, make(up, text))
        assert.equal(200, got.status)
        assert.is_truthy(got.body:find(text, 1, true))
      end
    end)

    it("an empty body", function()
      local got = fetch(e, chat(up, "x", { body = "" }))
      assert.equal(400, got.status)
    end)

    it("packed answers, unpacked", function()
      up:programme { script = { { preset = "gzip" } } }
      local got = fetch(e, chat(up, "packed"))
      assert.matches("echo: packed", got.body, 1, true)
    end)

    it("streams as they come", function()
      up:programme { token_interval = 0.02, answer = { tokens = 5 } }
      local id = assert(e:submit(engines.stream(up, "hi")))
      local got, rounds = { pieces = {} }, 0
      engines.drive(e, function()
        for named in e.next, e do
          assert.equal(id, named)
          rounds = rounds + 1
          if engines.take(e, id, got) then return true end
        end
      end)
      assert.is_true(rounds >= 4, rounds)
      assert.matches("%[DONE%]", got.body)
    end)
  end)

  describe("keeps connections:", function()
    it("one after the other share one", function()
      for i = 1, 20 do
        local got = fetch(e, chat(up, "n" .. i))
        assert.matches("echo: n" .. i, got.body, 1, true)
        assert.equal(i > 1, got.info.reused)
      end
      assert.equal(1, up:counts().connections)
    end)

    it("1,000 at once each get their own answer", function()
      up:programme { reset = true, latency = 0.2 }
      local ids = {}
      for i = 1, 1000 do ids[i] = assert(e:submit(chat(up, "n" .. i .. "."))) end
      assert.equal(1000, e:active())
      assert.equal(1000, core.stats().transfers)
      for i, got in ipairs(engines.finish_all(e, ids)) do
        assert(got.status == 200 and got.body:find("echo: n" .. i .. ".", 1, true), got.message)
      end
      assert.equal(0, e:active())
      local counts = up:counts()
      assert.equal(1000, counts.completed)
      assert.equal(1000, counts.received)
    end)

    it("50 streams of HTTP/2 share one", function()
      up:programme { reset = true, latency = 0.3 }
      local ids = {}
      for i = 1, 50 do ids[i] = assert(e:submit(secure(up, "n" .. i .. "."))) end
      for i, got in ipairs(engines.finish_all(e, ids)) do
        assert.matches("echo: n" .. i .. ".", got.body, 1, true)
        assert.is_true(got.info.http2)
      end
      local counts = up:counts()
      assert.equal(1, counts.connections)
      assert.equal(50, counts.in_service_max)
    end)

    it("and speaks HTTP/1.1 where it is told to", function()
      local got = fetch(e, secure(up, "x", { http1 = true }))
      assert.is_false(got.info.http2)
      assert.equal(200, got.status)
    end)

    it("one that died meanwhile is replaced, and the request sent again", function()
      local other = busyd.start {}
      assert.equal(200, fetch(e, chat(other)).status)
      local port = other.port
      other:stop()
      other = busyd.start { port = port }
      local got = fetch(e, chat(other, "again"))
      local counts = other:counts()
      other:stop()
      assert.equal(200, got.status)
      assert.is_false(got.info.reused)
      assert.equal(1, counts.received)
    end)
  end)

  describe("reads headers:", function()
    local function headers_of(lines)
      local got = fetch(e, engines.raw(raw, "HTTP/1.1 200 Fine\r\n" .. lines ..
        "Content-Length: 2\r\n\r\nok"))
      assert.equal("ok", got.body)
      assert.is_nil(got.code)
      return got.headers
    end

    it("names in lower case, values without the blanks around them", function()
      assert.same({ ["x-one"] = "a b", ["x-two"] = "c", ["x-three"] = "",
        ["content-length"] = "2" },
        headers_of "X-One: a b\r\nx-TWO:c\r\nX-Three:\r\nX-THREE2:\t \r\n" and
        headers_of "X-One:   a b \t \r\nx-TWO:c\r\nX-Three:\r\n")
    end)

    it("repeated names are joined", function()
      local h = headers_of "Vary: a\r\nX: 1\r\nvary: b\r\nVARY: c\r\n"
      assert.equal("a, b, c", h.vary)
      assert.equal("1", h.x)
    end)

    it("colons, quotes and bytes beyond ASCII stay", function()
      local h = headers_of 'Date: Tue, 01 Jan 2030 10:00:00 GMT\r\nX: "a:b"\r\nY: \xE4\xBD\xA0\r\n'
      assert.equal("Tue, 01 Jan 2030 10:00:00 GMT", h.date)
      assert.equal('"a:b"', h.x)
      assert.equal("\xE4\xBD\xA0", h.y)
    end)

    it("lines that end in LF alone, and folded ones", function()
      assert.equal("1", headers_of("A: 1\nB: 2\n").a)
      local h = headers_of "A: one\r\n two\r\nB: x\r\n"
      assert.equal("x", h.b)
      assert.matches("^one", h.a)
    end)

    it("a header in many pieces", function()
      local h = headers_of "X-Lo\1ng: a\1bc\1\r\n"
      assert.equal("abc", h["x-long"])
    end)

    it("what comes before the final answer is passed over", function()
      local got = fetch(e, engines.raw(raw, "HTTP/1.1 100 Continue\r\nX-Early: 1\r\n\r\n"
        .. "\1HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
        .. "\1HTTP/1.1 201 Created\r\nX-Late: 1\r\nContent-Length: 2\r\n\r\nok"))
      assert.equal(1, got.heads)
      assert.equal(201, got.status)
      assert.same({ ["x-late"] = "1", ["content-length"] = "2" }, got.headers)
      assert.equal("ok", got.body)
    end)

    it("trailers are not headers", function()
      for _, pause in ipairs { "\1", "" } do
        local got = fetch(e, engines.raw(raw, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
          .. "Trailer: X-End\r\n\r\n3\r\nabc\r\n" .. pause
          .. "2\r\nde\r\n0\r\nX-End: 1\r\nX-Two: 2\r\n\r\n"))
        assert.equal("abcde", got.body)
        assert.equal(1, got.heads)
        assert.is_nil(got.headers["x-end"])
        assert.is_nil(got.headers["x-two"])
        assert.is_nil(got.code)
      end
    end)

    it("a body until the connection closes", function()
      local got = fetch(e, engines.raw(raw, "HTTP/1.1 200 OK\r\n\r\nuntil\1 the end"))
      assert.equal("until the end", got.body)
      assert.is_nil(got.code)
      got = fetch(e, engines.raw(raw, "HTTP/1.0 200 OK\r\n\r\nold"))
      assert.equal("old", got.body)
    end)

    it("204 and 304 have no body", function()
      assert.equal("", fetch(e, engines.raw(raw, "HTTP/1.1 204 No Content\r\n\r\n")).body)
      assert.equal(304, fetch(e, engines.raw(raw, "HTTP/1.1 304 Not Modified\r\n\r\n")).status)
    end)
  end)

  it("follows no redirect", function()
    up:programme { script = { { preset = "redirect", location = up.url .. "/v1/models" } },
      reset = true }
    local got = fetch(e, chat(up))
    assert.equal(302, got.status)
    assert.equal(up.url .. "/v1/models", got.headers.location)
    assert.equal(1, up:counts().received)
  end)

  describe("holds back", function()
    -- n numbered words, which the server is asked to say again.
    local function words(n, more)
      local list = {}
      for i = 1, n do list[i] = "w" .. i end
      return assert(e:submit(chat(up, table.concat(list, " "), more)))
    end

    local function check_words(body, n)
      local i = 0
      for word in body:match('"content":"echo: (.-)"'):gmatch "w(%d+)" do
        i = i + 1
        if tonumber(word) ~= i then error(("word %d is %s"):format(i, word)) end
      end
      assert.equal(n, i)
    end

    it("a server that is faster than its reader, and loses nothing", function()
      local n = 500000
      local id = words(n, { window = 65536 })
      engines.await_head(e, id)
      collectgarbage()
      local before = engines.memory()
      engines.work(e, 30)
      assert.is_true(engines.memory() - before < 4e6, engines.memory() - before)
      local got, longest = { pieces = {} }, 0
      engines.drive(e, function()
        while e:next() do got.named = true end
        return engines.take(e, id, got)
      end)
      for _, piece in ipairs(got.pieces) do longest = math.max(longest, #piece) end
      assert.is_true(longest <= 2 * 65536, longest)
      check_words(got.body, n)
    end)

    it("with windows of any size", function()
      for _, window in ipairs { 1, 1000, 16384, 1e9, 2 ^ 53, math.huge } do
        local got = engines.finish_all(e, { words(30000, { window = window }) })[1]
        assert.is_nil(got.code)
        check_words(got.body, 30000)
      end
    end)

    it("packed answers too", function()
      up:programme { script = { { preset = "gzip_bomb", bytes = 2 ^ 26 } } }
      local before = engines.memory()
      local id = assert(e:submit(chat(up, "x", { window = 65536 })))
      engines.work(e, 30)
      assert.is_true(engines.memory() - before < 64e6, engines.memory() - before)
      local size, ended = 0, false
      engines.drive(e, function()
        while e:next() do size = size + 0 end
        while not ended do
          local kind, a = e:take(id)
          if not kind then break end
          if kind == "data" then size = size + #a end
          ended = kind == "end"
        end
        return ended
      end)
      assert.is_true(size >= 2 ^ 26, size)
    end)

    it("one stream of a connection, while another goes on", function()
      up:programme { script = { { preset = "huge_event", bytes = 2 ^ 26 } }, reset = true }
      local before = engines.memory()
      local slow = assert(e:submit(secure(up, "slow", { window = 65536 })))
      engines.work(e, 30)
      assert.is_true(engines.memory() - before < 32e6, engines.memory() - before)
      local got = fetch(e, secure(up, "quick"))
      assert.matches("echo: quick", got.body, 1, true)
      assert.is_true(got.info.reused)
      assert.equal(1, up:counts().connections)
      local rest = { pieces = {} }
      engines.drive(e, function()
        while e:next() do rest.named = true end
        return engines.take(e, slow, rest)
      end)
      assert.is_nil(rest.code)
      assert.is_true(#rest.body > 2 ^ 26)
      assert.is_nil(rest.body:gsub("x+", "x", 100):match "x[^\"]*x$")
    end)
  end)

  describe("has ids that", function()
    it("are whole numbers under 2^53, and never come twice", function()
      local seen = {}
      for _ = 1, 300 do
        local id = assert(e:submit(chat(up)))
        assert.is_true(id > 0 and id < 2 ^ 53 and id == math.floor(id))
        assert.is_nil(seen[id])
        seen[id] = true
        e:cancel(id)
      end
    end)

    it("are harmless once their transfers have ended", function()
      local first = assert(e:submit(chat(up, "first")))
      local got = engines.finish_all(e, { first })[1]
      assert.equal(200, got.status)
      local second = assert(e:submit(chat(up, "second"))) -- in the same place
      e:cancel(first)
      local kind, code, message, info = e:take(first)
      assert.same({ "end", "cancelled", "no such transfer", "connect" }, { kind, code, message,
        info.phase })
      assert.equal(1, e:active())
      assert.matches("echo: second", engines.finish_all(e, { second })[1].body, 1, true)
    end)

    it("were never given out are harmless too", function()
      local id = assert(e:submit(chat(up)))
      for _, wrong in ipairs { 0, -1, 1.5, 2 ^ 53, 2 ^ 60, math.huge, -math.huge, 0 / 0, id + 1,
        id + 2 ^ 20 } do
        e:cancel(wrong)
        assert.equal("end", (e:take(wrong)))
      end
      assert.has_error(function() e:cancel "x" end)
      assert.has_error(function() e:take {} end)
      assert.has_error(function() e:take() end)
      assert.equal(200, engines.finish_all(e, { id })[1].status)
    end)
  end)

  it("has one descriptor, and waits as long as it is told", function()
    assert.is_true(e:fd() > 2)
    e:wait(0)
    e:wait(-1)
    e:wait(-1e-6)
    e:wait(-math.huge)
    e:wait(0.001)
    assert.has_error(function() e:wait(0 / 0) end)
    assert.has_error(function() e:wait "soon" end)
    assert.is_true(e:step())
    assert.is_nil(e:next())
    local id = assert(e:submit(chat(up)))
    repeat -- for ever, but there is something to do each time
      e:wait()
      e:step()
    until e:next() == id
    e:cancel(id)
  end)

  it("two of them do not know of each other", function()
    local other = assert(core.engine())
    assert.are_not.equal(e:fd(), other:fd())
    local a, b = assert(e:submit(chat(up, "a"))), assert(other:submit(chat(up, "b")))
    assert.matches("echo: b", engines.finish_all(other, { b })[1].body, 1, true)
    assert.matches("echo: a", engines.finish_all(e, { a })[1].body, 1, true)
    other:close()
  end)
end)
