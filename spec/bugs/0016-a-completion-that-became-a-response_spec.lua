-- A streamed completion whose prompt had an `id` was taken for a response, and sent to another
-- endpoint than the one that was asked.
local busyd = require "spec.support.busyd"
local gateways = require "spec.support.gateways"
local json = require "unbusy.json"

describe("a completion with the prompt of a response", function()
  it("is refused, streamed or not", function()
    local up = busyd.start { workers = 1 }
    local g = gateways.start { values = { url = up.url }, config = [[return {
      targets = { { name = "main", url = "${url}/v1", key = "sk-up" } }, retry = false,
    }]] }
    local statuses, params = {}, {}
    for i, more in ipairs { ',"stream":true', "" } do
      local answer = g:ask("/v1/completions", { body = '{"prompt":{"id":"p-1"}' .. more .. "}" })
      statuses[i], params[i] = answer.status, json.decode(answer.body).error.param
    end
    local received = up:counts().received
    g:stop()
    up:stop()
    assert.same({ { 400, 400 }, { "prompt", "prompt" }, 0 }, { statuses, params, received })
  end)
end)
