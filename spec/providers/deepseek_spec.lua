local deepseek = require "unbusy.providers.deepseek"

local function where(target_url, kind, body)
  local path, copy = deepseek.request(kind, body or {}, false)
  return deepseek.url(target_url, path), copy
end

describe("deepseek", function()
  it("is asked with and without /v1", function()
    assert.equal("https://api.deepseek.com/chat/completions", where("https://api.deepseek.com",
      "chat"))
    assert.equal("https://api.deepseek.com/v1/chat/completions",
      where("https://api.deepseek.com/v1/", "chat"))
  end)

  it("is asked under /beta for completions and for what continues a beginning", function()
    local continued = { messages = { { role = "user" }, { role = "assistant", prefix = true } } }
    for _, base in ipairs { "", "/", "/v1", "/v1/", "/beta", "/beta/" } do
      local url = "https://api.deepseek.com" .. base
      assert.equal("https://api.deepseek.com/beta/completions", where(url, "complete"))
      assert.equal("https://api.deepseek.com/beta/chat/completions", where(url, "chat", continued))
    end
    local first = { messages = { { role = "assistant", prefix = true }, { role = "user" } } }
    assert.equal("https://api.deepseek.com/chat/completions",
      where("https://api.deepseek.com", "chat", first))
    for _, odd in ipairs { {}, { messages = 5 }, { messages = { "x" } }, { messages = {} } } do
      assert.equal("https://api.deepseek.com/chat/completions",
        where("https://api.deepseek.com", "chat", odd))
    end
  end)

  it("leaves other hosts and paths as they are", function()
    assert.equal("http://127.0.0.1:8080/v1/completions", where("http://127.0.0.1:8080/v1",
      "complete"))
    assert.equal("https://api.deepseek.com/other/completions",
      where("https://api.deepseek.com/other", "complete"))
    assert.equal("https://api.deepseek.com.evil.example/completions",
      where("https://api.deepseek.com.evil.example", "complete"))
  end)

  it("keeps the query of its URL, wherever it is asked", function()
    assert.equal("https://api.deepseek.com/beta/completions?a=b",
      where("https://api.deepseek.com/v1/?a=b", "complete"))
    assert.equal("https://api.deepseek.com/v1/chat/completions?a=/v1",
      where("https://api.deepseek.com/v1?a=/v1", "chat"))
  end)

  it("copies the body as openai does", function()
    local body = { model = "m", thinking = { type = "disabled" }, stream = true }
    local _, copy = where("https://api.deepseek.com", "chat", body)
    assert.same({ model = "m", thinking = { type = "disabled" } }, copy)
    assert.is_true(body.stream)
  end)

  it("counts the tokens of its cache", function()
    local answer = assert(deepseek.read("chat", 200, {}, [[{"choices":[{"index":0,
      "message":{"content":"x","reasoning_content":"y"},"finish_reason":"stop"}],
      "usage":{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12,
      "prompt_cache_hit_tokens":7,"prompt_cache_miss_tokens":3}}]]))
    assert.equal(7, answer.usage.cached_tokens)
    assert.equal("y", answer.reasoning)
  end)

  it("says busy and out of money in its own ways", function()
    local function code(status, text) return (select(3, deepseek.read("chat", status, {},
      text))) end
    assert.equal("busy", code(200, [[{"choices":[{"index":0,"message":{"content":""},
      "finish_reason":"insufficient_system_resource"}]}]]))
    assert.equal("quota", code(402, [[{"error":{"message":"Insufficient Balance",
      "type":"unknown_error","param":null,"code":"invalid_request_error"}}]]))
    assert.equal("auth", code(401,
      [[{"error":{"message":"Authentication Fails, Your api key: ****abcd
      is invalid","type":"authentication_error","code":"invalid_request_error"}}]]))
    assert.equal("busy", code(503, ""))
    assert.equal("empty", code(200, ("\n"):rep(100)))
  end)
end)
