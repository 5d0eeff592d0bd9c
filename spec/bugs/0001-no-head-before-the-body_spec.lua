-- Found by spec/fuzz/engine_fuzz.c. An answer with the status 101, which nobody asked for, or with
-- one below 100 in an odd version's line is a final one to libcurl: it handed its body on. The
-- engine took only 200 and more for final, so that data came without a head, and the client took
-- them for one and raised. Nor is "HTTP/21234" an answer with the status 1234.
local core = require "unbusy.core"
local engines = require "spec.support.engines"
local guard = require "spec.support.leak_guard"
local raw_server = require "spec.support.raw_server"
local unbusy = require "unbusy"

local heads = {
  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
  "HTTP/21.1 00 OK\r\n\r\n", "HTTP/21234}\r\n\r\n",
}

describe("an answer whose status is none", function()
  guard.watch(before_each, after_each)
  local server
  setup(function() server = raw_server.start() end)
  teardown(function() server:stop() end)

  it("fails as upstream, without a head or data", function()
    local e = core.engine()
    for _, head in ipairs(heads) do
      local got = engines.fetch(e, engines.raw(server, head .. "nonsense"))
      assert.equal("upstream", got.code)
      assert.equal("the answer's status makes no sense", got.message)
      assert.is_nil(got.heads)
      assert.equal("", got.body)
    end
    e:close()
  end)

  it("is a failure of the call, and the hints before an answer are none", function()
    local client = unbusy.new { retry = false,
      targets = { { name = "a", url = server.url, key = "k" } } }
    for _, head in ipairs(heads) do
      local reply, _, code = client:post("/", head .. "nonsense")
      assert.is_nil(reply)
      assert.equal("upstream", code)
    end
    local hints = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"
    local reply = client:post("/", hints .. "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
    assert.equal(200, reply.status)
    client:close()
  end)
end)
