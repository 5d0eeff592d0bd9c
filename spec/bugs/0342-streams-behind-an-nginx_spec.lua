-- docs/openresty.md says what another nginx in front of the gateway must be told. With that alone
-- no stream came before its end, and no ping: nginx's `proxy_pass` speaks HTTP/1.0 unless told
-- otherwise, and to a client of HTTP/1.0 a stream goes as a whole.
local direct = require "spec.support.direct"
local files = require "spec.support.files"
local gateways = require "spec.support.gateways"
local raw_client = require "spec.support.raw_client"

local CONFIG = [[return {
  targets = { { name = "up", url = "http://127.0.0.1:${port2}/v1", key = "k" } }, retry = false,
}]]

local SERVERS = [[lua_shared_dict told 1m;
server {
  listen 127.0.0.1:${port2};
  location /v1 {
    content_by_lua_block {
      ngx.header.content_type = "text/event-stream"
      ngx.print('data: {"choices":[{"index":0,"delta":{"content":"first"}}]}\n\n')
      ngx.flush(true)
      repeat ngx.sleep(0.02) until ngx.shared.told:get "go"
      ngx.print('data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
        'data: [DONE]\n\n')
    }
  }
  location /go { content_by_lua_block { ngx.shared.told:set("go", true) } }
}
server {
  listen 127.0.0.1:${port3};
  location / {
    proxy_pass http://127.0.0.1:${port};
    ${said}
  }
}]]

local STREAM = '{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}'

-- The directives of nginx that the document names for whoever puts one in front.
local function said()
  local out = {}
  local item = files.text "docs/openresty.md":match "%- %*%*In front of it%*%*([^\n]+)"
  for directive in item:gmatch "`(proxy_[%w_]+ [^`]+)`" do out[#out + 1] = directive .. ";" end
  return table.concat(out, "\n    ")
end

it("a stream comes as it is said through an nginx that was told what the document says", function()
  local port = tostring(20000 + tonumber(files.trimmed "od -An -N2 -tu2 /dev/urandom") % 10000)
  local g = gateways.start { config = CONFIG, http = SERVERS, values = { said = said(),
    port3 = port } }
  local s = raw_client.connect(tonumber(port), 10)
  s:write(("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    .. "content-type: application/json\r\ncontent-length: %d\r\n\r\n%s"):format(#STREAM, STREAM))
  s:flush()
  local line
  repeat line = s:read "*l" until not line or line:find "^data:"
  direct.request { method = "GET", url = ("http://127.0.0.1:%d/go"):format(g.server.port2) }
  local rest = line and s:read "*a" or ""
  g:stop()
  assert.is_truthy(line, "nothing before the end")
  assert.is_truthy(line:find("first", 1, true))
  assert.is_truthy(rest:find("[DONE]", 1, true))
end)
