-- After `gateway.client:close()` the page of metrics was a 500, and the gateway still said that it
-- was ready, though each call failed.
local gateways = require "spec.support.gateways"
local json = require "unbusy.json"

describe("a gateway whose client is closed", function()
  it("says so", function()
    local g = gateways.start {
      config = 'return { targets = { { name = "a", url = "http://127.0.0.1:1", key = "k" } } }',
      server = "location = /close { content_by_lua_block { gateway.client:close() } }" }
    assert.same({ 200, 200 }, { g:ask("/metrics").status, g:ask("/readyz").status })
    g:ask "/close"
    for _, path in ipairs { "/metrics", "/readyz" } do
      local answer = g:ask(path)
      assert.equal(503, answer.status)
      assert.equal("closed", json.decode(answer.body).error.code)
      assert.equal("1", answer.headers["retry-after"])
    end
    assert.equal(200, g:ask("/healthz").status)
    local errors = g:errors()
    g:stop()
    assert.is_nil(errors:find("[error]", 1, true))
  end)
end)
