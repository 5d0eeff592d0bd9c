-- A stream is asked for its usage, so that tokens can be counted; who has not asked for it does not
-- get the chunk that has it alone. That was known by its empty list of choices. Where a server
-- writes no list there, or null (as one in Go does of an empty list), it was passed on to clients
-- who take the first choice of every chunk, and fail where there is none.
local gateways = require "spec.support.gateways"

local CONFIG = [[return {
  targets = { { name = "up", url = "http://127.0.0.1:${port2}/v1", key = "k" } }, retry = false,
  cache = true,
}]]

-- It says the usage as the request's path has it, where it was asked for it.
local SERVER = [[server {
  listen 127.0.0.1:${port2};
  location /v1 {
    content_by_lua_block {
      ngx.req.read_body()
      local body = ngx.req.get_body_data()
      ngx.header.content_type = "text/event-stream"
      ngx.print('data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n',
        'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n')
      if body:find('"include_usage":true', 1, true) then
        ngx.print('data: {', body:find "no list" and "" or '"choices": null,',
          '"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}\n\n')
      end
      ngx.print('data: [DONE]\n\n')
    }
  }
}]]

local GOOD = 'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'
  .. 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'

describe("a stream whose usage comes without a list of choices", function()
  local g

  setup(function() g = gateways.start { config = CONFIG, http = SERVER, values = {} } end)
  teardown(function() if g then g:stop() end end)

  local function ask(text, more)
    return g:ask("/v1/chat/completions", { body = ('{"model":"m","stream":true,%s"messages":'
      .. '[{"role":"user","content":"%s"}]}'):format(more or "", text) })
  end

  for n, text in ipairs { "no list", "null" } do
    it("has it for who asks for that alone, out of the cache too: " .. text, function()
      for _, source in ipairs { "upstream", "cache" } do
        local answer = ask(text)
        assert.equal(source, answer.headers["x-unbusy-source"])
        assert.equal(GOOD .. "data: [DONE]\n\n", answer.body)
      end
      local line = g:log(4 * n - 3)
      assert.same({ 3, 4 }, { line.prompt_tokens, line.completion_tokens })
      local usage = '"stream_options":{"include_usage":true},'
      local none = '"stream_options":{"include_usage":false},'
      assert.is_truthy(ask(text, usage).body:find('"total_tokens":7', 1, true))
      assert.equal(GOOD .. "data: [DONE]\n\n", ask(text, none).body)
    end)
  end
end)
