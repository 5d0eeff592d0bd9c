-- An answer that was passed on could say `x-accel-redirect`, and an nginx before the gateway sent
-- what lies at a place of its own that nobody may ask for; other proxies obey `x-sendfile`. The
-- upstream has no say in that.
local direct = require "spec.support.direct"
local gateways = require "spec.support.gateways"
local raw_server = require "spec.support.raw_server"

local CONFIG = [[return { targets = { { name = "main", url = "${url}", key = "k" } },
  retry = false }]]

local FRONT = [[server {
  listen 127.0.0.1:${port2};
  access_log off;
  location /hidden { internal; return 200 "what nobody may see"; }
  location / { proxy_pass http://127.0.0.1:${port}; }
}]]

describe("an answer that is passed on", function()
  local raw, g

  setup(function()
    raw = raw_server.start()
    g = gateways.start { config = CONFIG, values = { url = raw.url }, http = FRONT }
  end)
  teardown(function()
    if g then g:stop() end
    if raw then raw:stop() end
  end)

  local function ask(port, header)
    return direct.request { method = "POST", url = ("http://127.0.0.1:%d/v1/files"):format(port),
      headers = { "content-type: text/plain" }, body = "HTTP/1.1 200 OK\r\n" .. header
      .. "\r\nX-Good: yes\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok" }
  end

  it("has no orders for the proxy before the gateway", function()
    local answer = ask(g.server.port2, "X-Accel-Redirect: /hidden")
    assert.same({ 200, "ok", "yes" }, { answer.status, answer.body, answer.headers["x-good"] })
    for _, name in ipairs { "X-Accel-Redirect", "X-Accel-Limit-Rate", "X-Accel-Expires",
      "X-Sendfile", "X-LIGHTTPD-send-file", "X-LiteSpeed-Location" } do
      answer = ask(g.port, name .. ": 1")
      assert.same({ 200, "ok" }, { answer.status, answer.body })
      assert.is_nil(answer.headers[name:lower()], name)
    end
    assert.equal("no", ask(g.port, "X-Accel-Buffering: no").headers["x-accel-buffering"])
  end)
end)
