-- OpenAI's own SDK for Node.js against our gateway in a real nginx. Behind it stands a mock of an
-- LLM API that somebody else wrote, and where the upstream has to be slow or counted, the busy one.
local busyd = require "spec.support.busyd"
local cjson = require "cjson"
local gateways = require "spec.support.gateways"
local third_party = require "spec.support.third_party"

local CONFIG = [[
  return {
    targets = { { name = "up", url = "${url}/v1", key = "${key}", models = { default = "m",
      m = "m" }, headers = { ["x-test-id"] = "sdk" }, proxy = false } },
    retry = { attempts = 3, base = 0.01, cap = 0.02, max_wait = 1 }, ${more}
    gateway = { keys = { "sk-client" } },
  }
]]

local SDK = "timeout 120 node spec/support/third_party/openai_sdk.mjs build/third_party "
  .. "%s sk-client %s 2>&1"

-- Runs scenarios of openai_sdk.mjs: name -> value; an error of the SDK that the scenario does not
-- expect is raised when its value is asked for.
local function run(g, names)
  local url = ("http://127.0.0.1:%d/v1"):format(g.port)
  local pipe, seen = io.popen(SDK:format(url, names)), {}
  for line in pipe:lines() do
    local ok, item = pcall(cjson.decode, line)
    assert(ok and type(item) == "table", line)
    seen[item.name] = item
  end
  pipe:close()
  return function(name)
    local item = assert(seen[name], "the SDK did not come to " .. name)
    assert(not item.error, item.error and cjson.encode(item.error))
    return item.value
  end
end

describe("OpenAI's SDK, through the gateway to a third party's server,", function()
  local server, g, value

  setup(function()
    server = third_party.start()
    server:add { { match = { userMessage = "always bad" }, response = {
      error = { message = "overloaded", type = "server_error" }, status = 503 } },
      { match = { userMessage = "hello there" }, response = { content = "General greetings." } } }
    g = gateways.start { config = CONFIG, workers = 2,
      values = { url = server.url, key = server.key, more = "" } }
    -- The last one makes the gateway leave its target alone for an hour.
    value = run(g, "chat chinese stream reasoning tools tools_stream embeddings models responses "
      .. "responses_stream wrong_key bad_request no_such_path one_layer cut limited")
  end)

  teardown(function()
    if g then g:stop() end
    if server then server:stop() end
  end)

  local WEATHER = "Rain in the morning, then a long dry afternoon with some wind from the west."

  it("chats", function()
    local v = value "chat"
    assert.same({ WEATHER, "mock-1", 28 }, { v.text, v.model, v.usage.total_tokens })
    assert.same({ "upstream", "up", "1" }, { v.source, v.target, v.tries })
    assert.matches("早上有雨", (value "chinese"))
  end)

  it("streams", function()
    local v = value "stream"
    assert.same({ WEATHER, "stop" }, { v.text, v.finish })
    assert.is_true(v.chunks > 3)
  end)

  it("sees fields that OpenAI does not have", function()
    local v = value "reasoning"
    assert.equal("Forty-two.", v.content)
    assert.equal("Six times seven, counted twice.", v.reasoning_content or v.reasoning)
  end)

  it("uses tools, whole and streamed", function()
    for _, name in ipairs { "tools", "tools_stream" } do
      local v = value(name)
      assert.equal("tool_calls", v.finish)
      assert.same({ "weather", "clock" }, { v.calls[1]["function"].name,
        v.calls[2]["function"].name })
      local arguments = cjson.decode(v.calls[1]["function"].arguments)
      assert.same({ "München", 'a "quoted" word' }, { arguments.city, arguments.note })
    end
    assert.equal("It rains, and it is noon.", value("tools").text)
  end)

  it("embeds", function()
    assert.same({ 0.25, -0.5, 1, 0 }, value "embeddings")
  end)

  it("lists the models, and gets one", function()
    local v = value "models"
    assert.same({ { "m" }, "m" }, { v.list, v.one })
    assert.same({ "NotFoundError", 404 }, { v.none.class, v.none.status })
  end)

  it("makes responses, whole and streamed", function()
    local v = value "responses"
    assert.same({ "completed", "General greetings." }, { v.status, v.text })
    v = value "responses_stream"
    assert.same({ "General greetings.", "response.completed" }, { v.text, v.last })
  end)

  it("raises the errors that it has for each failure", function()
    local v = value "wrong_key"
    assert.same({ "AuthenticationError", 401, "invalid_api_key" }, { v.class, v.status, v.code })
    v = value "bad_request"
    assert.same({ "BadRequestError", 400, "invalid_request_error" }, { v.class, v.status, v.type })
    v = value "no_such_path"
    assert.same({ "NotFoundError", 404 }, { v.class, v.status })
    v = value "limited"
    assert.same({ "RateLimitError", 429 }, { v.class, v.status })
    assert.is_true(tonumber(v.retry_after) > 3000)
  end)

  it("does not try again what the gateway has tried", function()
    local v = value "one_layer"
    assert.same({ "InternalServerError", 503, "false" }, { v.class, v.status, v.should_retry })
    local count = 0
    for _, entry in ipairs(server:journal "sdk") do
      if cjson.encode(entry.body):find("always bad", 1, true) then count = count + 1 end
    end
    assert.equal(3, count)
  end)

  it("hears of a stream that was cut", function()
    local v = value "cut"
    assert.is_nil(v.unexpected)
    assert.same({ "APIError", "cut" }, { v.class, v.code })
    assert.matches("^up: body: ", v.message)
  end)
end)

describe("OpenAI's SDK, through the gateway to the busy upstream,", function()
  local up, g

  setup(function()
    up = busyd.start { workers = 1 }
    g = gateways.start { config = CONFIG, workers = 2, values = { url = up.url, key = "k",
      more = "limiter = { initial = 200, max = 200 }," } }
  end)

  teardown(function()
    if g then g:stop() end
    if up then up:stop() end
  end)

  before_each(function() up:reset() end)

  it("makes a hundred calls at once", function()
    up:programme { latency = 0.05 }
    local texts = run(g, "hundred") "hundred"
    assert.equal(100, #texts)
    for i, text in ipairs(texts) do
      assert.equal(busyd.expected("number " .. i - 1), text)
    end
    assert.equal(100, up:counts().received)
  end)

  it("ends the upstream's work when it aborts", function()
    up:programme { latency = 30 }
    assert.equal("APIUserAbortError", run(g, "abort")("abort").class)
    gateways.eventually(function() return up:counts().in_service == 0 end)
    assert.equal(1, up:counts().received)
    up:programme { answer = { tokens = 10000 }, token_interval = 0.05 }
    assert.equal(3, run(g, "abort_stream") "abort_stream")
    gateways.eventually(function() return up:counts().in_service == 0 end)
    g:settle()
  end)
end)
