-- The engine keeps its easy handles: what a request has set must not reach the next one, and what
-- waits must not hold memory.
local busyd = require "spec.support.busyd"
local core = require "unbusy.core"
local engines = require "spec.support.engines"
local guard = require "spec.support.leak_guard"

local chat, secure, fetch = engines.chat, engines.secure, engines.fetch

describe("the engine", function()
  local up, e

  after_each(function()
    e:close()
    e = nil
  end)
  guard.watch(before_each, after_each) -- looks before what follows, and after what stands above

  setup(function() up = busyd.start { tls = true } end)
  teardown(function() up:stop() end)
  before_each(function()
    up:programme { reset = true, log = true }
    e = assert(core.engine())
  end)

  -- What the server saw of a request that sets nothing.
  local function seen_of_plain(make)
    up:programme { reset = true, log = true }
    fetch(e, make(up, "x", { headers = {} }))
    local seen = up:log()
    assert.equal(1, #seen)
    return seen[1]
  end

  -- The same answer so many times.
  local function times(n, answer)
    local script = {}
    for i = 1, n do script[i] = answer end
    return script
  end

  describe("keeps a handle, and in it nothing of the last request:", function()
    local function leftovers(make)
      local seen = seen_of_plain(make)
      assert.is_nil(seen.headers.authorization)
      assert.is_nil(seen.headers["x-secret"])
      assert.is_nil(seen.headers.cookie)
      assert.is_nil(seen.headers["proxy-authorization"])
      assert.equal("POST", seen.method)
      assert.equal(chat(up, "x").body, seen.body)
      assert.equal(#seen.body, tonumber(seen.headers["content-length"]))
    end

    local secrets = { "X-Secret: 1", "Authorization: Bearer k", "Cookie: a=b" }

    for name, make in pairs { plain = chat, ["over TLS"] = secure } do
      it("headers and bodies, " .. name, function()
        fetch(e, make(up, ("secret "):rep(100), { headers = secrets }))
        leftovers(make)
        fetch(e, make(up, ("secret "):rep(1e5), { headers = secrets }))
        leftovers(make)
      end)

      it("a method, " .. name, function()
        for _, method in ipairs { "GET", "HEAD", "DELETE", "PUT" } do
          local request = make(up, "x", { method = method })
          request.body = nil
          fetch(e, request)
          leftovers(make)
        end
      end)

      it("headers of a request that was cancelled, " .. name, function()
        up:programme { reset = true, latency = 5 }
        local id = assert(e:submit(make(up, "x", { headers = secrets })))
        repeat engines.work(e, 5) until up:counts().received == 1 -- else it may come in between
        e:cancel(id)
        leftovers(make)
        assert.is_true(fetch(e, make(up)).info.reused)
      end)

      it("headers of a request that was refused, " .. name, function()
        assert.is_nil(e:submit(make(up, "x", { headers = secrets, url = "gopher://x/" }))
          and fetch(e, make(up, "x", { headers = secrets, url = "gopher://x/" })).status)
        leftovers(make)
      end)
    end

    it("a body, when the next has none", function()
      assert.equal(200, fetch(e, chat(up, "secret")).status)
      local request = chat(up, "x", { headers = {} })
      request.body = nil
      assert.equal(400, fetch(e, request).status) -- the server misses it
    end)

    it("a name and a password in the URL", function()
      local with = up.url:gsub("//", "//name:pass@") .. "/v1/chat/completions"
      fetch(e, chat(up, "x", { url = with, headers = {} }))
      assert.matches("^Basic ", up:log()[1].headers.authorization)
      leftovers(chat)
    end)

    it("certificates and keys", function()
      local got = fetch(e, secure(up, "x", { cert_file = "/none.pem", key_file = "/none.key" }))
      assert.equal("tls", got.code)
      assert.equal(200, fetch(e, secure(up)).status)
      got = fetch(e, secure(up, "x", { key_file = "/none.key", cert_file = "/none.pem",
        http1 = true }))
      assert.equal("tls", got.code)
      assert.is_true(fetch(e, secure(up)).info.http2)
    end)

    it("a proxy", function()
      assert.equal("network", fetch(e, chat(up, "x", { proxy = "http://u:p@127.0.0.1:1" })).code)
      leftovers(chat)
    end)

    it("a failure's words", function()
      local got = fetch(e, chat(up, "x", { url = "http://no-such-host.invalid/" }))
      assert.matches("resolve", got.message)
      up:programme { reset = true, script = { { preset = "cut_body" } } }
      assert.is_nil(fetch(e, chat(up)).message:find("resolve", 1, true))
      assert.is_nil(fetch(e, chat(up)).message)
    end)
  end)

  it("sends a request twice at most, when one kept connection after the other is dead", function()
    up:programme { reset = true, latency = 0.1 }
    local ids = {}
    for i = 1, 4 do ids[i] = assert(e:submit(chat(up))) end
    engines.finish_all(e, ids)
    up:programme { reset = true, script = times(4, { preset = "reset" }) }
    local got = fetch(e, chat(up, "again"))
    assert.equal("network", got.code)
    assert.is_true(got.info.resent)
    assert.equal(2, up:counts().received)
  end)

  describe("holds for a stream that waits", function()
    local WAITING = 50

    -- Takes all news that are there; gives the bytes of the bodies.
    local function take_all(ids, sizes)
      for id in e.next, e do
        assert(ids[id])
        local kind, a
        repeat
          kind, a = e:take(id)
          if kind == "data" then sizes[id] = (sizes[id] or 0) + #a end
        until not kind or kind == "end"
      end
    end

    it("one block, however much has come and was taken", function()
      up:programme { reset = true, script = times(WAITING,
        { preset = "role_then_stall", seconds = 30 }) }
      local ids, sizes, began = {}, {}, 0
      local before = core.stats().blocks
      for _ = 1, WAITING do ids[assert(e:submit(engines.stream(up)))] = true end
      engines.drive(e, function()
        take_all(ids, sizes)
        began = 0
        for id in pairs(ids) do
          if sizes[id] then began = began + 1 end
        end
        return began == WAITING
      end)
      local blocks = core.stats().blocks - before
      assert.is_true(blocks <= WAITING + 2, blocks) -- and the places, and the data taken last
      for id in pairs(ids) do e:cancel(id) end
    end)
  end)
end)
