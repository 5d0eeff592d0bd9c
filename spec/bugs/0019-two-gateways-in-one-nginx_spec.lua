-- Two gateways of one nginx, made of tables, were given one region: one answered with what the
-- other one's upstream had said, and a key had its quota at one used up by another's at the other.
local gateways = require "spec.support.gateways"

local HTTP = [[
server {
  listen 127.0.0.1:${port2};
  access_log off;
  default_type application/json;
  location / {
    return 200 '{"choices":[{"message":{"content":"$uri"},"finish_reason":"stop"}]}';
  }
}]]

describe("two gateways in one nginx", function()
  local g

  teardown(function() if g then g:stop() end end)

  it("share no answers and no quotas", function()
    g = gateways.start { config = [[
      local new = require("unbusy.gateway").new
      local function config(place)
        return { targets = { { name = "main", url = "http://127.0.0.1:${port2}/" .. place,
          key = "sk-up" } }, retry = false, cache = { temperature = 2 },
          gateway = { keys = { { key = "k", calls = 2 } } } }
      end
      one, two = new(config "one"), new(config "two")
      return config "three"
    ]], http = HTTP, values = {}, server = [[
      location /one/ { rewrite ^/one(.*) $1 break; content_by_lua_block { one:handle() } }
      location /two/ { rewrite ^/two(.*) $1 break; content_by_lua_block { two:handle() } }
    ]] }
    for _ = 1, 2 do
      for _, place in ipairs { "one", "two" } do
        local answer = g:ask("/" .. place .. "/v1/chat/completions", {
          headers = { "authorization: Bearer k" },
          body = '{"model":"m","messages":[{"role":"user","content":"who are you?"}]}' })
        assert.equal(200, answer.status)
        assert.is_truthy(answer.body:find("/" .. place .. "/chat", 1, true))
      end
    end
  end)
end)
