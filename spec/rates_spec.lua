-- Limits per minute in a client: waiting for them costs no try, and what the server says counts.
local guard = require "spec.support.leak_guard"
local json = require "unbusy.json"
local unbusy = require "unbusy"
local world = require "spec.support.world"

local good, status = world.good, world.status

local function with_limits(limits, script, options, more)
  local targets = { a = { limits = limits } }
  for name, fields in pairs(more or {}) do targets[name] = fields end
  return world.new { script = script or { a = { good("x", 0.1) } }, targets = targets,
    options = options }
end

-- So many calls at once; when each answer came, in order, and the failures.
local function burst(w, n, options, request)
  local at, failed = {}, {}
  w.loop.run(function()
    for _ = 1, n do
      w.loop.spawn(function()
        local reply, message, code, detail =
          w.client:chat(request or world.question, options)
        if reply then
          at[#at + 1] = w:now()
        else
          failed[#failed + 1] = { message = message, code = code, detail = detail, at = w:now() }
        end
      end)
    end
  end)
  w:assert_clean()
  return at, failed
end

local function answer_with(headers, usage)
  local answer = good("x", 0.1)
  headers["content-type"] = "application/json"
  answer.headers = headers
  if usage then
    local body = json.decode(answer.body)
    body.usage = usage
    answer.body = json.encode(body)
  end
  return answer
end

describe("limits per minute", function()
  guard.watch(before_each, after_each)

  describe("of the options", function()
    it("are waited for in line, which costs no try", function()
      local w = with_limits { requests_per_minute = 60 }
      local at, failed = burst(w, 30)
      assert.same({ 30, 0, 30 }, { #at, #failed, #w.log })
      assert.near(0.1, at[6], 1e-6) -- a tenth of the minute at once
      assert.near(24 * 60 / 55 + 0.1, at[30], 0.02) -- the rest evenly
      local s = w.client:status().targets[1].limits[""]
      assert.equal(6, s.per_minute.requests.most)
      assert.is_true(s.per_minute.refused > 0)
    end)

    it("refuse at once what would have to wait for too long, and say for how long", function()
      local w = with_limits({ requests_per_minute = 1 })
      local _, failed = burst(w, 2)
      assert.equal("full", failed[1].code)
      assert.equal("a: the account's limit per minute is reached", failed[1].message)
      assert.near(60, failed[1].detail.retry_after, 0.01)
      assert.equal(0, failed[1].at)
    end)

    it("count tokens: of the bytes and of what may be answered; mended by the usage", function()
      local w = with_limits({ tokens_per_minute = 10000 },
        { a = { answer_with({}, { total_tokens = 150 }) } }, { clocks = { total = 100 } })
      local request = { max_tokens = 475, messages = { { role = "user",
        content = ("x"):rep(96) } } } -- and 4 bytes of "user": 25 tokens
      local at = burst(w, 20, nil, request)
      -- 1000 at once are two; each gives 350 back; 150 a second flow
      assert.near(0.1, at[2], 1e-6)
      assert.near(0.2, at[3], 0.01)
      assert.near(20 * 150 / 150 - 5, at[20], 1.5)
    end)

    it("do not count a bound that no answer comes near", function()
      local w = with_limits({ tokens_per_minute = 10000 },
        { a = { answer_with({}, { prompt_tokens = 1, completion_tokens = 10 }) } })
      local request = { max_tokens = 900, messages = world.question.messages }
      burst(w, 1, nil, request)
      local before = w:now()
      local at = burst(w, 20, nil, request) -- 42 each: 4 x 10 and the question
      assert.near(0.1, at[20] - before, 1e-6)
    end)

    it("are foreseen as lately of one choice, for each that is asked for", function()
      local w = with_limits({ tokens_per_minute = 60000 }, { a = function(_, n)
        return n == 1 and answer_with({}, { prompt_tokens = 1, completion_tokens = 1000 })
          or world.streamed { { 0, world.chunk { content = "x" } }, { 0, world.DONE } }
      end })
      local function left()
        return w.client:status().targets[1].limits[""].per_minute.tokens.left
      end
      local request = { n = 10, messages = world.question.messages }
      burst(w, 1, nil, request)
      local before = left()
      local stream = assert(w.client:stream(request))
      assert.near(before - 1000, left(), 300) -- ten of a hundred each
      stream:close()
      w:assert_clean()
    end)

    it("are mended by a stream's usage at its end, and not by a stream that is left", function()
      local w = with_limits({ tokens_per_minute = 10000 }, { a = function()
        return world.streamed {
          { 0, world.chunk { content = "x" } }, { 0, world.chunk({}, "stop") },
          { 0, 'data: {"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":50}}\n\n' },
          { 0, world.DONE } }
      end })
      local function left()
        return w.client:status().targets[1].limits[""].per_minute.tokens.left
      end
      local request = { max_tokens = 494, messages = world.question.messages }
      local stream = w.client:stream(request)
      assert.near(500, left(), 20)
      assert(stream:reply())
      assert.near(850, left(), 20)
      assert(w.client:stream(request)):close()
      assert.near(660, left(), 40) -- four times the last answer, and the question
      w:assert_clean()
    end)

    it("count a refused call's tokens not at all", function()
      local w = with_limits({ tokens_per_minute = 10000 }, { a = function(_, n)
        return n <= 3 and status(503, nil, "", 0.01) or good("x", 0.1)
      end }, { retry = { base = 0.01, jitter = 0 } })
      local at = burst(w, 1, nil, { max_tokens = 900, messages = world.question.messages })
      assert.is_true(at[1] < 1, at[1])
    end)

    it("let a call go that is larger than a minute holds, and others after it in turn", function()
      local w = with_limits({ tokens_per_minute = 1000 },
        { a = { answer_with({}, { total_tokens = 1e300 }) } }, { queue = { max_wait = 200 } })
      local at = burst(w, 2, nil, { max_tokens = 1e9, messages = world.question.messages })
      assert.near(0.1, at[1], 1e-6)
      assert.is_true(at[2] > 60 and at[2] < 75, at[2])
    end)

    it("belong to the account: its targets share them, another one has its own", function()
      local script = { a = { good("x", 0.1) }, b = { good("x", 0.1) }, c = { good("x", 0.1) } }
      local w = world.new { script = script, options = { queue = { max_wait = 0 } }, targets = {
        a = { account = "one", limits = { requests_per_minute = 40 } }, b = { account = "one" },
        c = { limits = { body = 1000000 } } } }
      burst(w, 3, { target = "a" })
      burst(w, 3, { target = "b" })
      burst(w, 30, { target = "c" })
      assert.is_true(w.sent.a + w.sent.b <= 5 and w.sent.c >= 20)
    end)

    it("must agree within an account, and be numbers", function()
      local function new(a, b)
        return function()
          unbusy.new { targets = { { name = "a", url = "http://a.test", account = "x", limits = a },
            { name = "b", url = "http://b.test", account = "x", limits = b } } }
        end
      end
      assert.has_no.errors(new({ requests_per_minute = 5 }, { tokens_per_minute = 7 }))
      assert.has_no.errors(new({ requests_per_minute = 5 }, { requests_per_minute = 5 }))
      local _, message = pcall(new({ requests_per_minute = 5 }, { requests_per_minute = 6 }))
      assert.matches("rates_spec.lua:%d+: unbusy: targets%[2%]%.limits%.requests_per_minute: "
        .. "another target of the account 'x' says 5", message)
      for _, wrong in ipairs { 0, -1, 0.5, 1e13, 0 / 0, "5", {} } do
        assert.has_error(new { requests_per_minute = wrong })
        assert.has_error(new { tokens_per_minute = wrong })
      end
    end)
  end)

  describe("that a server tells", function()
    it("are heeded by the next call", function()
      local w = with_limits(nil, { a = function(_, n)
        return n == 1 and answer_with { ["x-ratelimit-limit-requests"] = "10",
          ["x-ratelimit-remaining-requests"] = "2", ["x-ratelimit-reset-requests"] = "8s" }
          or good("x", 0.1)
      end })
      burst(w, 1)
      local at = burst(w, 5)
      assert.near(0.2, at[2], 1e-6) -- two are left
      assert.near(1.2, at[3], 0.01) -- and one comes back each second
      assert.near(3.2, at[5], 0.01)
      assert.equal(6, #w.log)
    end)

    it("are heeded when it has refused a call, too", function()
      local w = with_limits(nil, { a = function(_, n)
        return n == 1 and status(429, { ["x-ratelimit-limit-tokens"] = "6000",
          ["x-ratelimit-remaining-tokens"] = "0", ["x-ratelimit-reset-tokens"] = "10s" }, "{}")
          or good("x", 0.1)
      end })
      local at = burst(w, 1, nil, { max_tokens = 2999, messages = world.question.messages })
      assert.is_true(at[1] > 5 and at[1] < 11.2, at[1])
      assert.equal(2, #w.log)
    end)

    it("count for all models apart", function()
      local w = with_limits(nil, { a = function(request)
        local model = json.decode(request.body).model
        return model == "small" and answer_with { ["x-ratelimit-limit-requests"] = "10",
          ["x-ratelimit-remaining-requests"] = "0", ["x-ratelimit-reset-requests"] = "10s" }
          or good("x", 0.1)
      end })
      local function ask(model)
        return burst(w, 1, nil, { model = model, messages = world.question.messages })[1]
      end
      ask "small"
      assert.near(0.2, ask "large", 1e-6)
      assert.near(1.2, ask "small", 0.01)
    end)

    it("harm nobody where they are nonsense", function()
      local texts = { "-1", "nan", "1e308", ("9"):rep(400), "", "0" }
      for _, limit in ipairs(texts) do
        for _, left in ipairs(texts) do
          local w = with_limits(nil, { a = { answer_with { ["x-ratelimit-limit-requests"] = limit,
            ["x-ratelimit-remaining-requests"] = left, ["x-ratelimit-reset-requests"] = "-5s",
            ratelimit = '"x";r=' .. left .. ";t=" .. limit,
            ["ratelimit-policy"] = '"x";q=' .. limit } } })
          burst(w, 2)
          assert.near(0.2, burst(w, 2)[2], 1e-6)
        end
      end
    end)

    it("can hold up no longer than a day", function()
      local w = with_limits(nil, { a = { answer_with { ["x-ratelimit-limit-requests"] = "10",
        ["x-ratelimit-remaining-requests"] = "0", ["x-ratelimit-reset-requests"] = "9999h" } } })
      burst(w, 1)
      assert.near(6.2, burst(w, 1)[1], 0.01) -- not believed: ten a minute
    end)
  end)

  it("end with the call: cancelled, closed and late ones hold nothing", function()
    local w = with_limits { requests_per_minute = 10 }
    local codes = {}
    w.loop.run(function()
      local stop = unbusy.canceller()
      for i = 1, 4 do
        w.loop.spawn(function()
          codes[i] = select(3, w:chat(i == 3 and { cancel = stop } or { deadline = 20 })) or "good"
        end)
      end
      w.loop.sleep(1)
      stop:cancel()
      w.loop.sleep(1)
      w.client:close()
    end)
    assert.same({ "good", "closed", "cancelled", "closed" }, codes)
    w:assert_clean()
  end)
end)
