-- libcurl sends a request again, once, where the connection that was kept for it has died. But it
-- counts how often a handle has done so, over all of its requests, and the engine keeps its
-- handles: after five of them the next one failed as `network`, was counted by the breaker and paid
-- for with the retry budget; and again after five more.
local core = require "unbusy.core"
local engines = require "spec.support.engines"
local guard = require "spec.support.leak_guard"
local raw_server = require "spec.support.raw_server"
local unbusy = require "unbusy"

local ANSWER = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
local CALLS = 25

describe("a connection that died while it was kept", function()
  guard.watch(before_each, after_each)
  local server -- that closes each connection without a word of it
  setup(function() server = raw_server.start() end)
  teardown(function() server:stop() end)

  for _, streams in ipairs { false, true } do
    it("is replaced each time, for " .. (streams and "streams" or "whole answers"), function()
      local e, resent = core.engine(), 0
      for _ = 1, CALLS do
        local got = engines.fetch(e, engines.raw(server, ANSWER, { streams = streams }))
        assert.same({ nil, "{}" }, { got.code, got.body })
        if got.info.resent then resent = resent + 1 end
      end
      e:close()
      assert.is_true(resent > 5, "hardly any had died: " .. resent)
    end)
  end

  it("is no failure of a call", function()
    local client = unbusy.new { retry = false,
      targets = { { name = "a", url = server.url, key = "k" } } }
    for _ = 1, CALLS do assert.equal(200, assert(client:post("/", ANSWER)).status) end
    client:close()
  end)
end)
