-- What makes an answer a weak one.
local answers = require "unbusy.providers.answers"
local checks = require "unbusy.escalation.checks"
local json = require "unbusy.json"
local options = require "unbusy.options"
local refusals = require "unbusy.escalation.refusals"
local responses = require "unbusy.providers.responses"
local schema = require "unbusy.escalation.options".schema

-- The options as the stage has them.
local function with(given)
  local o = options.check(schema, given, "spec")
  local own = type(o.refusals) == "table" and o.refusals or nil
  o.phrases = o.refusals and refusals.list(own)
  return o
end

-- A reply as `unbusy.reply` makes one of an answer.
local function reply_of(kind, body)
  local answer = (kind == "responses" and responses or answers).of(kind, body)
  return { text = answer.text, reasoning = answer.reasoning, tool_calls = answer.tool_calls,
    finish_reason = answer.finish, usage = answer.usage, body = body }
end

local function chat(message, more)
  local choice = { index = 0, finish_reason = "stop", message = message }
  local body = { choices = json.array { choice } }
  for name, value in pairs(more or {}) do
    if name == "usage" then body.usage = value else choice[name] = value end
  end
  return reply_of("chat", body)
end

local function said(text, more)
  return chat({ role = "assistant", content = text }, more)
end

-- The reason for which a reply is weak, for a request and options.
local function reason(reply, request, given, kind)
  return checks.reason(with(given or {}), kind or "chat", request or {}, reply)
end

local function call(arguments)
  return { role = "assistant", content = json.null, tool_calls = json.array {
    { id = "1", type = "function", ["function"] = { name = "f", arguments = arguments } } } }
end

describe("an answer", function()
  it("that says something is not weak", function()
    assert.is_nil(reason(said "Yes."))
    assert.is_nil(reason(said "7"))
    assert.is_nil(reason(said "晴"))
  end)

  describe("that is cut for its length", function()
    local cut = { finish_reason = "length", usage = { completion_tokens = 100 } }

    it("is weak, unless the request wanted no more", function()
      assert.equal("length", reason(said("half", cut)))
      assert.is_nil(reason(said("half", cut), { max_tokens = 100 }))
      assert.is_nil(reason(said("half", cut), { max_completion_tokens = 50 }))
    end)

    it("is weak where it is shorter than what was wanted: the server had no more room", function()
      assert.equal("length", reason(said("half", cut), { max_tokens = 101 }))
      assert.equal("length", reason(said("half", cut), { max_tokens = "200" }))
    end)

    it("is not where nobody says how long it is", function()
      assert.is_nil(reason(said("half", { finish_reason = "length" }), { max_tokens = 101 }))
      assert.equal("length", reason(said("half", { finish_reason = "length" })))
    end)

    it("takes null for nothing, and nonsense too", function()
      assert.equal("length", reason(said("half", cut), { max_tokens = json.null }))
      assert.equal("length",
        reason(said("half", cut), { max_tokens = {}, max_completion_tokens = "" }))
    end)

    it("may be left alone", function()
      assert.is_nil(reason(said("half", cut), nil, { cut = false }))
    end)

    it("is known among responses, too", function()
      local body = { status = "incomplete", incomplete_details = { reason = "max_output_tokens" },
        usage = { input_tokens = 1, output_tokens = 20 }, output = json.array {
          { type = "message", content = { { type = "output_text", text = "half" } } } } }
      assert.equal("length", reason(reply_of("responses", body), {}, {}, "responses"))
      assert.is_nil(reason(reply_of("responses", body), { max_output_tokens = 20 }, {},
        "responses"))
    end)
  end)

  describe("that refuses", function()
    it("says so in a field of the API", function()
      assert.equal("refused", reason(chat { role = "assistant", refusal = "No." }))
      assert.is_nil(reason(chat { role = "assistant", content = "Yes.", refusal = json.null }))
      assert.is_nil(reason(chat { role = "assistant", content = "Yes.", refusal = "" }))
      assert.equal("refused", reason(said("…", { finish_reason = "content_filter" })))
      local body = { status = "completed", output = json.array {
        { type = "message", content = { { type = "refusal", refusal = "No." } } } } }
      assert.equal("refused", reason(reply_of("responses", body), {}, {}, "responses"))
    end)

    local words = {
      "I'm sorry, but I can't help with that.", "I’m sorry, but I can’t assist.",
      "  \n\"I CANNOT ANSWER that.\"", "As an AI language model, I have no opinion.",
      "I don't know.", "抱歉，我无法回答这个问题。", "对不起,我不能帮助你。", "很抱歉，作为AI，我不会。",
      "作为一个人工智能助手，我没有感情。", "我不知道。", "抱歉，我無法回答。", "申し訳ありませんが、できません。",
      "죄송하지만 도와드릴 수 없습니다.", "Tut mir leid, aber das geht nicht.",
      "Je suis désolé, mais je ne peux pas.", "Lo siento, pero no puedo.",
      "Desculpe, mas não posso.", "Mi dispiace, ma non posso.", "Извините, но я не могу.",
      "Я не знаю.", "آسف، لكن لا أستطيع.",
    }
    for _, text in ipairs(words) do
      it("says so: " .. text:gsub("%s+", " "), function()
        assert.equal("refused", reason(said(text)))
      end)
    end

    it("says so at its beginning: later it is something else", function()
      assert.is_nil(reason(said(("All is well. "):rep(20) .. "I cannot answer this.")))
    end)

    it("does not say so where it speaks of help and of what can be", function()
      for _, text in ipairs { "I can help with that.", "Sorry for the delay: it is open.",
        "You cannot park here.", "可以帮您。", "The AI said it could." } do
        assert.is_nil(reason(said(text)), text)
      end
    end)

    it("may say so in words of your own", function()
      assert.equal("refused", reason(said "Ask my colleague, PLEASE.", nil,
        { refusals = { "Ask my colleague" } }))
      assert.equal("refused", reason(said "I don't know.", nil, { refusals = { "x y z" } }))
      assert.is_nil(reason(said "I don't know.", nil, { refusals = false }))
    end)

    it("has phrases that are each found as they are written", function()
      for _, phrase in ipairs(refusals.phrases) do
        assert.is_true(refusals.has("- " .. phrase .. " …", { phrase }), phrase)
      end
    end)
  end)

  describe("that is short", function()
    it("is weak when it is blank", function()
      for _, text in ipairs { "", " ", "\n\t " } do
        assert.equal("short", reason(said(text)), ("%q"):format(text))
      end
      assert.equal("short", reason(said(json.null)))
      assert.equal("short", reason(chat { role = "assistant" }))
      assert.equal("short", reason(chat { role = "assistant", reasoning_content = "so I think" }))
    end)

    it("is measured in characters, without the blanks at its ends", function()
      local five = { short = 5 }
      assert.equal("short", reason(said "四个字吧", nil, five))
      assert.is_nil(reason(said "这是五个字", nil, five))
      assert.equal("short", reason(said(" \n abc d \n\n "), nil, { short = 6 }))
      assert.is_nil(reason(said(" \n abc d \n\n "), nil, five))
      assert.equal("short", reason(said("ab" .. (" "):rep(100)), nil, { short = 3 }))
    end)

    it("may be as short as it likes", function()
      assert.is_nil(reason(said "", nil, { short = 0 }))
    end)

    it("is never one with a tool call, in either form", function()
      assert.is_nil(reason(chat(call "{}"), nil, { short = 100 }))
      assert.is_nil(reason(chat({ role = "assistant", content = json.null,
        function_call = { name = "f", arguments = "{}" } }), nil, { short = 100 }))
    end)

    it("is no more than looked at where it is huge", function()
      local text = (" "):rep(1e6) .. ("é"):rep(4e6)
      local function seconds(f)
        local began = os.clock()
        f()
        return os.clock() - began
      end
      local look = seconds(function() assert.is_nil(reason(said(text), nil, { short = 1000 })) end)
      local count = seconds(function() text:gsub("[^\128-\191]", "") end)
      assert.is_true(look < count / 2, look / count)
    end)
  end)

  describe("that is no JSON", function()
    local wanted = { response_format = { type = "json_object" } }

    it("is weak where the request wants it", function()
      assert.equal("json", reason(said "Sure! {\"a\":1}", wanted))
      assert.equal("json", reason(said "```json\n{}\n```",
        { response_format = { type = "json_schema", json_schema = {} } }))
      assert.is_nil(reason(said "{\"a\":1}", wanted))
      assert.is_nil(reason(said "Sure!", { response_format = { type = "text" } }))
      assert.is_nil(reason(said "Sure!", { response_format = json.null }))
      assert.is_nil(reason(said "Sure!", wanted, { json = false }))
    end)

    it("is known among responses, too", function()
      local body = { status = "completed", output = json.array {
        { type = "message", content = { { type = "output_text", text = "Sure!" } } } } }
      assert.equal("json", reason(reply_of("responses", body),
        { text = { format = { type = "json_object" } } }, {}, "responses"))
    end)

    it("is one in a tool call's arguments", function()
      assert.equal("json", reason(chat(call '{"city": ')))
      assert.is_nil(reason(chat(call '{"city": "x"}')))
      assert.is_nil(reason(chat(call "")))
      assert.is_nil(reason(chat(call(json.null))))
      assert.is_nil(reason(chat(call "{}"), wanted))
    end)
  end)

  describe("whose tokens were guesses", function()
    local function with_logprobs(list)
      local content = json.array()
      for i, value in ipairs(list) do content[i] = { token = "x", logprob = value } end
      return said("words", { logprobs = { content = content } })
    end

    it("is weak below the given mean", function()
      assert.equal("logprob", reason(with_logprobs { -1, -3 }, nil, { logprob = -1.9 }))
      assert.is_nil(reason(with_logprobs { -1, -3 }, nil, { logprob = -2.1 }))
    end)

    it("is not where nobody asks, or it does not say", function()
      assert.is_nil(reason(with_logprobs { -9 }))
      assert.is_nil(reason(said "words", nil, { logprob = -0.1 }))
      assert.is_nil(reason(said("words", { logprobs = json.null }), nil, { logprob = -0.1 }))
      assert.is_nil(reason(with_logprobs {}, nil, { logprob = -0.1 }))
    end)

    it("passes over what is no number", function()
      local odd = said("words", { logprobs = { content = json.array {
        { logprob = "low" }, 7, { logprob = 0 / 0 }, {}, { logprob = -2 } } } })
      assert.equal(2.5, checks.logprob(odd))
    end)

    it("is known of completions", function()
      local reply = reply_of("complete", { choices = { { text = "words",
        logprobs = { token_logprobs = { json.null, -2, -4 } } } } })
      assert.equal(-3, checks.logprob(reply))
      assert.equal("logprob", reason(reply, {}, { logprob = -2 }, "complete"))
    end)
  end)

  it("whose body is nonsense is no worse than short", function()
    for _, body in ipairs { {}, { choices = 7 }, { choices = { 7 } },
      { choices = { { message = 7 } } } } do
      assert.equal("short", reason(reply_of("chat", body)))
    end
  end)
end)
