local busyd = require "spec.support.busyd"
local gateways = require "spec.support.gateways"
local json = require "unbusy.json"
local leaks = require "spec.support.leaks"

local CONFIG = [[return {
  targets = { { name = "main", url = "${url}/v1", key = "sk-up" } },
  gateway = { keys = { "sk-client-one", { key = "sk-client-two", name = "team two" },
    { key = "sk-calls", calls = 2 }, { key = "sk-tokens", name = "tokens", tokens = 20 } } },
}]]

local QUESTION = '{"model":"m","messages":[{"role":"user","content":"hi"}]}'
local STREAM = '{"stream":true,"model":"m","messages":[{"role":"user","content":"hi"}]}'

describe("a client key of the gateway", function()
  local up, g

  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() if up then up:stop() end end)

  before_each(function()
    up:programme { reset = true, log = true }
    g = gateways.start { config = CONFIG, values = { url = up.url }, workers = 2 }
  end)

  after_each(function()
    assert.is_nil(g:errors():find("[error]", 1, true))
    g:stop()
  end)

  local function chat(header, body)
    return g:ask("/v1/chat/completions", { body = body or QUESTION, headers = { header } })
  end

  it("is asked for", function()
    for _, header in ipairs { "x-none: 1", "authorization: Bearer", "authorization: Bearer wrong",
      "authorization: sk-client-one", "authorization: Basic sk-client-one",
      "authorization: Bearer sk-client-one more", "authorization: Bearer sk-client-on",
      "authorization: Bearer sk-client-onee", "x-api-key;", "api-key: sk-up" } do
      local answer = chat(header)
      assert.equal(401, answer.status)
      local e = json.decode(answer.body).error
      assert.same({ "authentication_error", "invalid_api_key" }, { e.type, e.code })
      assert.equal("Bearer", answer.headers["www-authenticate"])
    end
    for _, path in ipairs { "/v1/models", "/v1/files" } do
      assert.equal(401, g:ask(path).status)
    end
    assert.equal(0, up:counts().received)
  end)

  it("is taken in each of the ways that clients have", function()
    for i, header in ipairs { "authorization: Bearer sk-client-two",
      "Authorization: bearer  sk-client-two", "api-key: sk-client-two",
      "X-API-Key: sk-client-two" } do
      assert.equal(200, chat(header).status)
      assert.equal("team two", g:log(i).key)
    end
    chat "api-key: sk-client-one"
    assert.equal("key 1", g:log(5).key)
    for _, sent in ipairs(up:log()) do
      assert.equal("Bearer sk-up", sent.headers.authorization)
      assert.is_nil(sent.headers["api-key"] or sent.headers["x-api-key"])
    end
    leaks.none({ "sk-client-two", "sk-client-one" }, json.encode(g:log(1)), g:errors())
  end)

  it("is not needed to see that the gateway is well", function()
    assert.same({ 200, 200 }, { g:ask("/healthz").status, g:ask("/readyz").status })
  end)

  it("has its calls a minute", function()
    for _ = 1, 2 do assert.equal(200, chat("api-key: sk-calls").status) end
    local answer = chat "api-key: sk-calls"
    assert.equal(429, answer.status)
    local e = json.decode(answer.body).error
    assert.same({ "rate_limit_error", "rate_limit_exceeded" }, { e.type, e.code })
    local seconds = tonumber(answer.headers["retry-after"])
    assert.is_true(seconds >= 1 and seconds <= 120)
    assert.is_nil(answer.headers["x-should-retry"]) -- nobody has tried again
    assert.equal(200, chat("api-key: sk-client-one").status)
    assert.equal(3, up:counts().received)
  end)

  it("has its tokens a minute: as the server counts, or by their length", function()
    up:programme { answer = { tokens = 30 } }
    assert.equal(200, chat("api-key: sk-tokens").status)
    assert.equal(429, chat("api-key: sk-tokens").status)
    g:stop()
    g = gateways.start { config = CONFIG, values = { url = up.url } }
    local text = ("x"):rep(200)
    up:programme { script = { { headers = { ["content-type"] = "text/event-stream" },
      body = ('data: {"choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":"stop"}]}\n\n')
        :format(text) } } }
    assert.equal(200, chat("api-key: sk-tokens", STREAM).status)
    g:log(1)
    assert.equal(429, chat("api-key: sk-tokens", STREAM).status)
  end)
end)
