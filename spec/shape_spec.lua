local assembler = require "unbusy.providers.assembler"
local json = require "unbusy.json"
local openai = require "unbusy.providers.openai"
local shape = require "unbusy.shape"

local function clock() return 1700000000.7 end

describe("shape", function()
  it("makes answers that read as a server's would", function()
    for _, kind in ipairs { "chat", "complete" } do
      local reply = shape.reply(kind, "some-model", "系统繁忙", clock)
      local answer = assert(openai.read(kind, 200, {}, assert(json.encode(reply.body))))
      assert.equal("系统繁忙", answer.text)
      assert.equal("stop", answer.finish)
      assert.equal("some-model", answer.model)
      assert.same(answer.usage, reply.usage)
      assert.same({ answer.text, answer.finish }, { reply.text, reply.finish })
      assert.equal(1700000000, reply.body.created)
    end
  end)

  it("makes pieces that assemble to the same", function()
    for _, kind in ipairs { "chat", "complete" } do
      local a, started = assembler.new(kind), nil
      for _, piece in ipairs(assert(shape.pieces(kind, "m", "sorry", clock))) do
        local read = assert(a:feed { data = piece.data })
        assert.same({ piece.text, piece.started, piece.finish }, { read.text, read.started,
          read.finish })
        started = started or piece.started
      end
      assert.is_true(started)
      assert.is_true(a:finish())
      assert.equal("sorry", a:answer().text)
      assert.equal("stop", a:answer().finish)
    end
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
      assert.is_string(shape.event("complete", { body = body }))
      assert.is_string(shape.event("responses", { body = body }))
    end
    assert.is_nil((shape.event("chat", { body = { x = "\255" } }))) -- no UTF-8, no JSON
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
    for _, piece in ipairs(shape.pieces("chat", "m",
      "x")) do ids[json.decode(piece.data).id] = true end
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
    for _, make in ipairs { shape.reply, shape.pieces } do
      local none, message, code = make("embed", "m", "x")
      assert.same({ nil, "shape: a text cannot answer a call of kind 'embed'", "invalid" },
        { none, message, code })
    end
    assert.equal("invalid", select(3, shape.pieces("chat", "m", "a\255b")))
  end)

  it("gives an empty text a stream without a text piece", function()
    assert.equal(2, #shape.pieces("chat", "m", ""))
    assert.equal(1, #shape.pieces("complete", "m", ""))
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
