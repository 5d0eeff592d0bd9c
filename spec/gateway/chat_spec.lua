local busyd = require "spec.support.busyd"
local gateways = require "spec.support.gateways"
local json = require "unbusy.json"

local CONFIG = [[return {
  targets = { { name = "main", url = "${url}/v1", key = "sk-upstream-4711",
    price = { input = 1, output = 2 } } },
  retry = { attempts = 2, base = 0.01, jitter = 0 },
  fallback = ${fallback},
}]]

local QUESTION = '{"model":"m","messages":[{"role":"user","content":"天气如何"}]}'
local STREAM = '{"model":"m","stream":true,"messages":[{"role":"user","content":"天气如何"}]}'

describe("the gateway's chat", function()
  local up, g

  setup(function()
    up = busyd.start { workers = 1 }
    g = gateways.start { config = CONFIG, values = { url = up.url, fallback = "nil" } }
  end)

  teardown(function()
    if g then g:stop() end
    if up then up:stop() end
  end)

  before_each(function() up:programme { log = true, reset = true } end)

  local function chat(body, more)
    more = more or {}
    more.body = body
    return g:ask("/v1/chat/completions", more)
  end

  it("answers with the upstream's bytes and says where they are from", function()
    local body = '{"id":"x", "choices":[{"index":0,"message":{"role":"assistant",'
      .. '"content":"1\\u00e9","new":1.0},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,'
      .. '"completion_tokens":5,"total_tokens":8}, "other":12345678901234567890}'
    up:programme { script = { { body = body, headers = { ["x-request-id"] = "up-1",
      ["openai-version"] = "2020-10-01", ["x-ratelimit-remaining-requests"] = "7",
      ["set-cookie"] = "a=b", ["x-other"] = "no", server = "theirs" } } } }
    local answer = chat(QUESTION)
    assert.equal(200, answer.status)
    assert.equal(body, answer.body)
    local h = answer.headers
    assert.equal("application/json", h["content-type"])
    assert.equal(tostring(#body), h["content-length"])
    assert.same({ "upstream", "main", "1" },
      { h["x-unbusy-source"], h["x-unbusy-target"], h["x-unbusy-tries"] })
    assert.same({ "up-1", "2020-10-01", "7" },
      { h["x-request-id"], h["openai-version"], h["x-ratelimit-remaining-requests"] })
    assert.is_nil(h["set-cookie"] or h["x-other"])
    assert.is_nil(h.server:find "theirs")
  end)

  it("sends the client's bytes on, with and without /v1", function()
    local body = '{ "messages":[{"role":"user","content":"a\\u0062", "x":1.0}],"model":"m",'
      .. '"seed":12345678901234567890, "a":[], "b":{} }'
    assert.equal(200, chat(body).status)
    assert.equal(200, g:ask("/chat/completions", { body = body }).status)
    for _, sent in ipairs(up:log()) do
      assert.equal("/v1/chat/completions", sent.path)
      assert.equal(body, sent.body)
      assert.equal("Bearer sk-upstream-4711", sent.headers.authorization)
    end
  end)

  it("streams event by event, and says [DONE] at the good end", function()
    local answer = chat(STREAM)
    assert.equal(200, answer.status)
    assert.equal("text/event-stream; charset=utf-8", answer.headers["content-type"])
    assert.equal("no", answer.headers["x-accel-buffering"])
    assert.equal("main", answer.headers["x-unbusy-target"])
    local text = {}
    for data in answer.body:gmatch "data: ({.-})\n\n" do
      local delta = json.decode(data).choices[1].delta
      text[#text + 1] = delta.content
    end
    assert.equal(busyd.expected "天气如何", table.concat(text))
    assert.is_truthy(answer.body:find "data: %[DONE%]\n\n$")
    assert.is_nil(answer.body:find('"choices":[]', 1, true)) -- usage that nobody asked for
  end)

  it("gives the usage of a stream to whom asks for it", function()
    local answer = chat(STREAM:sub(1, -2) .. ',"stream_options":{"include_usage":true}}')
    assert.is_truthy(answer.body:find('"choices":[]', 1, true))
    assert.is_truthy(answer.body:find('"total_tokens"', 1, true))
  end)

  it("passes a stream's data on byte for byte", function()
    local data = '{"choices" : [{"index":0,"delta":{"content":"\\u0061","n":1.0}}]}'
    local last = '{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}], "z":1e2 }'
    up:programme { script = { { body = ("id: 7\ndata: %s\n\ndata: %s\n\ndata: [DONE]\n\n")
      :format(data, last), headers = { ["content-type"] = "text/event-stream" } } } }
    local body = chat(STREAM).body
    assert.equal(("id: 7\ndata: %s\n\nid: 7\ndata: %s\n\ndata: [DONE]\n\n"):format(data, last),
      body)
  end)

  it("fails over until the first byte of answer", function()
    up:programme { script = { { preset = "busy_503" } } }
    local answer = chat(STREAM)
    assert.equal(200, answer.status)
    assert.equal("2", answer.headers["x-unbusy-tries"])
  end)

  it("tells a later cut, and does not say [DONE]", function()
    up:programme { script = { { preset = "cut_stream", after = 1 } } }
    local answer = chat(STREAM)
    assert.equal(200, answer.status)
    assert.is_nil(answer.body:find("[DONE]", 1, true))
    local e = json.decode(answer.body:match "data: ({\"error\".-})\n\n$").error
    assert.equal("cut", e.code)
    assert.equal("server_error", e.type)
    assert.is_truthy(e.message:find "^main: ")
  end)

  it("tells a failure as an OpenAI server would", function()
    for _, case in ipairs {
      { { preset = "busy_503" }, 503, "service_unavailable_error", "busy" },
      { { preset = "rate_limited", retry_after = 0.01 }, 429, "rate_limit_error", "limited" },
      { { preset = "invalid_400" }, 400, "invalid_request_error" },
      { { preset = "not_found" }, 404, "not_found_error" },
      { { preset = "unauthorized" }, 502, "server_error", "auth" },
    } do
      g:stop() -- what was refused is remembered
      g = gateways.start { config = CONFIG, values = { url = up.url, fallback = "nil" } }
      for _, body in ipairs { QUESTION, STREAM } do
        up:programme { script = { case[1], case[1] } }
        local answer = chat(body)
        assert.equal(case[2], answer.status)
        local e = json.decode(answer.body).error
        assert.equal(case[3], e.type)
        if case[4] then assert.equal(case[4], e.code) end
        assert.equal("string", type(e.message))
        if case[2] == 429 or case[2] == 503 then
          assert.is_truthy(tonumber(answer.headers["retry-after"]) >= 1)
        end
        assert.equal("false", answer.headers["x-should-retry"])
        if case[4] == "auth" then break end -- the key has been set aside
      end
    end
  end)
end)
