-- Where a server and a proxy before it both say `Retry-After`, the answer has the header twice, and
-- its headers are told as one text: "20, 20". That was read as no wait at all, so that the server
-- was asked again after a second, and again.
local guard = require "spec.support.leak_guard"
local raw_server = require "spec.support.raw_server"
local retry_after = require "unbusy.retry_after"
local unbusy = require "unbusy"

local DATE = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"

local cases = {
  { 20, "Retry-After: 20\r\nRetry-After: 20\r\n" },
  { 20, "Retry-After: 20, 5\r\n" },
  { 7, "Retry-After: soon\r\nRetry-After: 7\r\n" },
  { 3, DATE .. "Retry-After: Sun, 06 Nov 1994 08:49:40 GMT\r\n"
    .. "Retry-After: Sun, 06 Nov 1994 08:49:50 GMT\r\n" },
  { 8, DATE .. DATE .. "Retry-After: x\r\nRetry-After: Sun, 06 Nov 1994 08:49:45 GMT\r\n" },
  { 1.5, "retry-after-ms: 1500\r\nretry-after-ms: 1500\r\nRetry-After: 2\r\n" },
  { 360, ("X-RateLimit-Remaining-Requests: 0\r\nX-RateLimit-Reset-Requests: 6m0s\r\n"):rep(2) },
  { 30, 'RateLimit: "a";r=0;t=30\r\nRateLimit: "b";r=0;t=9\r\n' },
}

describe("a wait that was said twice", function()
  guard.watch(before_each, after_each)
  local server
  setup(function() server = raw_server.start() end)
  teardown(function() server:stop() end)

  it("is waited for once", function()
    for _, case in ipairs(cases) do
      local client = unbusy.new { retry = false, -- it would wait as it was told
        targets = { { name = "a", url = server.url, key = "k" } } }
      local _, _, code, detail = client:post("/", "HTTP/1.1 503 Busy\r\n" .. case[2]
        .. "Content-Length: 0\r\n\r\n")
      client:close()
      assert.same({ "busy", case[1], case[2] }, { code, detail.retry_after, case[2] })
    end
  end)

  it("is none in what is no list", function()
    for _, text in ipairs { "1,5", "5 ,6", ", ", "x, ", "Sun, ", "a, b, c", (", "):rep(1000) } do
      assert.is_nil((retry_after.parse { ["retry-after"] = text }))
    end
    assert.equal(9, (retry_after.parse { ["retry-after"] = "9, " .. ("x, "):rep(1e5) }))
  end)
end)
