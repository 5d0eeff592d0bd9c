-- A stream counted against its key's tokens by its length also where it had no answer at all, or
-- a fallback's text: a minute of a busy upstream used up the key's quota with nothing.
local busyd = require "spec.support.busyd"
local gateways = require "spec.support.gateways"

local CONFIG = [[return {
  targets = { { name = "main", url = "${url}/v1", key = "k" } }, retry = false, breaker = false,
  ${more} gateway = { keys = { { key = "a", tokens = 1000 } } },
}]]

describe("a stream that nobody answers", function()
  local up

  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() if up then up:stop() end end)

  -- The statuses of two streams of a thousand tokens each while the upstream refuses all, and of a
  -- third when it answers; then of one that finds the third has counted.
  local function statuses(more)
    local g, out = gateways.start { config = CONFIG, values = { url = up.url, more = more } }, {}
    local body = ('{"model":"m","stream":true,"messages":[{"role":"user","content":"%s"}]}')
      :format(("x"):rep(4000))
    for i = 1, 4 do
      up:programme(i <= 2 and { capacity = 0 } or { answer = { tokens = 2000 } })
      out[i] = g:ask("/v1/chat/completions", { body = body,
        headers = { "authorization: Bearer a" } }).status
    end
    g:stop()
    return out
  end

  it("counts for nothing", function()
    assert.same({ 503, 503, 200, 429 }, statuses "")
  end)

  it("counts for nothing where a fallback's text stands in, with either status", function()
    assert.same({ 200, 200, 200, 429 }, statuses "fallback = 'come again',")
    assert.same({ 503, 503, 200, 429 },
      statuses "fallback = { text = 'come again', status = 503 },")
  end)
end)
