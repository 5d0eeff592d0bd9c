-- Of a failure the gateway gave its own x-request-id, and the upstream's stood nowhere, not even in
-- the log: whoever asked the provider why it had refused could not say which request it was.
local busyd = require "spec.support.busyd"
local gateways = require "spec.support.gateways"
local guard = require "spec.support.leak_guard"
local world = require "spec.support.world"

local function refusal(id)
  return { status = 503, headers = { ["x-request-id"] = id } }
end

describe("a failure", function()
  guard.watch(before_each, after_each)

  it("has the last request's number, and no key in it", function()
    local w = world.new { script = { a = { refusal "one", refusal "two", { status = 503 },
      { fail = "network", message = "gone" }, refusal "by key-of-a" } },
      options = { retry = { attempts = 2 }, breaker = false } }
    w.loop.run(function()
      for _, expected in ipairs { "two", "none", "by ***" } do
        local _, _, _, detail = w:chat()
        assert.equal(expected, detail.request_id or "none")
      end
    end)
    w:assert_clean()
  end)
end)

describe("the gateway's failure", function()
  local up, g
  local asked = 0

  setup(function()
    up = busyd.start { workers = 1 }
    g = gateways.start { values = { url = up.url }, config = [[return { retry = false,
      breaker = false, targets = { { name = "up", url = "${url}/v1", key = "sk-upstream-0161" } },
    }]] }
  end)

  teardown(function()
    if g then g:stop() end
    if up then up:stop() end
  end)

  local function ask(messages, stream)
    asked = asked + 1
    local answer = g:ask("/v1/chat/completions",
      { body = ('{"model":"m","stream":%s,"messages":%s}'):format(stream, messages) })
    local line = g:log(asked)
    return { answer.status, answer.headers["x-request-id"], line.upstream_id, line.id }
  end

  for _, stream in ipairs { "false", "true" } do
    it("has the upstream's number, or the log's, with stream = " .. stream, function()
      for given, told in pairs { ["up-1"] = "up-1", ["sk-upstream-0161"] = "***" } do
        up:programme { script = { { preset = "invalid_400",
          headers = { ["x-request-id"] = given } } } }
        local seen = ask('[{"role":"user","content":"hi"}]', stream)
        assert.same({ 400, told, told, seen[4] }, seen)
      end
      local seen = ask("[]", stream)
      assert.same({ 400, seen[4], nil, seen[4] }, seen)
    end)
  end
end)
