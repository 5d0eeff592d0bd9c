-- Our client against a mock of an LLM API that somebody else wrote: nothing of ours is on both
-- ends. What the mock counted must be what we counted. Run by `tools/test.sh third`.
local json = require "unbusy.json"
local third_party = require "spec.support.third_party"
local unbusy = require "unbusy"

local server

setup(function() server = third_party.start() end)
teardown(function() if server then server:stop() end end)

-- A client whose requests carry the test's name, and the events it has seen, by type.
local function client_of(test, more, target)
  local events, headers = {}, { ["x-test-id"] = test }
  for name, value in pairs(target and target.headers or {}) do headers[name] = value end
  local o = {
    targets = { { name = "mock", url = server.url .. "/v1", key = (target or {}).key or server.key,
      headers = headers, proxy = false } },
    retry = { attempts = 5, base = 0.01, cap = 0.05 },
    on_event = function(e)
      events[e.type] = events[e.type] or {}
      table.insert(events[e.type], e)
    end,
  }
  for name, value in pairs(more or {}) do o[name] = value end
  return unbusy.new(o), events
end

local function ask(text, more)
  local request = { model = "m", messages = { { role = "user", content = text } } }
  for name, value in pairs(more or {}) do request[name] = value end
  return request
end

local function statuses(test)
  local out = {}
  for i, entry in ipairs(server:journal(test)) do out[i] = entry.response.status end
  return out
end

-- Nothing of a client's is under way, waiting or held.
local function assert_idle(client)
  local status = client:status()
  assert.same({ 0, 0 }, { status.active, status.waiting })
  for _, limit in pairs(status.targets[1].limits) do assert.same(0, limit.in_flight) end
  if status.budget then assert.same(0, status.budget.permits) end
end

describe("a third party's server", function()
  it("listens on 127.0.0.1 and nowhere else", function()
    local port = tonumber(server.url:match "%d+$")
    assert.same({ ("0100007F:%04X"):format(port) }, server:listening())
  end)

  it("is sent what was asked, once, and its answer comes back whole", function()
    local client = client_of "plain"
    local reply = assert(client:chat(ask("the weather in words", { temperature = 0.5 })))
    assert.same("Rain in the morning, then a long dry afternoon with some wind from the west.",
      reply.text)
    assert.same({ "upstream", "mock", "mock-1", "stop", 200, 1 }, { reply.source, reply.target,
      reply.model, reply.finish_reason, reply.status, reply.tries })
    assert.same({ 11, 17, 28 }, { reply.usage.prompt_tokens, reply.usage.completion_tokens,
      reply.usage.total_tokens })
    local journal = server:journal "plain"
    assert.same(1, #journal)
    assert.same(reply.headers["x-request-id"], journal[1].headers["x-request-id"])
    assert.same({ "POST", "/v1/chat/completions", "application/json" }, { journal[1].method,
      journal[1].path, journal[1].headers["content-type"] })
    assert.same({ "m", 0.5, "the weather in words" }, { journal[1].body.model,
      journal[1].body.temperature, journal[1].body.messages[1].content })
    assert.is_nil(journal[1].body.stream)
  end)

  it("turns down a wrong key, which is not tried again", function()
    local client, events = client_of("wrong key", nil, { key = "sk-wrong-0123456789" })
    local reply, message, code, detail = client:chat(ask "weather in words")
    assert.same({ "auth", 401, 1 }, { code, detail.status, detail.tries })
    assert.is_nil(reply)
    assert.is_nil(events.retry)
    assert.falsy(message:find("sk-wrong", 1, true))
    assert.same({}, server:journal "wrong key")
  end)

  it("turns down what it does not know, which is not tried again", function()
    local client = client_of("unknown", { fallback = "later" })
    local _, _, code, detail = client:chat(ask "nobody has an answer to this")
    assert.same({ "invalid", 404, 1, "no_fixture_match" },
      { code, detail.status, detail.tries, detail.provider_code })
    _, _, code = client:complete { model = "m", prompt = "it has no such endpoint" }
    assert.same("invalid", code)
    assert.same({ 404 }, statuses "unknown") -- of the other it keeps no record
  end)
end)

describe("a third party's stream", function()
  local function read(client, text)
    local stream = assert(client:stream(ask(text)))
    local pieces = {}
    for piece in stream:pieces() do
      if piece.text then pieces[#pieces + 1] = piece.text end
    end
    return stream:reply(), pieces
  end

  it("comes in pieces that make up the whole", function()
    local client = client_of "stream"
    local reply, pieces = read(client, "weather in words")
    assert.truthy(#pieces > 2)
    assert.same("Rain in the morning, then a long dry afternoon with some wind from the west.",
      table.concat(pieces))
    assert.same({ table.concat(pieces), "stop", 28, "mock-1" }, { reply.text, reply.finish_reason,
      reply.usage.total_tokens, reply.model })
    local body = server:journal("stream")[1].body
    assert.same({ true, true }, { body.stream, body.stream_options.include_usage })
    assert_idle(client)
  end)

  it("brings text beyond ASCII, the same as without a stream", function()
    local client = client_of "beyond"
    local reply, pieces = read(client, "请问天气如何")
    local plain = assert(client:chat(ask "请问天气如何"))
    assert.same("早上有雨,下午转晴,西风三级。夜里多云,明天又是好天气,适合出门走走。", plain.text)
    assert.same(plain.text, table.concat(pieces))
    assert.same(plain.text, reply.text)
    assert.same("请问天气如何", server:journal("beyond")[1].body.messages[1].content)
  end)

  it("is assembled for a plain call with upstream_stream", function()
    local client = client_of("assembled", { upstream_stream = true })
    local reply = assert(client:chat(ask "the weather in words"))
    assert.same("Rain in the morning, then a long dry afternoon with some wind from the west.",
      reply.text)
    assert.same(28, reply.usage.total_tokens)
    assert.is_true(server:journal("assembled")[1].body.stream)
  end)

  it("keeps reasoning apart from the answer", function()
    local client = client_of "reasoning"
    local plain = assert(client:chat(ask "think first"))
    local reply = read(client, "think first")
    for _, r in ipairs { plain, reply } do
      assert.same({ "Forty-two.", "Six times seven, counted twice." }, { r.text, r.reasoning })
    end
  end)

  it("that is cut short says so, after what had come", function()
    local client = client_of "cut"
    local stream = assert(client:stream(ask "cut it"))
    local text = ""
    local piece, message, code = stream:read()
    while piece do
      text = text .. (piece.text or "")
      piece, message, code = stream:read()
    end
    assert.same("cut", code)
    assert.truthy(message)
    assert.truthy(#text > 0 and #text < 38)
    assert.same(text, ("This sentence does not come to its end."):sub(1, #text))
    assert.same(1, #server:journal "cut")
    assert_idle(client)
  end)
end)

describe("a third party's tool calls", function()
  local function assert_calls(reply)
    assert.same({ "Let me look.", "tool_calls", 2 },
      { reply.text, reply.finish_reason, #reply.tool_calls })
    local weather, clock = reply.tool_calls[1], reply.tool_calls[2]
    assert.same({ "call_a", "weather" }, { weather.id, weather["function"].name })
    assert.same({ "call_b", "clock", "{}" },
      { clock.id, clock["function"].name, clock["function"].arguments })
    local arguments = json.decode(weather["function"].arguments)
    assert.same({ "München", 3, 'a "quoted" word' },
      { arguments.city, #arguments.days, arguments.note })
  end

  it("are the same whole, streamed, and assembled", function()
    local client = client_of "tools"
    assert_calls(assert(client:chat(ask "use the tools")))
    assert_calls(assert(assert(client:stream(ask "use the tools")):reply()))
    assert_calls(assert(client:chat(ask "use the tools", { upstream_stream = true })))
  end)

  it("can be answered", function()
    local client = client_of "tools answered"
    local request = ask "use the tools"
    local calls = assert(client:chat(request)).tool_calls
    table.insert(request.messages, { role = "assistant", content = json.null, tool_calls = calls })
    for _, call in ipairs(calls) do
      table.insert(request.messages, { role = "tool", tool_call_id = call.id, content = "12" })
    end
    assert.same("It rains, and it is noon.", assert(client:chat(request)).text)
    local sent = server:journal("tools answered")[2].body.messages
    assert.same("call_a", sent[2].tool_calls[1].id)
  end)
end)

describe("a third party's embeddings", function()
  it("come back as they are, one for each input", function()
    local client = client_of "embeddings"
    local one = assert(client:embed { model = "m", input = "one vector" })
    assert.same({ 0.25, -0.5, 1, 0 }, one.body.data[1].embedding)
    local two = assert(client:embed { model = "m", input = { "one vector", "another" } })
    assert.same({ 2, 1 }, { #two.body.data, two.body.data[2].index })
    assert.same({ 200, 200 }, statuses "embeddings")
  end)
end)

describe("a third party's refusals", function()
  it("with Retry-After are waited for, then answered", function()
    local client, events = client_of "limited"
    local reply = assert(client:chat(ask "limited once"))
    assert.same({ "Thank you for waiting.", 2 }, { reply.text, reply.tries })
    assert.same({ "limited", 1 }, { events.failed[1].code, #events.retry })
    assert.truthy(events.retry[1].seconds >= 1 and events.retry[1].seconds <= 1.1)
    assert.same({ 429, 200 }, statuses "limited")
    assert_idle(client)
  end)

  it("for longer than we wait end the call at once", function()
    local client = client_of "limited for long"
    local _, _, code, detail = client:chat(ask "limited for long")
    assert.same({ "limited", 3600, 1 }, { code, detail.retry_after, detail.tries })
    assert.same({ 429 }, statuses "limited for long")
  end)

  it("for want of money are not tried again", function()
    local client = client_of "no money"
    local _, _, code, detail = client:chat(ask "no money")
    assert.same({ "quota", 429, 1 }, { code, detail.status, detail.tries })
    assert.same({ 429 }, statuses "no money")
  end)

  it("of three kinds are followed by the fourth try", function()
    local client, events = client_of "three"
    local reply = assert(client:chat(ask "three bad answers"))
    assert.same({ "The fourth is good.", 4 }, { reply.text, reply.tries })
    assert.same({ 503, 500, 502, 200 }, statuses "three")
    local codes = {}
    for i, e in ipairs(events.failed) do codes[i] = e.code end
    assert.same({ "busy", "upstream", "upstream" }, codes)
  end)

  it("come back to the caller of a stream as they do to any other", function()
    local client = client_of "three streamed"
    local reply = assert(assert(client:stream(ask "three bad answers")):reply())
    assert.same({ "The fourth is good.", 4 }, { reply.text, reply.tries })
    assert.same({ 503, 500, 502, 200 }, statuses "three streamed")
  end)
end)

-- {== Chaos ===============================================================

-- Every call has a question and an answer of its own, so that none can be mistaken for another.
local CALLS = 300

local function questions()
  local fixtures = {}
  for i = 1, CALLS do
    fixtures[i] = { match = { userMessage = ("question [%d]"):format(i) },
      response = { content = ("the answer to %d"):format(i) } }
  end
  return fixtures
end

local function plain(client, i)
  return client:chat(ask(("question [%d]"):format(i)))
end

local function streamed(client, i)
  local stream, message, code, detail = client:stream(ask(("question [%d]"):format(i)))
  if not stream then return nil, message, code, detail end
  return stream:reply()
end

-- Makes `n` calls at once. Gives how often each ended, the tries of all together, and the failures
-- by code; a good answer must be its own.
local function storm(client, n, call)
  local ends, tries, failures = {}, 0, {}
  unbusy.run(function()
    local tasks = {}
    for i = 1, n do
      tasks[i] = unbusy.spawn(function()
        local reply, message, code, detail = call(client, i)
        ends[i] = (ends[i] or 0) + 1
        if reply then
          assert(reply.text == ("the answer to %d"):format(i), "not its own answer")
        else
          assert(message, "a failure without a message")
          failures[code] = (failures[code] or 0) + 1
        end
        tries = tries + (reply and reply.tries or detail.tries)
      end)
    end
    for _, task in ipairs(tasks) do task:join() end
  end)
  return ends, tries, failures
end

local function once_each(n)
  local out = {}
  for i = 1, n do out[i] = 1 end
  return out
end

-- What the server did to a test's requests: by fault, and good ones.
local function done_to(test)
  local done, all = {}, server:journal(test)
  for _, entry in ipairs(all) do
    local what = entry.response.chaosAction or "good"
    done[what] = (done[what] or 0) + 1
  end
  return done, #all
end

-- Our failures by status of the answer ("none" where there was no answer, "malformed" of 200).
local function our_failures(events)
  local out = {}
  for _, e in ipairs(events.failed or {}) do
    local what = e.status == 200 and "malformed" or e.status == 500 and "drop"
      or e.status == 429 and "rateLimit" or "disconnect"
    out[what] = (out[what] or 0) + 1
  end
  return out
end

local CHAOS = { dropRate = 0.2, malformedRate = 0.15, disconnectRate = 0.15 }
local UNGUARDED = { breaker = false, limiter = false, budget = false,
  retry = { attempts = 50, base = 0.01, cap = 0.05 } }

describe("a third party's chaos", function()
  local shared

  -- A server of its own for each storm: its counters are at zero, and no connection to it is kept.
  before_each(function()
    shared, server = server, third_party.start()
    server:add(questions())
  end)

  after_each(function()
    server:stop()
    server = shared
  end)

  -- Both sides' books of one storm. What the server did is what we saw, fault by fault; but a
  -- request that is lost with a kept connection, before any byte of answer, may have been sent
  -- again within the same try: then the server has broken off one more than we have noticed.
  local function assert_books(test, client, events, tries)
    local done, received = done_to(test)
    local seen, good = our_failures(events), #(events.answer or {})
    local resent = (done.disconnect or 0) - (seen.disconnect or 0)
    assert.same(tries, #events.try)
    assert.same(received, tries + resent)
    assert.truthy(resent >= 0)
    assert.same({ done.drop, done.malformed, done.rateLimit, done.good },
      { seen.drop, seen.malformed, seen.rateLimit, good })
    assert_idle(client)
    return resent
  end

  it("is outlasted by calls that may try often: each is answered, once", function()
    server:chaos("outlasted", CHAOS)
    local client, events = client_of("outlasted", UNGUARDED, { headers = { connection = "close" } })
    local ends, tries, failures = storm(client, CALLS, plain)
    assert.same(once_each(CALLS), ends)
    assert.same({}, failures)
    assert.truthy(tries > CALLS)
    assert.same(0, assert_books("outlasted", client, events, tries)) -- no connection is kept
    local done, counted = done_to "outlasted", server:metric "aimock_chaos_triggered_total"
    assert.same(CALLS, done.good)
    for _, action in ipairs { "drop", "malformed", "disconnect" } do
      assert.same(done[action], counted[('action="%s",source="fixture"'):format(action)])
    end
  end)

  it("does streams no harm either", function()
    server:chaos("streams", CHAOS)
    local client, events = client_of("streams", UNGUARDED)
    local ends, tries, failures = storm(client, CALLS, streamed)
    assert.same(once_each(CALLS), ends)
    assert.same({}, failures)
    assert_books("streams", client, events, tries)
    assert.same(CALLS, done_to("streams").good)
  end)

  -- The breaker opens and closes many times meanwhile: no waiting call may be forgotten.
  it("ends each call once with every guard on, well or with a reason", function()
    server:chaos("guarded", { dropRate = 0.5, malformedRate = 0.15, disconnectRate = 0.15 })
    local client, events = client_of("guarded", { breaker = { open_for = 0.2 },
      queue = { max_wait = 60 } })
    local ends, tries, failures = storm(client, CALLS, plain)
    assert.same(once_each(CALLS), ends)
    assert.truthy(events.state)
    local failed = 0
    for code, n in pairs(failures) do
      assert.truthy(({ upstream = 1, empty = 1, network = 1, budget = 1 })[code], code)
      failed = failed + n
    end
    assert.same(CALLS - failed, done_to("guarded").good)
    assert_books("guarded", client, events, tries)
  end)

  it("of 429s is waited out", function()
    server:chaos("limits", { rateLimitRate = 0.3 })
    local client, events = client_of("limits", UNGUARDED)
    local ends, tries, failures = storm(client, 10, plain)
    assert.same(once_each(10), ends)
    assert.same({}, failures)
    for _, e in ipairs(events.retry or {}) do assert.truthy(e.seconds >= 1) end
    assert_books("limits", client, events, tries)
  end)

  it("that is total ends in the fallback, and is over when it is over", function()
    server:chaos("total", { dropRate = 1 })
    local client = client_of("total", { fallback = "later", breaker = false })
    local reply = assert(plain(client, 1))
    assert.same({ "later", "fallback", 5, "upstream" },
      { reply.text, reply.source, reply.tries, reply.failure.code })
    server:calm "total"
    reply = assert(plain(client, 1))
    assert.same({ "the answer to 1", "upstream", 1 }, { reply.text, reply.source, reply.tries })
    assert.same({ 500, 500, 500, 500, 500, 200 }, statuses "total")
  end)
end)

-- }========================================================================
