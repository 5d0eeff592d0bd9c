-- POST /api/v1/batch, and the gateway's single calls that become batches.
local busyd = require "spec.support.busyd"
local gateways = require "spec.support.gateways"
local json = require "unbusy.json"

local unpack = table.unpack or unpack -- luacheck: ignore

local CONFIG = [[return {
  targets = { { name = "main", url = "${url}/v1", key = "sk-up"${target} } },
  retry = { attempts = 2, base = 0.01 }, ${more}
}]]

local BATCH = "/api/v1/batch"

local function prompts(...)
  local list = {}
  for i, text in ipairs { ... } do
    list[i] = { prompt = text, parameters = { model = "m", temperature = 0 } }
  end
  return json.encode { requests = list }
end

describe("the gateway's batches", function()
  local up, g

  local function start(more, target)
    if g then g:stop() end
    g = gateways.start { config = CONFIG,
      values = { url = up.url, more = more or "", target = target or "" } }
  end

  setup(function() up = busyd.start { workers = 1 } end)

  teardown(function()
    if g then g:stop() end
    if up then up:stop() end
  end)

  before_each(function() up:programme { reset = true, log = true } end)

  after_each(function() assert.is_nil(g:errors():find("[error]", 1, true)) end)

  local function ask(body, more)
    more = more or {}
    more.body = type(body) == "table" and json.encode(body) or body
    local answer = g:ask(BATCH, more)
    return json.decode(answer.body), answer
  end

  local function said(response) return response.choices[1].message.content end

  describe("of prompts", function()
    it("fan out where no target knows such requests", function()
      start()
      local body, answer = ask(prompts("a", "b", "你好"))
      assert.equal(200, answer.status)
      assert.equal("list", body.object)
      for i, text in ipairs { "a", "b", "你好" } do
        assert.same({ "chat.completion", "m", "echo: " .. text },
          { body.responses[i].object, body.responses[i].model, said(body.responses[i]) })
      end
      assert.same({ ["/v1/chat/completions"] = 3 }, up:counts().paths)
      local usage = body.usage
      assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens)
      assert.is_true(usage.total_tokens > 0)
      assert.same({ "upstream", "main" }, { answer.headers["x-unbusy-source"],
        answer.headers["x-unbusy-target"] })
      assert.is_truthy(answer.headers["x-request-id"])
      for _, entry in ipairs(up:log()) do
        local sent = json.decode(entry.body)
        assert.same({ "m", 0 }, { sent.model, sent.temperature })
        assert.equal("Bearer sk-up", entry.headers.authorization)
      end
    end)

    it("go on as they came to a target that knows them", function()
      start("", ', batch = "/api/v1/batch", models = { m = "big" }')
      local body, answer = ask(prompts("a", "b", "c"))
      assert.same({ "echo: a", "echo: c" }, { said(body.responses[1]), said(body.responses[3]) })
      assert.same({ [BATCH] = 1 }, up:counts().paths)
      assert.equal("batch", answer.headers["x-unbusy-source"])
      local sent = json.decode(up:log()[1].body)
      assert.same({ prompt = "b", parameters = { model = "big", temperature = 0 } },
        sent.requests[2])
      assert.equal("big", body.responses[2].model)
    end)

    it("may be completions, chats and embeddings as well", function()
      start('batch = { "embeddings" },')
      local body = ask { model = "m", requests = {
        { messages = { { role = "system", content = "s" }, { role = "user", content = "a" } } },
        { prompt = "b", max_tokens = 5 }, { input = "c" }, { input = "d", model = "m" },
        { prompt = "e" } } }
      assert.same({ "chat.completion", "text_completion", "list", "list", "chat.completion" }, {
        body.responses[1].object, body.responses[2].object, body.responses[3].object,
        body.responses[4].object, body.responses[5].object })
      assert.same(busyd.embedding "d", body.responses[4].data[1].embedding)
      assert.same({ ["/v1/chat/completions"] = 2, ["/v1/completions"] = 1,
        ["/v1/embeddings"] = 1 }, up:counts().paths)
    end)
  end)

  describe("with something wrong", function()
    it("have an error in the place of each item that failed", function()
      start("", ', batch = "/api/v1/batch"')
      up:programme { reset = true, items = { { match = "poison",
        error = { message = "no", type = "invalid_request_error", code = "bad" } } } }
      local body, answer = ask(prompts("a", "poison", "c"))
      assert.equal(200, answer.status)
      assert.same({ "echo: a", "echo: c" }, { said(body.responses[1]), said(body.responses[3]) })
      local e = body.responses[2].error
      assert.same({ "invalid_request_error", "bad" }, { e.type, e.code })
      assert.matches("main: item 2 of 3: ", e.message)
      local log = g:log(1)
      assert.same({ "batch", 3, 1, 200, "main", "batch" },
        { log.kind, log.requests, log.failed, log.status, log.target, log.source })
    end)

    it("have an error for each item that is none, and ask the others", function()
      start()
      local body, answer = ask { requests = { { prompt = "a" }, { prompt = 5 }, { model = "m" },
        { messages = json.array {} }, { prompt = "x", stream = true },
        { prompt = "x", parameters = { messages = {} } }, "x", { prompt = "b" } } }
      assert.equal(200, answer.status)
      assert.same({ "echo: a", "echo: b" }, { said(body.responses[1]), said(body.responses[8]) })
      for i = 2, 7 do
        local e = body.responses[i].error
        assert.equal("invalid_request_error", e.type)
        assert.matches("^requests%[" .. i - 1 .. "%]: ", e.message)
      end
      assert.equal("requests[1].prompt", body.responses[2].error.param)
      assert.equal(2, up:counts().received)
    end)

    it("have the first failure's status where all have failed", function()
      start()
      up:programme { reset = true, capacity = 0 }
      local body, answer = ask(prompts("a", "b"))
      assert.equal(503, answer.status)
      assert.equal("busy", body.error.code)
      assert.same({ "busy", "busy" },
        { body.responses[1].error.code, body.responses[2].error.code })
      assert.same({ "1", "busy" }, { answer.headers["retry-after"],
        answer.headers["x-unbusy-code"] })
      assert.same({ 2, 2, "busy" }, { g:log(1).requests, g:log(1).failed, g:log(1).code })
    end)

    it("are refused as a whole where they are none", function()
      start()
      for text, param in pairs { ['{"requests":[]}'] = "requests", ["{}"] = "requests",
        ['{"requests":5}'] = "requests", ['{"requests":{"a":1}}'] = "requests",
        ['{"requests":[{"prompt":"x"}],"model":5}'] = "model" } do
        local body, answer = ask(text)
        assert.same({ 400, param }, { answer.status, body.error.param }, text)
      end
      assert.equal(400, select(2, ask "[1]").status)
      assert.equal(400, select(2, ask "{").status)
      assert.equal(405, g:ask(BATCH).status)
      assert.equal("POST", g:ask(BATCH).headers.allow)
      assert.equal(415, g:ask(BATCH, { body = "x", headers = { "content-type: text/plain" } })
        .status)
      assert.equal(0, up:counts().received)
    end)
  end)

  describe("within limits", function()
    it("have no more requests, and no longer a body, than the options say", function()
      start("gateway = { batch = { requests = 3, at_once = 2 }, body = 1000 },")
      assert.equal(200, select(2, ask(prompts("a", "b", "c"))).status)
      local body, answer = ask(prompts("a", "b", "c", "d"))
      assert.same({ 400, "requests: at most 3 expected, got 4", "batch_too_large" },
        { answer.status, body.error.message, body.error.code })
      assert.equal(413, select(2, ask(prompts(("x"):rep(2000)))).status)
      up:programme { reset = true, latency = 0.05 }
      ask(prompts("a", "b", "c"))
      assert.equal(2, up:counts().in_service_max)
    end)

    it("are none where the option says so", function()
      start("gateway = { batch = false },")
      assert.equal(404, select(2, ask(prompts "a")).status)
      start("gateway = { batch = true },")
      assert.equal(200, select(2, ask(prompts "a")).status)
    end)

    it("count each request for its client's key, all or none", function()
      start([[gateway = { keys = { { key = "k", name = "team", calls = 10 },
        { key = "t", name = "tokens", tokens = 20 } } },]])
      local function status(count, key)
        local list = {}
        for i = 1, count do list[i] = "p" .. i end
        local body, answer = ask(prompts(unpack(list)),
          { headers = { "authorization: Bearer " .. (key or "k") } })
        return answer.status, body.error and body.error.code, answer.headers["retry-after"]
      end
      assert.equal(401, (status(1, "wrong")))
      assert.same({ 400, "batch_too_large" }, { status(11) })
      assert.equal(200, (status(6)))
      local code, word, seconds = status(5)
      assert.same({ 429, "rate_limit_exceeded" }, { code, word })
      assert.is_true(tonumber(seconds) >= 1)
      assert.equal(200, (status(4)))
      assert.equal(429, (status(1)))
      assert.equal(10, up:counts().received)
      assert.equal("team", g:log(3).key)
      assert.equal(200, (status(8, "t"))) -- what tokens it took is known afterwards
      assert.equal(429, (status(1, "t")))
    end)

    it("obey what a request says of itself", function()
      start('cache = true,')
      up:programme { reset = true, capacity = 0, queue = 10 }
      local body, answer = ask(prompts("a", "b"), { headers = { "x-unbusy-deadline: 0.2" } })
      assert.same({ 504, "timeout" }, { answer.status, body.error.code })
      up:programme { reset = true, log = true }
      ask(prompts("a", "b"), { headers = { "x-request-id: one", "idempotency-key: two",
        "openai-organization: us",
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" } })
      for _, entry in ipairs(up:log()) do
        local h = entry.headers
        assert.same({ nil, nil, "us" }, { h["x-request-id"], h["idempotency-key"],
          h["openai-organization"] })
        assert.matches("^00%-4bf92f3577b34da6a3ce929d0e0e4736%-", h.traceparent)
      end
      assert.equal("cache", select(2, ask(prompts("a", "b"),
        { headers = { "openai-organization: us" } })).headers["x-unbusy-source"])
      assert.equal(2, up:counts().received)
    end)
  end)

  it("end when their client goes", function()
    start()
    up:programme { reset = true, capacity = 0, queue = 10 }
    local body = prompts("a", "b", "c")
    local s = g:connect()
    s:write(("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"):format(BATCH, #body,
      body))
    s:flush()
    gateways.eventually(function() return up:counts().queued == 3 end)
    s:close()
    gateways.eventually(function() return up:counts().aborted_by_client == 3 end)
    g:settle()
    assert.same({ 499, 3 }, { g:log(1).status, g:log(1).requests })
  end)

  it("come about where single requests go together", function()
    start('batch = { { rule = "embeddings", max = 5, window = 10 } }, cache = true,')
    local commands = {}
    for i = 1, 5 do
      commands[i] = g:command("/v1/embeddings",
        { body = ('{"model":"m","input":"t%d"}'):format(i) }) .. " > " .. g.dir .. "/out" .. i
    end
    os.execute(table.concat(commands, " & ") .. " & wait")
    for i = 1, 5 do
      local file = assert(io.open(g.dir .. "/out" .. i, "rb"))
      local out = file:read "*a"
      file:close()
      assert.is_truthy(out:find("x-unbusy-source: batch", 1, true), out)
      local answer = json.decode(out:match "\r\n\r\n(.*)$")
      assert.same(busyd.embedding("t" .. i), answer.data[1].embedding)
      assert.same({ "list", 0, "m" }, { answer.object, answer.data[1].index, answer.model })
      assert.equal("batch", g:log(i).source)
    end
    assert.equal(1, up:counts().received)
    assert.equal("cache", g:ask("/v1/embeddings", { body = '{"model":"m","input":"t3"}' })
      .headers["x-unbusy-source"])
    g:settle()
  end)
end)
