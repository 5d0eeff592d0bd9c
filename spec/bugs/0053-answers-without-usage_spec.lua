-- What a whole answer has used counted for nothing against its key's tokens where the upstream does
-- not tell it: only streams counted by their length.
local busyd = require "spec.support.busyd"
local gateways = require "spec.support.gateways"

local CONFIG = [[return {
  targets = { { name = "main", url = "${url}/v1", key = "k" } }, retry = false, breaker = false,
  gateway = { keys = { { key = "a", tokens = 1000 } } },
}]]

describe("a whole answer whose usage nobody tells", function()
  local up

  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() if up then up:stop() end end)

  -- The statuses of two requests, of which the upstream answers the first so.
  local function statuses(path, request, answer)
    local g, out = gateways.start { config = CONFIG, values = { url = up.url } }, {}
    up:programme { script = { { status = 200, body = answer } } }
    for i = 1, 2 do
      out[i] = g:ask(path, { body = request, headers = { "authorization: Bearer a" } }).status
    end
    g:stop()
    return out
  end

  it("counts by the length of what was asked and answered", function()
    local long = ("x"):rep(4000)
    local answer = '{"object":"chat.completion","choices":[{"index":0,"finish_reason":"stop",'
      .. '"message":{"role":"assistant","content":"%s"}}]}'
    local question = '{"model":"m","messages":[{"role":"user","content":"%s"}]}'
    local path = "/v1/chat/completions"
    assert.same({ 200, 429 }, statuses(path, question:format(long), answer:format "yes"))
    assert.same({ 200, 429 }, statuses(path, question:format "why", answer:format(long)))
    assert.same({ 200, 200 }, statuses(path, question:format "why", answer:format "yes"))
  end)

  it("counts vectors by what was asked alone", function()
    local vector = ("0.123456789,"):rep(1000) .. "1"
    assert.same({ 200, 200 }, statuses("/v1/embeddings", '{"model":"m","input":"why"}',
      '{"object":"list","data":[{"object":"embedding","index":0,"embedding":[' .. vector .. "]}]}"))
  end)
end)
