-- The page of metrics is made in pieces, and between them others have their turn. A client that was
-- closed in such a turn made the rest of the page raise: it was an error 500, and one in the log.
local gateways = require "spec.support.gateways"

describe("a page of metrics", function()
  it("whose client is closed while it is made says so", function()
    local g = gateways.start { config = [[
      local targets = {}
      for i = 1, 150 do targets[i] = { name = "t" .. i, url = "http://127.0.0.1:9/v1" } end
      return { targets = targets }]],
      server = [[location = /metrics {
        content_by_lua_block {
          ngx.thread.spawn(function()
            ngx.sleep(0.001)
            gateway.client:close()
          end)
          gateway:handle()
        }
      }]] }
    local answer, log = g:ask "/metrics", g:errors()
    g:stop()
    assert.equal(503, answer.status)
    assert.matches("the client is closed", answer.body)
    assert.equal("", log)
  end)
end)
