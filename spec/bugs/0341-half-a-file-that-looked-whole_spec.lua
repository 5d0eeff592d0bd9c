-- What is passed on and breaks off must not look whole. To a client of HTTP/1.0 (nginx's own
-- `proxy_pass` is one, unless told otherwise) it did where nobody had told its length: there the
-- end of the connection is the end of the body, and half a file was taken for all of it.
local gateways = require "spec.support.gateways"

local CONFIG = [[return {
  targets = { { name = "up", url = "http://127.0.0.1:${port2}/v1", key = "k" } }, retry = false,
}]]

local SERVERS = [[server {
  listen 127.0.0.1:${port2};
  location / {
    content_by_lua_block {
      if ngx.var.arg_length then ngx.header.content_length = 40000 end
      ngx.print(("x"):rep(20000))
      ngx.flush(true)
      if ngx.var.arg_whole then return ngx.print(("x"):rep(20000)) end
      ngx.sleep(0.05)
      ngx.exit(ngx.ERROR)
    }
  }
}
server {
  listen unix:${dir}/front.sock;
  location / {
    proxy_pass http://127.0.0.1:${port};
  }
}]]

describe("a file of which half has come", function()
  local g

  setup(function()
    g = gateways.start { config = CONFIG, http = SERVERS, values = {},
      server = "reset_timedout_connection on;" }
  end)

  teardown(function()
    if not g then return end
    local errors = g:errors()
    g:stop()
    assert.is_nil(errors:find("attempt to", 1, true))
  end)

  -- Is what came for that path whole, and how long is it?
  local function came(options, path)
    local answer = g:ask(path, { options = options .. " -w '\n%{exitcode} %{size_download}'" })
    local code, size = answer.body:match "\n(%d+) (%d+)$"
    return code == "0", tonumber(size)
  end

  for what, options in pairs { ["HTTP/1.0"] = "--http1.0", ["HTTP/1.1"] = "--http1.1" } do
    it("looks like half of one, over " .. what, function()
      for _, path in ipairs { "/v1/files/f/content", "/v1/files/f/content?length=1" } do
        assert.is_false((came(options, path)))
      end
      local line = g:log(1)
      assert.same({ 200, "cut" }, { line.status, line.code })
    end)

    it("is whole when it is, over " .. what, function()
      local whole, size = came(options, "/v1/files/f/content?whole=1")
      assert.same({ true, 40000 }, { whole, size })
    end)
  end

  it("looks so behind an nginx, too", function()
    assert.is_false((came("--unix-socket " .. g.dir .. "/front.sock", "/v1/files/f/content")))
    assert.is_true((came("--unix-socket " .. g.dir .. "/front.sock",
      "/v1/files/f/content?whole=1")))
  end)
end)
