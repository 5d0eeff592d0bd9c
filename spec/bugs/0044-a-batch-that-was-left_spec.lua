-- A client that left its batch shortly before the end had all but the last of its answers for
-- nothing: their tokens did not count against its key. And the log said that all had failed.
local busyd = require "spec.support.busyd"
local gateways = require "spec.support.gateways"

local CONFIG = [[return {
  targets = { { name = "main", url = "${url}/v1", key = "k" } },
  gateway = { keys = { { key = "a", tokens = 50 } }, batch = { at_once = 1 } },
}]]

local BODY = '{"requests":[{"prompt":"one"},{"prompt":"two"},{"prompt":"three"}]}'

describe("a batch whose client leaves", function()
  it("has used what it was answered", function()
    local up = busyd.start { workers = 1,
      programme = { answer = { tokens = 200 }, script = { {}, {}, { latency = 30 } } } }
    local g = gateways.start { config = CONFIG, values = { url = up.url } }
    local s = g:connect()
    s:write(("POST /api/v1/batch HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\n"
      .. "Content-Length: %d\r\n\r\n%s"):format(#BODY, BODY))
    s:flush()
    gateways.eventually(function() return up:counts().received == 3 end)
    s:close()
    local line = g:log(1)
    local next_one = g:ask("/v1/chat/completions", { headers = { "authorization: Bearer a" },
      body = '{"messages":[{"role":"user","content":"hi"}]}' })
    g:stop()
    up:stop()
    assert.same({ 499, 3, 1, 400 },
      { line.status, line.requests, line.failed, line.completion_tokens })
    assert.equal(429, next_one.status)
  end)
end)
