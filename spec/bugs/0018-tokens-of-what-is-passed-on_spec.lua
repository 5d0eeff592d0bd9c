-- A key with so many tokens a minute had as many as it liked: /v1/chat/completions/ is passed on as
-- it is, and what was passed on did not count.
local gateways = require "spec.support.gateways"

local CONFIG = [[return {
  targets = { { name = "main", url = "http://127.0.0.1:${port2}/v1", key = "sk-up" } },
  retry = false, gateway = { keys = { { key = "a", tokens = 50 }, { key = "b", tokens = 50 },
    { key = "c", tokens = 50 } } },
}]]

local UPSTREAM = [[server {
  listen 127.0.0.1:${port2};
  access_log off;
  location / {
    default_type application/json;
    return 200 '{"id":"x","usage":{"prompt_tokens":30,"completion_tokens":30}}';
  }
  location /v1/stream {
    default_type text/event-stream;
    return 200 'data: {"choices":[{"delta":{"content":"hi"}}]}\n\ndata: [DONE]\n\n';
  }
  location /v1/files {
    default_type application/json;
    return 200 '{"id":"x"}';
  }
}]]

describe("the tokens of a key", function()
  local g

  setup(function() g = gateways.start { config = CONFIG, http = UPSTREAM, values = {} } end)

  teardown(function()
    local errors = g and g:errors() or ""
    if g then g:stop() end
    assert.is_nil(errors:find("[error]", 1, true))
  end)

  local function status(key, path, bytes)
    return g:ask(path, { body = ("x"):rep(bytes or 10),
      headers = { "authorization: Bearer " .. key } }).status
  end

  it("are spent by what is passed on, as the server says", function()
    assert.equal(200, status("a", "/v1/chat/completions/"))
    assert.equal(429, status("a", "/v1/chat/completions/"))
    assert.equal(60, g:log(1).prompt_tokens + g:log(1).completion_tokens)
  end)

  it("and as its length tells, for a stream that does not say", function()
    assert.equal(200, status("b", "/v1/stream", 200))
    assert.equal(429, status("b", "/v1/stream"))
  end)

  it("are not spent by files", function()
    for _ = 1, 2 do assert.equal(200, status("c", "/v1/files", 100000)) end
  end)
end)
