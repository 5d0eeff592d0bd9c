-- Every allocation of the core fails once, in every scenario: what fails says "nomem", what is left
-- works or is closed as promised, and nothing leaks.
local core = require "unbusy.core"
local engines = require "spec.support.engines"
local guard = require "spec.support.leak_guard"
local nomem = require "spec.support.nomem"
local raw_server = require "spec.support.raw_server"
local sse = require "unbusy.sse"
local unbusy = require "unbusy"

local HEAD = "HTTP/1.1 200 OK\r\nConnection: close\r\n"

-- An answer of `size` bytes; in chunks it comes piece by piece.
local function plain(size)
  return HEAD .. ("Content-Length: %d\r\n\r\n"):format(size) .. ("x"):rep(size)
end

local function chunked(size, count)
  local chunk = ("%x\r\n%s\r\n"):format(size, ("y"):rep(size))
  return HEAD .. "Transfer-Encoding: chunked\r\n\r\n" .. chunk:rep(count) .. "0\r\n\r\n"
end

describe("the core without memory", function()
  guard.watch(before_each, after_each)
  local server
  setup(function() server = raw_server.start() end)
  teardown(function() server:stop() end)

  local function request(answer, more)
    local headers = {}
    for i = 1, 20 do headers[i] = ("X-Header-%d: %s"):format(i, ("v"):rep(i * 10)) end
    local r = engines.raw(server, answer, { headers = headers })
    for k, v in pairs(more or {}) do r[k] = v end
    return r
  end

  local function assert_works(e)
    assert.equal(0, e:active())
    assert.is_nil(e:next())
    assert.equal("ok", engines.fetch(e, engines.raw(server, HEAD .. "Content-Length: 2\r\n\r\nok"))
      .body)
    assert.equal(0, e:active())
  end

  -- Submits and drives to the end: code, what came.
  local function fetch(e, r)
    local id, _, code = e:submit(r)
    if not id then return code, {} end
    local got = engines.finish_all(e, { id })[1]
    return got.code or "good", got
  end

  it("opens no engine", function()
    local failed, e = nomem.each(core.engine, function(_, made, message, code)
      assert.is_nil(made)
      assert.equal("engine: not enough memory", message)
      assert.equal("nomem", code)
    end)
    assert.is_true(failed > 0)
    e:close()
  end)

  it("starts no transfer, or ends it", function()
    local e = core.engine()
    local failed, code, got = nomem.each(function() return fetch(e, request(plain(10))) end,
      function(n, code, got)
        assert.equal("nomem", code, "allocation " .. n)
        assert.is_true(got.heads == nil or got.heads == 1)
        assert_works(e)
      end)
    assert.is_true(failed >= 3, "failed: " .. failed)
    assert.equal("good", code)
    assert.equal(("x"):rep(10), got.body)
    e:close()
  end)

  it("with a new engine each time, fails at its first needs too", function()
    local failed = nomem.each(function()
      local e, _, code = core.engine()
      if not e then return code end
      local got
      code, got = fetch(e, request(plain(10)))
      e:close()
      return code, got
    end, function(n, code) assert.equal("nomem", code, "allocation " .. n) end)
    assert.is_true(failed >= 5, "failed: " .. failed)
  end)

  it("lets the transfers under way go on when there is no place for one more", function()
    local e = core.engine()
    for i = 1, 16 do assert(e:submit(engines.raw(server, plain(100 + i)))) end
    local refused = nomem.each(function() return e:submit(request(plain(5))) end,
      function(n, id, _, code)
        assert.is_nil(id)
        assert.equal("nomem", code, "allocation " .. n)
        assert.equal(16, e:active())
      end)
    assert.is_true(refused >= 2)
    e:close()
    e = core.engine()
    local ids = {}
    for i = 1, 16 do ids[i] = assert(e:submit(engines.raw(server, plain(100 + i)))) end
    core.fail_alloc(1)
    assert.is_nil(e:submit(request(plain(5))))
    assert.equal(0, core.fail_alloc(0))
    for i, got in ipairs(engines.finish_all(e, ids)) do
      assert.is_nil(got.code)
      assert.equal(100 + i, #got.body)
    end
    assert_works(e)
    e:close()
  end)

  it("cuts a large answer short, and says so", function()
    local e = core.engine()
    local answer = chunked(30000, 20)
    local failed, code, got = nomem.each(function() return fetch(e, request(answer)) end,
      function(n, code, got)
        assert.equal("nomem", code, "allocation " .. n)
        assert.is_true(#(got.body or "") < 600000)
        assert_works(e)
      end)
    assert.is_true(failed >= 5)
    assert.equal("good", code)
    assert.equal(("y"):rep(600000), got.body)
    e:close()
  end)

  -- Takes one piece of news a round, so that the transfer is paused meanwhile.
  local function fetch_slowly(e, r)
    local id, _, code = e:submit(r)
    if not id then return code end
    local pieces = {}
    repeat
      engines.work(e, 1)
      local kind, a = e:take(id)
      if kind == "data" then pieces[#pieces + 1] = a end
      if kind == "end" then code = a or "good" end
    until code
    assert.is_nil(e:next())
    return code, table.concat(pieces)
  end

  it("ends a stream that was paused", function()
    local e = core.engine()
    local r = request(chunked(40000, 4), { window = 1000 })
    local failed, code, body = nomem.each(function() return fetch_slowly(e, r) end,
      function(n, code)
        assert.equal("nomem", code, "allocation " .. n)
        assert_works(e)
      end)
    assert.is_true(failed >= 4)
    assert.equal("good", code)
    assert.equal(160000, #body)
    e:close()
  end)

  it("cancels", function()
    local e = core.engine()
    nomem.each(function()
      local id, _, code = e:submit(request(plain(100000)))
      if not id then return code end
      engines.work(e, 3)
      e:cancel(id)
      local kind, how = e:take(id)
      assert.equal("end", kind)
      return how
    end, function(n, code)
      assert.is_true(code == "nomem" or code == "cancelled", n .. ": " .. code)
      assert_works(e)
    end)
    e:close()
  end)

  it("closes an engine with transfers under way", function()
    nomem.each(function()
      local e, _, code = core.engine()
      if not e then return code end
      for _ = 1, 3 do e:submit(request(plain(50000))) end
      engines.work(e, 2)
      e:close()
    end, function() assert.equal(0, core.stats().transfers) end)
  end)

  it("fails a call, and the client goes on", function()
    local client = unbusy.new { retry = false, limiter = false,
      targets = { { name = "a", url = server.url, key = "k" } } }
    local function post() return client:post("/", HEAD .. "Content-Length: 2\r\n\r\n{}") end
    local failed, reply = nomem.each(post, function(n, reply, message, code)
      assert.is_nil(reply)
      assert.equal("nomem", code, "allocation " .. n)
      assert.matches("^a: %l+: .*not enough memory$", message)
      assert.equal(0, client:status().active)
      assert.equal(200, post().status)
    end)
    assert.is_true(failed >= 3)
    assert.equal(200, reply.status)
    client:close()
  end)

  describe("parses a stream of events", function()
    local text = "event: kind\nid: 7\ndata: first\ndata: " .. ("long "):rep(300) .. "\n\n"
      .. ": a comment\ndata: second\nid: 8\n\ndata: third\nevent: other\ndata\n\n"

    local function parse(p, size)
      local events = {}
      for at = 1, #text, size do
        local got, _, code = p:feed(text:sub(at, at + size - 1))
        if not got then return events, code end
        for _, event in ipairs(got) do events[#events + 1] = event end
      end
      return events
    end

    for _, size in ipairs { 1, 7, 64, 700, 5000 } do
      it(("up to the failure, in pieces of %d"):format(size), function()
        local whole = parse(sse.new {}, size)
        assert.equal(3, #whole)
        local p
        local before = guard.look().blocks
        local failed, events = nomem.each(function()
          p = sse.new {}
          return parse(p, size)
        end, function(_, events, code)
          for i, event in ipairs(events) do assert.same(whole[i], event) end
          if #events < 3 then
            assert.equal("nomem", code)
          end -- else the very last event came with the failure: it shows now
          assert.equal(before, core.stats().blocks) -- a parser that failed holds nothing
          assert.equal("nomem", select(3, p:feed("data: x\n\n")))
          assert.equal("nomem", select(3, p:finish()))
        end)
        assert.is_true(failed > 0)
        assert.same(whole, events)
        p = nil -- luacheck: ignore 311
      end)
    end
  end)
end)
