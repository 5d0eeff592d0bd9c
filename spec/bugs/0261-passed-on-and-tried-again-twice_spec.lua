-- What is passed on and refused for being busy was tried again by the gateway, as often as `retry`
-- says, and then by OpenAI's SDK, which was not told of it: each of its three tries was as many of
-- ours. And two failures of the gateway's own, a refused key and a list of models that is none,
-- said neither that, nor with `x-unbusy-code` what had gone wrong.
local gateways = require "spec.support.gateways"
local raw_server = require "spec.support.raw_server"

local CONFIG = [[return { targets = { { name = "main", url = "${url}", key = "k" } },
  retry = ${retry} }]]

local function answer_of(status, more)
  return ("HTTP/1.1 %s\r\n%sContent-Length: 2\r\nConnection: close\r\n\r\n{}"):format(status,
    more or "")
end

describe("what is passed on", function()
  local raw, g

  setup(function() raw = raw_server.start() end)
  teardown(function()
    if raw then raw:stop() end
  end)

  local function begin(retry)
    g = gateways.start { config = CONFIG, values = { url = raw.url, retry = retry } }
  end
  after_each(function() g:stop() end)

  local function ask(status, more)
    local answer = g:ask("/v1/files", { headers = { "content-type: text/plain" },
      body = answer_of(status, more) })
    local h = answer.headers
    return { answer.status, h["x-unbusy-tries"], h["x-should-retry"], h["x-unbusy-code"] }
  end

  it("and busy is said to have been tried again", function()
    begin "{ attempts = 2, base = 0.01, jitter = 0 }"
    assert.same({ 503, "2", "false" }, ask "503 Busy")
    assert.same({ 429, "2", "false" }, ask("429 Busy", "X-Should-Retry: true\r\n"))
    assert.same({ 500, "1", nil }, ask "500 Broken") -- which is no busy, and left to who asked
    assert.same({ 404, "1", nil }, ask "404 Not Found")
  end)

  it("and busy is left as it is where the gateway does not try again", function()
    begin "false"
    assert.same({ 503, "1", nil }, ask "503 Busy")
    assert.same({ 503, "1", "true" }, ask("503 Busy", "X-Should-Retry: true\r\n"))
  end)

  it("and refused for the gateway's key says so", function()
    begin "{ attempts = 2, base = 0.01 }"
    assert.same({ 502, "1", "false", "auth" }, ask "401 Unauthorized")
    assert.equal("auth", g:log(1).code)
  end)
end)

describe("a list of models that is none", function()
  it("says what it is", function()
    local other = gateways.start { config = [[return { targets = {
      { name = "x", url = "http://127.0.0.1:1", key = "k" } } }]],
      server = [[location /v2/models { access_log off; return 200 "{}"; }]] }
    local g = gateways.start { values = { port = tostring(other.port) }, config = [[return {
      targets = { { name = "main", url = "http://127.0.0.1:${port}/v2", key = "k" } } }]] }
    local answer = g:ask "/v1/models"
    g:stop()
    other:stop()
    assert.equal(502, answer.status)
    assert.same({ "upstream", "1", "false" }, { answer.headers["x-unbusy-code"],
      answer.headers["x-unbusy-tries"], answer.headers["x-should-retry"] })
  end)
end)
