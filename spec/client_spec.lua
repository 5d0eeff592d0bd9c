-- The client over real HTTP, against the busy upstream.
local busyd = require "spec.support.busyd"
local direct = require "spec.support.direct"
local guard = require "spec.support.leak_guard"
local unbusy = require "unbusy"

local function question(text)
  return { model = "m", messages = { { role = "user", content = text or "hi" } } }
end

describe("the client", function()
  guard.watch(before_each, after_each)
  local up

  setup(function() up = busyd.start { tls = true } end)
  teardown(function() up:stop() end)
  before_each(function() up:programme { reset = true, log = true } end)

  local function new(options, target)
    options = options or {}
    local t = { name = "a", url = up.url .. "/v1", key = "k-1" }
    for k, v in pairs(target or {}) do t[k] = v end
    options.targets = options.targets or { t }
    return unbusy.new(options)
  end

  it("chats, completes, embeds and posts", function()
    local client = new()
    local reply = assert(client:chat(question "天气如何"))
    assert.equal("echo: 天气如何", reply.text)
    assert.equal("upstream", reply.source)
    assert.equal("a", reply.target)
    assert.equal(1, reply.tries)
    assert.is_true(reply.usage.total_tokens > 0)
    assert.equal("echo: x", client:complete({ model = "m", prompt = "x" }).text)
    local vector = client:embed({ model = "e", input = "x" }).body.data[1].embedding
    assert.equal(#busyd.embedding("x", 8), #vector)
    assert.equal("chat.completion", client:post("/chat/completions", question()).body.object)
  end)

  it("streams text, reasoning, tool calls and usage, and assembles them", function()
    up:programme { answer = { reasoning = true, tokens = 20,
      tool_calls = { { id = "t1", name = "weather", arguments = { city = "北京" } } } } }
    local stream = assert(new():stream(question "q"))
    local text, reasoning, pieces = {}, {}, 0
    for piece in stream:pieces() do
      pieces = pieces + 1
      text[#text + 1], reasoning[#reasoning + 1] = piece.text, piece.reasoning
    end
    assert.is_true(pieces > 10)
    local reply = stream:reply()
    assert.equal(table.concat(text), reply.text or "")
    assert.equal(table.concat(reasoning), reply.reasoning)
    assert.equal("thinking about: q", reply.reasoning)
    assert.equal("weather", reply.tool_calls[1]["function"].name)
    assert.matches("北京", reply.tool_calls[1]["function"].arguments)
    assert.equal("tool_calls", reply.finish_reason)
    assert.is_true(reply.usage.completion_tokens > 0)
  end)

  -- Some servers number the calls of a whole answer as those of a stream.
  local function without_index(reply)
    for _, tool in ipairs(reply.tool_calls) do tool.index = nil end
    return reply
  end

  it("gives the same answer whole and streamed", function()
    up:programme { answer = { reasoning = "hm", tokens = 5,
      tool_calls = { { id = "t", name = "f" } } } }
    local client = new()
    local whole = without_index(client:chat(question()))
    local streamed = client:stream(question()):reply()
    local assembled = client:chat(question(), { upstream_stream = true })
    for _, other in ipairs { streamed, assembled } do
      for _, field in ipairs { "text", "reasoning", "finish_reason", "tool_calls", "usage",
          "model" } do
        assert.same(whole[field], other[field], field)
      end
      assert.same(whole.body.choices, other.body.choices)
    end
  end)

  it("waits out a busy server, by every sign of it", function()
    local sent_again
    local client = new { retry = { base = 0.01 }, on_event = function(event)
      if event.type == "resent" then sent_again = true end
    end }
    for _, preset in ipairs { "busy_503", "busy_text_cn", "overloaded_body", "rate_limited",
      "slow_down", "overloaded_529", "insufficient_system_resource", "no_choices", "empty_200",
      "malformed_json", "reset", "close", "cut_body", "garbage", "server_500", "timeout_504" } do
      up:programme { script = { { preset = preset } }, reset = true }
      sent_again = false
      local reply, message = client:chat(question(preset))
      assert.is_truthy(reply, preset .. ": " .. tostring(message))
      assert.equal("echo: " .. preset, reply.text)
      -- A request lost with a kept connection, before any byte came, is sent again at once.
      local resent = reply.tries == 1 and (preset == "reset" or preset == "close")
      assert.is_true(reply.tries == 2 or resent, preset)
      assert.equal(resent, sent_again)
      assert.equal(2, up:counts().received)
    end
  end)

  it("keeps its connections", function()
    local client = new()
    for _ = 1, 20 do assert(client:chat(question())) end
    for _ = 1, 20 do assert(client:stream(question())):reply() end
    assert.is_true(up:counts().connections <= 1) -- 0: one of an earlier test served
  end)

  it("answers 1,000 calls at once from one thread, without busy waiting", function()
    up:programme { reset = true, capacity = 0, queue = 1000 }
    local client, good, cpu = new { limiter = false }, 0, nil
    unbusy.run(function()
      for i = 1, 1000 do
        unbusy.spawn(function()
          local reply = assert(client:chat(question("n" .. i)))
          if reply.text == "echo: n" .. i then good = good + 1 end
        end)
      end
      local limit = os.time() + 120
      while up:counts().queued < 1000 do
        assert.is_true(os.time() < limit, "not all of them have come")
        unbusy.sleep(0.05)
      end
      local before = os.clock()
      unbusy.sleep(1)
      cpu = os.clock() - before -- a loop that spins would use all of it
      up:programme {}
    end)
    assert.equal(1000, good)
    assert.is_true(cpu < 0.3, cpu)
  end)

  it("waits without using the processor", function()
    up:programme { latency = 1.5 }
    local client, cpu = new(), os.clock()
    assert(client:chat(question()))
    assert.is_true(os.clock() - cpu < 0.5, os.clock() - cpu)
  end)

  it("works inside a foreign coroutine, alone and inside a task", function()
    local client = new()
    local function words()
      return coroutine.wrap(function()
        for i = 1, 3 do coroutine.yield(assert(client:chat(question("w" .. i))).text) end
      end)
    end
    local function all()
      local out = {}
      for text in words() do out[#out + 1] = text end
      return table.concat(out, ",")
    end
    assert.equal("echo: w1,echo: w2,echo: w3", all())
    unbusy.run(function()
      local other = unbusy.spawn(function() return client:chat(question "other").text end)
      assert.equal("echo: w1,echo: w2,echo: w3", all())
      assert.equal("echo: other", other:join())
    end)
  end)

  it("lets other tasks move while one calls", function()
    up:programme { script = { { preset = "ok", latency = 1 }, { preset = "ok" } } }
    local client, order = new(), {}
    unbusy.run(function()
      unbusy.spawn(function() client:chat(question()) order[#order + 1] = "slow" end)
      while up:counts().in_service == 0 do unbusy.sleep(0.01) end
      unbusy.spawn(function() client:chat(question()) order[#order + 1] = "fast" end)
    end)
    assert.same({ "fast", "slow" }, order)
  end)

  it("verifies the server, and takes an authority of one's own", function()
    local client = new({ retry = false }, { url = up.tls_url .. "/v1" })
    local _, message, code, detail = client:chat(question())
    assert.equal("tls", code)
    assert.equal("connect", detail.phase)
    assert.matches("certificate", message)
    client = new({}, { url = up.tls_url .. "/v1", tls = { ca = up.ca } })
    assert.equal("echo: hi", client:chat(question()).text)
    client = new({}, { url = up.tls_url .. "/v1", tls = { verify = false } })
    assert.equal("echo: hi", client:chat(question()).text)
  end)

  it("shares one HTTP/2 connection between calls", function()
    up:programme { latency = 0.2 }
    local client = new({ limiter = false }, { url = up.tls_url .. "/v1", tls = { ca = up.ca } })
    unbusy.run(function()
      for _ = 1, 30 do unbusy.spawn(function() assert(client:chat(question())) end) end
    end)
    assert.is_true(up:counts().connections <= 1)
  end)

  it("fails clearly when nobody is there", function()
    for _, url in ipairs { "http://127.0.0.1:1", "http://nobody.invalid" } do
      local client = new({ retry = false }, { url = url })
      local reply, message, code, detail = client:chat(question())
      assert.is_nil(reply)
      assert.equal("network", code)
      assert.matches("^a: connect: ", message)
      assert.equal(1, detail.tries)
    end
  end)

  it("does not follow a redirect with the key", function()
    up:programme { script = {
      { preset = "redirect", location = up.url .. "/v1/chat/completions" } } }
    local _, message, code = new({ retry = false }):chat(question())
    assert.equal("upstream", code)
    assert.matches("redirect", message)
    assert.equal(1, up:counts().received)
  end)

  it("bounds what an answer may expand to", function()
    up:programme { faults = { { share = 1, answer = { preset = "gzip_bomb", bytes = 33554432 } } } }
    local client = new({ retry = false }, { limits = { body = 1000000 } })
    local _, message, code = client:chat(question())
    assert.equal("upstream", code)
    assert.matches("larger", message)
  end)

  it("cancels the upstream call when a stream is closed", function()
    up:programme { token_interval = 0.05, answer = { tokens = 100 } }
    local client = new()
    local stream = assert(client:stream(question()))
    stream:read()
    stream:close()
    assert(client:chat(question()))
    for _ = 1, 50 do
      if up:counts().aborted_by_client == 1 then break end
      direct.pause(0.05)
    end
    assert.equal(1, up:counts().aborted_by_client)
    assert.equal(0, client:status().active)
  end)

  it("gives a long stream whole, in memory that the answer explains", function()
    up:programme { answer = { tokens = 400000, chunks = 2000 } } -- some 3 MB
    local client = new()
    local stream = assert(client:stream(question()))
    local text, n = {}, 0
    local before = collectgarbage "count"
    unbusy.run(function()
      for piece in stream:pieces() do
        n = n + 1
        text[#text + 1] = piece.text
      end
    end)
    collectgarbage()
    assert.is_true(collectgarbage "count" - before < 16384) -- KB
    assert.equal(busyd.expected("hi", { tokens = 400000 }), table.concat(text))
    assert.is_true(n > 100)
  end)

  it("takes its options from a file", function()
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write(("return { targets = { { name = 'f', url = %q, key = 'k' } } }"):format(up.url))
    file:close()
    assert.equal("f", unbusy.new(path):chat(question()).target)
    os.remove(path)
  end)

  it("prices an answer", function()
    local client = new({}, { price = { input = 1000000, output = 2000000 } })
    local reply = client:chat(question())
    assert.equal(reply.usage.prompt_tokens + 2 * reply.usage.completion_tokens, reply.cost)
  end)

  it("measures", function()
    up:programme { latency = 0.2 }
    local reply = new():chat(question())
    assert.is_true(reply.times.start >= 0.2 and reply.times.total >= reply.times.start)
  end)

  describe("raises, at the caller's line, for", function()
    local good = { targets = { { name = "a", url = "http://x" } } }
    local function refuses(pattern, f, ...)
      local ok, message = pcall(f, ...)
      assert.is_false(ok)
      assert.matches(pattern, message)
    end

    it("wrong options", function()
      refuses("file's path expected, got a number", unbusy.new, 5)
      refuses("targets is missing", unbusy.new, {})
      refuses("at least 1 expected", unbusy.new, { targets = {} })
      refuses("targets%[1%]%.url is missing", unbusy.new, { targets = { { name = "a" } } })
      refuses("http:// or https://", unbusy.new, { targets = { { name = "a", url = "ftp://x" } } })
      refuses("'a' is taken", unbusy.new, { targets = { good.targets[1], good.targets[1] } })
      for _, url in ipairs { "https://evil.test?x@api.deepseek.com", "https://a@b", "http://a#b",
        "http://a\\b", "http://", "http://:80" } do
        refuses("a host and a path expected", unbusy.new, { targets = { { name = "a",
          url = url } } })
      end
      refuses("loop: one of tasks", unbusy.new, { targets = good.targets, loop = "task" })
      refuses("loop: no 'enter'", unbusy.new, { targets = good.targets, loop = {} })
      refuses("fallback: a text in UTF%-8", unbusy.new, { targets = good.targets,
        fallback = "\196\227" })
      refuses("did you mean 'retry'", unbusy.new, { targets = good.targets, retrys = {} })
      refuses("did you mean 'attempts'", unbusy.new,
        { targets = good.targets, retry = { attempt = 2 } })
      refuses("breaker%.window: number expected", unbusy.new,
        { targets = good.targets, breaker = { window = "x" } })
      refuses("did you mean 'deepseek'", unbusy.new,
        { targets = { { name = "a", url = "http://x", provider = "deepsek" } } })
      refuses("control characters", unbusy.new,
        { targets = { { name = "a", url = "http://x", key = "a\r\nb: c" } } })
      refuses("control characters", unbusy.new,
        { targets = { { name = "a", url = "http://x\n" } } })
      refuses("control characters", unbusy.new,
        { targets = { { name = "a", url = "http://x", headers = { a = "b\nc" } } } })
      refuses("cannot open", unbusy.new, "/nowhere/at/all.lua")
      local ok, message = pcall(function() local _ = unbusy.new { targets = 1 } end)
      assert.is_false(ok)
      assert.matches("client_spec%.lua:%d+: unbusy: targets", message)
    end)

    it("wrong calls", function()
      local client = unbusy.new(good)
      refuses("request table expected, got a nil", client.chat, client)
      refuses("'messages' is missing", client.chat, client, {})
      refuses("list of at least one", client.chat, client, { messages = {} })
      refuses("model: a string expected", client.chat, client, { model = 5, messages = { {} } })
      refuses("did you mean 'deadline'", client.chat, client, question(), { deadlin = 5 })
      refuses("no target is named 'b'", client.chat, client, question(), { target = "b" })
      refuses("deadline: a number above 0", client.chat, client, question(), { deadline = 0 })
      refuses("'prompt' is missing", client.complete, client, {})
      refuses("'input' is missing", client.embed, client, {})
      refuses("path that starts with /", client.post, client, "x", "")
      refuses("path that starts with /", client.post, client, "/x y", "")
      refuses("body %(table or string%)", client.post, client, "/x")
      local ok, message = pcall(function() local _ = client:chat {} end)
      assert.is_false(ok)
      assert.matches("client_spec%.lua:%d+: chat: 'messages' is missing", message)
      ok, message = pcall(function() local _ = client:chat(question(), { x = 1 }) end)
      assert.is_false(ok)
      assert.matches("client_spec%.lua:%d+: chat: unknown option 'x'", message)
    end)
  end)

  it("never lets a watcher's fault reach the call", function()
    local client = new { on_event = function() error "mine" end }
    assert.equal("echo: hi", client:chat(question()).text)
    assert.is_true(client:status().event_faults > 0)
  end)

  it("sends keys of the environment to their own provider only", function()
    local script = [[
      local unbusy = require "unbusy"
      local client = unbusy.new { retry = false, targets = {
        { name = "deepseek", url = arg[1] }, { name = "backup", url = arg[1] } } }
      for _, name in ipairs { "deepseek", "backup" } do
        client:chat({ messages = { { role = "user", content = "x" } } }, { target = name })
      end]]
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write(script)
    file:close()
    os.execute(("DEEPSEEK_API_KEY=secret BACKUP_API_KEY=other %s %s %s"):format(
      os.getenv "UNBUSY_LUA" or _VERSION == "Lua 5.4" and "lua5.4" or "luajit", path,
      up.url .. "/v1"))
    os.remove(path)
    local log = up:log()
    assert.is_nil(log[1].headers.authorization)
    assert.equal("Bearer other", log[2].headers.authorization)
  end)
end)
