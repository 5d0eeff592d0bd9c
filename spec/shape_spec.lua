local json = require "unbusy.json"
local openai = require "unbusy.providers.openai"
local shape = require "unbusy.shape"

local function clock() return 1700000000.7 end

describe("shape", function()
  it("makes answers that read as a server's would", function()
    for kind, finish in pairs { chat = "stop", complete = "stop", responses = "completed" } do
      local reply = shape.reply(kind, "some-model", "系统繁忙", clock)
      local answer = assert(openai.read(kind, 200, {}, assert(json.encode(reply.body))))
      assert.equal("系统繁忙", answer.text)
      assert.equal(finish, answer.finish)
      assert.equal("some-model", answer.model)
      assert.same(answer.usage, reply.usage)
      assert.same({ answer.text, answer.finish }, { reply.text, reply.finish })
      assert.equal(1700000000, reply.body.created or reply.body.created_at)
    end
  end)

  it("says thoughts, an end that is none, and what was used", function()
    local said = { text = "so far", reasoning = "hm", finish = "length",
      usage = { prompt_tokens = 3, completion_tokens = 2 } }
    for kind, finish in pairs { chat = "length", complete = "length",
      responses = "max_output_tokens" } do
      local reply = shape.reply(kind, "m", said, clock)
      local answer = assert(openai.read(kind, 200, {}, assert(json.encode(reply.body))))
      assert.same({ "so far", finish, 5 }, { answer.text, answer.finish,
        answer.usage.total_tokens })
      assert.equal(kind ~= "complete" and "hm" or nil, answer.reasoning)
      assert.equal(kind == "responses" and "incomplete" or nil, answer.body.status)
    end
  end)

  it("makes pieces that assemble to the same", function()
    local said = { text = "sorry", reasoning = "hm", finish = "length",
      usage = { prompt_tokens = 3, completion_tokens = 2 } }
    for _, kind in ipairs { "chat", "complete", "responses" } do
      for _, words in ipairs { "sorry", said, { text = "" } } do
        local whole = shape.reply(kind, "m", words, clock)
        local a, seen = openai.assembler(kind), {}
        for _, piece in ipairs(assert(shape.pieces(kind, whole))) do
          local read = assert(a:feed { data = piece.data, event = piece.event })
          for _, field in ipairs { "text", "reasoning", "started", "finish", "usage" } do
            assert.same({ kind, field, read[field] }, { kind, field, piece[field] })
            seen[field] = seen[field] or piece[field]
          end
        end
        assert.is_true(a:finish())
        local text = words.text or words
        assert.equal(text ~= "" and text or nil, seen.text)
        for _, field in ipairs { "reasoning", "finish", "usage" } do
          assert.same(whole[field], a:answer()[field], kind .. "." .. field)
        end
        assert.equal(whole.body.id, a:answer().body.id)
        assert.equal(text, a:answer().text or "")
      end
    end
  end)

  it("numbers the events of a response, each with its type", function()
    local whole = shape.reply("responses", "m", { text = "sorry", reasoning = "hm" }, clock)
    local types = {}
    for i, piece in ipairs(shape.pieces("responses", whole)) do
      local event = json.decode(piece.data)
      assert.same({ i - 1, piece.event }, { json.whole(event.sequence_number), event.type })
      types[i] = event.type:gsub("^response%.", "")
    end
    assert.equal("created in_progress "
      .. "output_item.added reasoning_summary_part.added reasoning_summary_text.delta "
      .. "reasoning_summary_text.done reasoning_summary_part.done output_item.done "
      .. "output_item.added content_part.added output_text.delta output_text.done "
      .. "content_part.done output_item.done completed", table.concat(types, " "))
  end)

  it("fills what every answer has into a body that somebody wrote", function()
    local chat = assert(shape.filled("chat", { choices = { { message = { content = "hi" } } },
      extra = 1 }, "m", clock))
    assert.same({ "hi", "stop", "m" }, { chat.text, chat.finish, chat.model })
    assert.same({ "chat.completion", 1700000000, 1, 0, "assistant" }, { chat.body.object,
      chat.body.created, chat.body.extra, chat.body.choices[1].index,
      chat.body.choices[1].message.role })
    local old = assert(shape.filled("complete", { choices = { { text = "hi", index = 0 } },
      id = "mine" }))
    assert.same({ "hi", "mine", "unbusy" }, { old.text, old.body.id, old.model })
    local response = assert(shape.filled("responses", { output = {
      { content = { { type = "output_text", text = "hi" } } } } }, "m", clock))
    assert.same({ "hi", "completed", "response", "message" }, { response.text, response.finish,
      response.body.object, response.body.output[1].type })
  end)

  it("and says when it can be no answer of that kind", function()
    for _, body in ipairs { {}, { 1 }, { choices = {} }, { choices = 1 }, { choices = { 1 } },
      { choices = { {} } }, { choices = { { message = 1 } } }, json.array {}, { output = {} },
      { output = { 1 } }, { choices = { { message = { content = "x" },
        finish_reason = "insufficient_system_resource" } } } } do
      for _, kind in ipairs { "chat", "complete", "responses" } do
        assert.is_nil((shape.filled(kind, body, "m")))
      end
    end
    assert.is_nil((shape.filled("chat", "text", "m")))
    assert.is_nil((shape.filled("complete", { choices = { { message = { content = "x" } } } })))
    assert.is_nil((shape.filled("responses", { status = "failed", output = { {} } })))
  end)

  it("makes an event of a whole answer, which assembles to the same", function()
    local bodies = {
      chat = { id = "x", object = "chat.completion", model = "m", usage = { prompt_tokens = 1 },
        choices = { { index = 0, finish_reason = "tool_calls", message = { role = "assistant",
          content = "hi", reasoning_content = "hm", tool_calls = {
            { id = "a", type = "function", ["function"] = { name = "f", arguments = "{}" } },
            { id = "b", type = "function", ["function"] = { name = "g", arguments = "{}" } } } } },
          { index = 1, finish_reason = "stop", message = { content = "other" } } } },
      complete = { id = "x", object = "text_completion", choices = {
        { index = 0, text = "hi", finish_reason = "length" } } },
      responses = { id = "r", status = "completed", output = { { type = "message",
        content = { { type = "output_text", text = "hi" } } } } },
    }
    for kind, body in pairs(bodies) do
      local before = json.encode(body)
      local whole = assert(openai.read(kind, 200, {}, before))
      local data, name = shape.event(kind, whole)
      local a = openai.assembler(kind)
      assert(a:feed { data = data, event = name })
      local last = shape.after_event(kind, whole)
      assert.equal(kind == "chat", last ~= nil)
      if last then assert(a:feed(last)) end
      assert.is_true(a:finish())
      for _, field in ipairs { "text", "reasoning", "finish", "tool_calls", "usage" } do
        assert.same(whole[field], a:answer()[field], kind .. "." .. field)
      end
      assert.equal(json.encode(body), before) -- the body itself is as it was
    end
    local raw = '{ "output":[{"type":"message"}],"n":1.0}'
    local whole = openai.read("responses", 200, {}, raw)
    whole.raw = raw
    assert.equal('{"type":"response.completed","sequence_number":0,"response":' .. raw .. "}",
      (shape.event("responses", whole)))
  end)

  it("makes an event of odd answers too", function()
    for _, body in ipairs { {}, { choices = 1 }, { choices = { 1, "x", {} } },
      { choices = { { message = 1 } } }, { choices = { { message = { tool_calls = { 1 } } } } } } do
      assert.is_string(shape.event("chat", { body = body }))
      local last = shape.after_event("chat", { body = body })
      assert.is_true(not last or json.decode(last.data).choices ~= nil)
      assert.is_string(shape.event("complete", { body = body }))
      assert.is_string(shape.event("responses", { body = body }))
    end
    for kind in pairs { chat = true, complete = true, responses = true } do
      assert.matches('"x":"\239\191\189"', shape.event(kind, { body = { x = "\255" } }), 1, true)
    end
  end)

  it("gives each answer an id of its own, and a stream one", function()
    local seen = {}
    for _ = 1, 100 do
      local id = shape.reply("chat", "m", "x").body.id
      assert.matches("^unbusy%-", id)
      assert.is_nil(seen[id])
      seen[id] = true
    end
    local ids = {}
    for _, piece in ipairs(shape.pieces("chat", shape.reply("chat", "m", "x"))) do
      ids[json.decode(piece.data).id] = true
    end
    assert.is_string(next(ids))
    assert.is_nil(next(ids, (next(ids))))
  end)

  it("uses the wall clock unless given one, and a name of its own for no model", function()
    local before = os.time()
    local body = shape.reply("chat", nil, "x").body
    assert.is_true(body.created >= before and body.created <= os.time())
    assert.equal("unbusy", body.model)
    assert.equal("unbusy", shape.reply("chat", "m\255", "x").body.model)
  end)

  it("says that no text can be an embedding, or be sent when it is not UTF-8", function()
    local none, message, code = shape.reply("embed", "m", "x")
    assert.same({ nil, "shape: a text cannot answer a call of kind 'embed'", "invalid" },
      { none, message, code })
    assert.equal("invalid", select(3, shape.pieces("chat", shape.reply("chat", "m", "a\255b"))))
  end)

  it("gives an empty text a stream without a text piece", function()
    assert.equal(3, #shape.pieces("chat", shape.reply("chat", "m", "")))
    assert.equal(2, #shape.pieces("complete", shape.reply("complete", "m", "")))
  end)

  it("writes errors as OpenAI does", function()
    assert.equal('{"error":{', json.encode(shape.error("m", "busy")):sub(1, 10))
    local e = shape.error("queue: full", "full", 503).error
    assert.same({ message = "queue: full", type = "server_error", param = json.null,
      code = "full" }, e)
    assert.equal("invalid_request_error", shape.error("x", "invalid").error.type)
    assert.equal("rate_limit_error", shape.error("x", "limited", 429).error.type)
    assert.equal("invalid_request_error", shape.error("x", nil, 404).error.type)
    assert.equal(json.null, shape.error("x", nil, 404).error.code)
  end)
end)
