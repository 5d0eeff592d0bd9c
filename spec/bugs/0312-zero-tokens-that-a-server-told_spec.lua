-- Some servers and relays write a `usage` that says nothing: an empty one, or zeros. A whole answer
-- with one of these took none of its key's tokens, in a batch neither, whatever its length; a
-- stream that ends with the same zeros took what its length tells.
local busyd = require "spec.support.busyd"
local gateways = require "spec.support.gateways"

local CONFIG = [[return {
  targets = { { name = "main", url = "${url}/v1", key = "k" } }, retry = false, breaker = false,
  gateway = { keys = { { key = "a", tokens = 1000 } } },
}]]

local LONG = ("x"):rep(4000)
local ANSWER = '{"object":"chat.completion","choices":[{"index":0,"finish_reason":"stop",'
  .. '"message":{"role":"assistant","content":"%s"}}],"usage":%s}'
local ZEROS = '{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}'
local ASKED = '{"model":"m","messages":[{"role":"user","content":"%s"}]}'

describe("a usage of no tokens", function()
  local up

  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() if up then up:stop() end end)

  -- The statuses of two requests, all of which the upstream answers so.
  local function statuses(path, request, answer)
    local g, out = gateways.start { config = CONFIG, values = { url = up.url } }, {}
    up:programme { script = { { status = 200, body = answer } } }
    for i = 1, 2 do
      out[i] = g:ask(path, { body = request, headers = { "authorization: Bearer a" } }).status
    end
    g:stop()
    return out
  end

  for name, usage in pairs { ["that is empty"] = "{}", ["that has zeros"] = ZEROS } do
    it("is none, and the length tells: one " .. name, function()
      local chat = "/v1/chat/completions"
      assert.same({ 200, 429 }, statuses(chat, ASKED:format "why", ANSWER:format(LONG, usage)))
      assert.same({ 200, 429 }, statuses(chat, ASKED:format(LONG), ANSWER:format("yes", usage)))
      assert.same({ 200, 200 }, statuses(chat, ASKED:format "why", ANSWER:format("yes", usage)))
      assert.same({ 200, 429 }, statuses("/api/v1/batch", '{"requests":[' .. ASKED:format(LONG)
        .. "]}", ANSWER:format("yes", usage)))
      assert.same({ 200, 429 }, statuses("/v1/embeddings", '{"model":"m","input":"' .. LONG .. '"}',
        '{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1]}],"usage":'
        .. usage .. "}"))
    end)
  end
end)
