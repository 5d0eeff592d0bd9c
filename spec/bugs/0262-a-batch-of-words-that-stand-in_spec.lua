-- Words that stand in for an answer with a status of failure were, in a batch, answers like all
-- others: without the `error` that the same request alone is told, and with status 200 where nobody
-- had answered anything.
local busyd = require "spec.support.busyd"
local gateways = require "spec.support.gateways"
local json = require "unbusy.json"

local CONFIG = [[return {
  targets = { { name = "main", url = "${url}/v1", key = "k" } }, retry = false,
  fallback = { text = "later", status = ${status} },
}]]

local BODY = '{"requests":[{"prompt":"one"},{"prompt":"two"}]}'

describe("a batch for which something stands in", function()
  local up, g

  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function()
    if up then up:stop() end
  end)
  after_each(function() g:stop() end)

  local function ask(status, script)
    up:programme { reset = true }
    up:programme { script = script }
    g = gateways.start { config = CONFIG, values = { url = up.url, status = status } }
    local answer = g:ask("/api/v1/batch", { body = BODY })
    return answer, json.decode(answer.body)
  end

  local function text_of(response)
    return response.choices[1].message.content
  end

  local BUSY = { status = 503, body = "{}" }

  it("fails where nobody has answered, as one request would", function()
    local answer, body = ask("503", { BUSY, BUSY })
    local h = answer.headers
    assert.same({ 503, "fallback", "busy", "1" }, { answer.status, h["x-unbusy-source"],
      h["x-unbusy-code"], h["retry-after"] })
    assert.same({ "busy", "later" }, { body.error.code, body.error.message })
    for _, response in ipairs(body.responses) do
      assert.same({ "busy", "later" }, { response.error.code, text_of(response) })
    end
    assert.same({ 2, 2, "busy" }, { g:log(1).requests, g:log(1).failed, g:log(1).code })
  end)

  it("says of which requests that is so", function()
    local answer, body = ask("503", { BUSY })
    assert.same({ 200, nil }, { answer.status, body.error })
    local failed = 0
    for _, response in ipairs(body.responses) do
      if response.error then
        failed = failed + 1
        assert.same({ "busy", "later" }, { response.error.code, text_of(response) })
      end
    end
    assert.same({ 1, 1 }, { failed, g:log(1).failed })
  end)

  it("is an answer where its status says so", function()
    local answer, body = ask("200", { BUSY, BUSY })
    assert.same({ 200, nil, nil }, { answer.status, body.error, body.responses[1].error })
    assert.same({ 2, 0 }, { g:log(1).requests, g:log(1).failed })
  end)
end)
