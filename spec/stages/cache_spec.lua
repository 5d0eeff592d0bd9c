local core = require "unbusy.core"
local json = require "unbusy.json"
local stored = require "unbusy.caching.stored"
local unbusy = require "unbusy"
local world = require "spec.support.world"

local good, status = world.good, world.status

local function cached(script, options, targets)
  options = options or {}
  if options.cache == nil then options.cache = true end
  options.retry = options.retry or false
  return world.new { script = { a = script }, options = options, targets = targets }
end

local function ask(w, text, more, given)
  local request = { model = "m", messages = { { role = "user", content = text } } }
  for k, v in pairs(more or {}) do request[k] = v end
  return w.client:chat(request, given)
end

local function finished(reason, message)
  message = message or { role = "assistant", content = "half" }
  return { status = 200, body = json.encode { model = "m", choices = { { index = 0,
    finish_reason = reason, message = message } } } }
end

describe("the cache stage", function()
  it("is off by default", function()
    local w = cached({ good "hello" }, { cache = false })
    assert.equal("upstream", w:chat().source)
    assert.equal("upstream", w:chat().source)
    assert.is_nil(w.client:status().cache)
    assert.equal(2, #w.log)
  end)

  it("answers the second time without a call", function()
    local w = cached({ good "hello" }, nil, { a = { price = { input = 1, output = 1 } } })
    local first = w:chat()
    assert.equal("upstream", first.source)
    assert.is_true(first.cost > 0)
    w.loop.run(function() w.loop.sleep(10) end)
    local again = w:chat()
    assert.equal("cache", again.source)
    assert.equal("hello", again.text)
    assert.equal("stop", again.finish_reason)
    assert.equal("a", again.target)
    assert.equal(200, again.status)
    assert.equal(0, again.tries)
    assert.equal(0, again.cost)
    assert.near(10, again.age, 1e-6)
    assert.equal(15, again.usage.total_tokens)
    assert.equal(first.raw, again.raw)
    assert.same(first.body, again.body)
    assert.equal(1, #w.log)
    local stats = w.client:status().cache
    assert.equal(1, stats.entries)
    assert.equal(1, stats.hits)
    w:assert_clean()
  end)

  it("tells it to who watches", function()
    local w = cached { good "hello" }
    w:chat()
    assert.same({}, w:seen "cache")
    w:chat()
    local event = w:seen "cache"[1]
    assert.equal("cache", event.source)
    assert.equal("a", event.target)
    assert.is_nil(event.code)
  end)

  it("knows a request by what it says, not by how it is written", function()
    local w = cached { good "one", good "two" }
    ask(w, "x", { temperature = 1, user = "ann", stream = false, seed = 3 })
    assert.equal("cache", ask(w, "x", { seed = 3.0, temperature = 1.0, user = "bob" }).source)
    for _, more in ipairs { { seed = 4 }, { temperature = 0.5, seed = 3 }, { model = "n" },
      { seed = 3, tools = { { type = "function" } } } } do
      assert.equal("upstream", ask(w, "x", more).source)
    end
    assert.equal("upstream", ask(w, "y").source)
  end)

  it("does not take one kind of call for another", function()
    local body = json.encode { model = "m", choices = { { index = 0, finish_reason = "stop",
      text = "a text", message = { role = "assistant", content = "a message" } } } }
    local w = cached { { status = 200, body = body } }
    local request = { model = "m", prompt = "x", messages = { { role = "user", content = "x" } } }
    assert.equal("a message", w.client:chat(request).text)
    local completed = w.client:complete(request)
    assert.equal("upstream", completed.source)
    assert.equal("a text", completed.text)
  end)

  it("keeps embeddings, and never posts", function()
    local w = cached { { status = 200, body = '{"data":[{"embedding":[1,2]}]}' } }
    w.client:embed { model = "e", input = "x" }
    local again = w.client:embed { model = "e", input = "x" }
    assert.equal("cache", again.source)
    assert.same({ 1, 2 }, again.body.data[1].embedding)
    w.client:post("/files", { a = 1 })
    assert.equal("upstream", w.client:post("/files", { a = 1 }).source)
  end)

  it("gives a call that names its target that target's answer", function()
    local w = world.new { script = { a = { good "from a" }, b = { good "from b" } },
      options = { cache = true } }
    assert.equal("from a", w:chat({ target = "a" }).text)
    assert.equal("from b", w:chat({ target = "b" }).text)
    assert.equal("cache", w:chat({ target = "b" }).source)
  end)

  it("tells calls apart by headers of theirs, but for those that name one request", function()
    local w = cached { good "hello" }
    local function source(headers) return ask(w, "x", nil, { headers = headers }).source end
    assert.equal("upstream", source { "accept-language: de" })
    assert.equal("upstream", source { "accept-language: fr" })
    assert.equal("upstream", source(nil))
    assert.equal("cache", source { "Accept-Language:  de" })
    assert.equal("cache", source { ["accept-language"] = "fr", ["x-request-id"] = "1" })
    assert.equal("cache", source { "idempotency-key: 7", "x-request-id: 2" })
    assert.equal("upstream", source { "accept-language: de", "openai-organization: o" })
    assert.equal("cache", source { "openai-organization: o", "accept-language: de" })
  end)

  describe("keeps only whole answers:", function()
    local function is_kept(answer, more)
      local w = cached { answer, good "later" }
      ask(w, "x", more)
      return ask(w, "x", more).source == "cache"
    end

    it("none that was cut or filtered, asks for a tool, or is one of several", function()
      assert.is_true(is_kept(finished "stop"))
      for _, reason in ipairs { "length", "content_filter", "tool_calls" } do
        assert.is_false(is_kept(finished(reason)), reason)
      end
      assert.is_false(is_kept(finished("stop", { role = "assistant", content = "x",
        tool_calls = { { id = "1", type = "function", ["function"] = { name = "f" } } } })))
      local two = { status = 200, body = json.encode { choices = {
        { index = 0, finish_reason = "stop", message = { content = "a" } },
        { index = 1, finish_reason = "stop", message = { content = "b" } } } } }
      assert.is_false(is_kept(two))
    end)

    it("none that says nothing, refuses, or calls a function in the older way", function()
      for _, message in ipairs { { content = "" }, { content = json.null, refusal = "I cannot" },
        { content = "x", refusal = "I cannot" },
        { content = "x", function_call = { name = "f", arguments = "{}" } } } do
        assert.is_false(is_kept(finished("stop", message)))
      end
    end)

    it("none to a request for several, or for more chance", function()
      assert.is_false(is_kept(good "x", { n = 2 }))
      assert.is_true(is_kept(good "x", { n = 1 }))
      assert.is_false(is_kept(good "x", { temperature = 1.5 }))
      local w = cached({ good "x" }, { cache = { temperature = 0 } })
      for _, more in ipairs { { temperature = 0.1 }, { temperature = "0" }, {} } do
        ask(w, "x", more)
        assert.equal("upstream", ask(w, "x", more).source)
      end
      ask(w, "x", { temperature = 0 })
      assert.equal("cache", ask(w, "x", { temperature = 0 }).source)
    end)

    it("none to a question that changed while it waited", function()
      local w = cached({ good("hello", 1) }, { limiter = { kind = "fixed", initial = 1 },
        cache = { coalesce = false } }) -- a flight has a copy
      local request = { messages = { { role = "user", content = "A" } } }
      w.loop.run(function()
        w.loop.spawn(function() ask(w, "other") end)
        w.loop.spawn(function() w.client:chat(request) end)
        w.loop.sleep(0.5)
        request.messages[1].content = "B"
      end)
      for _, text in ipairs { "A", "B" } do
        local reply = w.client:chat { messages = { { role = "user", content = text } } }
        assert.equal("upstream", reply.source)
      end
    end)

    it("no failure, no fallback", function()
      local w = cached({ status(503), good "x" }, { fallback = "sorry" })
      assert.equal("fallback", w:chat().source)
      assert.equal("x", w:chat().text)
    end)
  end)

  describe("when nobody answers", function()
    local function busy_later(options)
      options = options or {}
      options.cache = { ttl = 60, stale = 600 }
      local w = cached({ good "hello", status(503) }, options)
      w:chat()
      w.loop.run(function() w.loop.sleep(100) end)
      return w
    end

    it("gives the last good answer, marked", function()
      local w = busy_later { fallback = "sorry" }
      local reply = w:chat()
      assert.equal("stale", reply.source)
      assert.equal("hello", reply.text)
      assert.equal("busy", reply.failure.code)
      assert.equal(1, reply.failure.detail.tries)
      assert.equal(1, reply.tries)
      assert.near(100.1, reply.age, 0.01)
      assert.equal("busy", w:seen "cache"[1].code)
      assert.equal("stale", w:seen "cache"[1].source)
      w:assert_clean()
    end)

    it("streams it as well", function()
      local stream = busy_later():stream()
      assert.equal("stale", stream.source)
      assert.equal("hello", stream:reply().text)
    end)

    it("not when the call does not want it, or wants a younger one", function()
      assert.equal("busy", select(3, busy_later():chat { stale = false }))
      assert.equal("busy", select(3, busy_later():chat { stale = 50 }))
      assert.equal("stale", busy_later():chat({ stale = 200 }).source)
    end)

    it("not when the caller is at fault, nor after the stale time", function()
      local w = cached({ good "hello", status(400) }, { cache = { ttl = 1, stale = 600 } })
      w:chat()
      w.loop.run(function() w.loop.sleep(5) end)
      assert.equal("invalid", select(3, w:chat()))
      w = busy_later()
      w.loop.run(function() w.loop.sleep(1000) end)
      assert.equal("busy", select(3, w:chat()))
    end)

    it("what has been kept meanwhile, and nothing too old", function()
      local w = cached({ good "old", status(503, nil, nil, 20) },
        { cache = { ttl = 1, stale = 5 } })
      w:chat()
      w.loop.run(function() w.loop.sleep(3) end)
      assert.equal("busy", select(3, w:chat()))
      local script = { status(503, nil, nil, 20), good "new" }
      w = cached(script, { fallback = "sorry", cache = { coalesce = false } })
      local first
      w.loop.run(function()
        w.loop.spawn(function() first = w:chat() end)
        w.loop.sleep(1)
        w.loop.spawn(function() w:chat() end)
      end)
      assert.equal("stale", first.source)
      assert.equal("new", first.text)
    end)

    it("and asks again, now that it may be better", function()
      local w = cached({ good "old", status(503), good "new" }, { cache = { ttl = 1 } })
      w:chat()
      w.loop.run(function() w.loop.sleep(5) end)
      assert.equal("stale", w:chat().source)
      assert.equal("new", w:chat().text)
      assert.equal("new", w:chat().text)
      assert.equal(3, #w.log)
    end)
  end)

  it("serves what the call's own options say", function()
    local w = cached { good "one", good "two", good "three" }
    w:chat()
    assert.equal("two", w:chat({ cache = false }).text)
    assert.equal("one", w:chat().text)
    assert.equal("three", w:chat({ cache = "refresh" }).text)
    assert.equal("three", w:chat().text)
    w:chat { cache = "refresh" }
    ask(w, "short", nil, { cache = 2 })
    w.loop.run(function() w.loop.sleep(3) end)
    assert.equal("upstream", ask(w, "short").source)
    assert.equal("cache", w:chat().source)
    local ok, message = pcall(w.chat, w, { cache = "refesh" })
    assert.is_false(ok)
    assert.matches("did you mean 'refresh'", message)
  end)

  it("keeps a stream that came to its end, and gives it to both kinds of call", function()
    local w = cached { world.words { "hel", "lo" }, status(500) }
    assert.equal("hello", w:stream():reply().text)
    local whole = w:chat()
    assert.equal("cache", whole.source)
    assert.equal("hello", whole.text)
    local stream = w:stream()
    assert.equal("cache", stream.source)
    assert.is_number(stream.age)
    local text = {}
    for piece in stream:pieces() do text[#text + 1] = piece.text end
    assert.equal("hello", table.concat(text))
    assert.equal("stop", stream:reply().finish_reason)
    assert.equal(0, stream:reply().cost)
    w:assert_clean()
  end)

  it("names the model that was asked for when the answer names none", function()
    local w = cached { { status = 200, body = json.encode { choices = { { index = 0,
      finish_reason = "stop", message = { role = "assistant", content = "x" } } } } } }
    assert.equal("m", ask(w, "x").model)
    assert.equal("m", ask(w, "x").model)
  end)

  it("takes no good answer away when it cannot be kept", function()
    local pack = stored.pack
    finally(function() stored.pack = pack end)
    stored.pack = function() error("not enough memory", 0) end
    local w = cached { world.words { "hel", "lo" }, good "hello" }
    assert.equal("hello", w:stream():reply().text)
    assert.equal("upstream", w:chat().source)
    w:assert_clean()
  end)

  it("keeps no stream that was cut or left", function()
    local cut = world.words { "hel", "lo" }
    cut.steps[#cut.steps], cut.steps[#cut.steps - 1] = nil, nil
    local w = cached { cut, world.words { "hel", "lo" }, good "whole" }
    assert.equal("cut", select(3, w:stream():reply()))
    local left = w:stream()
    left:read()
    left:close()
    assert.equal("upstream", w:chat().source)
  end)

  it("needs its memory", function()
    core.fail_alloc(1)
    local client, message, code = unbusy.new { targets = { { name = "a", url = "http://a" } },
      cache = true }
    core.fail_alloc(0)
    assert.same({ nil, "cache: not enough memory", "nomem" }, { client, message, code })
  end)

  it("leaves what is no JSON to whoever says so", function()
    local w = cached { good "x" }
    assert.equal("invalid", select(3, ask(w, "x", { odd = print })))
    assert.equal(0, #w.log)
  end)
end)

describe("client:warm", function()
  local function texts(w)
    local out = {}
    for i, entry in ipairs(w.log) do
      out[i] = json.decode(entry.request.body).messages[1].content
    end
    return out
  end

  it("asks a list of questions once, so that they are there", function()
    local w = cached { good "hello" }
    local questions = { "one", { messages = { { role = "user", content = "two" } } }, "three" }
    assert.same({ asked = 3, fresh = 0, failures = {} }, w.client:warm(questions))
    assert.same({ asked = 0, fresh = 3, failures = {} }, w.client:warm(questions))
    local seen = texts(w)
    table.sort(seen)
    assert.same({ "one", "three", "two" }, seen)
    assert.equal("cache", w.client:chat(questions[2]).source)
    w:assert_clean()
  end)

  it("names the model of plain texts, and keeps to so many at once", function()
    local w = cached { good("hello", 1) }
    local questions = {}
    for i = 1, 10 do questions[i] = "q" .. i end
    assert.equal(10, w.client:warm(questions, { model = "small", at_once = 3 }).asked)
    assert.equal(3, w.most_open)
    assert.equal("small", json.decode(w.log[1].request.body).model)
    assert.equal("cache", ask(w, "q7", { model = "small" }).source)
  end)

  it("refreshes what is there when asked to", function()
    local w = cached { good "old", good "new" }
    w.client:warm { "q" }
    w.client:warm({ "q" }, { refresh = true })
    assert.equal("new", w.client:chat({ messages = { { role = "user", content = "q" } } }).text)
  end)

  it("says which failed, and goes on", function()
    local w = cached({ good "x", status(503), good "x" }, { fallback = "sorry" })
    local result = w.client:warm({ "one", "two", "three" }, { at_once = 1, attempts = 1 })
    assert.equal(2, result.asked)
    assert.equal(1, #result.failures)
    assert.equal(2, result.failures[1].index)
    assert.equal("busy", result.failures[1].code)
    assert.is_string(result.failures[1].message)
  end)

  it("waits behind everybody else", function()
    local w = cached({ good("hello", 1) }, { limiter = { kind = "fixed", initial = 1 } })
    w.loop.run(function()
      w.loop.spawn(function() w.client:warm({ "w1", "w2" }, { at_once = 2 }) end)
      w.loop.sleep(0.5)
      w.loop.spawn(function() ask(w, "a person") end)
    end)
    assert.same({ "w1", "a person", "w2" }, texts(w))
  end)

  it("takes an empty list, and refuses what is none", function()
    local w = cached { good "x" }
    assert.same({ asked = 0, fresh = 0, failures = {} }, w.client:warm {})
    for _, wrong in ipairs { { 5 }, { { 5 } }, { { { prompt = "" } } }, { { { input = {} } } },
      { { messages = { { role = "user", content = "x" } } } }, { { "a", [3] = "b" } },
      { { "a", { messages = {} } } }, { { { messages = { {} }, model = 5 } } }, {},
      { { "x" }, { at_onec = 2 } } } do
      local ok, message = pcall(function() w.client:warm(wrong[1], wrong[2]) end)
      assert.is_false(ok)
      assert.matches("cache_spec%.lua:%d+: warm: ", message)
    end
    local without = cached({ good "x" }, { cache = false })
    local ok, message = pcall(function() without.client:warm { "x" } end)
    assert.is_false(ok)
    assert.matches("cache_spec%.lua:%d+: warm: the client has no cache", message)
  end)

  it("ends with the client", function()
    local w = cached { good("hello", 5) }
    local result
    w.loop.run(function()
      w.loop.spawn(function() result = w.client:warm { "one", "two" } end)
      w.loop.sleep(1)
      w.client:close()
    end)
    assert.equal(2, #result.failures)
    assert.equal("closed", result.failures[1].code)
    w:assert_clean()
  end)
end)
