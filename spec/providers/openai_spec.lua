local cost = require "unbusy.cost"
local json = require "unbusy.json"
local openai = require "unbusy.providers.openai"
local providers = require "unbusy.providers"

local function read(status, body, headers, kind)
  if type(body) == "table" then body = assert(json.encode(body)) end
  return openai.read(kind or "chat", status, headers or {}, body)
end

local function code_of(...)
  local answer, message, code, detail = read(...)
  assert.is_nil(answer)
  assert.is_string(message)
  assert.is_table(detail)
  return code, message, detail
end

local function chat(message, more)
  local body = { id = "x", object = "chat.completion", model = "some-model", choices = {
    { index = 0, message = message, finish_reason = "stop" } } }
  for k, v in pairs(more or {}) do body[k] = v end
  return body
end

describe("providers.of", function()
  it("goes by name, then by host, then takes openai", function()
    local function name(target) return providers.of(target).name end
    assert.equal("deepseek", name { provider = "deepseek", url = "https://x.example" })
    assert.equal("openai", name { provider = "openai", url = "https://api.deepseek.com" })
    assert.equal("openai", name { url = "https://backup.example/v1" })
    assert.equal("openai", name {})
    for _, url in ipairs { "https://api.deepseek.com", "https://API.DeepSeek.com/v1/",
      "https://api.deepseek.com:443/beta", "https://api.deepseek.com./",
        "https://u:p@api.deepseek.com" } do
      assert.equal("deepseek", name { url = url }, url)
    end
  end)

  it("is not fooled by hosts that look alike", function()
    for _, url in ipairs { "https://api.deepseek.com.evil.example",
      "https://evil.example/api.deepseek.com",
      "https://api.deepseek.com@evil.example", "https://evil.example?api.deepseek.com",
      "https://evil.example\\@api.deepseek.com", "https://xapi.deepseek.com" } do
      assert.equal("openai", providers.of { url = url }.name, url)
    end
  end)

  it("raises for a name that is none, at the caller's line", function()
    local ok, text = pcall(function() providers.of { provider = "opnai" } end)
    assert.is_false(ok)
    assert.matches("openai_spec%.lua:%d+: providers: one of deepseek, openai expected", text)
    for _, name in ipairs(providers.names) do assert.equal(name,
      providers.of { provider = name }.name) end
  end)

  it("reads hosts", function()
    assert.equal("a.example", providers.host "http://A.example:80/x")
    assert.equal("[::1]", providers.host "http://[::1]:80/x")
    for _, odd in ipairs { "", "a.example", "http://", "/x",
      5 } do assert.is_nil(providers.host(odd)) end
    assert.is_nil(providers.host(nil))
  end)
end)

describe("openai.request", function()
  it("gives the path and a copy that asks for a stream with usage", function()
    local body = { model = "m", messages = {}, odd = { 1 } }
    local path, copy = openai.request("chat", body, true)
    assert.equal("/chat/completions", path)
    assert.same({ model = "m", messages = {}, odd = { 1 }, stream = true,
      stream_options = { include_usage = true } }, copy)
    assert.equal(body.odd, copy.odd)
    assert.same({ model = "m", messages = {}, odd = { 1 } }, body)
  end)

  it("leaves the caller's stream options alone, and takes them away without a stream", function()
    local body = { stream = true, stream_options = { include_usage = false } }
    local _, streaming = openai.request("chat", body, true)
    assert.same(body, streaming)
    local _, plain = openai.request("chat", body, false)
    assert.same({}, plain)
    assert.is_true(body.stream)
  end)

  it("knows the other kinds, and raises for unknown ones", function()
    assert.equal("/completions", (openai.request("complete", {})))
    assert.equal("/embeddings", (openai.request("embed", {})))
    local ok, text = pcall(function() openai.request("talk", {}) end)
    assert.is_false(ok)
    assert.matches("openai_spec%.lua:%d+: provider: kind", text)
  end)
end)

describe("openai.url", function()
  it("joins without doubling", function()
    for _, row in ipairs {
      { "https://a.example/v1", "/chat/completions", "https://a.example/v1/chat/completions" },
      { "https://a.example/v1/", "/chat/completions", "https://a.example/v1/chat/completions" },
      { "https://a.example", "/embeddings", "https://a.example/embeddings" },
      { "https://a.example//", "files", "https://a.example/files" },
      { "https://a.example/v1", "/v1/files", "https://a.example/v1/files" },
      { "https://a.example/api", "/v1/files", "https://a.example/api/v1/files" },
      { "https://a.example/d/?v=2", "/chat", "https://a.example/d/chat?v=2" },
      { "https://a.example/d?v=2", "/chat?x=1", "https://a.example/d/chat?x=1&v=2" },
    } do
      assert.equal(row[3], openai.url(row[1], row[2]))
    end
  end)

  it("sends the key as a bearer, or nothing", function()
    assert.same({ "Authorization: Bearer k" }, openai.headers "k")
    assert.same({}, openai.headers(nil))
  end)
end)

describe("openai.read, of answers", function()
  it("reads a chat's text, usage and model", function()
    local answer = assert(read(200, chat({ role = "assistant", content = "好" }, { usage = {
      prompt_tokens = 12, completion_tokens = 5, total_tokens = 17,
      prompt_tokens_details = { cached_tokens = 8 },
      completion_tokens_details = { reasoning_tokens = 3 } } })))
    assert.equal("好", answer.text)
    assert.equal("stop", answer.finish)
    assert.equal("some-model", answer.model)
    assert.equal("x", answer.body.id)
    assert.same({ prompt_tokens = 12, completion_tokens = 5, total_tokens = 17, cached_tokens = 8,
      reasoning_tokens = 3 }, answer.usage)
    assert.equal("12", tostring(answer.usage.prompt_tokens))
  end)

  it("reads tool calls, reasoning and refusals", function()
    local calls = { { id = "c", type = "function", ["function"] = { name = "f",
      arguments = "{}" } } }
    local answer = assert(read(200, chat { content = json.null, tool_calls = calls,
      reasoning_content = "hm", refusal = "no" }))
    assert.is_nil(answer.text)
    assert.same(calls, answer.tool_calls)
    assert.equal("hm", answer.reasoning)
    assert.equal("no", answer.refusal)
    answer = assert(read(200, chat { content = { { type = "text", text = "a" }, { type = "x" },
      { type = "text", text = "b" } }, tool_calls = json.array {}, refusal = json.null }))
    assert.equal("ab", answer.text)
    assert.is_nil(answer.tool_calls)
    assert.is_nil(answer.refusal)
  end)

  it("takes an answer of nothing for one, when its choice is whole", function()
    assert.equal("", assert(read(200, chat { content = "" })).text)
    assert.is_table(read(200, chat({ content = "" }, { error = json.null })))
  end)

  it("reads completions, embeddings and posts", function()
    local answer = assert(read(200, { choices = { { text = "x", finish_reason = "length" } } }, {},
      "complete"))
    assert.same({ "x", "length" }, { answer.text, answer.finish })
    answer = assert(read(200, { data = { { embedding = { 0.1 } } }, usage = { prompt_tokens = 2,
      total_tokens = 2 } }, {}, "embed"))
    assert.equal(2, answer.usage.prompt_tokens)
    assert.equal(0.1, answer.body.data[1].embedding[1])
    assert.same({ ok = true }, read(200, { ok = true }, {}, "post").body)
    for _, text in ipairs { "", "<html>", "{" } do
      assert.same({}, assert(read(201, text, {}, "post")))
    end
  end)

  -- So xAI writes it, and relays of Gemini's: what was thought costs as much as what was said
  -- (vercel/ai#12425, router-for-me/CLIProxyAPI#5733).
  it("counts thoughts as output where a server tells them beside it", function()
    local function usage_of(prompt, completion, reasoning, total)
      return read(200, chat({ content = "x" }, { usage = { prompt_tokens = prompt,
        completion_tokens = completion, total_tokens = total,
        completion_tokens_details = { reasoning_tokens = reasoning } } })).usage
    end
    local usage = usage_of(12, 1, 386, 399)
    assert.same({ 387, 386, 399 }, { usage.completion_tokens, usage.reasoning_tokens,
      usage.total_tokens })
    assert.near((12 * 1 + 387 * 4) / 1e6, cost.of(usage, { input = 1, output = 4 }), 1e-15)
    assert.equal(400, usage_of(12, 400, 386, 412).completion_tokens) -- OpenAI's: they are in it
    assert.equal(1, usage_of(12, 1, 386, 13).completion_tokens) -- nobody can tell
    assert.equal(1, usage_of(12, 1, 386, nil).completion_tokens)
    usage = assert(openai.read("responses", 200, {}, json.encode { status = "completed",
      output = { { type = "message", content = { { type = "output_text", text = "x" } } } },
      usage = { input_tokens = 21, output_tokens = 0, total_tokens = 81,
        output_tokens_details = { reasoning_tokens = 60 } } })).usage
    assert.same({ 60, 81 }, { usage.completion_tokens, usage.total_tokens })
  end)

  -- Kimi's (platform.kimi.ai/docs/api/chat): cached tokens were priced as fresh ones.
  it("counts cached tokens that stand beside the others", function()
    local function cached(usage)
      usage.prompt_tokens, usage.completion_tokens, usage.total_tokens = 19, 13, 32
      return read(200, chat({ content = "x" }, { usage = usage })).usage.cached_tokens
    end
    assert.equal(12, cached { cached_tokens = 12 })
    assert.equal(7, cached { cached_tokens = 12, prompt_tokens_details = { cached_tokens = 7 } })
    assert.equal(0, cached { cached_tokens = json.null })
  end)

  it("counts odd usage as none", function()
    local usage = read(200, chat({ content = "x" }, { usage = { prompt_tokens = "9",
      total_tokens = -1,
      completion_tokens = 1.5, prompt_tokens_details = json.null } })).usage
    assert.same({ prompt_tokens = 0, completion_tokens = 0, total_tokens = 0, cached_tokens = 0,
      reasoning_tokens = 0 }, usage)
    assert.is_nil(read(200, chat({ content = "x" }, { usage = json.null })).usage)
  end)
end)

describe("openai.read, of a 200 without an answer", function()
  it("calls nothing empty, and tells blank lines apart", function()
    local code, message, detail = code_of(200, "")
    assert.same({ "empty", "200 with an empty body" }, { code, message })
    assert.is_nil(detail.keep_alive)
    code, message, detail = code_of(200, "\n\n\r\n \n")
    assert.same({ "empty", "200 with nothing but blank lines" }, { code, message })
    assert.is_true(detail.keep_alive)
    assert.equal("204 with an empty body", select(2, code_of(204, "")))
  end)

  it("calls nonsense upstream", function()
    for text, what in pairs {
      ["<!DOCTYPE html><p>server busy"] = "200 with a page of HTML",
      ['{"choices":[{"message":{"content":"server busy'] = "200 with malformed JSON",
      ['"server busy"'] = "200 with malformed JSON", ["3"] = "200 with malformed JSON",
      ["{}"] = "200 without choices", ['{"choices":null}'] = "200 without choices",
      ['{"choices":7}'] = "200 without choices", ["[]"] = "200 without choices",
      ['{"choices":[5]}'] = "200 with a choice that is no object",
    } do
      local code, message = code_of(200, text)
      assert.same({ "upstream", what }, { code, message })
    end
    assert.equal("200 without data", select(2, code_of(200, "{}", {}, "embed")))
  end)

  it("calls a list of no choices empty, and a choice without its message", function()
    for body, kind in pairs { ['{"choices":[]}'] = "chat", ['{"choices":[{}]}'] = "chat",
      ['{"choices":[{"message":null}]}'] = "chat", ['{"choices":[{"text":null}]}'] = "complete",
      ['{"data":[]}'] = "embed" } do
      assert.equal("empty", (code_of(200, body, {}, kind)), body)
    end
  end)

  it("calls a want of resources busy", function()
    local body = chat { content = "half" }
    body.choices[1].finish_reason = "insufficient_system_resource"
    local code, message = code_of(200, body)
    assert.same({ "busy", "200 finish_reason insufficient_system_resource" }, { code, message })
  end)

  it("classifies an error inside", function()
    for _, row in ipairs {
      { { error = { code = "server_is_overloaded" } }, "busy" },
      { { error = { type = "overloaded_error", message = "x" } }, "busy" },
      { { error = { message = "Server busy, please try again later" } }, "busy" },
      { { error = { message = "服务器繁忙,请稍后再试" } }, "busy" },
      { { error = "系统繁忙" }, "busy" },
      { { { error = { message = "The model is overloaded." } } }, "busy" },
      { { code = 50603, message = "System is too busy now." }, "busy" },
      { { error = { code = 429 } }, "limited" }, { { error = { code = "rate_limit_exceeded" } },
        "limited" },
      { { error = { code = 503, message = "x" } }, "busy" }, { { error = { code = "502" } },
        "upstream" },
      { { error = { code = "insufficient_quota" } }, "quota" },
      { { error = { code = "invalid_api_key" } }, "auth" },
      { { error = { type = "invalid_request_error" } }, "invalid" },
      { { error = { message = "what" } }, "upstream" }, { { error = {} }, "upstream" },
      { { object = "error", message = "x", code = 400 }, "invalid" },
    } do
      assert.equal(row[2], (code_of(200, row[1])), json.encode(row[1]))
    end
  end)

  it("never takes an answer that talks of a busy server for one", function()
    for _, text in ipairs { "server busy", "系统繁忙", "overloaded_error",
      '{"error":{"code":503}}' } do
      assert.equal(text, assert(read(200, chat { content = text })).text)
    end
  end)
end)

describe("openai.read, of refusals", function()
  it("goes by the status", function()
    for words, code in pairs {
      ["503 529"] = "busy", ["429"] = "limited", ["402"] = "quota", ["401 403"] = "auth",
      ["400 404 405 410 413 415 422 418"] = "invalid", ["408"] = "timeout",
      ["409 425 500 501 502 504 520 521 522 523 524 599"] = "upstream",
      ["301 302 303 304 307 308 101"] = "upstream",
    } do
      for status in words:gmatch("%d+") do
        for _, body in ipairs { "", "<html>no</html>", "{}", '{"error":{"message":"no"}}', "null",
          '{"error":null}', "{", "[]", "[1]", '"x"', "5" } do
          local got, message, detail = code_of(tonumber(status), body)
          assert.equal(code, got, status .. " " .. body)
          assert.equal(status, message:match("^%d+"))
          assert.equal(tonumber(status), detail.status)
        end
      end
    end
  end)

  it("tells a limit from an empty account", function()
    for _, word in ipairs { "rate_limit_exceeded", "slow_down", "requests", "tokens" } do
      assert.equal("limited", (code_of(429, { error = { code = word } })))
    end
    for _, word in ipairs { "insufficient_quota", "billing_hard_limit_reached",
      "billing_not_active",
      "insufficient_balance" } do
      assert.equal("quota", (code_of(429, { error = { code = word } })))
      assert.equal("quota", (code_of(429, { error = { type = word, code = json.null } })))
    end
    assert.equal("limited", (code_of(429, { error = { code = 429, status = "RESOURCE_EXHAUSTED",
      message = "You exceeded your quota, please check your plan and billing details." } })))
  end)

  it("sees busy words whatever the status, and only where errors are told", function()
    for _, status in ipairs { 400, 403, 404, 429, 500, 502, 504 } do
      assert.equal("busy", (code_of(status, { error = { code = "server_is_overloaded" } })))
      assert.equal("busy", (code_of(status, { error = { message = "SERVER BUSY" } })))
      assert.equal("busy", (code_of(status, "服务器繁忙,请稍后再试")))
    end
    assert.equal("invalid", (code_of(400, { error = { message = "no" }, echo = "server busy" })))
    assert.equal("upstream", (code_of(500, ("x"):rep(512) .. "server busy")))
    assert.equal("upstream", (code_of(500,
      { error = { message = ("x"):rep(1000) .. "server busy" } })))
  end)

  it("says what the server said", function()
    local function said(...) return (select(2, code_of(...))) end
    assert.equal("503 service overloaded", said(503, ""))
    assert.equal("429 rate_limit_exceeded: Too many", said(429, { error = {
      code = "rate_limit_exceeded", message = "Too\r\nmany\0" } }))
    assert.equal("402 insufficient_quota", said(402, { error = { code = "insufficient_quota" } }))
    assert.equal("500 internal server error: boom", said(500, { detail = "boom" }))
    assert.equal("404 not found: no such model", said(404, { error = "no such model" }))
    assert.equal("418 an error", said(418, ""))
  end)

  it("does not follow, nor tell where to", function()
    local _, message, detail = code_of(302, "", { location = "https://x.example/?token=abc" })
    assert.equal("302 redirected, not followed", message)
    assert.is_nil(detail.location)
    assert.is_true(detail.lasting)
    assert.is_nil(select(3, code_of(500, "")).lasting)
  end)

  it("passes on the server's word about trying again", function()
    assert.is_true(select(3, code_of(400, "", { ["x-should-retry"] = "true" })).should_retry)
    assert.is_false(select(3, code_of(503, "", { ["x-should-retry"] = "false" })).should_retry)
    assert.is_nil(select(3, code_of(503, "", { ["x-should-retry"] = "maybe" })).should_retry)
    assert.is_false(select(3, code_of(200, "", { ["x-should-retry"] = "false" })).should_retry)
  end)

  it("gives their code and type when they are words", function()
    local _, _, detail = code_of(400, { error = { code = "a.b-c_1", type = "t" } })
    assert.same({ "a.b-c_1", "t" }, { detail.provider_code, detail.provider_type })
    _, _, detail = code_of(400, { error = { code = 1302.0, type = json.null } })
    assert.equal("1302", detail.provider_code)
    for _, odd in ipairs { "two words", ("x"):rep(65), "a\nb", "", "sk-abcdefgh12345678", 1.5,
      true, {} } do
      _, _, detail = code_of(400, { error = { code = odd } })
      assert.is_nil(detail.provider_code)
    end
  end)
end)

describe("a server's own words", function()
  local function clean(text) return (select(2, code_of(500, { error = { message = text } }))) end

  it("lose what looks like a key", function()
    for _, key in ipairs { "sk-abcd1234", "sk-proj-AbC123_dEf", "sk-ab****wxyz", "****wxyz",
      "0123456789abcdef0123456789abcdef", "QWxhZGRpbjpvcGVuIHNlc2FtZTEy", "gsk_abcDEF123",
      "org-AbCdEfGh12345678IjKl", "123e4567-e89b-12d3-a456-426614174000" } do
      for _, frame in ipairs { "Bad key %s.", "key=%s", "(%s)", '"%s"', "Bearer %s", "%s" } do
        local message = clean(frame:format(key))
        assert.is_nil(message:find(key, 1, true), message)
        assert.is_truthy(message:find("[masked]", 1, true), message)
      end
    end
    assert.is_nil(clean("Authorization: Bearer short7 x"):find("short7", 1, true))
  end)

  it("keep what does not", function()
    for _, text in ipairs { "The model `gpt-4o-mini-2024-07-18` does not exist", "余额不足",
      "see https://platform.openai.com/account/api-keys", "Please try again in 20s",
      "POST /v1/chat/completions failed", "max_completion_tokens is too large: 100000" } do
      assert.equal("500 internal server error: " .. text, clean(text))
    end
  end)

  it("lose the request that some servers repeat", function()
    for _, text in ipairs { "bad input: {'messages': [{'content': 'my prompt'}]}",
      "[{'type': 'missing', 'input': 'my prompt'}]", ("bad '%s'"):format(("my prompt "):rep(6)),
      ("bad `%s`"):format(("my prompt "):rep(6)), "bad \"" .. ("my prompt "):rep(500) } do
      assert.is_nil(clean(text):find("my prompt", 1, true), text)
    end
  end)

  it("stay short, on one line and in whole characters", function()
    for pad = 0, 3 do
      local message = clean(("a"):rep(pad) .. ("忙"):rep(500) .. "\n")
      assert.is_true(#message <= 240)
      assert.is_truthy(json.is_utf8(message))
    end
    assert.equal("500 internal server error: a b c", clean " a\r\n\tb\0\27c ")
    assert.equal("500 internal server error: a?b", clean "a\255\254b")
    assert.equal("500 internal server error", clean " \n ")
  end)
end)
