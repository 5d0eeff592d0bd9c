-- Of a header that came more than once the first value was to count (a server says what it has
-- left, and a proxy before it says so again). But a reply's header has such values joined, as
-- "60, 60", which was no number: limits per minute that were told twice were not heeded at all.
local raw_server = require "spec.support.raw_server"
local rate_headers = require "unbusy.rate_headers"
local unbusy = require "unbusy"

local SAID = { "X-RateLimit-Limit-Requests: 60", "X-RateLimit-Remaining-Requests: 7",
  "X-RateLimit-Reset-Requests: 30s", "X-RateLimit-Limit-Tokens: 1000",
  "X-RateLimit-Remaining-Tokens: 5", "X-RateLimit-Reset-Tokens: 6m0s" }

describe("limits per minute that are told twice", function()
  local raw
  setup(function() raw = raw_server.start() end)
  teardown(function() if raw then raw:stop() end end)

  -- What is known of the limits after an answer with these lines.
  local function known(lines)
    local client = unbusy.new { targets = { { name = "a", url = raw.url, key = "k" } } }
    local answer = assert(client:pass { method = "POST", path = "/x", body = "HTTP/1.1 200 OK\r\n"
      .. table.concat(lines, "\r\n") .. "\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}" })
    assert.equal("{}", answer:body())
    local limits = client:status().targets[1].limits[""].per_minute
    client:close()
    local r, t = limits and limits.requests, limits and limits.tokens
    return r and { math.floor(r.left), r.most, math.floor(t.left), t.most }
  end

  it("are heeded as those that are told once", function()
    assert.same({ 7, 60, 5, 1000 }, known(SAID))
    local twice = {}
    for _, line in ipairs(SAID) do
      twice[#twice + 1], twice[#twice + 2] = line, line
    end
    assert.same({ 7, 60, 5, 1000 }, known(twice))
  end)

  it("are so in the first form of the IETF's draft, too", function()
    assert.same({ limit = 100, left = 50, reset = 30, window = true }, (rate_headers.read {
      ["ratelimit-limit"] = "100, 100;w=60", ["ratelimit-remaining"] = "50, 50",
      ["ratelimit-reset"] = "30, 30" }))
  end)
end)
