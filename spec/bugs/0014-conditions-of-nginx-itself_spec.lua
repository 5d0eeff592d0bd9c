-- nginx held a request's If-Match and If-None-Match against the answer of the gateway: a chat was
-- made and paid for, and its client read 412 or 304. And requests that are passed on lost some of
-- their conditions and the encoding of their body, and so became other requests.
local busyd = require "spec.support.busyd"
local gateways = require "spec.support.gateways"
local json = require "unbusy.json"

local CONFIG = [[return {
  targets = { { name = "main", url = "${url}/v1", key = "sk-up" } }, retry = false,
}]]

local ECHO = [[server {
  listen 127.0.0.1:${port2};
  access_log off;
  location / {
    content_by_lua_block {
      local headers = setmetatable(ngx.req.get_headers(), nil)
      ngx.header.content_type, ngx.header.etag = "application/json", '"of the upstream"'
      for name in pairs(headers) do if name:find "^if%-" then ngx.req.clear_header(name) end end
      ngx.print(require("cjson").encode(headers))
    }
  }
}]]

local CONDITIONS = { "if-match: \"a\"", "if-none-match: *", "if-range: \"a\"",
  "if-modified-since: Fri, 31 Dec 2100 00:00:00 GMT",
  "if-unmodified-since: Thu, 01 Jan 1970 00:00:00 GMT" }

describe("a request's conditions", function()
  local up, g

  after_each(function()
    local errors = g:errors()
    g:stop()
    if up then up:stop() end
    up = nil
    assert.is_nil(errors:find("[error]", 1, true))
  end)

  it("are not held against the answer to a call", function()
    up = busyd.start { workers = 1 }
    g = gateways.start { config = CONFIG, values = { url = up.url } }
    for _, stream in ipairs { "", '"stream":true,' } do
      local body = ('{"model":"m",%s"messages":[{"role":"user","content":"hi"}]}'):format(stream)
      for _, line in ipairs(CONDITIONS) do
        local answer = g:ask("/v1/chat/completions", { body = body, headers = { line } })
        assert.equal(200, answer.status)
        assert.is_truthy(answer.body:find("hi", 1, true))
      end
    end
    assert.equal(200, g:ask("/v1/models", { headers = { "if-none-match: *" } }).status)
  end)

  it("go on, with what says how to read its body, where it is passed on", function()
    g = gateways.start { config = CONFIG, http = ECHO,
      values = { url = "http://127.0.0.1:${port2}" } }
    local headers = { "content-encoding: gzip", "range: bytes=0-1" }
    for _, line in ipairs(CONDITIONS) do headers[#headers + 1] = line end
    local answer = g:ask("/v1/files/x", { method = "PUT", body = "abc", headers = headers })
    assert.equal(200, answer.status)
    local sent = json.decode(answer.body)
    for _, line in ipairs(headers) do
      local name, value = line:match "^([^:]+): (.*)$"
      assert.equal(value, sent[name])
    end
  end)
end)
