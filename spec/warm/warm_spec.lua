-- Asking ahead of time is in nobody's way.
local guard = require "spec.support.leak_guard"
local json = require "unbusy.json"
local unbusy = require "unbusy"
local world = require "spec.support.world"

local good, status = world.good, world.status

local function warmed(script, options, targets)
  options = options or {}
  if options.cache == nil then options.cache = { ttl = 300 } end
  return world.new { script = script[1] and { a = script } or script, options = options,
    targets = targets }
end

local function asked(w)
  local out = {}
  for i, entry in ipairs(w.log) do
    local body = json.decode(entry.request.body)
    out[i] = (body.messages and body.messages[1].content or body.input or body.prompt)
  end
  return table.concat(out, " ")
end

local function request(text)
  return { messages = { { role = "user", content = text } } }
end

local function write(text)
  local path = os.tmpname()
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  return path
end

describe("client:warm", function()
  guard.watch(before_each, after_each)

  describe("takes its questions", function()
    it("from a file of lines, of requests, or of both", function()
      local path = write('\239\187\191one\r\n\n# not this\n  two  \n{"messages":[{"role":"user",'
        .. '"content":"three"}],"model":"own"}\n{"question":"four"}\n'
        .. '{"custom_id":"x","body":{"messages":[{"role":"user","content":"five"}]}}'
        .. '\n{"hash":"0","request":{"prompt":"six"}}\n{"input":"seven"}')
      local w = warmed { function() end }
      w.script.a = function(r)
        if not r.url:find "embeddings" then return good "x" end
        return { status = 200, body = '{"data":[{"embedding":[1]}],"model":"m"}' }
      end
      local result = assert(w.client:warm(path, { model = "m", at_once = 1, attempts = 1 }))
      os.remove(path)
      assert.equal("one two three four five six seven", asked(w))
      assert.equal("own", json.decode(w.log[3].request.body).model)
      assert.equal("m", json.decode(w.log[1].request.body).model)
      assert.equal(7, result.asked + #result.failures)
      w:assert_clean()
    end)

    it("or says what is wrong with the file, and where", function()
      local w = warmed { good "x" }
      local function told(text)
        local path = write(text)
        local result, message, code = w.client:warm(path)
        os.remove(path)
        assert.is_nil(result)
        assert.equal("invalid", code)
        return (message:gsub(path, "FILE", 1))
      end
      assert.equal("warm: FILE:2: not JSON", told "one\n{broken\n")
      assert.equal("warm: FILE:1: not UTF-8", told "\255\n")
      assert.matches("^warm: FILE:3: a text, or a request", told '# a\none\n{"model":"m"}\n')
      assert.matches("^warm: FILE:1: longer than 1 MiB", told(("x"):rep(2 ^ 20 + 1)))
      local result, message, code = w.client:warm "/no/such/file"
      assert.same({ false, "invalid" }, { result or false, code })
      assert.matches("/no/such/file", message)
      assert.equal("invalid", select(3, w.client:warm "/"))
      assert.equal(0, #w.log)
    end)

    it("from what is asked most", function()
      local w = warmed({ good "x" }, { cache = { ttl = 10, top = true } })
      w.loop.run(function()
        for _, text in ipairs { "a", "b", "a", "c", "b", "a", "d" } do
          assert(w.client:chat(request(text)))
        end
        w.loop.sleep(20)
        assert.same({ asked = 2, fresh = 0, failures = {} }, w.client:warm(20, { at_once = 1 }))
        assert.equal("a b c d a b", asked(w))
        assert.equal("cache", w.client:chat(request "b").source)
        local before = w.client:status().top.asked
        w.client:warm(1)
        assert.is_true(w.client:status().top.asked <= before) -- it is nobody's question
      end)
      local without = warmed { good "x" }
      for _, wrong in ipairs { 5, 0, 0.5 } do
        local ok, message = pcall(function() without.client:warm(wrong) end)
        assert.is_false(ok)
        assert.matches("warm_spec%.lua:%d+: warm: questions: the option cache%.top is off", message)
      end
      assert.has_error(function() w.client:warm(0) end)
      assert.has_error(function() w.client:warm(1.5) end)
    end)

    it("of the hottest also as they were asked", function()
      local w = warmed({ a = { good "from a" }, b = { good "from b" } },
        { cache = { ttl = 10, top = true } })
      w.loop.run(function()
        local given = { target = "b", headers = { ["x-tenant"] = "t1" } }
        for _ = 1, 2 do assert(w.client:chat(request "q", given)) end
        w.loop.sleep(20)
        assert.equal(1, w.client:warm(20).asked)
        assert.equal("b", w.log[2].host)
        assert.matches("x%-tenant: ?t1", table.concat(w.log[2].request.headers, "\n"))
        assert.equal("cache", w.client:chat(request "q", given).source)
        assert.equal(2, #w.log)
      end)
    end)
  end)

  describe("is in nobody's way:", function()
    local function limited(n, more)
      local o = { limiter = { kind = "fixed", initial = n } }
      for k, v in pairs(more or {}) do o[k] = v end
      return o
    end

    local function many(n)
      local out = {}
      for i = 1, n do out[i] = "w" .. i end
      return out
    end

    it("it takes at most half of an account's places", function()
      local w = warmed({ good("x", 1) }, limited(10))
      assert.equal(30, w.client:warm(many(30), { at_once = 20 }).asked)
      assert.equal(5, w.most_open)
    end)

    it("it leaves those alone that are half taken, and comes back", function()
      local w = warmed({ good("x", 5) }, limited(4))
      local seen, result = {}, nil
      w.loop.run(function()
        for i = 1, 3 do w.loop.spawn(function() w.client:chat(request("p" .. i)) end) end
        w.loop.sleep(0.1)
        result = w.client:warm({ "w" }, { on_progress = function(p)
          seen[#seen + 1] = p.waiting or "-"
        end })
      end)
      assert.equal("p1 p2 p3 w", asked(w))
      assert.equal(1, result.asked)
      assert.equal("busy", seen[1])
      assert.is_true(w.log[4].at >= 5)
      assert.equal("-", seen[#seen])
      w:assert_clean()
    end)

    it("it does not wait for ever", function()
      local w = warmed({ good("x", 50) }, limited(1))
      w.loop.run(function()
        w.loop.spawn(function() w.client:chat(request "p") end)
        w.loop.sleep(0.1)
        local result = w.client:warm({ "w1", "w2" }, { patience = 2, at_once = 2 })
        assert.same({ 0, 2 }, { result.asked, #result.failures })
        assert.same({ "full", "not asked: no target has room to spare" },
          { result.failures[1].code, result.failures[1].message })
        assert.is_true(w.loop.now() < 3)
        assert.equal(0, w.client:warm({ "w1" }, { patience = 0 }).asked)
      end)
      assert.equal("p", asked(w))
    end)

    it("it asks nobody whose breaker is not closed", function()
      local w = warmed({ a = { good "x" }, b = { good "x" } })
      w.client.targets[1].breaker:force("open", 1000)
      assert.equal(3, w.client:warm(many(3)).asked)
      for _, entry in ipairs(w.log) do assert.equal("b", entry.host) end
      w.client.targets[2].breaker:force("open", 1000)
      assert.equal(0, w.client:warm({ "w9" }, { patience = 1 }).asked)
    end)

    it("it is no probe of a breaker that is half open", function()
      local w = warmed({ good "x" }, { breaker = { open_for = 5 } })
      w.loop.run(function()
        w.client.targets[1].breaker:force("open", 5)
        w.loop.sleep(10)
        assert.equal("half_open", w.client:status().targets[1].state)
        assert.equal(0, w.client:warm({ "w" }, { patience = 3 }).asked)
      end)
      assert.equal("", asked(w))
    end)

    it("it asks nobody who rests, or stands in a queue of its own", function()
      local w = warmed { a = { good "x" }, b = { good "x" } }
      w.loop.run(function()
        w.client.targets[1]:rest(100, w.loop.now())
        w.client.targets[2].queue_calls = 1
        assert.equal(0, w.client:warm({ "w" }, { patience = 1 }).asked)
        w.client.targets[2].queue_calls = 0
        assert.equal(1, w.client:warm({ "w" }, { patience = 1 }).asked)
        assert.equal("b", w.log[1].host)
      end)
    end)

    it("while somebody waits in line, it waits too", function()
      local w = warmed({ a = { good("x", 3) }, b = { good("x", 1) } }, limited(1))
      w.loop.run(function()
        local function ask(text) w.client:chat(request(text), { target = "a" }) end
        w.loop.spawn(ask, "p1")
        w.loop.spawn(ask, "p2")
        w.loop.sleep(0.1)
        local why
        w.client:warm({ "w" }, { on_progress = function(p) why = why or p.waiting end })
        assert.equal("line", why)
      end)
      assert.equal("p1 p2 w", asked(w))
    end)

    it("it makes one try, outside of the budget, and after a busy answer rests", function()
      local w = warmed({ status(503), status(503), good "x" }, { retry = { attempts = 5 } })
      w.loop.run(function()
        local before = w.client:status().budget
        local result = w.client:warm({ "w" }, { attempts = 3 })
        assert.equal(1, result.asked)
        assert.equal(before.tokens, w.client:status().budget.tokens)
      end)
      assert.equal(3, #w.log)
      assert.is_true(w.log[2].at - w.log[1].at >= 1)
      assert.is_true(w.log[3].at - w.log[2].at >= 2)
      assert.equal(0, #w:seen "retry")
    end)

    it("it asks for nothing in its place", function()
      local w = warmed({ a = { status(500) }, b = { good "other" } },
        { fallback = { { pool = "spare" }, "sorry" }, cache = { ttl = 300 } },
        { b = { pool = "spare", reserve = true } })
      local result = w.client:warm({ "w" }, { attempts = 1 })
      assert.same({ 0, "upstream" }, { result.asked, result.failures[1].code })
      assert.equal(1, #w.log)
    end)

    it("it obeys a server that says when to come back", function()
      local w = warmed { status(429, { ["retry-after"] = "20" }), good "x" }
      w.loop.run(function() assert.equal(1, w.client:warm({ "w" }).asked) end)
      assert.is_true(w.log[2].at - w.log[1].at >= 20)
    end)

    it("it ends with the client, also while it waits", function()
      local w = warmed({ good("x", 50) }, limited(1))
      w.loop.run(function()
        w.loop.spawn(function() w.client:chat(request "p") end)
        w.loop.spawn(function()
          local result = w.client:warm({ "w1", "w2", "w3" }, { at_once = 2, patience = 1e6 })
          assert.same({ 0, 3, "closed" },
            { result.asked, #result.failures, result.failures[3].code })
        end)
        w.loop.sleep(5)
        assert.equal("busy", w.client:status().warm.running[1].waiting)
        w.client:close()
      end)
      assert.is_nil(w.client:status().warm.running)
      w:assert_clean()
    end)

    it("it ends with its canceller, and with its task", function()
      local w = warmed({ good("x", 50) }, limited(2))
      w.loop.run(function()
        local stop, result = unbusy.canceller(), nil
        w.loop.spawn(function()
          result = w.client:warm({ "w1", "w2" }, { at_once = 2, cancel = stop })
        end)
        local task = w.loop.spawn(function() w.client:warm({ "w3" }) end)
        w.loop.sleep(5)
        stop:cancel()
        w.loop.cancel(task)
        w.loop.sleep(1)
        assert.same({ "cancelled", "cancelled" },
          { result.failures[1].code, result.failures[2].code })
        assert.is_nil(w.client:status().warm.running)
        assert.equal(0, w.client:status().active)
      end)
      w:assert_clean()
    end)
  end)

  it("asks again what is fresh for not much longer", function()
    local w = warmed({ good "old", good "new" }, { cache = { ttl = 100, jitter = 0 } })
    w.loop.run(function()
      w.client:warm { "q" }
      w.loop.sleep(50)
      assert.equal(1, w.client:warm({ "q" }, { before = 40 }).fresh)
      w.loop.sleep(20)
      assert.equal(1, w.client:warm({ "q" }, { before = 40 }).asked)
      local reply = w.client:chat(request "q")
      assert.same({ "new", "cache" }, { reply.text, reply.source })
    end)
  end)

  it("tells how far it is", function()
    local w = warmed({ good "x", status(400), good "x" }, { cache = { ttl = 100, jitter = 0 } })
    local seen = {}
    w.client:warm({ "one", "two", "three" }, { at_once = 1, on_progress = function(p)
      seen[#seen + 1] = ("%d/%d %d %d %d"):format(p.done, p.all, p.asked, p.fresh, p.failed)
    end })
    assert.equal("3/3 2 0 1", seen[#seen])
    w.client:warm { "one" }
    local s = w.client:status().warm
    assert.same({ 2, 1, 1 }, { s.asked, s.fresh, s.failed })
    local events = w:seen "warm"
    assert.equal(4, #events)
    assert.same({ "begin", 3 }, { events[1].what, events[1].all })
    assert.same({ "end", 2, 0, 1 },
      { events[2].what, events[2].asked, events[2].fresh, events[2].failed })
  end)

  it("ends with what its watcher raises, and leaves nothing", function()
    local w = warmed { good("x", 1) }
    local ok, message = pcall(function()
      w.client:warm({ "a", "b", "c" }, { at_once = 3, on_progress = function() error "no" end })
    end)
    assert.is_false(ok)
    assert.matches("no", message)
    assert.is_nil(w.client:status().warm.running)
    w:assert_clean()
  end)

  it("asks somebody else in place of a weak answer, not the same one once more", function()
    local w = warmed({ a = { good "I don't know" }, b = { good "sure" } }, { cache = { ttl = 300 },
      policy = { accept = function(_, reply) return reply.text == "sure" end } })
    assert.same({ asked = 1, fresh = 0, failures = {} }, w.client:warm { request "q" })
    assert.same({ "a", "b", 2 }, { w.log[1].host, w.log[2].host, #w.log })
    local reply = w.client:chat(request "q")
    assert.same({ "cache", "sure" }, { reply.source, reply.text })
    w:assert_clean()
  end)

  it("says so where an answer is weak, which is not kept", function()
    local w = warmed({ good "bad" }, { policy = { accept = function() return false end } })
    local result = w.client:warm { "q" }
    assert.same({ 0, 1 }, { result.asked, #result.failures })
  end)
end)
