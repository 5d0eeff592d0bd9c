-- A second try beside a slow one: when, where, and what is left of the one that loses.
local guard = require "spec.support.leak_guard"
local json = require "unbusy.json"
local world = require "spec.support.world"

local good = world.good

local function copy(t, more)
  local out = {}
  for k, v in pairs(t) do out[k] = v end
  for k, v in pairs(more or {}) do out[k] = v end
  return out
end

-- Two targets, `a` asked first; hedges after one second, as many as there are calls.
local function new(script, hedge, more)
  more = more or {}
  local targets = { a = { priority = 1 }, b = { priority = 2 }, c = { priority = 3 } }
  for name, fields in pairs(more.targets or {}) do targets[name] = copy(targets[name], fields) end
  local options = copy({ retry = false }, more.options)
  if hedge ~= "none" then options.hedge = hedge or { after = 1, most = 1 } end
  return world.new { script = script, targets = targets, options = options, random = more.random }
end

local function stream_after(seconds, words)
  local answer = world.words(words or { "one", "two" }, 0.1)
  answer.after = seconds
  return answer
end

local function drain(stream)
  local text = {}
  while true do
    local piece, message, code = stream:read()
    if not piece then return table.concat(text), message, code end
    text[#text + 1] = piece.text
  end
end

local function whats(w)
  local out = {}
  for i, e in ipairs(w:seen "hedge") do out[i] = e.what end
  return table.concat(out, " ")
end

describe("a hedge", function()
  after_each(world.end_all)
  guard.watch(before_each, after_each)

  it("is off by default", function()
    local w = new({ a = { good("a", 60) }, b = { good "b" } }, "none")
    assert.equal("a", w:chat().text)
    assert.equal(1, #w.log)
    assert.equal(0, w.client:status().hedge.begun)
  end)

  it("is asked elsewhere when its time has come, and answers; the first is called off", function()
    local w = new { a = { good("slow", 60) }, b = { good("quick", 0.5) } }
    local reply = w:chat()
    assert.equal("quick", reply.text)
    assert.equal("b", reply.target)
    assert.near(1.5, w:now(), 1e-9)
    assert.equal(2, reply.tries)
    assert.near(0.5, reply.times.start, 1e-9)
    assert.near(1.5, reply.times.total, 1e-9)
    assert.same({ won = true, target = "a", code = "cancelled", seconds = 1 }, reply.hedged)
    assert.is_true(w.log[1].exchange.closed)
    assert.near(1, w.log[2].at, 1e-9)
    assert.equal("begun won", whats(w))
    local first = w:seen("failed")[1]
    assert.same({ "a", "cancelled", "a: another try was quicker" },
      { first.target, first.code, first.message })
    local s = w.client:status()
    assert.same({ 1, 1, 1, 0, 0, 1 }, { s.hedge.calls, s.hedge.begun, s.hedge.won, s.hedge.lost,
      s.hedge.failed, s.hedge.share })
    assert.same({ 0, 0 }, { s.targets[1].breaker.calls, s.targets[1].breaker.failures })
    assert.equal(20, s.targets[1].limits[""].limit)
    w:assert_clean()
  end)

  it("is called off when the first answers after all", function()
    local w = new { a = { good("first", 2) }, b = { good("second", 60) } }
    local reply = w:chat()
    assert.equal("first", reply.text)
    assert.near(2, w:now(), 1e-9)
    assert.equal(2, reply.tries)
    assert.same({ won = false, target = "b", code = "cancelled", seconds = 1 }, reply.hedged)
    assert.is_true(w.log[2].exchange.closed)
    assert.equal("begun lost", whats(w))
    assert.equal(1, w.client:status().hedge.lost)
    w:assert_clean()
  end)

  it("tells whoever balances how long the one that is called off has not answered", function()
    for _, streams in ipairs { false, true } do
      local w = new { a = { good("slow", 60) }, b = { streams and stream_after(0.5)
        or good("quick", 0.5) } }
      local waited = {}
      local function nothing() end
      local balancer = { begin = function() return 7 end, started = nothing, report = nothing,
        waits = function(_, ticket, seconds) waited[#waited + 1] = { ticket, seconds } end }
      local t = w.client.targets[1]
      local admit = t.admit
      function t.admit(...)
        t.balancer = balancer
        local place = admit(...)
        place.balance_ticket = 7
        return place
      end
      if streams then drain(assert(w:stream())) else w:chat() end
      assert.equal(1, #waited)
      assert.equal(7, waited[1][1])
      assert.near(streams and 1.6 or 1.5, waited[1][2], 1e-9)
      w:assert_clean()
    end
  end)

  it("is a span of its own in the caller's trace", function()
    local w = new { a = { good("slow", 60) }, b = { good("quick", 0.5) } }
    local reply = w:chat { trace = true }
    local spans = reply.trace.spans
    assert.is_true(#spans == 2 and spans[1] ~= spans[2])
    for i, entry in ipairs(w.log) do
      local lines = table.concat(entry.request.headers, "\n")
      assert.is_truthy(lines:find(("traceparent: 00-%s-%s-01"):format(reply.trace.id, spans[i]), 1,
        true))
    end
    w:assert_clean()
  end)

  it("is one for each of several that are asked as one, and so for all of them", function()
    local function embeddings(after)
      return { status = 200, after = after, body = '{"data":[{"index":0,"embedding":[0.5]},'
        .. '{"index":1,"embedding":[1.5]}],"usage":{"prompt_tokens":2,"total_tokens":2}}' }
    end
    local w = new({ a = { embeddings(60) }, b = { embeddings(1) } }, nil,
      { options = { batch = "embeddings" } })
    local found = {}
    w.loop.run(function()
      for i = 1, 2 do
        w.loop.spawn(function()
          local reply = assert(w.client:embed { input = "text " .. i })
          found[i] = reply.body.data[1].embedding[1]
          assert.same({ "batch", 2, "b" }, { reply.source, reply.tries, reply.target })
        end)
      end
    end)
    assert.same({ 0.5, 1.5 }, found)
    assert.equal(2, #w.log)
    w:assert_clean()
  end)

  it("is not begun where the first answers in time", function()
    local w = new { a = { good("first", 0.9) }, b = { good "second" } }
    local reply = w:chat()
    assert.equal(1, reply.tries)
    assert.is_nil(reply.hedged)
    assert.equal(1, #w.log)
    w:assert_clean()
  end)

  it("becomes the try when the first fails", function()
    local w = new { a = { world.status(503, nil, "", 2) }, b = { good("second", 5) } }
    local reply = w:chat()
    assert.equal("second", reply.text)
    assert.near(6, w:now(), 1e-9)
    assert.same({ won = true, target = "a", code = "busy", seconds = 1 }, reply.hedged)
    assert.equal(1, w.client:status().targets[1].breaker.calls)
    w:assert_clean()
  end)

  it("that fails leaves the first alone", function()
    local w = new { a = { good("first", 9) }, b = { world.status(500) } }
    local reply = w:chat()
    assert.equal("first", reply.text)
    assert.same({ won = false, target = "b", code = "upstream", seconds = 1 }, reply.hedged)
    assert.equal(2, #w.log)
    assert.equal("begun failed", whats(w))
    assert.equal(1, w.client:status().targets[2].breaker.failures)
    w:assert_clean()
  end)

  describe("where both fail", function()
    local function code_of(first, second, more)
      local w = new({ a = { first }, b = { second } }, nil, more)
      local reply, message, code, detail = w:chat()
      assert.is_nil(reply)
      assert.equal(2, detail.tries)
      w:assert_clean()
      return code, message, detail, w
    end

    it("tells the first one's failure", function()
      local code, message, detail =
        code_of(world.status(503, nil, "", 3), world.status(500, nil, "", 1))
      assert.equal("busy", code)
      assert.matches("^a: 503", message)
      assert.equal("a", detail.target)
      code = code_of(world.status(503, nil, "", 2), world.status(500, nil, "", 5))
      assert.equal("busy", code)
    end)

    it("tells the one after which more may be tried", function()
      local code, _, detail = code_of(world.status(402, nil, "", 2), world.status(503, nil, "", 3))
      assert.equal("busy", code)
      assert.equal("b", detail.target)
      code = code_of(world.status(402, nil, "", 2), world.status(401, nil, "", 3))
      assert.equal("quota", code)
    end)

    it("ends the call where the request is wrong", function()
      assert.equal("invalid", code_of(world.status(400, nil, "", 2), world.status(503, nil, "", 3)))
    end)

    it("and a retry sees both tries", function()
      local w = new({ a = { world.status(402, nil, "", 2) },
        b = { world.status(503, nil, "", 3), good "again" },
        c = { good "third" } }, { after = 1, most = 1 }, { options = { retry = { attempts = 3 } } })
      local reply = w:chat()
      assert.equal("third", reply.text) -- the account that was not asked
      assert.equal(3, reply.tries)
      local numbers = {}
      for i, e in ipairs(w:seen "try") do numbers[i] = e.target .. e.number end
      assert.same({ "a1", "b2", "c3" }, numbers)
      w:assert_clean()
    end)

    it("rules out the one whose failure is told", function()
      -- The first is told, though the hedge was sent later: a 402 of `a` and one of `b`.
      local no_money = world.status(402, nil, "", 2)
      local w = new({ a = { no_money }, b = { no_money } }, nil,
        { options = { retry = { attempts = 5 } } })
      local _, _, code, detail = w:chat()
      assert.equal("quota", code)
      assert.equal(2, detail.tries)
      w:assert_clean()
    end)
  end)

  describe("is not made", function()
    local slow = { a = { good("a", 5) }, b = { good("b", 0.1) } }

    local function sent(w, ...)
      local reply = assert(w.client[...](w.client, select(2, ...)))
      w:assert_clean()
      return #w.log, reply
    end

    it("to the account that is being asked", function()
      local w = new(slow, nil, { targets = { a = { account = "x" }, b = { account = "x" } } })
      assert.equal(1, (sent(w, "chat", world.question)))
      assert.is_true(w.client:status().hedge.refused.nobody > 0)
    end)

    it("to one whose breaker is not closed", function()
      local w = new(slow)
      for _, state in ipairs { "open", "forced_open" } do
        w.client.targets[2].breaker:force(state, 1000)
        local before = #w.log
        assert.equal("a", w:chat().text)
        assert.equal(before + 1, #w.log)
      end
    end)

    it("to one that is full, or at rest", function()
      local w = new(slow)
      w.client.targets[2]:rest(100, w:now())
      assert.equal(1, (sent(w, "chat", world.question)))
      w = new({ a = { good("a", 5) }, b = { good("b", 9) } }, nil,
        { options = { limiter = { kind = "fixed", initial = 1 } } })
      w.loop.run(function()
        w.loop.spawn(function() w:chat { target = "b" } end)
        assert.equal("a", w:chat().text)
      end)
      assert.equal(2, #w.log)
      w:assert_clean()
    end)

    it("where others wait in line for a place", function()
      local w = new({ a = { good("a", 5) }, b = { good("b", 9) }, c = { good "c" } }, nil,
        { options = { limiter = { kind = "fixed", initial = 1 } } })
      w.loop.run(function()
        w.loop.spawn(function() w:chat { target = "b" } end)
        w.loop.spawn(function() w:chat { target = "b" } end)
        assert.equal("a", w:chat().text)
      end)
      assert.equal(0, w.client:status().hedge.begun)
      w:assert_clean()
    end)

    it("of a call that names its target, or wants none", function()
      local w = new(slow)
      assert.equal("a", w:chat({ target = "a" }).text)
      assert.equal("a", w:chat({ hedge = false }).text)
      assert.equal(2, #w.log)
    end)

    it("outside of the call's pool", function()
      local w = new(slow, nil, { targets = { a = { pool = "x" }, b = { pool = "y" } } })
      assert.equal("a", w:chat({ pool = "x" }).text)
      assert.equal(1, #w.log)
    end)

    it("of what may not be done twice", function()
      local w = new { a = { { status = 200, body = "{}", after = 5 } }, b = { good "b" } }
      assert.equal(1, (sent(w, "post", "/files", {})))
      for _, method in ipairs { "POST", "PATCH", "PUT", "DELETE" } do
        w = new { a = { { status = 200, body = "{}", after = 5 } }, b = { good "b" } }
        local answer = assert(w.client:pass { method = method, path = "/files/1" })
        assert.equal("{}", answer:body())
        assert.equal(1, #w.log)
      end
      for _, more in ipairs { { previous_response_id = "r" }, { conversation = "c" },
        { background = true }, { prompt = { id = "p" } } } do
        w = new { a = { { status = 200, after = 5, body = json.encode { object = "response",
          status = "completed", id = "r", output = { { type = "message", content = {
            { type = "output_text", text = "hi" } } } } } } }, b = { good "b" } }
        more.input = "hi"
        assert.equal(1, (sent(w, "responses", more)))
      end
    end)

    it("but of what is passed on and only read", function()
      local w = new { a = { { status = 200, body = "slow", after = 5 } },
        b = { { status = 200, body = "quick", after = 1 } } }
      local answer = assert(w.client:pass { path = "/models" })
      assert.equal("quick", answer:body())
      assert.is_true(answer.hedged.won)
      assert.is_true(w.log[1].exchange.closed)
      w:assert_clean()
    end)

    it("an error of the second one's is no answer to what is passed on", function()
      local w = new { a = { { status = 200, body = "slow", after = 5 } },
        b = { world.status(404, nil, "no such file") } }
      local answer = assert(w.client:pass { path = "/files/1" })
      assert.same({ 200, "slow", "a" }, { answer.status, answer:body(), answer.target })
      w:assert_clean()
      w = new { a = { world.status(503, nil, "busy", 5) },
        b = { world.status(404, nil, "no such file") } }
      answer = assert(w.client:pass { path = "/files/1" })
      assert.same({ 404, "no such file", "b" }, { answer.status, answer:body(), answer.target })
      w:assert_clean()
    end)

    it("behind the call's deadline, or the first byte of answer", function()
      local w = new(slow)
      assert.equal("timeout", select(3, w:chat { deadline = 0.9 }))
      assert.equal(1, #w.log)
      w = new { a = { { status = 200, steps = { { 0, '{"choices":' }, { 5, '[{"index":0,'
        .. '"finish_reason":"stop","message":{"content":"late"}}]}' } } } }, b = { good "b" } }
      assert.equal("late", w:chat().text)
      assert.equal(1, #w.log)
      w = new { a = { world.words({ "one", "two" }, 3) }, b = { good "b" } }
      w.script.a[1].steps[2][1] = 0.5
      local stream = assert(w:stream())
      assert.equal("onetwo", (drain(stream)))
      assert.equal(1, #w.log)
    end)
  end)

  describe("costs no more than it may", function()
    local dear, cheap, free = { input = 2, output = 8 }, { input = 1, output = 2 },
      { input = 0, output = 0 }

    local function goes(first, second, price)
      local w = new({ a = { good("a", 5) }, b = { good("b", 1) } },
        { after = 1, most = 1, price = price },
        { targets = { a = { price = first }, b = { price = second } } })
      local reply = w:chat()
      w:assert_clean()
      return reply.hedged ~= nil, reply
    end

    it("to what is cheaper, or costs nothing by the call", function()
      assert.is_true((goes(dear, cheap)))
      assert.is_true((goes(dear, free)))
      assert.is_true((goes(free, free)))
      assert.is_true((goes(dear, nil)))
      assert.is_true((goes(nil, nil)))
      assert.is_false((goes(dear, dear)))
      assert.is_false((goes(cheap, dear)))
      assert.is_false((goes(nil, cheap)))
      assert.is_false((goes(free, cheap)))
    end)

    it("to any target where that is asked for; and what the other one may cost is told", function()
      local went, reply = goes(dear, cheap, "any")
      assert.is_true(went)
      assert.near(10 * 1e-6 + 5 * 2e-6, reply.cost, 1e-12)
      assert.near(10 * 2e-6, reply.hedged.cost, 1e-12) -- the question that `a` may charge for
      assert.is_true((goes(cheap, dear, "any")))
      assert.is_true((goes(dear, dear, "any")))
    end)

    it("and what the other one costs is told at a stream's end", function()
      local answer = stream_after(0.1)
      table.insert(answer.steps, #answer.steps, { 0, "data: " .. json.encode { id = "x",
        object = "chat.completion.chunk", model = "m", choices = json.array(),
        usage = { prompt_tokens = 10, completion_tokens = 5, total_tokens = 15 } } .. "\n\n" })
      local w = new({ a = { stream_after(60) }, b = { answer } }, { after = 1, most = 1 },
        { targets = { a = { price = dear }, b = { price = cheap } } })
      local stream = assert(w:stream())
      assert.is_true(stream.hedged.won)
      local reply = assert(stream:reply())
      assert.near(10 * 2e-6, reply.hedged.cost, 1e-12)
      w:assert_clean()
    end)

    it("is at most a share of the calls", function()
      local w = new({ a = { good("a", 5) }, b = { good("b", 1) } }, { after = 1, most = 0.05 })
      for n = 1, 400 do
        w:chat()
        local s = w.client:status().hedge
        assert.is_true(s.begun <= 0.05 * n + 1e-6, n)
      end
      local s = w.client:status().hedge
      assert.same({ 400, 20, 380 }, { s.calls, s.begun, s.refused.most > 300 and 380 })
      assert.near(0.05, s.share, 1e-9)
      assert.equal(420, #w.log)
      w:assert_clean()
    end)

    it("does not save up for a burst", function()
      local w = new({ a = function(_, n) return good("a", n <= 2000 and 0.1 or 5) end,
        b = { good("b", 1) } }, { after = 1, most = 0.05 })
      for _ = 1, 2200 do w:chat() end
      assert.is_true(w.client:status().hedge.begun <= 20, w.client:status().hedge.begun)
      w:assert_clean()
    end)

    it("pays from the budget of second tries, and gives back what a good one cost", function()
      local w = new({ a = { good("a", 5) }, b = { good("b", 1) } }, nil,
        { options = { budget = { tokens = 20 } } })
      w:chat()
      assert.equal(20, w.client:status().budget.tokens)
      w = new({ a = { good("a", 5) }, b = { good("b", 60) } }, nil,
        { options = { budget = { tokens = 20 } } })
      w:chat()
      assert.equal(6, w.client:status().budget.tokens) -- one that lost
      w:chat()
      local s = w.client:status()
      assert.equal(3, #w.log)
      assert.is_true(s.hedge.refused.budget > 0)
      assert.equal(7, s.budget.tokens) -- the second call's first try was good
      w:assert_clean()
    end)

    it("does without a budget", function()
      local w = new({ a = { good("a", 5) }, b = { good("b", 1) } }, nil,
        { options = { budget = false } })
      assert.equal("b", w:chat().text)
      w:assert_clean()
    end)
  end)

  it("is tried again as long as nothing has come", function()
    local w = new({ a = { good("a", 20) }, b = { good("b", 1) } })
    w.client.targets[2]:rest(7.5, w:now())
    local reply = w:chat()
    assert.equal("b", reply.text)
    assert.near(8, w.log[2].at, 1e-9)
    w:assert_clean()
  end)
end)
