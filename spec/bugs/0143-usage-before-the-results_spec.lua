-- Of an answer that is passed on, the usage was looked for in its last 16 KiB alone. Servers that
-- rank documents tell it before the results, and a long list of these cost a key no tokens.
local gateways = require "spec.support.gateways"

local CONFIG = [[return {
  targets = { { name = "main", url = "http://127.0.0.1:${port2}/v1", key = "sk-up" } },
  retry = false, gateway = { keys = { { key = "a", tokens = 50 } } },
}]]

local UPSTREAM = [[server {
  listen 127.0.0.1:${port2};
  access_log off;
  default_type application/json;
  location / { content_by_lua_block {
    local few = ngx.var.uri:find "few"
    ngx.print('{"id":"x","usage":{"total_tokens":', few and 6 or 60, '},"results":[')
    ngx.flush(true)
    for i = 1, 2000 do ngx.print('{"index":', i, ',"relevance_score":0.123456789},') end
    ngx.print('{}]', few and ',"usage":{"total_tokens":7}' or '', '}')
  } }
}]]

describe("the usage of an answer that is passed on", function()
  local g

  setup(function() g = gateways.start { config = CONFIG, http = UPSTREAM, values = {} } end)
  teardown(function() if g then g:stop() end end)

  local function status(path)
    return g:ask(path, { body = "{}", headers = { "authorization: Bearer a" } }).status
  end

  it("counts where it is told first, too; the last one counts", function()
    for _ = 1, 7 do assert.equal(200, status "/v1/few") end
    assert.equal(200, status "/v1/rerank")
    assert.equal(429, status "/v1/few")
  end)
end)
