-- Second tries beside slow ones, and the server's queue, as a client of the gateway sees them and
-- its log tells them.
local busyd = require "spec.support.busyd"
local gateways = require "spec.support.gateways"

local CONFIG = [[return {
  targets = { { name = "slow", url = "${slow}/v1", priority = 1,
      price = { input = 2, output = 4 } },
    { name = "quick", url = "${quick}/v1", priority = 2, price = { input = 1, output = 2 } } },
  retry = false, ${more}
}]]

local function body(stream)
  return ('{"model":"m","stream":%s,"stream_options":{"include_usage":true},'
    .. '"messages":[{"role":"user","content":"hi"}]}'):format(tostring(stream))
end

describe("the gateway, with two tries beside each other", function()
  local slow, quick, g

  setup(function() slow, quick = busyd.start { workers = 1 }, busyd.start { workers = 1 } end)
  teardown(function()
    slow:stop()
    quick:stop()
  end)

  local function start(more, workers)
    g = gateways.start { config = CONFIG, workers = workers,
      values = { slow = slow.url, quick = quick.url, more = more or "" } }
  end

  local function programme(first, second)
    first.reset, second.reset = true, true
    slow:programme(first)
    quick:programme(second)
  end

  after_each(function()
    g:settle()
    assert.is_nil(g:errors():find("[error]", 1, true))
    g:stop()
  end)

  local function await_left(up, gone)
    gateways.eventually(function()
      local c = up:counts()
      return c.aborted_by_client + c.streams.aborted >= gone and c.in_service + c.queued == 0
    end)
  end

  for workers = 1, 3, 2 do
    it("tells who answered, and what the other one may cost, " .. workers .. " workers", function()
      start("hedge = { after = 0.1, most = 1 },", workers)
      for i, stream in ipairs { false, true } do
        programme({ latency = 600 }, {})
        local answer = g:ask("/v1/chat/completions", { body = body(stream) })
        assert.equal(200, answer.status)
        assert.matches(stream and "%[DONE%]" or "echo: hi", answer.body)
        assert.same({ "2", "won", "quick" }, { answer.headers["x-unbusy-tries"],
          answer.headers["x-unbusy-hedged"], answer.headers["x-unbusy-target"] })
        await_left(slow, 1)
        local line = g:log(i)
        assert.same({ "won", 2, "quick" }, { line.hedged, line.tries, line.target })
        assert.near(line.prompt_tokens * 2e-6, line.hedge_cost, 1e-9)
        assert.near(line.prompt_tokens * 1e-6 + line.completion_tokens * 2e-6, line.cost, 1e-9)
      end
      programme({ latency = 0.5 }, { latency = 600 })
      local answer = g:ask("/v1/chat/completions", { body = body(false) })
      assert.same({ "2", "lost", "slow" }, { answer.headers["x-unbusy-tries"],
        answer.headers["x-unbusy-hedged"], answer.headers["x-unbusy-target"] })
      await_left(quick, 1)
      assert.equal("lost", g:log(3).hedged)
      programme({}, {})
      answer = g:ask("/v1/chat/completions", { body = body(false) })
      assert.is_nil(answer.headers["x-unbusy-hedged"])
      assert.is_nil(g:log(4).hedged)
    end)
  end

  it("pings the client meanwhile, and ends both where that leaves", function()
    start "hedge = { after = 0.1, most = 1 }, gateway = { ping = 1 },"
    programme({ latency = 1.5 }, { latency = 600 })
    local answer = g:ask("/v1/chat/completions", { body = body(true) })
    assert.matches(": ping", answer.body)
    assert.matches("%[DONE%]", answer.body)
    programme({ latency = 600 }, { latency = 600 })
    local s, text = g:connect(), body(true)
    s:write(("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s")
      :format(#text, text))
    s:flush()
    gateways.eventually(function() return quick:counts().in_service == 1 end)
    s:close()
    await_left(slow, 1)
    await_left(quick, 1)
  end)

  it("logs how long a call stood in the server's queue", function()
    start "hedge = false,"
    programme({ script = { { preset = "keepalive_comments", seconds = 0.5 },
      { preset = "blank_lines", seconds = 0.5 } } }, {})
    for i, stream in ipairs { true, false } do
      assert.equal(200, g:ask("/v1/chat/completions", { body = body(stream) }).status)
      local line = g:log(i)
      assert.is_true(line.queued_upstream > 0.1 and line.queued_upstream <= line.start)
      assert.equal(0, line.queued)
    end
    assert.equal(200, g:ask("/v1/chat/completions", { body = body(true) }).status)
    assert.is_nil(g:log(3).queued_upstream)
  end)

  it("leaves a server's queue for whoever is free", function()
    start "hedge = false, policy = 'interactive',"
    programme({ capacity = 0, queue = 9, queue_sign = "keepalive" }, {})
    local answer = g:ask("/v1/chat/completions", { body = body(true) })
    assert.same({ "2", "quick" },
      { answer.headers["x-unbusy-tries"], answer.headers["x-unbusy-target"] })
    await_left(slow, 1)
  end)
end)
