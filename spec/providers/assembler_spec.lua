local assembler = require "unbusy.providers.assembler"
local json = require "unbusy.json"
local openai = require "unbusy.providers.openai"

local function choice(delta, finish, index)
  return { index = index or 0, delta = delta, finish_reason = finish or json.null }
end

local function event(chunk)
  if type(chunk) == "table" then chunk = assert(json.encode(chunk)) end
  return { data = chunk }
end

local function chunk(...)
  return event { id = "c1", object = "chat.completion.chunk", created = 1700000000, model = "m",
    system_fingerprint = "fp", choices = { ... } }
end

local done = { data = "[DONE]" }

-- An assembler that was fed all events without a failure.
local function fed(events, kind)
  local a = assembler.new(kind or "chat")
  for _, e in ipairs(events) do
    local _, message = a:feed(e)
    assert.is_nil(message)
  end
  return a
end

describe("assembler", function()
  -- Kimi's streams (northes/go-moonshot#17) had no usage, and so no cost.
  it("takes the usage of the choice where none stands beside it", function()
    local own = { prompt_tokens = 19, completion_tokens = 13, total_tokens = 32 }
    local function last(usage)
      local c = choice({}, "stop")
      c.usage = own
      return event { id = "c1", model = "m", choices = { c }, usage = usage }
    end
    local a = assembler.new "chat"
    a:feed(chunk(choice { content = "x" }))
    assert.equal(32, a:feed(last()).usage.total_tokens)
    assert.same({ 32, 13 }, { a:answer().usage.total_tokens,
      a:answer().body.usage.completion_tokens })
    a = fed { chunk(choice { content = "x" }), last { prompt_tokens = 1, total_tokens = 1 } }
    assert.equal(1, a:answer().usage.total_tokens)
    a = fed { chunk(choice { content = "x" }), last(json.null), event { id = "c1",
      choices = json.array {}, usage = { prompt_tokens = 2, total_tokens = 2 } } }
    assert.equal(2, a:answer().usage.total_tokens)
    a = assembler.new("chat", nil, { n = 2 }) -- each would have its own
    assert.is_nil(a:feed(last()).usage)
    assert.is_nil(a:answer().usage)
  end)

  it("gives pieces and the answer, as if it had not been a stream", function()
    local a = assembler.new "chat"
    local first = a:feed(chunk(choice { role = "assistant", content = "" }))
    assert.is_nil(first.started)
    assert.is_false(a.started)
    local thought = a:feed(chunk(choice { reasoning_content = "hm" }))
    assert.same({ "hm", nil, true }, { thought.reasoning, thought.text, thought.started })
    local e = chunk(choice { content = "天" })
    local piece = a:feed(e)
    assert.same({ "天", true, e.data }, { piece.text, piece.started, piece.data })
    a:feed(chunk(choice { content = "气" }))
    assert.is_false(a.finished)
    assert.equal("stop", a:feed(chunk(choice({}, "stop"))).finish)
    assert.is_true(a.finished)
    local last = a:feed(event { id = "c1", choices = json.array {},
      usage = { prompt_tokens = 4, completion_tokens = 2, total_tokens = 6 } })
    assert.equal(6, last.usage.total_tokens)
    assert.same({}, { a:feed(done) })
    assert.is_true(a.done)
    assert.is_true(a:finish())
    local answer = a:answer()
    assert.same({ "天气", "hm", "stop", "m" }, { answer.text, answer.reasoning, answer.finish,
      answer.model })
    assert.equal(6, answer.usage.total_tokens)
    assert.same({ id = "c1", object = "chat.completion", created = 1700000000, model = "m",
      system_fingerprint = "fp", usage = { prompt_tokens = 4, completion_tokens = 2,
        total_tokens = 6 },
      choices = { { index = 0, finish_reason = "stop", logprobs = json.null, message = {
        role = "assistant", content = "天气", reasoning_content = "hm" } } } }, answer.body)
    local again = assert(openai.read("chat", 200, {}, assert(json.encode(answer.body))))
    assert.same(answer, again)
    assert.equal(answer, a:answer())
  end)

  it("starts at the first byte of any kind of answer, not before", function()
    for _, delta in ipairs { { role = "assistant" }, { content = "" }, {}, { content = json.null },
      { role = "assistant", content = "", refusal = json.null }, { tool_calls = json.null },
      { tool_calls = json.array {} }, { reasoning_content = "" }, { content = 5 } } do
      local a = assembler.new "chat"
      assert.is_nil(assert(a:feed(chunk(choice(delta)))).started)
      assert.is_false(a.started)
    end
    for _, delta in ipairs { { content = "x" }, { reasoning_content = "x" }, { reasoning = "x" },
      { refusal = "x" }, { tool_calls = { { index = 0, id = "c" } } },
      { function_call = { name = "f", arguments = "" } } } do
      local a = assembler.new "chat"
      assert.is_true(a:feed(chunk(choice(delta))).started)
      assert.is_true(a.started)
    end
  end)

  it("joins tool calls by their index", function()
    local function part(index, id, name, arguments)
      return { index = index, id = id, type = id and "function" or nil,
        ["function"] = { name = name, arguments = arguments } }
    end
    local a = fed { chunk(choice { role = "assistant", content = json.null }),
      chunk(choice { tool_calls = { part(0, "a", "f", "") } }),
      chunk(choice { tool_calls = { part(0, nil, nil, '{"x"'), part(1, "b", "g", '{"y":') } }),
      chunk(choice { tool_calls = { part(1, nil, nil, "2}") } }),
      chunk(choice { tool_calls = { part(0, nil, nil, ":1}") } }),
      chunk(choice({}, "tool_calls")), done }
    local answer = a:answer()
    assert.same({ { id = "a", type = "function", ["function"] = { name = "f",
      arguments = '{"x":1}' } },
      { id = "b", type = "function", ["function"] = { name = "g", arguments = '{"y":2}' } } },
      answer.tool_calls)
    assert.equal(json.null, answer.body.choices[1].message.content)
    assert.is_nil(answer.text)
  end)

  it("joins tool calls that come without an index, and the older function call", function()
    local a = fed { chunk(choice { tool_calls = { { id = "a", ["function"] = { name = "f",
      arguments = "1" } } } }),
      chunk(choice { tool_calls = { { ["function"] = { arguments = "2" } } } }),
      chunk(choice { tool_calls = { { id = "b", ["function"] = { name = "g",
        arguments = "3" } } } }),
      chunk(choice({}, "tool_calls")) }
    local calls = a:answer().tool_calls
    assert.same({ 2, "12", "3" }, { #calls, calls[1]["function"].arguments,
      calls[2]["function"].arguments })
    a = fed { chunk(choice { function_call = { name = "f", arguments = "{" } }),
      chunk(choice { function_call = { arguments = "}" } }), chunk(choice({}, "function_call")) }
    assert.same({ name = "f", arguments = "{}" }, a:answer().body.choices[1].message.function_call)
  end)

  it("keeps choices apart, and shows the first", function()
    local a = fed { chunk(choice({ content = "b" }, nil, 1)), chunk(choice { content = "a" }),
      chunk(choice({ content = "B" }, nil, 1), choice { content = "A" }), chunk(choice({},
        "stop")) }
    assert.is_false(a.finished)
    assert.same({ nil, "cut" }, { (a:finish()), (select(3, a:finish())) })
    local piece = a:feed(chunk(choice({ content = "!" }, "length", 1)))
    assert.is_nil(piece.text)
    assert.is_true(piece.started)
    assert.is_true(a:finish())
    local choices = a:answer().body.choices
    assert.same({ "aA", "bB!", 0, 1, "stop", "length" }, { choices[1].message.content,
      choices[2].message.content, choices[1].index, choices[2].index, choices[1].finish_reason,
      choices[2].finish_reason })
  end)

  it("joins logprobs and refusals, keeps what it does not know", function()
    local function with(delta, token, finish)
      local c = choice(delta, finish)
      c.logprobs = { content = { { token = token, logprob = -1 } }, refusal = json.null }
      c.content_filter_results = { hate = { filtered = false } }
      return event { id = "c", choices = { c }, service_tier = "default", obfuscation = token }
    end
    local a = fed { with({ content = "a", refusal = json.null }, "a"), with({ refusal = "no" },
      "b"),
      with({ refusal = "pe", extra = "kept" }, "c", "stop") }
    local body, answer = a:answer().body, a:answer()
    assert.equal("nope", answer.refusal)
    assert.equal("kept", body.choices[1].message.extra)
    assert.equal("default", body.service_tier)
    assert.is_nil(body.obfuscation)
    assert.is_table(body.choices[1].content_filter_results)
    local tokens = {}
    for i, item in ipairs(body.choices[1].logprobs.content) do tokens[i] = item.token end
    assert.same({ "a", "b", "c" }, tokens)
  end)

  -- The last delta's was once all that was left: of thoughts that a server wants back their
  -- signature, of sound its end.
  it("joins lists that come in parts, and sound", function()
    local function thought(text) return { reasoning_details = { { type = "t", text = text } } } end
    local a = fed { chunk(choice(thought "a")), chunk(choice(thought "b")),
      chunk(choice { reasoning_details = json.array {} }),
      chunk(choice { reasoning_details = { { type = "e", data = "signed" }, { type = "f" } } }),
      chunk(choice { audio = { id = "au", transcript = "he" } }),
      chunk(choice { audio = { data = "AAAA", transcript = "ll" } }),
      chunk(choice { audio = { data = "BBBB", transcript = "o" } }),
      chunk(choice { audio = { expires_at = 5 } }), chunk(choice({}, "stop")) }
    local message = a:answer().body.choices[1].message
    assert.same({ { type = "t", text = "a" }, { type = "t", text = "b" },
      { type = "e", data = "signed" }, { type = "f" } }, message.reasoning_details)
    assert.same({ id = "au", data = "AAAABBBB", transcript = "hello", expires_at = 5 },
      message.audio)
    assert.is_true(a.started)
  end)

  it("keeps a list that is told but once", function()
    local a = fed { chunk(choice { content = "x", annotations = { { url = "u" } } }),
      chunk(choice({ annotations = json.null }, "stop")) }
    assert.same({ { url = "u" } }, a:answer().body.choices[1].message.annotations)
    assert.is_nil(a:answer().body.choices[1].message.audio)
  end)

  it("assembles completions", function()
    local a = fed({ event { id = "c", choices = { { index = 0, text = "",
      finish_reason = json.null } } },
      event { choices = { { index = 0, text = "ab" } } },
      event { choices = { { index = 0, text = "c", finish_reason = "length" } } } }, "complete")
    assert.is_true(a:finish())
    local answer = a:answer()
    assert.same({ "abc", "length", "text_completion" }, { answer.text, answer.finish,
      answer.body.object })
  end)

  it("is whole by its finish_reason, with or without [DONE]", function()
    assert.is_true(fed { chunk(choice({ content = "x" }, "stop")) }:finish())
    assert.is_true(fed { chunk(choice({ content = "x" }, "stop")), done }:finish())
    assert.is_true(fed { chunk(choice({}, "stop")), done }:finish())
  end)

  it("counts each choice's finish_reason once", function()
    local a = fed { chunk(choice { content = "a" }, choice({ content = "b" }, nil, 1)) }
    for _ = 1, 3 do a:feed(chunk(choice({}, "stop"))) end
    assert.is_false(a.finished)
    assert.equal("cut", select(3, a:finish()))
    a:feed(chunk(choice({}, "stop", 1)))
    assert.is_true(a:finish())
  end)

  it("is cut without one, and empty when nothing came", function()
    local function code(events)
      local ok, message, word = fed(events):finish()
      assert.is_nil(ok)
      assert.matches("^stream: ended without", message)
      return word
    end
    assert.equal("empty", code {})
    assert.equal("empty", code { done })
    assert.equal("empty", code { chunk(choice { role = "assistant", content = "" }) })
    assert.equal("empty", code { { data = "" }, { data = nil }, event { choices = json.array {} },
      done })
    assert.equal("cut", code { chunk(choice { content = "x" }) })
    assert.equal("cut", code { chunk(choice { content = "x" }), done })
    assert.equal("cut", code { chunk(choice({ content = "x" }, "")), done })
    assert.equal("cut", code { chunk(choice { reasoning_content = "x" }), done })
  end)

  it("takes nothing after [DONE]", function()
    local a = fed { chunk(choice({ content = "x" }, "stop")), { data = " [DONE]\n" } }
    assert.same({}, { a:feed(chunk(choice { content = "y" })) })
    assert.same({}, { a:feed(event "garbage") })
    assert.equal("x", a:answer().text)
  end)

  it("fails at an error inside", function()
    for _, row in ipairs {
      { event { error = { message = "Server busy", code = 503 } }, "busy",
        "stream: 503: Server busy" },
      { event { error = { code = "server_is_overloaded" } }, "busy",
        "stream: server_is_overloaded" },
      { event { type = "error", error = { type = "overloaded_error" } }, "busy",
        "stream: overloaded_error" },
      { event { error = { type = "rate_limit_exceeded" } }, "limited",
        "stream: rate_limit_exceeded" },
      { event { error = "boom" }, "upstream", "stream: an error: boom" },
      { { event = "error", data = '{"message":"系统繁忙"}' }, "busy",
        "stream: an error: 系统繁忙" },
      { { event = "error", data = "what" }, "upstream", "stream: an error" },
      { { event = "error", data = "null" }, "upstream", "stream: an error" },
      { chunk(choice({}, "insufficient_system_resource")), "busy",
        "stream: finish_reason insufficient_system_resource" },
      { chunk(choice({}, "error")), "upstream", "stream: finish_reason error" },
    } do
      local a = fed { chunk(choice { content = "x" }) }
      local piece, message, code, detail = a:feed(row[1])
      assert.is_nil(piece)
      assert.equal(row[2], code, row[1].data)
      assert.matches(row[3], message, 1, true)
      assert.equal(200, detail.status)
      assert.is_true(a.started)
    end
  end)

  it("fails at what is no chunk, and never shows it", function()
    for _, data in ipairs { "secret", '{"secret', "3", '"secret"', "null", "[1]", "true",
      "<html>" } do
      local piece, message, code = assembler.new "chat":feed { data = data }
      assert.same({ nil, "stream: an event that is no JSON object", "upstream" }, { piece, message,
        code })
    end
  end)

  it("takes odd fields without harm", function()
    for _, odd in ipairs { json.null, 5, "x", true, {}, { 1 }, { { 1 } }, json.array {} } do
      for _, field in ipairs { "content", "reasoning_content", "refusal", "tool_calls",
        "function_call", "audio", "annotations" } do
        local twice = fed { chunk(choice { [field] = { { 1 } } }), chunk(choice { [field] = odd }),
          chunk(choice { [field] = { id = odd, data = odd, transcript = odd } }),
          chunk(choice({}, "stop")) }
        assert.is_string(json.encode(twice:answer().body))
        local a = fed { chunk(choice { [field] = odd }), chunk(choice({}, "stop")) }
        assert.is_string(json.encode(a:answer().body))
      end
      for _, field in ipairs { "delta", "logprobs", "index", "finish_reason", "message", "text" } do
        local a = fed { event { choices = { { [field] = odd } } } }
        assert.is_table(a:answer())
      end
      for _, field in ipairs { "choices", "usage", "id", "model" } do
        assert.is_table(fed { event { [field] = odd } }:answer())
      end
      local call = { index = odd, id = odd, ["function"] = odd }
      assert.is_table(fed { chunk(choice { tool_calls = { call } }) }:answer())
      assert.is_table(fed { chunk(choice { tool_calls = { { ["function"] = { name = odd,
        arguments = odd } } } }) }:answer())
    end
  end)

  it("joins a long stream without copying it again and again", function()
    local a, e = assembler.new "chat", chunk(choice { content = ("x"):rep(10) })
    collectgarbage()
    local before, most = collectgarbage "count", 0
    for i = 1, 20000 do
      a:feed(e)
      if i % 1000 == 0 then
        collectgarbage()
        most = math.max(most, collectgarbage "count" - before)
      end
    end
    a:feed(chunk(choice({}, "stop")))
    assert.equal(200000, #a:answer().text)
    assert.is_true(most < 4096, most)
  end)

  it("raises for a kind that has no stream", function()
    local ok, text = pcall(function() assembler.new "embed" end)
    assert.is_false(ok)
    assert.matches("assembler_spec%.lua:%d+: assembler: kind chat or complete expected", text)
  end)
end)
