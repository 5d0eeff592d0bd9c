local busyd = require "spec.support.busyd"
local json = require "unbusy.json"
local openai = require "unbusy.providers.openai"
local raw_server = require "spec.support.raw_server"
local guard = require "spec.support.leak_guard"
local unbusy = require "unbusy"
local world = require "spec.support.world"

local QUESTION = { model = "m", input = "hi" }

local function response(more)
  local r = { id = "resp_1", object = "response", status = "completed", model = "m-1",
    error = json.null, incomplete_details = json.null,
    output = {
      { type = "reasoning", id = "rs_1", summary = { { type = "summary_text", text = "hm" } } },
      { type = "message", role = "assistant", content = {
        { type = "output_text", text = "hel", annotations = json.array() },
        { type = "output_text", text = "lo" } } },
    },
    usage = { input_tokens = 10, input_tokens_details = { cached_tokens = 4 }, output_tokens = 5,
      output_tokens_details = { reasoning_tokens = 2 }, total_tokens = 15 } }
  for k, v in pairs(more or {}) do r[k] = v end
  return r
end

local function event(kind, more)
  local body = { type = kind }
  for k, v in pairs(more or {}) do body[k] = v end
  return ("event: %s\ndata: %s\n\n"):format(kind, json.encode(body))
end

local CREATED = event("response.created", { response = { status = "in_progress" } })
local IN_PROGRESS = event("response.in_progress", { response = { status = "in_progress" } })
local ADDED = event("response.output_item.added", { item = { type = "message" } })
local function delta(text) return event("response.output_text.delta", { delta = text }) end
local COMPLETED = event("response.completed", { response = response() })

local function whole(body, status)
  if body == "" then body = nil end
  return { status = status or 200, body = type(body) == "table" and json.encode(body) or body }
end

local function new(script, options)
  return world.new { script = { a = script }, options = options or { retry = false } }
end

local function streamed(...)
  local steps = {}
  for i, bytes in ipairs { ... } do steps[i] = { 0.1, bytes } end
  return world.streamed(steps)
end

describe("a response", function()
  it("is asked for as it is", function()
    local w = new { whole(response()) }
    w.client:responses { model = "m", input = { { role = "user", content = "hi" } }, store = false,
      stream = true, stream_options = { include_obfuscation = false } }
    local request = w.log[1].request
    assert.equal("http://a.test/v1/responses", request.url)
    local body = json.decode(request.body)
    assert.is_false(body.store)
    assert.is_nil(body.stream)
    assert.is_nil(body.stream_options)
    assert.equal("hi", body.input[1].content)
  end)

  it("gives its text, reasoning, usage and calls", function()
    local r = response()
    r.output[3] = { type = "function_call", call_id = "c1", name = "f", arguments = '{"a":1}' }
    r.output[4] = { type = "web_search_call", status = "completed" }
    local w = new { whole(r) }
    local reply = assert(w.client:responses(QUESTION))
    assert.equal("hello", reply.text)
    assert.equal("hm", reply.reasoning)
    assert.equal("completed", reply.finish_reason)
    assert.equal("m-1", reply.model)
    assert.same({ prompt_tokens = 10, completion_tokens = 5, total_tokens = 15, cached_tokens = 4,
      reasoning_tokens = 2 }, reply.usage)
    assert.same({ { id = "c1", type = "function",
      ["function"] = { name = "f", arguments = '{"a":1}' } } }, reply.tool_calls)
    assert.equal("resp_1", json.decode(reply.raw).id)
    assert.equal("resp_1", reply.body.id)
    w:assert_clean()
  end)

  it("may be incomplete, queued or a refusal", function()
    local w = new { whole(response { status = "incomplete", output = json.array(),
      incomplete_details = { reason = "max_output_tokens" } }) }
    local reply = assert(w.client:responses(QUESTION))
    assert.equal("max_output_tokens", reply.finish_reason)
    assert.is_nil(reply.text)
    w = new { whole(response { status = "queued", output = json.array() }) }
    assert.equal("queued", w.client:responses(QUESTION).finish_reason)
    w = new { whole(response { output = { { type = "message", content = {
      { type = "refusal", refusal = "no" } } } } }) }
    assert.is_nil(w.client:responses(QUESTION).text)
  end)

  it("that failed is a failure of the right code", function()
    for code, expected in pairs { server_error = "upstream", rate_limit_exceeded = "limited",
      invalid_prompt = "invalid", invalid_image_url = "invalid", server_is_overloaded = "busy",
      insufficient_quota = "quota", vector_store_timeout = "timeout", odd = "upstream" } do
      local w = new { whole(response { status = "failed", output = json.array(),
        error = { code = code, message = "so it is" } }) }
      local reply, message, got = w.client:responses(QUESTION)
      assert.is_nil(reply)
      assert.equal(expected, got, code)
      assert.matches("so it is", message)
      w:assert_clean()
    end
  end)

  it("that makes no sense is a failure", function()
    for body, code in pairs { ['{"object":"response"}'] = "upstream", ["{}"] = "upstream",
      ['{"output":[]}'] = "empty", ['{"status":"completed","output":[]}'] = "empty",
      ['{"status":"failed","output":[]}'] = "upstream", ['{"output":null}'] = "upstream",
      ['{"status":"cancelled","output":[{}]}'] = "upstream", ['{"output":"x"}'] = "upstream",
      ["[]"] = "upstream", [""] = "empty", ["<html>"] = "upstream",
      ['{"code":50603,"message":"System is too busy"}'] = "busy" } do
      local w = new { whole(body) }
      assert.equal(code, select(3, w.client:responses(QUESTION)), body)
    end
  end)

  it("of odd members is read without a fault", function()
    for _, output in ipairs { '[1,"x",null,{}]', '[{"type":"message"}]',
      '[{"type":"message","content":"x"}]',
      '[{"type":"message","content":[1,{"type":"output_text"}]}]',
      '[{"type":"reasoning","summary":null,"content":[]}]', '[{"type":"function_call"}]',
      '[{"type":1}]' } do
      local w = new { whole('{"status":"completed","usage":{"input_tokens":"x"},"output":' .. output
        .. "}") }
      local reply = assert(w.client:responses(QUESTION))
      assert.is_nil(reply.text)
      assert.equal(0, reply.usage.prompt_tokens)
    end
  end)

  it("is not known everywhere", function()
    local w = world.new { script = { a = { whole("", 404) }, b = { whole(response()) } } }
    local _, _, code, detail = w.client:responses(QUESTION)
    assert.same({ "invalid", 404 }, { code, detail.status })
    assert.equal(1, #w.log)
  end)

  it("is retried and moved as any other call", function()
    local w = world.new { script = { a = { whole("", 503) }, b = { whole(response()) } } }
    assert.equal("hello", w.client:responses(QUESTION).text)
    assert.equal(2, #w.log)
  end)

  it("is not cached, and a text may stand in for it", function()
    local options = { cache = true, retry = false }
    local w = new({ whole(response()), whole("", 503) }, options)
    assert.equal("upstream", w.client:responses(QUESTION).source)
    assert.equal("busy", select(3, w.client:responses(QUESTION)))
    options.fallback = "sorry"
    w = new({ whole(response()), whole("", 503) }, options)
    assert.equal("upstream", w.client:responses(QUESTION).source)
    local reply = w.client:responses(QUESTION)
    assert.same({ "fallback", "sorry", "busy" }, { reply.source, reply.text, reply.failure.code })
  end)

  it("is asked for with input, or what stands for it", function()
    local w = new { whole(response()) }
    for _, request in ipairs { { input = "x" }, { prompt = { id = "p" } },
      { previous_response_id = "r" }, { conversation = "c" } } do
      assert.equal("hello", w.client:responses(request).text)
    end
    assert.has_error(function() w.client:responses {} end, "responses: 'input' is missing")
    assert.has_error(function() w.client:responses { prompt = "x" } end,
      "responses: 'input' is missing")
    assert.has_error(function() w.client:responses(1) end,
      "responses: a request table expected, got a number")
    assert.has_error(function() w.client:responses { input = "x", model = 1 } end,
      "responses: model: a string expected, got a number")
  end)
end)

describe("a response's stream", function()
  it("gives typed events, and in the end the whole", function()
    local w = new { streamed(CREATED, IN_PROGRESS, ADDED,
      event("response.reasoning_text.delta", { delta = "hm" }), delta "hel", delta "lo",
      event("response.refusal.delta", { delta = "no" }),
      event("response.function_call_arguments.delta", { delta = "{" }), COMPLETED) }
    local stream = assert(w.client:stream(QUESTION))
    assert.matches('"stream":true', w.log[1].request.body)
    assert.not_matches("stream_options", w.log[1].request.body)
    local seen, text = {}, {}
    for piece in stream:pieces() do
      seen[#seen + 1] = piece.event
      text[#text + 1] = piece.text
      assert.equal(piece.event, json.decode(piece.data).type)
      if piece.event == "response.reasoning_text.delta" then assert.equal("hm", piece.reasoning) end
      if piece.event == "response.refusal.delta" then assert.equal("no", piece.refusal) end
      if piece.event == "response.completed" then
        assert.equal(15, piece.usage.total_tokens)
        assert.equal("completed", piece.finish)
      end
    end
    assert.equal(9, #seen)
    assert.same({ "response.created", "response.completed" }, { seen[1], seen[9] })
    assert.equal("hello", table.concat(text))
    local reply = stream:reply()
    assert.equal("hello", reply.text)
    assert.equal("resp_1", reply.body.id)
    assert.equal(5, reply.usage.completion_tokens)
    w:assert_clean()
  end)

  it("starts with its first answer, not where it is accepted", function()
    local w = new({ world.streamed { { 1, CREATED }, { 1, IN_PROGRESS }, { 1, ADDED },
      { 7, delta "x" }, { 1, COMPLETED } } })
    local stream = assert(w.client:stream(QUESTION))
    assert.is_true(math.abs(stream.times.start - 10.1) < 1e-9)
    assert.equal("response.created", stream:read().event)
    stream:close()
    w = new({ world.streamed { { 1, CREATED }, { 1, IN_PROGRESS }, { 90, delta "x" } } })
    local _, message, code = w.client:stream(QUESTION)
    assert.equal("timeout", code)
    assert.equal("a: start: nothing for 60 s", message)
  end)

  it("is moved while it is only accepted", function()
    local failed = event("response.failed", { response = response { status = "failed",
      error = { code = "server_error", message = "oops" } } })
    local w = world.new { script = { a = { streamed(CREATED, IN_PROGRESS, ADDED, failed) },
      b = { streamed(CREATED, delta "hello", COMPLETED) } } }
    assert.equal("hello", w.client:stream(QUESTION):reply().text)
    assert.equal("upstream", w:seen("failed")[1].code)
    w = world.new { script = { a = { streamed(CREATED) }, b = { streamed(COMPLETED) } } }
    assert.equal("hello", w.client:stream(QUESTION):reply().text)
    assert.equal("empty", w:seen("failed")[1].code)
  end)

  it("tells failures by their code", function()
    local function failure(bytes)
      local w = new { streamed(CREATED, bytes) }
      local _, message, code = w.client:stream(QUESTION)
      return code, message
    end
    assert.equal("limited", failure(event("error", { code = "rate_limit_exceeded",
      message = "x" })))
    assert.equal("busy", failure(event("error", { error = { type = "overloaded_error" } })))
    assert.equal("upstream", failure(event("error", {})))
    assert.equal("upstream", failure(event("response.failed", {})))
    assert.equal("invalid", failure(event("response.failed",
      { error = { code = "invalid_prompt", message = "x" } })))
    assert.equal("upstream", failure(event("response.completed", {})))
    assert.equal("upstream", failure(event("response.completed", { response = 1 })))
    assert.equal("empty", failure(event("response.completed",
      { response = { status = "completed", output = json.array() } })))
    assert.equal("upstream", failure "data: nonsense\n\n")
    assert.equal("upstream", failure "data: [1]\n\n")
    local code, message = failure(event("error", { code = "odd", message = "key-of-a is wrong" }))
    assert.equal("upstream", code)
    assert.not_matches("key%-of%-a", message)
  end)

  it("that ends without its last event is cut", function()
    for _, last in ipairs { "", "data: [DONE]\n\n", "event: response.comp" } do
      local w = new { streamed(CREATED, delta "hel", last) }
      local stream = assert(w.client:stream(QUESTION))
      local reply, message, code = stream:reply()
      assert.is_nil(reply)
      assert.equal("cut", code)
      assert.matches("ended before the response did", message)
      w:assert_clean()
    end
    local w = new { streamed(CREATED, delta "hel",
      event("response.failed", { response = { error = { code = "server_error" } } })) }
    assert.equal("cut", select(3, w.client:stream(QUESTION):reply()))
  end)

  it("may end incomplete", function()
    local w = new { streamed(CREATED, delta "hel", event("response.incomplete",
      { response = response { status = "incomplete",
        incomplete_details = { reason = "content_filter" } } })) }
    assert.equal("content_filter", w.client:stream(QUESTION):reply().finish_reason)
  end)

  it("is known by its data where events have no name, and gives unknown ones", function()
    local w = new { streamed((CREATED .. delta "x" .. event("response.new_thing", {}) .. COMPLETED)
      :gsub("event: [^\n]*\n", "")) }
    local seen = {}
    for piece in w.client:stream(QUESTION):pieces() do seen[#seen + 1] = piece.event end
    assert.same({ "response.created", "response.output_text.delta", "response.new_thing",
      "response.completed" }, seen)
  end)

  it("may be asked for under a plain call", function()
    local w = new { streamed(CREATED, delta "hel", COMPLETED) }
    local reply = assert(w.client:responses(QUESTION, { upstream_stream = true }))
    assert.equal("hello", reply.text)
    assert.equal("resp_1", reply.body.id)
  end)

  it("may come whole", function()
    local w = new { whole(response()) }
    local reply = w.client:stream(QUESTION):reply()
    assert.equal("hello", reply.text)
  end)

  it("is told from a completion's", function()
    local w = new { streamed(COMPLETED) }
    w.client:stream { prompt = { id = "x" } }:close()
    assert.matches("/responses$", w.log[1].request.url)
    w.client:stream { prompt = { "x", "y" } }
    assert.matches("/v1/completions$", w.log[2].request.url)
    assert.has_error(function() w.client:stream {} end, "stream: 'messages' is missing")
  end)

  it("needs no self", function()
    local a = openai.assembler("responses")
    assert.is_nil(a:feed {})
    assert.is_nil(a:feed { data = "" })
    assert.same({}, a:answer())
    assert.equal("empty", select(3, a:finish()))
  end)

  describe("over real HTTP", function()
    guard.watch(before_each, after_each)
    local raw, up
    setup(function() raw, up = raw_server.start(), busyd.start() end)
    teardown(function()
      raw:stop()
      up:stop()
    end)

    it("and a whole one say the same", function()
      up:programme { reset = true, answer = { reasoning = true, cached_tokens = 1 },
        script = { { preset = "busy_503" } } }
      local client = unbusy.new { retry = { base = 0.01 },
        targets = { { name = "a", url = up.url .. "/v1", key = "k" } } }
      local request = { model = "m", input = { { role = "user", content = "天气如何" } } }
      local plain = assert(client:responses(request))
      local text, events = {}, 0
      local stream = assert(client:stream(request))
      for piece in stream:pieces() do
        text[#text + 1], events = piece.text, events + 1
        assert.equal(piece.event, json.decode(piece.data).type)
      end
      assert.is_true(events > 10)
      assert.equal("echo: 天气如何", plain.text)
      assert.equal(plain.text, table.concat(text))
      for _, field in ipairs { "text", "reasoning", "usage", "finish_reason" } do
        assert.same(plain[field], stream:reply()[field])
      end
      assert.equal(1, plain.usage.cached_tokens)
      up:programme { reset = true, answer = { tool_calls = { { id = "t", name = "f" } } } }
      assert.equal("f", client:responses(request).tool_calls[1]["function"].name)
      for preset, code in pairs { server_500 = "upstream", overloaded_body = "busy",
        malformed_json = "upstream", empty_200 = "empty", insufficient_quota = "quota" } do
        up:programme { reset = true, script = { { preset = preset }, { preset = preset } } }
        local once = unbusy.new { retry = false,
          targets = { { name = "a", url = up.url, key = "k" } } }
        assert.equal(code, select(3, once:responses(request)), preset)
        assert.equal(code, select(3, once:stream(request)), preset)
      end
      up:programme { reset = true, script = { { preset = "cut_stream", after = 5 } } }
      assert.equal("cut", select(3, assert(client:stream(request)):reply()))
    end)

    it("comes byte by byte as well", function()
      local client = unbusy.new { retry = false,
        targets = { { name = "a", url = raw.url, key = "k" } } }
      local answer = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" .. CREATED
        .. ": keep-alive\n\n\1" .. delta("x"):gsub("delta", "del\1ta", 1) .. COMPLETED
      local encode = json.encode
      json.encode = function() return answer end
      local stream = assert(client:stream(QUESTION))
      json.encode = encode
      assert.equal("hello", stream:reply().text)
    end)
  end)
end)
