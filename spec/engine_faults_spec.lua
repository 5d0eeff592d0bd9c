-- The engine against servers that fail and requests that are wrong. See engine_leaving_spec.lua for
-- callers that leave.
local busyd = require "spec.support.busyd"
local core = require "unbusy.core"
local engines = require "spec.support.engines"
local guard = require "spec.support.leak_guard"
local raw_server = require "spec.support.raw_server"

local chat, secure, fetch = engines.chat, engines.secure, engines.fetch

local function is_one_of(value, ...)
  for _, expected in ipairs { ... } do
    if value == expected then return end
  end
  error(("%s is none of %s"):format(tostring(value), table.concat({ ... }, ", ")), 2)
end

describe("the engine", function()
  local up, raw, e

  after_each(function()
    e:close()
    e = nil
  end)
  guard.watch(before_each, after_each) -- looks before what follows, and after what stands above

  setup(function()
    up = busyd.start { tls = true }
    raw = raw_server.start(up.dir)
  end)
  teardown(function()
    up:stop()
    raw:stop()
  end)
  before_each(function()
    up:programme { reset = true }
    e = assert(core.engine())
  end)

  -- How a request fails: its code and phase. No message may hold the key.
  local function failure(request)
    local got = fetch(e, request)
    assert.is_string(got.message)
    assert.is_nil(got.message:find("key-1", 1, true))
    return got.code, got.info.phase, got
  end

  describe("says what went wrong:", function()
    it("nobody listens", function()
      local code, phase, got = failure(chat(up, "x", { url = "http://127.0.0.1:1/" }))
      assert.same({ "network", "connect" }, { code, phase })
      assert.is_nil(got.status)
      assert.equal(0, got.info.first)
    end)

    it("there is no such name", function()
      local code, phase, got = failure(chat(up, "x", { url = "http://no-such-host.invalid/" }))
      assert.same({ "network", "connect" }, { code, phase })
      assert.matches("resolve", got.message)
    end)

    it("the connection takes too long", function()
      raw:freeze() -- the kernel still connects, but nobody shakes hands
      local code, phase = failure(chat(up, "x", { url = raw.tls_url, connect = 0.2 }))
      raw:thaw()
      assert.same({ "timeout", "connect" }, { code, phase })
    end)

    it("but the answer may take longer than the connection", function()
      up:programme { latency = 0.4, reset = true }
      for _, make in ipairs { chat, secure } do
        local got = fetch(e, make(up, "slow", { connect = 0.2 }))
        assert.is_nil(got.code)
        assert.equal(200, got.status)
      end
    end)

    it("a connect limit of any size is none", function()
      for _, connect in ipairs { 0, -1, 1e-9, 1e7, 1e300, math.huge } do
        local got = fetch(e, chat(up, "x", { connect = connect }))
        if connect ~= 1e-9 then assert.equal(200, got.status) end
      end
    end)

    it("each way in which an answer can break", function()
      local expected = {
        close = { "network", "headers" }, reset = { "network", "headers" },
        cut_headers = { "network", "headers" }, garbage = { "upstream", "headers" },
        cut_body = { "cut", "body" }, cut_stream = { "cut", "body" }, reset_stream = { "cut",
          "body" },
      }
      for preset, codes in pairs(expected) do
        up:programme { script = { { preset = preset } }, reset = true }
        local make = preset:find "stream" and engines.stream or chat
        local code, phase, got = failure(make(up, "x"))
        assert.same({ preset, codes[1], codes[2] }, { preset, code, phase })
        assert.equal(codes[2] == "body" and 200 or nil, got.status)
      end
    end)

    it("the same over TLS and HTTP/2", function()
      for _, http1 in ipairs { true, false } do
        for _, preset in ipairs { "close", "reset", "cut_body" } do
          up:programme { script = { { preset = preset } }, reset = true }
          local code, phase = failure(secure(up, "x", { http1 = http1 }))
          assert.equal(preset == "cut_body" and "body" or "headers", phase)
          assert.equal(preset == "cut_body" and "cut" or "network", code)
        end
      end
    end)

    it("chunks that are none, lengths that are none, packing that is none", function()
      local head = "HTTP/1.1 200 OK\r\n"
      local code, phase = failure(engines.raw(raw, head ..
        "Transfer-Encoding: chunked\r\n\r\nxyz\r\nabc"))
      is_one_of(code, "cut", "upstream")
      assert.equal("body", phase)
      code = failure(engines.raw(raw, head .. "Transfer-Encoding: chunked\r\n\r\n5\r\nab"))
      assert.equal("cut", code)
      code = failure(engines.raw(raw, head .. "Content-Length: -5\r\n\r\nabc"))
      is_one_of(code, "network", "upstream")
      code = failure(engines.raw(raw, head ..
        "Content-Length: 3\r\nContent-Encoding: gzip\r\n\r\nabc"))
      assert.equal("upstream", code)
      code = failure(engines.raw(raw, head ..
        "Content-Length: 3\r\nContent-Encoding: lzma9\r\n\r\nabc"))
      assert.equal("upstream", code)
      code = failure(engines.raw(raw, "HTTP/9.9 200 OK\r\n\r\nabc"))
      is_one_of(code, "upstream", "network")
      code = failure(engines.raw(raw, "no HTTP at all\r\n\r\n"))
      assert.equal("upstream", code)
    end)

    it("a header without an end, or with too much in it", function()
      up:programme { script = { { preset = "endless_header", bytes = 2 ^ 26 } } }
      local before = engines.memory()
      local code, phase, got = failure(chat(up))
      assert.same({ "upstream", "headers" }, { code, phase })
      assert.matches("header is too long", got.message)
      local lines = {}
      for i = 1, 10000 do lines[i] = ("X-%d: %s\r\n"):format(i, ("v"):rep(40)) end
      code, phase = failure(engines.raw(raw, "HTTP/1.1 200 OK\r\n" .. table.concat(lines) ..
        "\r\nx"))
      assert.same({ "upstream", "headers" }, { code, phase })
      assert.is_true(engines.memory() - before < 40e6)
      got = fetch(e, engines.raw(raw, "HTTP/1.1 200 OK\r\n" .. table.concat(lines, "", 1, 900) ..
        "\r\nx"))
      assert.equal("x", got.body)
      assert.equal(("v"):rep(40), got.headers["x-900"])
    end)
  end)

  describe("takes no more than `most`:", function()
    it("exactly so much is allowed", function()
      local size = #fetch(e, chat(up, "hello")).body
      local got = fetch(e, chat(up, "hello", { most = size }))
      assert.is_nil(got.code)
      assert.equal(size, #got.body)
      got = fetch(e, chat(up, "hello", { most = size - 1 }))
      assert.equal("upstream", got.code)
      assert.matches("larger than allowed", got.message)
      assert.equal(200, got.status)
      assert.equal("body", got.info.phase)
      assert.is_true(#got.body < size)
    end)

    it("of a large answer", function()
      up:programme { script = { { preset = "huge_event", bytes = 2 ^ 24 } } }
      local _, phase, got = failure(chat(up, "x", { most = 100000 }))
      assert.equal("body", phase)
      assert.is_true(#got.body <= 100000)
    end)

    it("of what is packed small, and holds no more in memory", function()
      -- A sanitizer keeps what was freed for a while; the whole answer would still be twice that.
      local room = os.getenv "UNBUSY_SANITIZED" and 128e6 or 48e6
      for _, window in ipairs { 1000, 65536, 1e9 } do
        up:programme { script = { { preset = "gzip_bomb", bytes = 2 ^ 28 } } }
        local before = engines.memory()
        local code, _, got = failure(chat(up, "x", { most = 2 ^ 20, window = window }))
        assert.equal("upstream", code)
        assert.is_true(#got.body <= 2 ^ 20)
        assert.is_true(engines.memory() - before < room, engines.memory() - before)
      end
    end)

    it("even if the last of it comes only when the reader goes on", function()
      up:programme { script = { { preset = "stall_stream", seconds = 100, after = 4 } } }
      local id = assert(e:submit(engines.stream(up, ("x"):rep(4000), { window = 1, most = 3000 })))
      local got = engines.finish_all(e, { id })[1]
      assert.equal("upstream", got.code)
      assert.is_true(#got.body <= 3000)
    end)
  end)

  describe("speaks TLS", function()
    it("only with whom it can trust", function()
      local got = fetch(e, chat(up, "x", { url = up.tls_url .. "/v1/chat/completions" }))
      local code, phase = got.code, got.info.phase
      assert.same({ "tls", "connect" }, { code, phase })
      assert.equal(200, fetch(e, secure(up, "x", { ca_file = "/dev/null",
        insecure = true })).status)
      assert.equal(200, fetch(e, secure(up)).status)
    end)

    it("a name that is not in the certificate", function()
      local url = up.tls_url:gsub("localhost", "other.localhost") .. "/v1/chat/completions"
      local code, phase = failure(secure(up, "x", { url = url }))
      assert.same({ "tls", "connect" }, { code, phase })
      url = up.tls_url:gsub("localhost", "127.0.0.1") .. "/v1/chat/completions" -- that one is
      assert.equal(200, fetch(e, secure(up, "x", { url = url })).status)
    end)

    it("files that are not there or hold no certificate", function()
      local code = failure(secure(up, "x", { ca_file = "/no/such/file" }))
      assert.equal("tls", code)
      code = failure(secure(up, "x", { ca_file = "/etc/passwd" }))
      assert.equal("tls", code)
      code = failure(secure(up, "x", { cert_file = "/no/such/file" }))
      assert.equal("tls", code)
    end)

    it("not with a server that does not", function()
      local code, phase = failure(chat(up, "x", { url = up.url:gsub("http:", "https:") }))
      assert.same({ "tls", "connect" }, { code, phase })
    end)

    local CHILD = [[
      local engines = require "spec.support.engines"
      local e = require("unbusy.core").engine()
      local got = engines.fetch(e, { method = "GET", headers = {}, url = arg[1], proxy = arg[2] })
      print(got.status, got.code, got.info.phase)
      e:close()
    ]]

    it("with SSL_CERT_FILE as the system's", function()
      local url = up.tls_url .. "/v1/models"
      local out = engines.child(CHILD, "SSL_CERT_FILE=" .. up.ca, url)
      assert.matches("^200\tnil\tbody\nstatus 0", out)
      out = engines.child(CHILD, "-u SSL_CERT_FILE", url)
      assert.matches("^nil\ttls\tconnect\nstatus 0", out)
      out = engines.child(CHILD, "SSL_CERT_FILE=", url)
      assert.matches("^nil\ttls\tconnect\nstatus 0", out)
    end)

    it("and minds the environment's proxy", function()
      local url, dead = up.url .. "/v1/models", "http_proxy=http://127.0.0.1:1"
      assert.matches("^nil\tnetwork\tconnect\n", engines.child(CHILD, dead, url))
      assert.matches("^200\tnil\t", engines.child(CHILD, dead .. " no_proxy=127.0.0.1", url))
      assert.matches("^200\tnil\t", engines.child(CHILD, dead, url, "")) -- `proxy = ""` is none
      assert.matches("^nil\tnetwork\t", engines.child(CHILD, "no_proxy=x", url,
        "http://127.0.0.1:1"))
    end)

    it("through a proxy that is only a server", function()
      local got = fetch(e, { method = "GET", headers = {},
        url = "http://made-up.invalid/v1/models", proxy = up.url })
      assert.equal(200, got.status)
      local code = failure { method = "GET", headers = {}, url = "https://made-up.invalid/",
        proxy = up.url }
      assert.equal("network", code)
    end)
  end)

  describe("lets the host live:", function()
    it("a TLS peer that goes away raises no SIGPIPE", function()
      local out = engines.child([[
        local engines = require "spec.support.engines"
        local e = require("unbusy.core").engine()
        local body = ("x"):rep(8e6)
        local seen = {}
        for i = 1, 10 do
          local got = engines.fetch(e, { method = "POST", headers = {}, body = body, url = arg[1],
            ca_file = arg[2], http1 = true })
          seen[tostring(got.code)] = true
        end
        for code in pairs(seen) do print(code) end
        e:close()
        print "alive"
      ]], nil, raw.tls_url .. "drop", up.ca)
      assert.equal("network\nalive\nstatus 0\n", out)
    end)

    it("and a SIGPIPE of its own still comes", function()
      local out = engines.child([[
        local engines = require "spec.support.engines"
        local e = require("unbusy.core").engine()
        engines.fetch(e, { method = "GET", headers = {}, url = arg[1], ca_file = arg[2] })
        local pipe = io.popen("exec true", "w")
        os.execute "sleep 0.1"
        for _ = 1, 100 do pipe:write(("x"):rep(10000)) pipe:flush() end
        print "alive"
      ]], nil, up.tls_url .. "/v1/models", up.ca)
      assert.is_nil(out:find("alive", 1, true))
      assert.matches("status 141", out)
    end)

    it("leaving while the system looks up a name does not wait for it", function()
      local dir = os.tmpname()
      os.remove(dir)
      local build = ([[mkdir %s && cd %s && printf '%%s' '
        #include <netdb.h>
        #include <stdio.h>
        #include <unistd.h>
        int getaddrinfo (const char *a, const char *b, const struct addrinfo *c,
                         struct addrinfo **d) {
          (void)a; (void)b; (void)c; (void)d;
          sleep(1);
          puts("resolver"); fflush(stdout);
          return EAI_AGAIN;
        }' > slow.c && cc -shared -fPIC -o slow.so slow.c]]):format(dir, dir)
      local ok = os.execute(build)
      assert.is_true(ok == true or ok == 0)
      local out = engines.child([[
        local engines = require "spec.support.engines"
        local core = require "unbusy.core"
        local e = core.engine()
        local id = e:submit { method = "GET", headers = {}, url = "http://made-up.example/" }
        engines.work(e, 5)
        e:cancel(id)
        io.write "cancelled "
        io.flush()
        print((engines.fetch(e, { method = "GET", headers = {}, url = "http://made-up.example/",
          connect = 0.1 }).code))
        io.flush()
        local ids = { e:submit { method = "GET", headers = {}, url = "http://made-up.example/" } }
        engines.work(e, 5)
        e:close()
        print "closed"
        io.flush()
        os.execute "sleep 1.5" -- what still looks up does no harm afterwards
      ]], (os.getenv "UNBUSY_SANITIZED"
        and "ASAN_OPTIONS=detect_leaks=0:verify_asan_link_order=0 " or "")
        .. "LD_PRELOAD=" .. dir .. "/slow.so")
      os.execute("rm -r " .. dir)
      assert.matches("^cancelled timeout\nclosed\nresolver\n", out)
      assert.matches("status 0\n$", out)
    end)
  end)

  describe("refuses", function()
    it("requests that are none, and starts nothing", function()
      local good = chat(up)
      local function with(field, value)
        local r = {}
        for k, v in pairs(good) do r[k] = v end
        r[field] = value
        return r
      end
      local wrong = {
        "x", 5, false, {}, with("url", 5), with("url", false), with("method", {}), with("body",
          5), with("body", {}),
        with("headers", "x"), with("headers", { 5 }), with("headers", { "a: b", {} }),
          with("headers", { false }),
        with("headers", { "a: b\r\nc: d" }), with("headers", { "a: b\n" }), with("headers",
          { "a: b\0c" }),
        with("connect", "soon"), with("connect", 0 / 0), with("window", "x"), with("window", -1),
        with("window", 0), with("window", 0 / 0), with("window", -math.huge), with("most", -1),
          with("most", 0 / 0),
        with("most", {}), with("proxy", 5), with("ca_file", true), with("ca_path", 1),
          with("cert_file", {}),
        with("key_file", 5),
      }
      for i, request in ipairs(wrong) do
        local ok = pcall(e.submit, e, request)
        if ok then error("accepted: number " .. i) end
      end
      assert.has_error(function() e:submit() end)
      for _, field in ipairs { "url", "method", "headers" } do
        local r = with("x", 1)
        r[field] = nil
        assert.has_error(function() e:submit(r) end)
      end
      assert.equal(0, e:active())
    end)

    it("addresses that are none", function()
      for _, url in ipairs { "", "x", "http://", "http://a b/", "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:1/", "http://127.0.0.1:99999/", "http://[::1/", "//127.0.0.1/",
          "http://a\nb/",
        "dict://127.0.0.1/", "http://127.0.0.1:1\r\nX: y/" } do
        local id, message, code = e:submit(chat(up, "x", { url = url }))
        if id then
          local got = engines.finish_all(e, { id })[1]
          code, message = got.code, got.message
          assert.equal("connect", got.info.phase)
        end
        assert.is_string(message)
        if url ~= "x" and url ~= "" and url ~= "//127.0.0.1/" then assert.equal("invalid", code,
          url) end
        is_one_of(code, "invalid", "network")
      end
      assert.equal(0, e:active())
    end)

    it("nothing else when memory runs out: it says so, and leaks nothing", function()
      local failed = 0
      for n = 1, 40 do
        core.fail_alloc(n)
        local other, _, code = core.engine()
        if other then
          local id
          id, _, code = other:submit(engines.stream(up, ("x"):rep(2000)))
          if id then code = engines.finish_all(other, { id })[1].code end
          other:close()
        end
        core.fail_alloc(0)
        if code then
          assert.equal("nomem", code)
          failed = failed + 1
        end
      end
      assert.is_true(failed >= 5, failed)
    end)
  end)
end)
