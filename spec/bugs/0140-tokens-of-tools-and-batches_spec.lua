-- Where no server tells the usage, an answer that calls tools counted for nothing against its key's
-- tokens, whatever it had written into their arguments. And a batch counted the bytes of its JSON,
-- vectors and all: one embedding cost five thousand tokens that alone cost eight. Of a batch in
-- which one server told its usage, the answers of the others counted for nothing.
local busyd = require "spec.support.busyd"
local gateways = require "spec.support.gateways"
local json = require "unbusy.json"
local lengths = require "unbusy.gateway.lengths"

local CONFIG = [[return {
  targets = { { name = "main", url = "${url}/v1", key = "k" } }, retry = false, breaker = false,
  gateway = { keys = { { key = "a", tokens = 1000 } } },
}]]

local LONG = ("x"):rep(4000)

local function tools(text)
  return json.array { { index = 0, id = "c", type = "function",
    ["function"] = { name = "f", arguments = text } } }
end

local function chat(message, usage)
  return json.encode { object = "chat.completion", usage = usage, choices = json.array {
    { index = 0, finish_reason = "stop", message = message } } }
end

local function streamed(delta)
  return ("data: %s\n\ndata: %s\n\ndata: [DONE]\n\n"):format(json.encode { choices = json.array {
    { index = 0, delta = delta } } }, json.encode { choices = json.array {
    { index = 0, delta = {}, finish_reason = "tool_calls" } } })
end

local VECTOR = ('{"object":"list","data":[{"object":"embedding","index":0,"embedding":[%s]}]}')
  :format(("0.123456789,"):rep(1000) .. "1")

describe("tokens that nobody tells", function()
  local up, g

  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() if up then up:stop() end end)
  after_each(function()
    if g then g:stop() end
    g = nil
  end)

  -- The statuses of a request that the upstream answers so, and of one more.
  local function statuses(path, request, ...)
    local script = {}
    for i, body in ipairs { ... } do
      script[i] = { status = 200, body = body, headers = { ["content-type"] =
        body:find "^data:" and "text/event-stream" or "application/json" } }
    end
    up:programme { script = script }
    g = gateways.start { config = CONFIG, values = { url = up.url } }
    local out = {}
    for i = 1, 2 do
      out[i] = g:ask(path, { body = request, headers = { "authorization: Bearer a" } }).status
    end
    g:stop()
    return out
  end

  local CHAT = '{"model":"m","messages":[{"role":"user","content":"why"}]%s}'

  it("are counted in what tools are called with", function()
    local path = "/v1/chat/completions"
    local message = { role = "assistant", tool_calls = tools(LONG) }
    assert.same({ 200, 429 }, statuses(path, CHAT:format "", chat(message)))
    assert.same({ 200, 429 }, statuses(path, CHAT:format ',"stream":true', streamed(message)))
    message.tool_calls = tools "{}"
    assert.same({ 200, 200 }, statuses(path, CHAT:format "", chat(message)))
  end)

  it("are those of what was said in a batch, not of vectors", function()
    local path = "/api/v1/batch"
    local one, two = '{"requests":[%s]}', '{"requests":[%s,%s]}'
    local question = CHAT:format ""
    assert.same({ 200, 200 }, statuses(path, one:format '{"model":"m","input":"why"}', VECTOR))
    assert.same({ 200, 429 }, statuses(path, one:format(question),
      chat { role = "assistant", content = LONG }))
    local told = { prompt_tokens = 1, completion_tokens = 1, total_tokens = 2 }
    assert.same({ 200, 429 }, statuses(path, two:format(question, question),
      chat({ role = "assistant", content = "yes" }, told),
      chat { role = "assistant", content = LONG }))
  end)

  it("are none of what a server has garbled", function()
    for _, calls in ipairs { { 1 }, { {} }, { { ["function"] = 1 } },
      { { ["function"] = { name = 1, arguments = {} } } } } do
      assert.equal(3, lengths.of { text = "yes", tool_calls = calls })
    end
    assert.equal(0, lengths.of {})
  end)
end)
