local world = require "spec.support.world"
local json = require "unbusy.json"

local good = world.good

local function plain(answer, options)
  return world.new { script = { a = { answer } }, options = options or { retry = false } }
end

-- One stream read to its end: the text, and the failure if there was one.
local function drain(stream)
  local text = {}
  while true do
    local piece, message, code, detail = stream:read()
    if not piece then return table.concat(text), message, code, detail end
    text[#text + 1] = piece.text
  end
end

describe("the send stage", function()
  describe("sends", function()
    it("the caller's body with the target's model and key, and nothing else of ours", function()
      local w = world.new { script = { a = { good() } },
        targets = { a = { models = { default = "small", big = "huge-1", ["*"] = "any" },
          headers = { ["X-Team"] = "t1" } } } }
      local asked = { model = "big", messages = { { role = "user", content = "hi" } },
        made_up = { 1, 2 } }
      w.client:chat(asked)
      w.client:chat { messages = asked.messages }
      w.client:chat { model = "other", messages = asked.messages }
      local request = w.log[1].request
      assert.equal("http://a.test/v1/chat/completions", request.url)
      local body = json.decode(request.body)
      assert.equal("huge-1", body.model)
      assert.equal(2, body.made_up[2])
      assert.is_nil(body.stream)
      assert.equal("small", json.decode(w.log[2].request.body).model)
      assert.equal("any", json.decode(w.log[3].request.body).model)
      assert.equal("big", asked.model) -- the caller's table is untouched
      local lines = table.concat(request.headers, "\n"):lower()
      assert.matches("authorization: bearer key%-of%-a", lines)
      assert.matches("x%-team: t1", lines)
    end)

    -- We ask each stream for its usage. Mistral's API and older ones of Azure's refuse that, and so
    -- they refused all streams (openai/openai-agents-python#442, openai/openai-python#2296).
    for _, refusal in ipairs {
      { 422, '{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body",'
        .. '"stream_options","include_usage"],"msg":"Extra inputs are not permitted"}]}}' },
      { 400, '{"error":{"message":"Unrecognized request argument supplied: stream_options"}}' } } do
      it("a stream without what we have added, where that is refused: " .. refusal[1], function()
        local function strict(request)
          local o = json.decode(request.body).stream_options
          return o and world.status(refusal[1], nil, refusal[2]) or world.words { "hi" }
        end
        local w = world.new { script = { a = strict }, options = { retry = false } }
        local function asked(...)
          local stream, _, code = w.client:stream(...)
          return stream and stream:reply().text or code, #w.log
        end
        assert.same({ "hi", 2 }, { asked { model = "m", messages = world.question.messages } })
        assert.same({ "hi", 3 }, { asked { model = "m", messages = world.question.messages } })
        -- another model may be another server's; what the caller has said is the caller's
        assert.same({ "hi", 5 }, { asked { model = "n", messages = world.question.messages } })
        assert.same({ "invalid", 6 }, { asked { model = "m", messages = world.question.messages,
          stream_options = { include_usage = true } } })
        w:assert_clean()
      end)
    end

    it("several such streams at once", function()
      local w = world.new { options = { retry = false }, script = {
        a = function(request)
          local o = json.decode(request.body).stream_options
          return o and world.status(400, nil, '{"error":{"message":"no stream_options"}}')
            or world.words { "hi" }
        end } }
      local texts = {}
      w.loop.run(function()
        for i = 1, 3 do
          w.loop.spawn(function() texts[i] = assert(w:stream()):reply().text end)
        end
      end)
      assert.same({ { "hi", "hi", "hi" }, 6 }, { texts, #w.log })
      w:assert_clean()
    end)

    it("a stream once, where something else is refused", function()
      for status, words in pairs { [400] = "no such model", [503] = "stream_options" } do
        local w = world.new { options = { retry = false }, script = {
          a = { world.status(status, nil, json.encode { error = { message = words } }) } } }
        assert.is_nil((w:stream()))
        assert.equal(1, #w.log)
        w:assert_clean()
      end
    end)

    it("a path and a body as they are", function()
      local w = plain { status = 200, body = '{"ok":true}' }
      local reply = w.client:post("/files?x=1", "raw bytes")
      assert.equal("http://a.test/v1/files?x=1", w.log[1].request.url)
      assert.equal("raw bytes", w.log[1].request.body)
      assert.is_true(reply.body.ok)
    end)

    it("embeddings and completions", function()
      local w = plain { status = 200, body = '{"data":[{"index":0,"embedding":[0.5]}],'
        .. '"usage":{"prompt_tokens":2,"total_tokens":2}}' }
      assert.equal(0.5, w.client:embed({ input = "x" }).body.data[1].embedding[1])
      assert.matches("/embeddings$", w.log[1].request.url)
      w = plain { status = 200,
        body = '{"choices":[{"index":0,"text":"yes","finish_reason":"stop"}]}' }
      assert.equal("yes", w.client:complete({ prompt = "x" }).text)
      assert.matches("/completions$", w.log[1].request.url)
    end)

    it("nothing when the body cannot be written", function()
      local w = plain(good())
      local reply, message, code = w.client:chat {
        messages = { { role = "user", content = print } } }
      assert.is_nil(reply)
      assert.equal("invalid", code)
      assert.matches("messages", message)
      assert.equal(0, #w.log)
      assert.equal(0, #w:seen "try")
      w:assert_clean()
    end)
  end)

  describe("gives a whole answer", function()
    it("with text, usage, cost and times", function()
      local w = world.new { script = { a = { good("hello", 2) } },
        targets = { a = { price = { input = 1, output = 4 } } } }
      local reply = w:chat()
      assert.equal("hello", reply.text)
      assert.equal("stop", reply.finish_reason)
      assert.equal(15, reply.usage.total_tokens)
      assert.is_true(math.abs(reply.cost - 30e-6) < 1e-12)
      assert.equal(2, reply.times.start)
      assert.equal(2, reply.times.total)
      assert.equal(0, reply.times.queued)
      assert.equal(200, reply.status)
      assert.equal("a", reply.target)
    end)

    it("and runs on_end at once, for it has ended", function()
      local how = "not run"
      plain(good()):chat():on_end(function(_, h) how = h end)
      assert.is_nil(how)
    end)
  end)

  describe("keeps the clocks", function()
    local blanks = {}
    for i = 1, 200 do blanks[i] = { 1, "\n" } end

    it("total: blank lines re-arm nothing, and count as a busy sign", function()
      local w = plain({ status = 200, steps = blanks }, { retry = false, clocks = { total = 20 } })
      local _, message, code, detail = w:chat()
      assert.equal("timeout", code)
      assert.equal("a: total: nothing but keep-alives for 20 s", message)
      assert.equal("total", detail.phase)
      assert.equal(20, w:now())
      assert.equal(19, #w:seen "keep_alive")
      assert.is_true(w.client:status().targets[1].limits[""].limit < 20) -- a drop for the limiter
      w:assert_clean()
    end)

    it("start applies to a whole answer only where it is set for the call", function()
      local slow = { status = 200, steps = { { 1, "\n" }, { 1, "\n" }, { 60, good().body } } }
      assert.equal("hello", plain(slow):chat().text)
      local w = plain(slow)
      local _, message, code = w:chat { clocks = { start = 10 } }
      assert.equal("busy", code)
      assert.equal("a: start: nothing but keep-alives for 10 s", message)
      assert.equal(10, w:now())
    end)

    it("and a server that only sent keep-alives before it closed was busy", function()
      local w = plain { status = 200, steps = { { 1, "\n" }, { 1, " \n" } } }
      local _, message, code = w:chat()
      assert.equal("busy", code)
      assert.equal("a: nothing but keep-alives, then the end", message)
    end)

    it("but not after the answer has begun", function()
      local w = plain { status = 200, steps = { { 0, "\n" }, { 0.5, '{"choices":[' }, { 99, "" } } }
      local _, message = w:chat { deadline = 3 }
      assert.equal("a: total: nothing for 3 s", message)
      assert.equal(20, w.client:status().targets[1].limits[""].limit)
    end)

    it("nor an answer, however it went away", function()
      local steps = { { 0, world.KEEP_ALIVE }, { 1, world.KEEP_ALIVE } }
      local w = plain(world.streamed(steps, { fail = "cut", message = "gone" }))
      assert.equal("busy", select(3, w:stream()))
      assert.is_true(w.client:status().targets[1].limits[""].limit < 20)
    end)

    it("headers", function()
      local w = plain({ status = 200, after = 100 }, { retry = false, clocks = { headers = 8 } })
      local _, message, code, detail = w:stream()
      assert.equal("timeout", code)
      assert.equal("a: headers: nothing for 8 s", message)
      assert.equal("headers", detail.phase)
      assert.equal(8, w:now())
      w:assert_clean()
    end)

    it("start: keep-alives and a role alone do not stop it", function()
      local steps = { { 0, world.chunk { role = "assistant" } } }
      for _ = 1, 100 do steps[#steps + 1] = { 1, world.KEEP_ALIVE } end
      local w = plain(world.streamed(steps), { retry = false, clocks = { start = 20 } })
      local _, message, code = w:stream()
      assert.equal("busy", code)
      assert.equal("a: start: nothing but keep-alives for 20 s", message)
      assert.equal(20, w:now())
      assert.equal(19, #w:seen "keep_alive") -- as they come, for whoever shows the wait
      w:assert_clean()
    end)

    it("token: re-armed by bytes of answer, not by keep-alives", function()
      local steps = { { 0.1, world.chunk { content = "one " } },
        { 25, world.chunk { content = "two " } } }
      for _ = 1, 100 do steps[#steps + 1] = { 1, world.KEEP_ALIVE } end
      local w = plain(world.streamed(steps), { retry = false, clocks = { token = 30 } })
      local stream = w:stream()
      local text, message, code, detail = drain(stream)
      assert.equal("one two ", text)
      assert.equal("cut", code)
      assert.equal("a: token: nothing more for 30 s", message)
      assert.equal("token", detail.phase)
      assert.is_true(math.abs(w:now() - 55.2) < 0.01, w:now())
      w:assert_clean()
    end)

    it("token: a slow reader is not the server's fault", function()
      local w = plain(world.words({ "a", "b", "c" }, 20),
        { retry = false, clocks = { token = 30 } })
      w.loop.run(function()
        local stream = w:stream()
        local text = {}
        for piece in stream:pieces() do
          text[#text + 1] = piece.text
          w.loop.sleep(50)
        end
        assert.equal("abc", table.concat(text))
      end)
      w:assert_clean()
    end)

    it("total: over a stream as well", function()
      local w = plain(world.words({ "a", "b", "c", "d" }, 20),
        { retry = false, clocks = { total = 50 } })
      local text, message, code = drain(w:stream())
      assert.equal("ab", text)
      assert.equal("timeout", code)
      assert.matches("total", message)
      w:assert_clean()
    end)

    it("with upstream_stream, queue and start show for a whole answer too", function()
      local w = plain(world.words({ "one ", "two" }, 2), { upstream_stream = true })
      local reply = w:chat()
      assert.equal("one two", reply.text)
      assert.is_true(math.abs(reply.times.start - 2.1) < 1e-9)
      assert.is_true(json.decode(w.log[1].request.body).stream)
      assert.equal("one two", reply.body.choices[1].message.content)
      w:assert_clean()
    end)
  end)

  it("judges a refusal by its status when its body never ends", function()
    for _, how in ipairs { "chat", "stream" } do
      local w = plain { status = 503, hang = 1000 }
      assert.equal("busy", select(3, w[how](w)))
      assert.is_true(w:seen("failed")[1].at < 6)
      w:assert_clean()
    end
  end)

  it("lets a target's headers take the place of ours", function()
    local w = world.new { script = { a = { good() } }, targets = { a = { headers = {
      ["Content-Type"] = "application/x-own", ["User-Agent"] = "mine" } } } }
    w:chat()
    local lines = table.concat(w.log[1].request.headers, "\n"):lower()
    assert.equal(1, select(2, lines:gsub("content%-type:", "")))
    assert.matches("application/x%-own", lines)
    assert.equal(1, select(2, lines:gsub("user%-agent:", "")))
  end)

  describe("streams", function()
    it("come back at the first byte of answer and give every piece", function()
      local w = plain(world.words({ "a", "b", "c" }, 1))
      w.loop.run(function()
        local stream = w:stream()
        assert.is_true(math.abs(w:now() - 1.1) < 1e-9)
        assert.equal("a", stream.target)
        local reply = assert(stream:reply())
        assert.equal("abc", reply.text)
        assert.equal("upstream", reply.source)
        assert.equal("stop", reply.finish_reason)
        assert.equal(1, reply.tries)
        assert.is_nil(stream:read()) -- the end stays the end
      end)
      w:assert_clean()
    end)

    it("may change the target until then", function()
      local w = world.new { script = {
        a = { world.streamed({ { 0, world.chunk { role = "assistant" } },
          { 1, 'data: {"error":{"code":"server_is_overloaded"}}\n\n' } }) },
        b = { world.words { "x", "y" } } } }
      local stream = assert(w:stream())
      assert.equal("b", stream.target)
      assert.equal("xy", drain(stream))
      assert.equal(2, stream.tries)
      w:assert_clean()
    end)

    it("and never afterwards: a cut is a cut", function()
      local cuts = {
        ending = world.streamed { { 0, world.chunk { content = "half" } } },
        broken = world.streamed({ { 0, world.chunk { content = "half" } } },
          { fail = "cut", message = "gone" }),
        error = world.streamed { { 0, world.chunk { content = "half" } },
          { 0, 'data: {"error":{"message":"x"}}\n\n' } },
        resource = world.streamed { { 0, world.chunk { content = "half" } },
          { 0, world.chunk({}, "insufficient_system_resource") }, { 0, world.DONE } },
        json = world.streamed { { 0, world.chunk { content = "half" } }, { 0, "data: {oops\n\n" } },
      }
      for name, answer in pairs(cuts) do
        local w = world.new { script = { a = { answer }, b = { world.words { "x" } } } }
        local stream = assert(w:stream())
        local text, message, code, detail = drain(stream)
        assert.equal("half", text, name)
        assert.equal("cut", code, name)
        assert.matches("^a: ", message)
        assert.equal(1, detail.tries)
        assert.is_nil(w.sent.b)
        assert.equal("cut", select(3, stream:read())) -- it stays so
        assert.is_nil(stream:reply())
        assert.equal(1, #w:seen "cut")
        w:assert_clean()
      end
    end)

    it("raise in a for loop when they are cut", function()
      local w = plain(world.streamed { { 0, world.chunk { content = "half" } } })
      local stream = w:stream()
      local ok, message = pcall(function() for _ in stream:pieces() do end end) -- luacheck: ignore
      assert.is_false(ok)
      assert.matches("a: ", message)
    end)

    it("are cancelled by close, by leaving the loop and by the collector", function()
      local closers = {
        close = function(w) local s = w:stream() s:read() s:close() s:close() end,
        collect = function(w) w:stream() collectgarbage() collectgarbage() end,
      }
      if _VERSION == "Lua 5.4" then
        closers.leave = function(w)
          for _ in w:stream():pieces() do break end -- luacheck: ignore
        end
      end
      for name, f in pairs(closers) do
        local w = plain(world.words({ "a", "b", "c" }, 1))
        w.loop.run(function()
          f(w)
          collectgarbage()
          w.loop.sleep(0) -- what a finalizer asks for is done between two turns
          assert.is_true(w.log[1].exchange.closed or false, name)
        end)
        w:assert_clean()
        assert.equal("closed", w.client:status().targets[1].state)
      end
    end)

    it("end for a reader that waits when another task closes them", function()
      local w = plain(world.streamed { { 0, world.chunk { content = "hi" } },
        { 500, world.DONE } })
      w.loop.run(function()
        local s = w:stream()
        s:read()
        w.loop.spawn(function() w.loop.sleep(1) s:close() end)
        assert.equal("closed", select(3, s:read()))
        assert.is_true(w:now() < 2)
      end)
      w:assert_clean()
    end)

    it("are closed when the task that reads is cancelled", function()
      local w = plain(world.words({ "one", "two" }, 5))
      w.loop.run(function()
        local kept
        local task = w.loop.spawn(function()
          kept = w:stream()
          repeat local piece = kept:read() until not piece
        end)
        w.loop.sleep(7)
        w.loop.cancel(task)
        w.loop.sleep(0)
        assert.is_true(w.log[1].exchange.closed)
      end)
      w:assert_clean()
    end)

    it("report a closed one as closed", function()
      local w = plain(world.words({ "a", "b" }, 1))
      local s = w:stream()
      s:close()
      assert.equal("closed", select(3, s:reply()))
      assert.is_nil(s:read())
    end)

    it("hold their place to the last piece", function()
      local w = world.new { script = { a = { world.words({ "a", "b", "c" }, 1) } },
        options = { limiter = { kind = "fixed", initial = 1 } } }
      w.loop.run(function()
        local first = w:stream()
        local second
        w.loop.spawn(function() second = w:stream() second:close() end)
        w.loop.sleep(10)
        assert.is_nil(second)
        assert.equal("abc", drain(first))
        w.loop.sleep(10)
        assert.is_truthy(second)
      end)
      w:assert_clean()
    end)

    it("end with the client", function()
      local w = plain(world.words({ "a", "b" }, 1))
      w.loop.run(function()
        local s = w:stream()
        s:read()
        w.client:close()
        local _, _, code = drain(s)
        assert.equal("closed", code)
      end)
      w:assert_clean()
    end)

    it("take a whole answer where a stream was asked for", function()
      local w = plain(good "whole")
      local s = assert(w:stream())
      local reply = assert(s:reply())
      assert.equal("whole", reply.text)
      w:assert_clean()
      local piece = w:stream():read()
      local chunk = json.decode(piece.data)
      assert.equal("chat.completion.chunk", chunk.object)
      assert.equal("whole", chunk.choices[1].delta.content)
      assert.equal(piece.text, chunk.choices[1].delta.content)
    end)
  end)

  it("shows neither key nor prompt in messages and events", function()
    local w = world.new { script = {
      a = { world.status(401, {}, '{"error":{"message":"bad key key-of-a"}}') } } }
    local _, message, _, detail = w.client:chat {
      messages = { { role = "user", content = "my secret" } } }
    local seen = { message }
    local function collect(t)
      for k, v in pairs(t) do
        seen[#seen + 1] = tostring(k)
        if type(v) == "table" then collect(v) else seen[#seen + 1] = tostring(v) end
      end
    end
    collect(detail)
    collect(w.events)
    collect(w.client:status())
    local all = table.concat(seen, " ") .. tostring(w.client) .. tostring(w.client.targets[1])
    assert.not_matches("key%-of%-a", all)
    assert.not_matches("my secret", all)
  end)
end)
