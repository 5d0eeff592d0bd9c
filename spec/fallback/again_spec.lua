-- Asking again, for another model or in another pool.
local json = require "unbusy.json"
local unbusy = require "unbusy"
local world = require "spec.support.world"

local status, good = world.status, world.good

local question = { model = "pro", messages = { { role = "user", content = "hi" } } }

local function model_of(request) return json.decode(request.body).model end

-- Servers that answer by the model that they are asked for: by_model[model] is an answer, or a
-- function(n) that gives one; what is not named is refused.
local function by_model(answers)
  local seen = {}
  return function(request)
    local model = model_of(request)
    seen[model] = (seen[model] or 0) + 1
    local answer = answers[model] or status(503)
    return type(answer) == "function" and answer(seen[model]) or answer
  end
end

local function new(given)
  local o = { retry = false }
  for name, value in pairs(given.options or {}) do o[name] = value end
  return world.new { script = given.script, targets = given.targets, options = o }
end

-- One server; "pro" is refused.
local function with_flash(fallback, options, answers)
  local o = { fallback = fallback }
  for name, value in pairs(options or {}) do o[name] = value end
  return new { script = { a = by_model(answers or { flash = good "from flash" }) }, options = o }
end

local function models_asked(w)
  local out = {}
  for i, entry in ipairs(w.log) do out[i] = model_of(entry.request) end
  return table.concat(out, " ")
end

local function hosts_asked(w)
  local out = {}
  for i, entry in ipairs(w.log) do out[i] = entry.host end
  return table.concat(out, " ")
end

describe("another model", function()
  it("is asked when the first does not answer, and the reply says so", function()
    local w = with_flash { { model = "flash" }, "sorry" }
    local reply = w.client:chat(question)
    assert.same({ "from flash", "upstream", "a", 200, 2 },
      { reply.text, reply.source, reply.target, reply.status, reply.tries })
    assert.same({ kind = "model", model = "flash" }, reply.fallback)
    assert.same({ "busy", 503, 2 },
      { reply.failure.code, reply.failure.detail.status, reply.failure.detail.tries })
    assert.equal("pro flash", models_asked(w))
    assert.equal("pro", question.model)
    w:assert_clean()
  end)

  it("is asked what the first was asked, byte for byte", function()
    local w = with_flash { model = "flash" }
    local raw = '{"model": "pro", "messages":[{"role":"user","content":"hi"}],'
      .. '"seed":9007199254740993 , "x": 1.0}'
    w.client:chat(json.decode(raw), { raw = raw })
    assert.equal((raw:gsub('"pro"', '"flash"')), w.log[2].request.body)
    assert.equal(raw, w.log[1].request.body)
  end)

  it("goes by the name that the target has for it", function()
    local w = new { script = { a = by_model { ["flash-1"] = good "mapped" } },
      targets = { a = { models = { pro = "pro-1", flash = "flash-1" } } },
      options = { fallback = { model = "flash" } } }
    assert.equal("mapped", w.client:chat(question).text)
    assert.equal("pro-1 flash-1", models_asked(w))
  end)

  it("streams", function()
    local w = with_flash({ { model = "flash" }, "sorry" }, nil,
      { flash = world.words { "from ", "flash" } })
    local stream = w.client:stream(question)
    assert.same({ "upstream", "model", "busy" },
      { stream.source, stream.fallback.kind, stream.failure.code })
    local reply = stream:reply()
    assert.same({ "from flash", "flash", 2 }, { reply.text, reply.fallback.model, reply.tries })
    w:assert_clean()
  end)

  it("that is cut after its first word is cut, and nothing stands in", function()
    local w = with_flash({ { model = "flash" }, "sorry" }, nil, { flash = world.streamed(
      { { 0, world.chunk { content = "so" } } }, { fail = "network", message = "gone" }) })
    local stream = w.client:stream(question)
    assert.equal("so", stream:read().text)
    assert.equal("cut", select(3, stream:read()))
    w:assert_clean()
  end)

  it("has tries of its own, and they are all counted", function()
    local retry = { attempts = 3, base = 1, jitter = 0 }
    local w = with_flash({ { model = "flash" }, "sorry" }, { retry = retry, budget = false }, {
      flash = function(n) return n < 3 and status(503) or good "at last" end })
    local reply = w.client:chat(question)
    assert.same({ "at last", 6 }, { reply.text, reply.tries })
    assert.equal("pro pro pro flash flash flash", models_asked(w))
    local numbers = {}
    for i, e in ipairs(w:seen "try") do numbers[i] = e.number end
    assert.same({ 1, 2, 3, 4, 5, 6 }, numbers)
    w:assert_clean()
  end)

  it("falls on when it fails too, and the failure is the first", function()
    local w = with_flash({ { model = "flash" }, { model = "mini" }, "{code} {model} {tries}" }, nil,
      { flash = status(500), mini = status(404) })
    local reply = w.client:chat(question)
    assert.same({ "busy pro 3", "fallback", "text" },
      { reply.text, reply.source, reply.fallback.kind })
    assert.equal("pro flash mini", models_asked(w))
    w = with_flash({ model = "flash" }, nil, { flash = status(500) })
    local none, message, code, detail = w.client:chat(question)
    assert.same({ nil, "busy", 503, 2 }, { none, code, detail.status, detail.tries })
    assert.matches("^a: 503", message)
    w:assert_clean()
  end)

  it("is asked once: a ladder that comes back to itself goes on", function()
    local w = with_flash({ { model = "flash" }, { model = "pro" }, { { model = "flash" } },
      { model = "mini" }, { model = "flash", pool = "default" }, "sorry" }, nil, {})
    assert.equal("sorry", w.client:chat(question).text)
    assert.equal("pro flash mini", models_asked(w))
  end)

  it("and no more than eight are", function()
    local ladder = {}
    for i = 1, 20 do ladder[i] = { model = "m" .. i } end
    ladder[21] = "sorry"
    local w = with_flash(ladder, { limiter = false, breaker = false }, {})
    assert.equal("sorry", w.client:chat(question).text)
    assert.equal(9, #w.log)
  end)

  it("is asked where the call has named no model at all", function()
    local w = with_flash { model = "flash" }
    w.script.a = function(request)
      return model_of(request) == "flash" and good "from flash" or status(503)
    end
    assert.equal("from flash", w:chat().text)
  end)

  it("is not asked for what the caller did", function()
    local w = with_flash({ model = "flash" }, nil, { pro = status(400), flash = good() })
    assert.equal("invalid", select(3, w.client:chat(question)))
    assert.equal(1, #w.log)
  end)

  it("takes part in a trace: each try has a span of its own", function()
    local w = with_flash { model = "flash" }
    local reply = w.client:chat(question, { trace = true })
    assert.equal(2, #reply.trace.spans)
    for i, entry in ipairs(w.log) do
      assert.truthy(table.concat(entry.request.headers, "\n"):find(reply.trace.spans[i], 1, true))
    end
    assert.are_not.equal(reply.trace.spans[1], reply.trace.spans[2])
  end)
end)

describe("time", function()
  it("goes on: what is left is for the second asking", function()
    local w = with_flash({ { model = "flash" }, "sorry" }, nil, { pro = status(503, nil, "", 6),
      flash = good("late", 6) })
    local reply = w.client:chat(question, { deadline = 10 })
    assert.same({ "sorry", 10, 2 }, { reply.text, w:now(), #w.log })
    w = with_flash({ { model = "flash" }, "sorry" }, nil, { pro = status(503, nil, "", 3),
      flash = good("in time", 6) })
    assert.equal("in time", w.client:chat(question, { deadline = 10 }).text)
  end)

  it("that is nearly over is not used up for what cannot come", function()
    local w = with_flash({ { model = "flash" }, "sorry" }, nil, { pro = status(503, nil, "", 9.95),
      flash = good "never" })
    local reply = w.client:chat(question, { deadline = 10 })
    assert.same({ "sorry", "busy", 1 }, { reply.text, reply.failure.code, #w.log })
    w = with_flash({ { model = "flash" }, "sorry" }, nil, { pro = { status = 200, hang = 60 } })
    reply = w.client:chat(question, { deadline = 10 })
    assert.same({ "sorry", "timeout", 1 }, { reply.text, reply.failure.code, #w.log })
    w:assert_clean()
  end)
end)

describe("a pool", function()
  local function with_reserve(given)
    return new { script = { a = given.a or { status(503) }, b = given.b or { good "from b" },
      c = { good "from c" } }, targets = { a = { account = "one" }, b = { pool = "reserve",
      reserve = true, account = given.b_account }, c = { pool = "cheap", priority = 9,
      account = "one" } }, options = given.options }
  end

  it("that is a reserve is only asked where it is named", function()
    local w = with_reserve { options = { retry = { attempts = 9, base = 1 }, budget = false } }
    w.script.c = { status(503) }
    assert.equal("busy", select(3, w:chat()))
    assert.is_nil(hosts_asked(w):find "b")
    assert.equal("from b", w:chat({ pool = "reserve" }).text)
    assert.equal("from b", w:chat({ target = "b" }).text)
    w:assert_clean()
  end)

  it("that is a reserve is nothing that a call could move to", function()
    local w = with_reserve { options = { retry = { attempts = 2, base = 5, jitter = 0 } } }
    assert.equal("busy", select(3, w:chat({ pool = "default" })))
    assert.equal("a a", hosts_asked(w))
    assert.is_true(w.log[2].at - w.log[1].at >= 5) -- not at once, as it would elsewhere
  end)

  it("that is named is the only one that is asked", function()
    local w = with_reserve { b = { status(503) }, options = { retry = { attempts = 4, base = 1 } } }
    assert.equal("from c", w:chat({ pool = "cheap" }).text)
    assert.equal("busy", select(3, w:chat({ pool = "reserve" })))
    assert.equal("busy", select(3, w:chat({ pool = "default" })))
    assert.equal("c b b b b a a a a", hosts_asked(w))
  end)

  it("keeps waiting calls to itself", function()
    local w = with_reserve { b = { good("from b", 5) },
      options = { limiter = { kind = "fixed", initial = 1 } } }
    local texts = {}
    w.loop.run(function()
      for i = 1, 3 do
        w.loop.spawn(function() texts[i] = w:chat({ pool = "reserve" }).text end)
      end
      w.loop.sleep(60)
    end)
    assert.same({ "from b", "from b", "from b" }, texts)
    assert.equal("b b b", hosts_asked(w))
    w:assert_clean()
  end)

  it("is asked when nobody else answers", function()
    local w = with_reserve { options = { fallback = { { pool = "reserve" }, "sorry" } } }
    w.script.c = { status(503) }
    local reply = w:chat()
    assert.same({ "from b", "upstream", "b", { kind = "pool", pool = "reserve" } },
      { reply.text, reply.source, reply.target, reply.fallback })
    assert.equal("a b", hosts_asked(w))
    assert.equal("from b", (w:chat().text))
  end)

  it("is asked for another model", function()
    local answers = { flash = good "b" }
    local w = new { script = { a = by_model { flash = good "a" }, b = by_model(answers) },
      targets = { b = { pool = "reserve", reserve = true } },
      options = { fallback = { { pool = "reserve", model = "flash" }, "sorry" } } }
    local reply = w.client:chat(question)
    assert.same({ "b", { kind = "pool", pool = "reserve", model = "flash" } },
      { reply.text, reply.fallback })
    assert.equal("pro flash", models_asked(w))
  end)

  it("is left again for the next rung", function()
    local w = new { script = { a = by_model { flash = good "a" }, b = by_model {} },
      targets = { b = { pool = "reserve", reserve = true } },
      options = { fallback = { { pool = "reserve" }, { model = "flash" } } } }
    assert.equal("a", w.client:chat(question).text)
    assert.equal("a b a", hosts_asked(w))
    assert.equal("pro pro flash", models_asked(w))
  end)

  it("is not asked for a call that wants one target or pool", function()
    local w = with_reserve { options = { fallback = { { pool = "reserve" }, "sorry" } } }
    assert.equal("sorry", w:chat({ target = "a" }).text)
    assert.equal("sorry", w:chat({ pool = "default" }).text)
    assert.equal("a a", hosts_asked(w))
  end)

  it("stands in the status of its targets", function()
    local w = with_reserve {}
    local targets = w.client:status().targets
    assert.same({ "default", false, "reserve", true },
      { targets[1].pool, targets[1].reserve, targets[2].pool, targets[2].reserve })
  end)
end)

describe("the budget", function()
  local retry = { attempts = 1 }

  it("pays for a second asking", function()
    local w = with_flash({ { model = "flash" }, "sorry" },
      { retry = retry, budget = { tokens = 9, throttle_cost = 5, ratio = 0, floor = 9 } }, {})
    assert.equal("sorry", w.client:chat(question).text)
    assert.equal(4, w.client:status().budget.tokens)
    assert.equal("sorry", w.client:chat(question).text)
    assert.equal("pro flash pro", models_asked(w))
    w:assert_clean()
  end)

  it("is given back what a good answer was paid with, and no more", function()
    local w = with_flash({ { model = "flash" }, "sorry" },
      { retry = retry, budget = { tokens = 20, throttle_cost = 5 } },
      { flash = function(n) return n > 1 and good "from flash" or status(503) end })
    assert.equal("sorry", w.client:chat(question).text)
    assert.equal(15, w.client:status().budget.tokens)
    assert.equal("from flash", w.client:chat(question).text)
    assert.equal(15, w.client:status().budget.tokens)
    w:assert_clean()
  end)

  it("is given back at once what an answer out of the cache did not need", function()
    local w = with_flash({ { model = "flash" }, "sorry" },
      { retry = retry, cache = {}, budget = { tokens = 20, throttle_cost = 5 } })
    w.client:chat(question)
    local stream = w.client:stream(question)
    assert.equal("cache", stream.source)
    assert.same({ 0, 20 }, { w.client:status().budget.permits, w.client:status().budget.tokens })
    stream:close()
    w:assert_clean()
  end)

  it("is not asked where nothing has been sent yet, though there is a line", function()
    local w = new { script = { a = { good() }, b = { good("from b", 5) } },
      targets = { b = { pool = "reserve", reserve = true } }, options = { retry = retry,
      fallback = { pool = "reserve" }, limiter = { kind = "fixed", initial = 1 },
      budget = { tokens = 0, throttle_cost = 5 } } }
    w.client.targets[1].breaker:force("forced_open")
    local replies = {}
    w.loop.run(function()
      for i = 1, 2 do w.loop.spawn(function() replies[i] = w:chat() end) end
      w.loop.sleep(100)
    end)
    for _, reply in ipairs(replies) do
      assert.same({ "from b", "open", 1 }, { reply.text, reply.failure.code, reply.tries })
    end
    assert.equal(2, #replies)
  end)

  it("lets one move to another account go free", function()
    local function spent(more)
      local o = { retry = retry, budget = { tokens = 0, throttle_cost = 5 } }
      for name, value in pairs(more.options) do o[name] = value end
      return new { script = { a = { status(503) }, b = more.b, c = { good "from c" } },
        targets = { a = { account = "one" }, b = { pool = "reserve", reserve = true,
        account = more.account }, c = { pool = "last", reserve = true, account = "three" } },
        options = o }
    end
    local w = spent { account = "two", b = { good "from b" },
      options = { fallback = { { pool = "reserve" }, "sorry" } } }
    assert.equal("from b", w:chat().text)
    w = spent { account = "one", b = { good "from b" },
      options = { fallback = { { pool = "reserve" }, "sorry" } } }
    assert.equal("sorry", w:chat().text)
    w = spent { account = "two", b = { status(503) },
      options = { fallback = { { pool = "reserve" }, { pool = "last" }, "sorry" } } }
    assert.equal("sorry", w:chat().text)
    assert.equal("a b", hosts_asked(w))
    w:assert_clean()
  end)

  it("counts each asking as the call that it is", function()
    local w = with_flash({ model = "flash" }, { retry = retry }, { flash = good("x", 1) })
    w.loop.run(function()
      local task = w.loop.spawn(function() w.client:chat(question) end)
      w.loop.sleep(0.5)
      assert.same({ 1, 1 }, { w.client:status().budget.active, w.client:status().budget.permits })
      w.loop.cancel(task)
    end)
    w:assert_clean()
  end)
end)

describe("the cache", function()
  it("keeps another model's answer as that model's", function()
    local w = with_flash({ { model = "flash" }, "sorry" }, { cache = {} }, {
      pro = function(n) return n > 2 and good "from pro" or status(503) end,
      flash = good "from flash" })
    assert.equal("from flash", w.client:chat(question).text)
    local reply = w.client:chat(question)
    assert.same({ "from flash", "cache", "model", "busy", 1 }, { reply.text, reply.source,
      reply.fallback.kind, reply.failure.code, reply.tries })
    assert.equal("pro flash pro", models_asked(w))
    assert.equal("from pro", w.client:chat(question).text) -- not what flash has said
    local flash = w.client:chat { model = "flash", messages = question.messages }
    assert.same({ "from flash", "cache" }, { flash.text, flash.source })
    w:assert_clean()
  end)

  it("does so too when it comes as a stream", function()
    local w = with_flash({ model = "flash" }, { cache = {} },
      { flash = world.words { "fl", "ash" } })
    assert.equal("flash", w.client:stream(question):reply().text)
    local stream = w.client:stream(question)
    assert.same({ "cache", "model" }, { stream.source, stream.fallback.kind })
    assert.equal("flash", stream:reply().text)
  end)

  it("keeps what came from another pool apart, and texts not at all", function()
    local w = new { script = { a = { status(503), status(503), good "from a" },
      b = { good "from b", status(503) } },
      targets = { b = { pool = "reserve", reserve = true } },
      options = { cache = {}, fallback = { { pool = "reserve" }, "sorry" } } }
    assert.equal("from b", w:chat().text)
    local reply = w:chat()
    assert.same({ "from b", "cache", "pool" }, { reply.text, reply.source, reply.fallback.kind })
    assert.equal("from a", w:chat().text)
    assert.equal("cache", w:chat({ pool = "reserve" }).source)
    w = with_flash("sorry", { cache = {} }, { pro = function(n)
      return n > 1 and good "from pro" or status(503)
    end })
    assert.equal("sorry", w.client:chat(question).text)
    assert.equal("from pro", w.client:chat(question).text)
  end)

  -- The last good answer of "pro" is there, an hour old; then it fails.
  local function after_an_hour(fallback, answers, options)
    answers.pro = function(n) return n == 1 and good "from pro" or status(503) end
    local o = { cache = { ttl = 60, stale = 7200 } }
    for name, value in pairs(options or {}) do o[name] = value end
    local w = with_flash(fallback, o, answers)
    w.loop.run(function()
      w.client:chat(question)
      w.loop.sleep(3600)
    end)
    return w
  end

  it("stands in first with its last good answer, where the ladder does not say when", function()
    local w = after_an_hour({ { model = "flash" }, "sorry" }, { flash = good "from flash" })
    local reply = w.client:chat(question)
    assert.same({ "from pro", "stale", nil }, { reply.text, reply.source, reply.fallback })
  end)

  it("or when it says", function()
    local ladder = { { model = "flash" }, "stale", "sorry" }
    local w = after_an_hour(ladder, { flash = good "from flash" })
    assert.equal("from flash", w.client:chat(question).text)
    w = after_an_hour(ladder, {})
    local reply = w.client:chat(question)
    assert.same({ "from pro", "stale", "stale", "busy", 2 }, { reply.text, reply.source,
      reply.fallback.kind, reply.failure.code, reply.failure.detail.tries })
    assert.is_true(reply.age > 3599)
    assert.equal("from pro", w.client:stream(question):reply().text)
    assert.equal("sorry", w.client:chat({ model = "mini", messages = question.messages }).text)
    w:assert_clean()
  end)

  it("and no older than the ladder and the call say", function()
    local w = after_an_hour({ { stale = 60 }, { stale = 4000 }, "sorry" }, {})
    assert.equal("from pro", w.client:chat(question).text)
    assert.equal("sorry", w.client:chat(question, { stale = 60 }).text)
    assert.equal("sorry", w.client:chat(question, { stale = false }).text)
    assert.equal("sorry", w.client:chat(question, { cache = false }).text)
    w = after_an_hour({ { stale = 60 }, "sorry" }, {})
    assert.equal("sorry", w.client:chat(question).text)
  end)

  it("is not asked for a response, which it does not keep", function()
    local w = with_flash({ "stale", "sorry" }, { cache = {} })
    assert.equal("sorry", w.client:responses({ model = "pro", input = "hi" }).text)
  end)

  it("has its own rule for embeddings, whatever the ladder says", function()
    local vectors = { status = 200, body = json.encode { object = "list", model = "e",
      data = { { object = "embedding", index = 0, embedding = { 1, 2 } } } } }
    local w = new { script = { a = { vectors, status(503) } },
      options = { cache = { ttl = 60 }, fallback = { "stale", "sorry" } } }
    w.loop.run(function()
      w.client:embed { input = "x" }
      w.loop.sleep(100)
    end)
    assert.equal("stale", w.client:embed({ input = "x" }).source)
  end)
end)

describe("a call that ends in its second asking", function()
  -- Runs a call whose second asking hangs, and ends it there by `stop(w, task, canceller)`.
  local function ended(stop, method, fallback)
    local w = with_flash(fallback or { { model = "flash" }, { model = "mini" }, "sorry" },
      { retry = { attempts = 3, base = 1 }, cache = {} },
      { flash = { status = 200, hang = 1000 },
        pro = status(500, { ["x-should-retry"] = "false" }) })
    local result, cancel = nil, unbusy.canceller()
    w.loop.run(function()
      local task = w.loop.spawn(function()
        result = { w.client[method or "chat"](w.client, question, { cancel = cancel }) }
      end)
      w.loop.sleep(5)
      assert.equal("pro flash", models_asked(w))
      stop(w, task, cancel)
      w.loop.sleep(5)
    end)
    assert.equal("pro flash", models_asked(w))
    w:assert_clean()
    return result
  end

  for _, method in ipairs { "chat", "stream" } do
    it("by its caller is cancelled (" .. method .. ")", function()
      local result = ended(function(_, _, cancel) cancel:cancel() end, method)
      assert.same({ nil, "cancelled" }, { result[1], result[3] })
    end)

    it("since the client is closed is closed (" .. method .. ")", function()
      local result = ended(function(w) w.client:close() end, method)
      assert.same({ nil, "closed" }, { result[1], result[3] })
    end)

    it("with its task leaves nothing behind (" .. method .. ")", function()
      assert.is_nil(ended(function(w, task) w.loop.cancel(task) end, method))
    end)
  end

  it("before it began is not begun", function()
    local cancel = unbusy.canceller()
    local w = with_flash({ { model = "flash" }, "sorry" }, { on_event = function(e)
      if e.type == "fallback" then cancel:cancel() end
    end })
    assert.equal("cancelled", select(3, w.client:chat(question, { cancel = cancel })))
    assert.equal("pro", models_asked(w))
    w:assert_clean()
  end)

  it("is not answered out of the cache when it was cancelled before", function()
    local cancel, wants = unbusy.canceller(), false
    local w = with_flash({ { model = "flash" }, "sorry" }, { cache = {}, on_event = function(e)
      if e.type == "fallback" and wants then cancel:cancel() end
    end })
    w.client:chat(question)
    wants = true
    assert.equal("cancelled", select(3, w.client:chat(question, { cancel = cancel })))
  end)

  it("while it waits for a permit leaves the line", function()
    local w = with_flash({ { model = "flash" }, "sorry" },
      { retry = { attempts = 1 }, budget = { ratio = 0, floor = 1 } },
      { flash = good("slow", 100) })
    local cancel, codes = unbusy.canceller(), {}
    w.loop.run(function()
      w.loop.spawn(function() w.client:chat(question) end)
      w.loop.sleep(1)
      w.loop.spawn(function()
        codes[1] = select(3, w.client:chat(question, { cancel = cancel }))
      end)
      w.loop.sleep(1)
      cancel:cancel()
      w.loop.sleep(200)
    end)
    assert.same({ "cancelled" }, codes)
    assert.equal("pro flash pro", models_asked(w))
    w:assert_clean()
  end)
end)
