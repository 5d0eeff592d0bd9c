local rate_headers = require "unbusy.rate_headers"

local read = rate_headers.read

describe("rate_headers", function()
  it("read OpenAI's, of requests and of tokens", function()
    local requests, tokens = read {
      ["x-ratelimit-limit-requests"] = "60", ["x-ratelimit-remaining-requests"] = "59",
      ["x-ratelimit-reset-requests"] = "1s", ["x-ratelimit-limit-tokens"] = "150000",
      ["x-ratelimit-remaining-tokens"] = "149984", ["x-ratelimit-reset-tokens"] = "6m0s" }
    assert.same({ limit = 60, left = 59, reset = 1, window = false }, requests)
    assert.same({ limit = 150000, left = 149984, reset = 360, window = false }, tokens)
    requests, tokens = read { ["x-ratelimit-remaining-tokens"] = " 0 ",
      ["x-ratelimit-reset-tokens"] = "12ms" }
    assert.is_nil(requests)
    assert.same({ left = 0, reset = 0.012, window = false }, tokens)
    assert.equal(7, (read { ["x-ratelimit-limit-requests"] = { "7", "8" } }).limit)
    assert.equal(2.5, (read { ["x-ratelimit-limit-requests"] = "7",
      ["x-ratelimit-reset-requests"] = "2.5" }).reset)
  end)

  it("read the IETF's draft with its policy, of several the tightest", function()
    assert.same({ limit = 100, left = 50, reset = 30, window = true }, (read {
      ratelimit = '"default";r=50;t=30', ["ratelimit-policy"] = '"default";q=100;w=60' }))
    local requests, tokens = read { ratelimit = '"hour";r=9;t=1800, "minute";r=3;t=20, '
      .. '"Tokens";r=5000;t=10', ["ratelimit-policy"] = '"minute";q=10;w=60,"hour";q=500;w=3600,'
      .. '"tokens";q=6000;w=60' }
    assert.same({ limit = 10, left = 3, reset = 20, window = true }, requests)
    assert.same({ limit = 6000, left = 5000, reset = 10, window = true }, tokens)
  end)

  it("read its older forms", function()
    local expected = { limit = 100, left = 50, reset = 30, window = true }
    assert.same(expected, (read { ratelimit = "limit=100, remaining=50, reset=30" }))
    assert.same(expected, (read { ["ratelimit-limit"] = "100, 100;w=60",
      ["ratelimit-remaining"] = "50", ["ratelimit-reset"] = "30" }))
  end)

  it("believe nothing that makes no sense", function()
    local hostile = { "-5", "NaN", "nan", "inf", "1e9", "0x10", "", " ", "five", "1,000", "1 2",
      "99999999999999999999", ("9"):rep(10000), "5\0", "\2555" }
    for _, text in ipairs(hostile) do
      assert.is_nil((read { ["x-ratelimit-limit-requests"] = text }), text)
      assert.is_nil((read { ["x-ratelimit-remaining-requests"] = text }), text)
      assert.is_nil((read { ["ratelimit-limit"] = text }), text)
      local r = read { ["x-ratelimit-limit-requests"] = "5", ["x-ratelimit-reset-requests"] = text }
      assert.same({ limit = 5, window = false }, r)
    end
    assert.is_nil((read { ["x-ratelimit-limit-requests"] = "0" }))
    assert.is_nil((read { ["x-ratelimit-limit-requests"] = 5, ratelimit = true }))
    assert.is_nil((read { ["x-ratelimit-limit-requests"] = "5",
      ["x-ratelimit-reset-requests"] = "25h" }).reset) -- beyond a day
    for _, text in ipairs { '"', '"a', "r=1", '"a";r=-1;t=5', '"a";r=nan', (";"):rep(5000),
        ('"a";r=1;t=1,'):rep(5000), ",,,", "limit=, remaining=" } do
      assert.is_nil((read { ratelimit = text, ["ratelimit-policy"] = text }), text)
    end
  end)

  it("know whether there is anything to read", function()
    assert.is_false(rate_headers.has { ["content-type"] = "x", ["retry-after"] = "5" })
    for _, name in ipairs { "ratelimit", "ratelimit-limit", "x-ratelimit-limit-tokens",
        "x-ratelimit-remaining-requests" } do
      assert.is_true(rate_headers.has { [name] = "x" })
    end
  end)
end)
