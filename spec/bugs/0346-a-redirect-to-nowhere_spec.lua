-- A redirect is passed on for the client to follow. Where its place was signed, as stores of files
-- do it, and so longer than the 1,024 bytes that a header of an upstream may have, the `location`
-- was left out: a 302 that led nowhere.
local gateways = require "spec.support.gateways"

local CONFIG = [[return {
  targets = { { name = "up", url = "http://127.0.0.1:${port2}/v1", key = "k" } }, retry = false,
}]]

local SERVER = [[server {
  listen 127.0.0.1:${port2};
  location /v1/files {
    content_by_lua_block {
      ngx.status = 302
      ngx.header.location = "https://files.example/f?token=" .. ("x"):rep(ngx.var.arg_bytes)
      ngx.header["x-long"] = ("y"):rep(ngx.var.arg_bytes)
      ngx.print ""
    }
  }
}]]

it("a redirect goes on with its place, as long as that is one", function()
  local g = gateways.start { config = CONFIG, http = SERVER, values = {} }
  for bytes, goes_on in pairs { [100] = true, [1024] = true, [4000] = true, [8192] = false } do
    local answer = g:ask("/v1/files/f/content?bytes=" .. bytes)
    assert.equal(302, answer.status)
    assert.equal(goes_on and "https://files.example/f?token=" .. ("x"):rep(bytes) or nil,
      answer.headers.location)
    assert.equal(bytes <= 1024, answer.headers["x-long"] ~= nil)
  end
  g:stop()
end)
