-- A number that is too large ("created": 1e999) in a server's list of models was read as infinity,
-- which JSON cannot say: /v1/models was a 500, until the list was asked for anew.
local gateways = require "spec.support.gateways"
local json = require "unbusy.json"

local UPSTREAM = [[server {
  listen 127.0.0.1:${port2};
  access_log off;
  default_type application/json;
  return 200 '{"data":[{"id":"m","created":1e999},{"id":"n","created":7}]}';
}]]

describe("a list of models with a number that is none", function()
  it("has its name all the same", function()
    local g = gateways.start { http = UPSTREAM, values = {}, config = [[return {
      targets = { { name = "main", url = "http://127.0.0.1:${port2}/v1", key = "k" } } }]] }
    local answer, one = g:ask "/v1/models", g:ask "/v1/models/m"
    local errors = g:errors()
    g:stop()
    assert.same({ 200, 200 }, { answer.status, one.status })
    local list = json.decode(answer.body).data
    assert.same({ "m", 0, "n", 7 }, { list[1].id, list[1].created, list[2].id, list[2].created })
    assert.is_nil(errors:find("[error]", 1, true))
  end)
end)
