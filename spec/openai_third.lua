-- Clients that others wrote, against our gateway in a real nginx: OpenAI's SDK, and curl. Behind it
-- are somebody else's mock server, and the busy upstream. Whatever works at the mock must look the
-- same through us, field by field. Run by `tools/test.sh third`.
local cjson = require "cjson"
local busyd = require "spec.support.busyd"
local gateways = require "spec.support.gateways"
local third_party = require "spec.support.third_party"

local CONFIG = [[return {
  targets = { { name = "up", url = "${url}/v1", key = "${key}", proxy = false } },
  gateway = { keys = { "sk-of-a-client" } },
  ${more}
}]]

local KEY = "sk-of-a-client"

local function gateway_of(url, key, more)
  return gateways.start { config = CONFIG,
    values = { url = url, key = key, more = more or "" } }
end

-- What a script sees through a gateway.
local function seen(g, name, given)
  return third_party.sdk(name, { url = ("http://127.0.0.1:%d/v1"):format(g.port), key = KEY,
    given = given })
end

local function assert_no_errors(g)
  assert.is_nil(g:errors():match "%[error%][^\n]*" or g:errors():match "%[crit%][^\n]*")
end

describe("OpenAI's SDK, through the gateway to a third party's server,", function()
  local server, g

  setup(function()
    server = third_party.start()
    g = gateway_of(server.url, server.key)
  end)

  teardown(function()
    if g then g:stop() end
    if server then server:stop() end
  end)

  after_each(function()
    g:settle()
    assert_no_errors(g)
  end)

  -- What it sees through us, which is what it sees without us.
  local function both(name)
    local direct = third_party.sdk(name, { url = server.url .. "/v1", key = server.key })
    local ours = seen(g, name)
    for part in pairs(direct) do assert.same({ part, direct[part] }, { part, ours[part] }) end
    return ours
  end

  it("chats, whole and streamed", function()
    local ours = both "chat"
    local text = "Rain in the morning, then a long dry afternoon with some wind from the west."
    assert.equal(text, ours.whole.data.choices[1].message.content)
    assert.equal(text, table.concat(ours.assembled.deltas))
    assert.equal(28, ours.assembled.usage.total_tokens)
    assert.same({ true, 6, 7 }, { ours.streamed.isEventStream, #ours.streamed.chunks,
      #ours.withUsage.chunks })
    assert.equal("Six times seven, counted twice.",
      ours.reasoning.data.choices[1].message.reasoning_content)
  end)

  it("calls tools, and carries them out", function()
    local ours = both "tools"
    for _, way in ipairs { "carriedOut", "carriedOutStreamed" } do
      assert.equal("It rains, and it is noon.", ours[way].text)
      local weather, clock = ours[way].calls[1], ours[way].calls[2]
      assert.same({ "weather", "München", "clock" },
        { weather.name, weather.args.city, clock.name })
    end
    assert.equal("tool_calls", ours.assembled.choices[1].finish_reason)
  end)

  it("speaks the Responses API", function()
    local ours = both "responses"
    assert.equal("Let me look.", ours.tools.output_text)
    assert.equal("response.completed", ours.streamed[#ours.streamed].type)
    assert.equal(ours.whole.output_text, ours.assembled)
  end)

  it("embeds, and uses what the gateway only passes on", function()
    local ours = both "others"
    assert.same({ 0.25, -0.5, 1, 0 }, ours.embeddings.data[1].embedding)
    assert.equal(2, #ours.embeddings.data)
    assert.same({ true, true, "NotFoundError" }, { ours.files.isSame, ours.files.listed,
      ours.files.unknown.error.class })
    assert.equal("ff0001f09f8eb50d0a00", ours.speech.bytes)
  end)

  it("hears of a stream that was cut, after what had come", function()
    local e = seen(g, "errors", { calls = { { stream = true, request = { messages = {
      { role = "user", content = "cut it" } } } } } })[1]
    assert.same({ "APIError", "cut" }, { e.error.class, e.error.code })
    assert.is_true(e.seen >= 1)
    assert.matches("^up: body: ", e.error.message)
  end)

  it("asks for one model", function()
    local ours = seen(g, "models", { ids = { "gpt-4", "no such/model?" } })
    assert.same({ id = "string", object = "model", created = "number", owned_by = "aimock" },
      ours[1].answer)
    assert.same({ "NotFoundError", "model_not_found" },
      { ours[2].error.class, ours[2].error.code })
  end)
end)

describe("OpenAI's SDK, through the gateway to a busy upstream,", function()
  local up, g

  local function start(more)
    if g then g:stop() end
    g = gateway_of(up.url, "sk-upstream", more)
  end

  setup(function() up = busyd.start { workers = 1 } end)

  teardown(function()
    if g then g:stop() end
    if up then up:stop() end
  end)

  before_each(function() up:programme { reset = true } end)

  after_each(function()
    g:settle()
    assert_no_errors(g)
  end)

  local ALONE = "retry = false, breaker = false, budget = false, limiter = false,"

  -- The upstream answers so, always.
  local function answers(spec)
    up:programme { reset = true, faults = { { share = 1, answer = spec } } }
  end

  -- How calls end: each { stream, request, client = options of the SDK }.
  local function ends(...)
    return seen(g, "errors", { calls = { ... } })
  end

  -- Class, status and code of the error of a plain call; those of a stream are the same.
  local function failure()
    local out = {}
    for i, e in ipairs(ends({}, { stream = true })) do
      assert.is_true(e.error.isApiError and e.error.hasRequestId)
      out[i] = { e.error.class, e.error.status, e.error.code }
    end
    assert.same(out[1], out[2])
    return out[1]
  end

  it("knows each failure by its type, which may be another than the upstream's", function()
    start(ALONE)
    local named = { invalid_400 = { "BadRequestError", 400, "invalid" },
      not_found = { "NotFoundError", 404, "model_not_found" },
      unprocessable_422 = { "UnprocessableEntityError", 422, "invalid" },
      rate_limited = { "RateLimitError", 429, "limited" },
      slow_down = { "RateLimitError", 429, "limited" },
      busy_503 = { "InternalServerError", 503, "busy" },
      overloaded_529 = { "InternalServerError", 503, "busy" },
      server_500 = { "InternalServerError", 502, "upstream" },
      cloudflare_520 = { "InternalServerError", 502, "upstream" },
      empty_200 = { "InternalServerError", 502, "empty" },
      garbage = { "InternalServerError", 502, "upstream" } }
    for preset, expected in pairs(named) do
      answers { preset = preset }
      assert.same({ preset, expected }, { preset, failure() })
    end
  end)

  it("knows a connection that is closed on it as a failure of the server", function()
    start(ALONE)
    for _, preset in ipairs { "close", "reset", "cut_headers" } do
      answers { preset = preset }
      for _, e in ipairs(ends({}, { stream = true })) do
        assert.same({ "InternalServerError", 502 }, { e.error.class, e.error.status })
        assert.truthy(e.error.code == "empty" or e.error.code == "network", e.error.code)
      end
    end
  end)

  it("is never told that its own key is wrong where ours is, or has no money", function()
    for preset, code in pairs { unauthorized = "auth", forbidden = "auth",
      insufficient_quota = "quota", payment_402 = "quota" } do
      start(ALONE) -- one that has not put the key aside
      answers { preset = preset }
      assert.same({ "InternalServerError", 502, code }, failure())
    end
  end)

  it("is told when its own key is wrong, in its own words", function()
    start()
    local e = ends({ client = { apiKey = "sk-wrong" } })[1].error
    assert.same({ "AuthenticationError", 401, "invalid_api_key", "authentication_error" },
      { e.class, e.status, e.code, e.type })
    assert.is_nil(e.message:find("sk-", 1, true))
    assert.equal(0, up:counts().received)
  end)

  it("is told what is wrong with a request, by its field", function()
    start()
    for _, case in ipairs {
      { { messages = {} }, "messages" }, { { messages = cjson.null }, "messages" },
      { { model = 7 }, "model" }, { { stream = "yes" }, "stream" },
    } do
      local e = ends({ request = case[1] })[1].error
      assert.same({ "BadRequestError", 400, case[2], "invalid_request_error" },
        { e.class, e.status, e.param, e.type })
    end
    assert.equal(0, up:counts().received)
  end)

  it("hears of a stream that breaks, after what has come", function()
    start(ALONE)
    for preset, code in pairs { cut_stream = "cut", reset_stream = "cut", no_finish = "cut" } do
      answers { preset = preset }
      local e = ends({ stream = true })[1]
      assert.same({ "APIError", code }, { e.error.class, e.error.code })
      assert.is_true(e.seen >= 1)
    end
  end)

  it("fails to connect where nobody listens", function()
    start()
    local port = g.port
    g:stop()
    local told = third_party.sdk("errors", { url = ("http://127.0.0.1:%d/v1"):format(port),
      key = KEY, given = { calls = { {} } } })
    assert.equal("APIConnectionError", told[1].error.class)
    start()
  end)

  it("does not try again what we have tried", function()
    start "retry = { attempts = 3, base = 0.01, cap = 0.02 }, breaker = false, budget = false,"
    local patient = { client = { maxRetries = 5 } }
    answers { preset = "busy_503" }
    assert.equal("InternalServerError", ends(patient)[1].error.class)
    assert.equal(3, up:counts().received)
    answers { preset = "server_500" }
    patient.stream = true
    assert.equal("InternalServerError", ends(patient)[1].error.class)
    assert.equal(3, up:counts().received)
  end)

  it("tries again by itself where we do not, and waits as we say", function()
    start(ALONE)
    up:programme { reset = true, script = { { preset = "rate_limited", retry_after = 1 } } }
    local patient = { client = { maxRetries = 1 } }
    assert.equal("echo: hi", ends(patient)[1].answer.choices[1].message.content)
    assert.equal(2, up:counts().received)
  end)

  it("is told how long a limit lasts, and so is who comes next", function()
    start()
    up:programme { reset = true, script = { { preset = "rate_limited", retry_after = 3600 } } }
    local e = ends({}, {})
    for i, expected in ipairs { { "RateLimitError", 429, "limited" },
      { "InternalServerError", 503, "open" } } do
      assert.same(expected, { e[i].error.class, e[i].error.status, e[i].error.code })
      assert.is_true(tonumber(e[i].error.retryAfter) > 3500)
    end
    assert.equal(1, up:counts().received)
  end)

  it("sees neither refusals nor breaks that a second try has cured", function()
    start "retry = { attempts = 4, base = 0.01, cap = 0.02 },"
    up:programme { reset = true, script = { { preset = "busy_503" }, { preset = "reset" },
      { preset = "cut_body" }, {}, { preset = "server_500" }, { preset = "garbage" } } }
    local e = ends({}, { stream = true })
    assert.equal("echo: hi", e[1].answer.choices[1].message.content)
    assert.same({ nil, 6 }, { e[2].error, e[2].seen })
    assert.equal(7, up:counts().received)
  end)

  for _, way in ipairs { "whole", "stream", "timeout", "signal", "controller", "leaving" } do
    it("gives up (" .. way .. "), and the upstream's call ends", function()
      start "gateway = { keys = { 'sk-of-a-client' }, ping = false },"
      local early = way == "whole" or way == "stream" or way == "timeout"
      up:programme { reset = true, latency = early and 60 or 0, token_interval = 0.05,
        answer = { tokens = 5000 } }
      local told = seen(g, "abort", { way = way, counts = up.url .. "/__busy/counts" })
      local class = told.error and told.error.class
      assert.equal(way == "timeout" and "APIConnectionTimeoutError"
        or early and "APIUserAbortError" or nil, class)
      gateways.eventually(function() return up:counts().aborted_by_client == 1 end)
      assert.same({ 1, 0 }, { up:counts().received, up:counts().in_service })
      assert.equal(499, g:log(1).status)
    end)
  end

  -- What the SDK makes of each API when something stands in.
  local function stood_in(fallback)
    start(ALONE .. "fallback = " .. fallback .. ",")
    up:programme { reset = true, capacity = 0 }
    return seen(g, "fallback")
  end

  local function joined(chunks, field)
    local out = {}
    for _, chunk in ipairs(chunks) do
      local choice = chunk.choices[1]
      local text = choice and (field and choice.delta[field] or not field and choice.text)
      if type(text) == "string" then out[#out + 1] = text end
    end
    return table.concat(out)
  end

  it("takes a text that stands in for an answer, whole, by events and assembled", function()
    local ours = stood_in [[{ text = "忙:{code}", reasoning = "hm", status = 203,
      usage = { prompt_tokens = 2, completion_tokens = 3 } }]]
    local chat = ours.chat.answer
    assert.same({ "忙:busy", "hm", "stop", 5 }, { chat.choices[1].message.content,
      chat.choices[1].message.reasoning_content, chat.choices[1].finish_reason,
      chat.usage.total_tokens })
    local chunks = ours.chatStreamed.answer
    assert.same({ "忙:busy", "hm", 5 }, { joined(chunks, "content"),
      joined(chunks, "reasoning_content"), chunks[#chunks].usage.total_tokens })
    local assembled = ours.chatAssembled.answer
    assert.same({ "忙:busy", "stop", 5 }, { assembled.completion.choices[1].message.content,
      assembled.completion.choices[1].finish_reason, assembled.usage.total_tokens })
    assert.equal("忙:busy", ours.complete.answer.choices[1].text)
    assert.equal("忙:busy", joined(ours.completeStreamed.answer))
    assert.same({ "fallback", "text", "busy" }, { ours.headers.answer["x-unbusy-source"],
      ours.headers.answer["x-unbusy-fallback"], ours.headers.answer["x-unbusy-code"] })
  end)

  it("takes a response that stands in, whole, by events and assembled", function()
    local ours = stood_in [[{ text = "忙:{code}", reasoning = "hm" }]]
    local whole, assembled = ours.responses.answer, ours.responsesAssembled.answer
    for _, response in ipairs { whole, assembled } do
      assert.same({ "忙:busy", "completed", "reasoning", "hm" }, { response.output_text,
        response.status, response.output[1].type, response.output[1].summary[1].text })
    end
    local events, text = ours.responsesStreamed.answer, {}
    for i, event in ipairs(events) do
      assert.equal(i - 1, event.sequence_number)
      if event.type == "response.output_text.delta" then text[#text + 1] = event.delta end
    end
    assert.same({ "忙:busy", "response.completed", "忙:busy" }, { table.concat(text),
      events[#events].type, events[#events].response.output[2].content[1].text })
  end)

  it("takes a whole reply, also in one event", function()
    local ours = stood_in [[{ reply = { choices = { { finish_reason = "tool_calls", message = {
      tool_calls = { { id = "call_1", type = "function",
        ["function"] = { name = "f", arguments = "{}" } } } } } } } }]]
    for _, completion in ipairs { ours.chat.answer, ours.chatAssembled.answer.completion } do
      local choice = completion.choices[1]
      assert.same({ "tool_calls", "f", cjson.null }, { choice.finish_reason,
        choice.message.tool_calls[1]["function"].name, choice.message.content })
    end
    assert.same({ "InternalServerError", 503 },
      { ours.complete.error.class, ours.complete.error.status })
  end)

  it("sees an error, with our words, where what stands in has a status of failure", function()
    local ours = stood_in [[{ text = "later, please", status = 503 }]]
    for _, name in ipairs { "chat", "chatStreamed", "chatAssembled", "complete",
      "completeStreamed", "responses", "responsesStreamed", "responsesAssembled" } do
      local e = ours[name].error
      assert.same({ name, "InternalServerError", 503, "busy", "service_unavailable_error", "1" },
        { name, e.class, e.status, e.code, e.type, e.retryAfter })
      assert.equal("503 later, please", e.message)
    end
    assert.equal(9, up:counts().received)
  end)

  it("sees another model's answer as any", function()
    start(ALONE .. "fallback = { { model = 'flash' }, 'x' },")
    up:programme { reset = true, log = true, script = { { preset = "busy_503" }, {},
      { preset = "busy_503" }, {} } }
    local e = ends({}, { stream = true })
    assert.same({ "echo: hi", nil }, { e[1].answer.choices[1].message.content, e[2].error })
    assert.equal(4, up:counts().received)
  end)

  it("gets vectors in the form that it asks for", function()
    start()
    local one = seen(g, "vectors", { input = "one" })
    assert.same({ busyd.embedding("one", 8), busyd.embedding("one", 8) },
      { one.base64, one.float })
  end)

  it("makes a hundred calls at once, and each gets its own answer", function()
    start()
    up:programme { reset = true, capacity = 30, queue = 100, latency = 0.1, token_interval = 0.01,
      track = true }
    assert.same({ right = 100, others = {} }, seen(g, "many", { n = 100 }))
    local counts = up:counts()
    assert.equal(100, counts.completed)
  end)
end)

describe("curl, through the gateway,", function()
  local server, g

  setup(function()
    server = third_party.start()
    g = gateway_of(server.url, server.key)
  end)

  teardown(function()
    if g then g:stop() end
    if server then server:stop() end
  end)

  after_each(function()
    g:settle()
    assert_no_errors(g)
  end)

  local TEXT = "Rain in the morning, then a long dry afternoon with some wind from the west."

  local function question(stream)
    return ('{"model":"m","stream":%s,"messages":[{"role":"user","content":"weather in words"}]}')
      :format(tostring(stream))
  end

  local function ask(stream, options)
    return g:ask("/v1/chat/completions", { body = question(stream), options = options,
      headers = { "authorization: Bearer " .. KEY } })
  end

  local function text_of(events)
    local out = {}
    for data in events:gmatch "data: ({[^\n]*})\n\n" do
      local choice = cjson.decode(data).choices[1]
      out[#out + 1] = choice and choice.delta.content
    end
    return table.concat(out)
  end

  for name, options in pairs { ["HTTP/1.1"] = "--http1.1", ["HTTP/1.0"] = "--http1.0" } do
    it("is served over " .. name, function()
      local whole = ask(false, options)
      assert.same({ 200, TEXT }, { whole.status,
        cjson.decode(whole.body).choices[1].message.content })
      local stream = ask(true, options)
      assert.same({ 200, TEXT }, { stream.status, text_of(stream.body) })
      assert.truthy(stream.body:find "data: %[DONE%]\n\n$")
    end)
  end

  it("is answered in order when requests come on each other's heels", function()
    local requests = {}
    for i = 1, 6 do
      local body = question(i % 2 == 0)
      requests[i] = ("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: %s\r\n"
        .. "authorization: Bearer %s\r\ncontent-length: %d\r\n\r\n%s")
        :format(i == 6 and "close" or "keep-alive", KEY, #body, body)
    end
    local kinds = {}
    local answers = g:raw(table.concat(requests))
    for kind in answers:gmatch "HTTP/1.1 200 OK\r\n.-\r\nContent%-Type: (%S+)" do
      kinds[#kinds + 1] = kind:match "^[^;]+"
    end
    assert.same({ "application/json", "text/event-stream", "application/json",
      "text/event-stream", "application/json", "text/event-stream" }, kinds)
  end)
end)
