-- nginx writes a hyphen for each "_" in the name of a header that it is given. So an upstream whose
-- answer was passed on got through, as `X_Accel_Redirect`, what a proxy before the gateway obeys;
-- as `Set_Cookie` and `Access_Control_Allow_Origin` what ends here; and as `Content_Length` and
-- `Transfer_Encoding` it framed the gateway's own answer, so that its rest was the next one.
local gateways = require "spec.support.gateways"

local CONFIG = [[return {
  targets = { { name = "up", url = "http://127.0.0.1:${port2}/v1", key = "k" } }, retry = false,
}]]

local NAMES = { "X_Accel_Redirect", "X-Accel_Expires", "X_Sendfile", "Set_Cookie", "Set_cookie",
  "Access_Control_Allow_Origin", "Transfer_Encoding", "Content_Length", "Content_Encoding",
  "Strict_Transport-Security", "Keep_Alive" }

-- Its answer byte for byte.
local SERVER = [[server {
  listen 127.0.0.1:${port2};
  location /v1 {
    content_by_lua_block {
      local socket = ngx.req.socket(true)
      socket:send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n"
        .. "X_Good: yes\r\nX-Accel-Buffering: no\r\n${lines}\r\nhello world")
    }
  }
}]]

it("a header does not become one that ends here", function()
  local lines = {}
  for i, name in ipairs(NAMES) do lines[i] = name .. ": 3\\r\\n" end
  local g = gateways.start { config = CONFIG, http = SERVER,
    values = { lines = table.concat(lines) } }
  local out = g:raw "GET /v1/files HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
  g:stop()
  local head, body = out:lower():match "^(.-\r\n)\r\n(.*)$"
  for _, name in ipairs(NAMES) do
    local as_written = name:lower():gsub("_", "-")
    local said = head:match("\r\n" .. as_written:gsub("%p", "%%%0") .. ": ([^\r]*)")
    assert.is_true(said == nil or as_written == "transfer-encoding" and said == "chunked", name)
  end
  assert.is_truthy(head:find("\r\nx-good: yes\r\n", 1, true))
  assert.is_truthy(head:find("\r\nx-accel-buffering: no\r\n", 1, true))
  assert.equal("b\r\nhello world\r\n0\r\n\r\n", body)
end)
