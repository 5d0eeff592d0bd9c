-- A proxy on this machine that says by the PROXY protocol whom it speaks for (`listen …
-- proxy_protocol`) was taken for this machine itself: anybody who could reach that proxy saw
-- /status and /metrics, which are for this machine alone as long as they have no token.
local gateways = require "spec.support.gateways"
local raw_client = require "spec.support.raw_client"

local CONFIG = [[return {
  targets = { { name = "up", url = "http://127.0.0.1:1/v1", key = "k" } }, retry = false,
}]]

local SERVER = [[server {
  listen 127.0.0.1:${port2} proxy_protocol;
  set $unbusy_log "";
  location / { content_by_lua_block { gateway:handle() } }
}]]

describe("behind a proxy that speaks the PROXY protocol,", function()
  local g

  setup(function() g = gateways.start { config = CONFIG, http = SERVER, values = {} } end)
  teardown(function() if g then g:stop() end end)

  local function status_of(first, path, origin)
    local head = ("%s\r\nGET %s HTTP/1.0\r\nhost: localhost\r\n%s\r\n"):format(first, path,
      origin and "origin: " .. origin .. "\r\n" or "")
    local out = raw_client.ask(g.server.port2, head)
    return tonumber(out:match "^HTTP/%S+ (%d+)")
  end

  local function from(address)
    local family = address:find(":", 1, true) and "TCP6" or "TCP4"
    return ("PROXY %s %s %s 4711 8080"):format(family, address,
      family == "TCP6" and "::1" or "127.0.0.1")
  end

  it("nobody from another machine sees what is for this one", function()
    for _, path in ipairs { "/status", "/status.json", "/metrics" } do
      assert.equal(403, status_of(from "203.0.113.9", path))
      assert.equal(403, status_of(from "2001:db8::9", path))
    end
  end)

  it("this machine does, and so does the proxy by itself", function()
    for _, path in ipairs { "/status", "/status.json", "/metrics" } do
      assert.equal(200, status_of(from "127.0.0.1", path))
      assert.equal(200, status_of(from "::1", path))
      assert.equal(200, status_of("PROXY UNKNOWN", path))
      assert.equal(200, g:ask(path).status)
    end
  end)

  it("a page of another site is one of this machine's browser only where it is here", function()
    assert.equal(403, status_of(from "127.0.0.1", "/v1/models", "https://evil.example"))
    assert.not_equal(403, status_of(from "203.0.113.9", "/v1/models", "https://evil.example"))
  end)
end)
