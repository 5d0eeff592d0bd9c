-- What stands in, in every form of call: texts, replies, by code and by language.
local json = require "unbusy.json"
local openai = require "unbusy.providers.openai"
local world = require "spec.support.world"

local status, good = world.status, world.good

-- A world whose only server refuses in that way.
local function failing(fallback, answer, options)
  local o = { retry = false, fallback = fallback }
  for name, value in pairs(options or {}) do o[name] = value end
  return world.new { script = { a = { answer or status(503) } }, options = o }
end

local requests = {
  chat = { model = "pro", messages = { { role = "user", content = "hi" } } },
  complete = { model = "pro", prompt = "hi" },
  responses = { model = "pro", input = "hi" },
}

-- What the events of a stream are put together to by a provider's own assembler.
local function assembled(kind, stream)
  local a = openai.assembler(kind)
  for piece in stream:pieces() do assert(a:feed { data = piece.data, event = piece.event }) end
  assert.is_true(a:finish())
  return a:answer()
end

describe("a fallback", function()
  for kind, request in pairs(requests) do
    describe("of " .. kind, function()
      it("is a text with the facts, whole and as a stream", function()
        local w = failing("忙:{code} of {model}, {status}")
        local reply = w.client[kind](w.client, request)
        assert.same({ "忙:busy of pro, 503", "fallback", 200, "pro", 1 },
          { reply.text, reply.source, reply.status, reply.model, reply.tries })
        assert.same({ "busy", { kind = "text" } }, { reply.failure.code, reply.fallback })
        local read = assert(openai.read(kind, 200, {}, assert(json.encode(reply.body))))
        assert.equal("忙:busy of pro, 503", read.text)
        local stream = w.client:stream(request)
        assert.same({ "fallback", "busy", "text" },
          { stream.source, stream.failure.code, stream.fallback.kind })
        assert.equal("忙:busy of pro, 503", assembled(kind, stream).text)
        reply = w.client:stream(request):reply()
        assert.same({ "忙:busy of pro, 503", "fallback", "text" },
          { reply.text, reply.source, reply.fallback.kind })
        w:assert_clean()
      end)

      it("says more than a text", function()
        local w = failing { text = "so far", reasoning = "hm", finish_reason = "length",
          usage = { prompt_tokens = 2, completion_tokens = 3 }, status = 299 }
        local finish = kind == "responses" and "max_output_tokens" or "length"
        local whole, stream = w.client[kind](w.client, request), w.client:stream(request)
        assert.same({ 299, 299 }, { whole.status, stream.status })
        for _, answer in ipairs { whole, stream:reply() } do
          assert.same({ "so far", finish, 5 },
            { answer.text, answer.finish_reason, answer.usage.total_tokens })
          assert.is_true(answer.reasoning == "hm" or kind == "complete")
        end
        local read = assembled(kind, w.client:stream(request))
        assert.same({ "so far", finish, 5 }, { read.text, read.finish, read.usage.total_tokens })
      end)

      it("keeps every byte of a large and odd text", function()
        local text = "a\0b\1\27[31m\r\n\226\128\168 \"\\ " .. ("忙"):rep(349000)
        local w = failing(text)
        assert.equal(text, w.client[kind](w.client, request).text)
        assert.equal(text, assembled(kind, w.client:stream(request)).text)
        assert.equal(text, w.client:stream(request):reply().text)
      end)

      it("may be empty", function()
        local w = failing ""
        assert.equal("", w.client[kind](w.client, request).text)
        assert.equal("", assembled(kind, w.client:stream(request)).text or "")
        assert.equal("fallback", w.client:stream(request):reply().source)
      end)
    end)
  end

  it("is a whole reply, filled up to what every answer has", function()
    local w = failing { status = 203, reply = { extra = { 1 }, choices = { { message = {
      content = json.null, tool_calls = { { id = "c", type = "function",
        ["function"] = { name = "f", arguments = "{}" } } } }, finish_reason = "tool_calls" } } } }
    local reply = w:chat()
    assert.same({ "fallback", "reply", 203, "tool_calls" }, { reply.source,
      reply.fallback.kind, reply.status, reply.finish_reason })
    assert.equal("f", reply.tool_calls[1]["function"].name)
    assert.same({ "chat.completion", "assistant", 0 }, { reply.body.object,
      reply.body.choices[1].message.role, reply.body.choices[1].index })
    reply.body.choices[1].message.content = "changed by the caller"
    local again = w:chat()
    assert.equal(json.null, again.body.choices[1].message.content)
    assert.are_not.equal(reply.body.id, again.body.id)
    local read = assembled("chat", w:stream())
    assert.same({ "f", "tool_calls" }, { read.tool_calls[1]["function"].name, read.finish })
    assert.equal("f", w:stream():reply().tool_calls[1]["function"].name)
  end)

  it("of another kind's shape is passed over", function()
    local chat = { reply = { choices = { { message = { content = "in shape" } } } } }
    local w = failing { chat, "a text" }
    assert.equal("in shape", w:chat().text)
    assert.equal("a text", w.client:complete(requests.complete).text)
    assert.equal("a text", w.client:responses(requests.responses).text)
    w = failing(chat)
    assert.equal("busy", select(3, w.client:complete(requests.complete)))
    local response = { reply = { output = { { content = {
      { type = "output_text", text = "in shape" } } } } } }
    w = failing(response)
    assert.equal("in shape", w.client:responses(requests.responses).text)
    assert.equal("in shape", assembled("responses", w.client:stream(requests.responses)).text)
    assert.equal("busy", select(3, w:chat()))
  end)

  it("is none for embeddings, posts and what is passed on", function()
    local w = failing({ { model = "flash" }, { pool = "default" }, "x" }, status(503))
    assert.equal("busy", select(3, w.client:embed { model = "pro", input = "x" }))
    assert.equal("busy", select(3, w.client:post("/x", { model = "pro" })))
    local passed = w.client:pass { method = "POST", path = "/x", body = "{}" }
    assert.same({ 503, "upstream" }, { passed.status, passed.source })
    assert.equal(3, #w.log)
    assert.equal(0, #w:seen "fallback")
  end)
end)

describe("a ladder", function()
  it("differs by code", function()
    local fallback = { by_code = { busy = "busy!", quota = { text = "broke", status = 402 },
      auth = false, default = "{code}?" } }
    assert.equal("busy!", failing(fallback):chat().text)
    local reply = failing(fallback, status(402)):chat()
    assert.same({ "broke", 402 }, { reply.text, reply.status })
    assert.equal("upstream?", failing(fallback, status(500)):chat().text)
    local none, message, code = failing(fallback, status(401)):chat()
    assert.same({ nil, "auth" }, { none, code })
    assert.matches("^a: 401", message)
    assert.equal("invalid", select(3, failing(fallback, status(400)):chat()))
  end)

  it("goes on where a code is not named", function()
    local fallback = { { by_code = { quota = "broke" } }, "else" }
    assert.equal("else", failing(fallback):chat().text)
    assert.equal("broke", failing(fallback, status(402)):chat().text)
    assert.equal("busy", select(3, failing({ by_code = { quota = "broke" } }):chat()))
  end)

  it("ends with the failure itself where it says so", function()
    assert.equal("busy", select(3, failing({ false, "never said" }):chat()))
    local w = failing { by_code = { busy = { false }, default = "x" } }
    assert.equal("busy", select(3, w:stream()))
  end)

  local by_language = { by_language = { zh = "忙", en = "busy", ["pt-BR"] = "ocupado",
    ja = "混雑", default = "{code}?" } }

  it("differs by the language that the call names", function()
    local w = failing(by_language)
    for tag, text in pairs { zh = "忙", ["zh-Hant-TW"] = "忙", ["en-GB"] = "busy",
      ["PT-br"] = "ocupado", fr = "busy?", ja = "混雑" } do
      assert.same({ tag, text }, { tag, w:chat({ language = tag }).text })
    end
    assert.equal("ocupado", w:chat({ language = { "fr", "pt", "en" } }).text)
  end)

  it("or that the question is written in", function()
    local w = failing(by_language)
    local function asked(text)
      return w.client:chat({ messages = { { role = "user", content = text } } }).text
    end
    assert.same({ "忙", "混雑", "busy?" }, { asked "天气如何", asked "天気はどう", asked "hi" })
    assert.equal("忙", w.client:complete({ prompt = "从前" }).text)
    assert.equal("忙", w.client:responses({ input = "从前" }).text)
    assert.equal("忙", w.client:stream({ input = "从前" }):reply().text)
    local shy = failing { { by_language = { zh = "忙" } }, "else" }
    assert.equal("else", shy:chat().text)
  end)

  it("mixes both", function()
    local w = failing { by_code = { limited = { by_language = { zh = "等{retry_after}秒",
      en = "wait {retry_after} s" } }, default = by_language } }
    assert.equal("忙", w:chat({ language = "zh" }).text)
    w = failing({ by_code = { limited = { by_language = { zh = "等{retry_after}秒",
      en = "wait {retry_after} s" } } } }, status(429, { ["retry-after"] = "8" }))
    assert.equal("等8秒", w:chat({ language = "zh" }).text)
    assert.equal("wait 8 s", w:chat({ language = "de" }).text)
  end)

  it("tells the watcher what stands in", function()
    local w = failing { { pool = "default" }, "x" }
    w:chat()
    local events = w:seen "fallback"
    assert.equal(1, #events) -- what was not done is not told
    assert.same({ "text", "busy" }, { events[1].kind, events[1].code })
    assert.matches("^a: 503", events[1].message)
  end)

  it("says no secret of any target, and no bytes that are no text", function()
    local w = world.new { script = { ["a"] = { status(503, nil,
      '{"error":{"message":"who is key-of-b? key-of-a"}}') }, b = { good() } },
      targets = { b = { priority = 2 } },
      options = { retry = false, fallback = "{message}" } }
    local text = w:chat().text
    assert.matches("who is", text)
    assert.is_nil(text:find("key-of-", 1, true))
    w = world.new { script = { a = { status(503) } }, order = { "a" },
      targets = { a = { name = "t\255" } },
      options = { retry = false, fallback = "{target}{message}" } }
    assert.matches("^t%?t%?: 503", w:chat().text)
  end)

  it("says what it can where nothing was ever asked", function()
    local w = world.new { script = { a = { { status = 200, hang = 60 } } },
      targets = { a = { models = { ["*"] = "m", default = "m" } } }, options = {
        fallback = "{code} {target} {status} {retry_after|?} {tries} {model}",
        queue = { max_wait = 0 }, limiter = { kind = "fixed", initial = 1 } } }
    w.loop.run(function()
      local other = w.loop.spawn(function() w:chat() end)
      w.loop.sleep(1)
      local reply = w.client:chat { model = "a\255b", messages = world.question.messages }
      assert.matches("^full a no status %? 0 a%?b$", reply.text)
      assert.equal("unbusy", reply.body.model)
      w.loop.cancel(other)
    end)
  end)
end)
