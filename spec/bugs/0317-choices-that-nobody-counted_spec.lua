-- Where a server does not tell its usage, a key's tokens are told by the length of the answer: that
-- was the length of its first choice. Who asked for many (`n`) had all the others for nothing.
local busyd = require "spec.support.busyd"
local gateways = require "spec.support.gateways"
local json = require "unbusy.json"

local CONFIG = [[return { targets = { { name = "main", url = "${url}/v1", key = "k" } },
  retry = false, breaker = false, gateway = { keys = { { key = "a", tokens = 300 } } } }]]

local LONG = ("x"):rep(700) -- 175 tokens; two of them are more than the key has

-- An answer with two choices.
local function body_of(make)
  local choices = json.array()
  for i = 1, 2 do
    choices[i] = make()
    choices[i].index, choices[i].finish_reason = i - 1, "stop"
  end
  return json.encode { id = "x", object = "x", model = "m", choices = choices }
end

local function said() return { message = { role = "assistant", content = LONG } } end

local function text() return { text = LONG } end

local function called()
  local call = { id = "c", type = "function", ["function"] = { name = "f", arguments = LONG } }
  return { message = { role = "assistant", content = json.null,
    tool_calls = json.array { call } } }
end

-- A server that answers with a stream of two choices.
local function streaming()
  local chunks = {}
  for i = 0, 1 do
    chunks[#chunks + 1] = "data: " .. json.encode { id = "x", object = "chat.completion.chunk",
      model = "m", choices = json.array { { index = i, delta = { content = LONG },
        finish_reason = "stop" } } } .. "\\n\\n"
  end
  return "server { listen 127.0.0.1:${port2}; access_log off; location / {\n"
    .. "default_type text/event-stream;\nreturn 200 '" .. table.concat(chunks)
    .. "data: [DONE]\\n\\n'; } }"
end

local CHAT = '{"model":"m","n":2,"messages":[{"role":"user","content":"hi"}]%s}'

describe("choices of an answer without usage", function()
  local up
  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() if up then up:stop() end end)

  -- The statuses of two requests of a key that has enough for one choice.
  local function statuses(path, request, http)
    local g, out = gateways.start { config = CONFIG, http = http,
      values = { url = http and "http://127.0.0.1:${port2}" or up.url } }, {}
    for i = 1, 2 do
      out[i] = g:ask(path, { body = request, headers = { "authorization: Bearer a" } }).status
    end
    g:stop()
    return out
  end

  local function whole(path, request, answer)
    up:programme { script = { { status = 200, body = answer } } }
    return statuses(path, request)
  end

  it("count all of them", function()
    local chat = "/v1/chat/completions"
    assert.same({ 200, 429 }, whole(chat, CHAT:format "", body_of(said)))
    assert.same({ 200, 429 }, whole(chat, CHAT:format "", body_of(called)))
    assert.same({ 200, 429 }, whole("/v1/completions", '{"model":"m","n":2,"prompt":"hi"}',
      body_of(text)))
    assert.same({ 200, 429 }, whole("/api/v1/batch", '{"requests":[' .. CHAT:format "" .. "]}",
      body_of(said)))
  end)

  it("count all of them of a stream", function()
    assert.same({ 200, 429 }, statuses("/v1/chat/completions", CHAT:format ',"stream":true',
      streaming()))
  end)
end)
