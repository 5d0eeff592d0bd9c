-- A body in chunks that break HTTP could not be thrown away: `ngx.req.discard_body` raises then.
-- The client was told 500, the log was filled with our own lines, and where the path takes no body
-- the connection went on, with the rest of the body taken for the next request.
local gateways = require "spec.support.gateways"

describe("a body that is no HTTP", function()
  local g

  setup(function()
    g = gateways.start { config = [[return {
      targets = { { name = "up", url = "http://127.0.0.1:1/v1" } },
      gateway = { keys = { "sk-client" } },
    }]] }
  end)

  teardown(function() g:stop() end)

  for _, path in ipairs { "/v1/chat/completions", "/v1/models", "/healthz", "/nope" } do
    it("ends the connection with 400, sent to " .. path, function()
      for _, method in ipairs { "GET", "POST" } do
        for _, key in ipairs { "", "authorization: Bearer sk-client\r\n" } do
          local out = g:raw(("%s %s HTTP/1.1\r\nhost: x\r\n%stransfer-encoding: chunked\r\n\r\n"
            .. "zz\r\nGET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"):format(method, path, key))
          assert.truthy(out:find "^HTTP/1.1 400 ")
          assert.equal(1, select(2, out:gsub("HTTP/1.1 ", "")))
        end
      end
      assert.is_nil(g:errors():find("init.lua", 1, true))
    end)
  end

  it("stands in the log as that", function()
    g:raw "GET /healthz HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"
    gateways.eventually(function()
      for line in io.lines(g.dir .. "/access.log") do
        if line:find '"path":"/healthz"' and line:find '"status":400' then return true end
      end
    end)
  end)
end)
