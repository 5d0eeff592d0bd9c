-- What becomes of a stream that breaks off, but for its text: who is asked, what that costs, what
-- is told, and what ends it all the same.
local exact = require "spec.support.exact"
local json = require "unbusy.json"
local resumed = require "spec.support.resumed"
local unbusy = require "unbusy"
local world = require "spec.support.world"

local TEXT, DONE = resumed.TEXT, resumed.DONE
local question, build, drain, finish = resumed.question, resumed.build, resumed.drain,
  resumed.finish

describe("going on with a stream", function()
  it("is off unless it is asked for", function()
    for _, own in ipairs { "none", "call" } do
      local w = build { servers = { a = { cuts = { DONE } } },
        options = { resume = own == "call" and "prefix" or false } }
      local stream = assert(w.client:stream(question(),
        own == "call" and { resume = false } or nil))
      local _, message, code, detail = drain(stream)
      assert.equal("a: body: reset by the server", message)
      assert.same({ "cut", 1, 0 }, { code, detail.tries, stream.resumed })
      assert.equal(1, #w.log)
      finish(w)
    end
    local w = build { servers = { a = { cuts = { DONE } } }, options = { resume = false } }
    local stream = assert(w.client:stream(question(), { resume = "prefix" }))
    assert.equal(TEXT, drain(stream))
    assert.same({ 1, 2 }, { stream.resumed, stream.tries })
    finish(w)
  end)

  it("asks with the text so far, without what the client has said of streams", function()
    local w = build { servers = { a = { cuts = { DONE } } } }
    assert.equal(TEXT, drain(assert(w.client:stream(question { max_tokens = 500, top_p = 1 }))))
    local first, second = w.servers.a.asked[1], w.servers.a.asked[2]
    assert.equal("http://a.test/v1/chat/completions", w.log[2].request.url)
    local last = table.remove(second.messages)
    assert.same({ "assistant", true }, { last.role, last.prefix })
    assert.equal(TEXT:sub(1, #last.content), last.content)
    assert.is_true(#last.content > 10 and #last.content < #TEXT)
    assert.is_true(second.max_tokens < 500 and second.max_tokens > 480)
    second.max_tokens = 500
    assert.same(first, second)
    finish(w)
  end)

  it("asks for no more than is still due where an answer is not to be short", function()
    for asked, expected in pairs { [300] = true, [2] = 0, [0] = 0 } do
      local w = build { servers = { a = { cuts = { DONE } } } }
      assert.equal(TEXT, drain(assert(w.client:stream(question { min_tokens = asked }))))
      local first, second = w.servers.a.asked[1].min_tokens, w.servers.a.asked[2].min_tokens
      assert.equal(asked, first)
      assert.is_true(second < 300 and second > 280 or second == expected, second)
      finish(w)
    end
  end)

  it("sends the caller's own bytes on, but for what must differ", function()
    local raw = '{ "messages":[{"role":"user","content":"Tell me."}], "top_p":1.0, "model":"m" }'
    local w = build { servers = { a = { cuts = { DONE } } } }
    assert.equal(TEXT, drain(assert(w.client:stream(json.decode(raw), { raw = raw }))))
    assert.is_truthy(w.log[2].request.body:find('"top_p":1.0', 1, true))
    assert.is_truthy(w.log[2].request.body:find('"prefix":true', 1, true))
    finish(w)
  end)

  it("goes elsewhere first, and to the same server where that is the only one", function()
    local w = build { servers = { a = { cuts = { DONE } }, b = {} }, order = { "a", "b" } }
    local stream = assert(w.client:stream(question()))
    assert.equal(TEXT, drain(stream))
    assert.same({ "a", "b" }, { w.log[1].host, w.log[2].host })
    assert.is_true(w.log[2].at - w.log[1].at < 0.2) -- a free move waits for nothing
    local reply = stream:reply()
    assert.same({ "a", 1, 2 }, { reply.target, reply.resumed, reply.tries })
    finish(w)
  end)

  it("asks nobody who cannot go on", function()
    local w = build { servers = { a = { cuts = { DONE } }, b = {} }, order = { "a", "b" },
      targets = { b = {} } }
    assert.equal(TEXT, drain(assert(w.client:stream(question()))))
    assert.same({ "a", "a" }, { w.log[1].host, w.log[2].host })
    finish(w)
    w = build { servers = { a = { cuts = { DONE } } }, targets = { a = {} } }
    local _, message, code = drain(assert(w.client:stream(question())))
    assert.same({ "cut", 1 }, { code, #w.log })
    assert.equal("a: body: reset by the server (not continued: nobody can go on with it)", message)
    finish(w)
  end)

  it("asks in words where that is allowed, and by prefix where there is one", function()
    local w = build { servers = { a = { cuts = { DONE } }, b = { cuts = { 400 } } },
      order = { "a", "b" }, targets = { a = {}, b = { prefix = "continue" } },
      options = { resume = "prompt", retry = { base = 0.1, jitter = 0, attempts = 3 } } }
    assert.equal(TEXT, drain(assert(w.client:stream(question()))))
    local second, third = w.servers.b.asked[1], w.servers.a.asked[2]
    assert.same({ true, false }, { second.continue_final_message, second.add_generation_prompt })
    assert.equal("assistant", second.messages[2].role)
    assert.is_nil(second.messages[2].prefix)
    assert.same({ "assistant", "user" }, { third.messages[2].role, third.messages[3].role })
    assert.is_nil(third.continue_final_message)
    finish(w)
  end)

  it("is one answer to whoever reads its events", function()
    local w = build { servers = { a = { cuts = { DONE } }, b = { reasoning = "again, I think" } },
      order = { "a", "b" } }
    local stream = assert(w.client:stream(question()))
    local roles = 0
    for piece in stream:pieces() do
      local body = piece.data and json.decode(piece.data)
      if body then
        assert.same({ "answer-1", 1001, "m" }, { body.id, body.created, body.model })
        local delta = body.choices[1] and body.choices[1].delta or {}
        assert.is_nil(delta.reasoning_content)
        roles = roles + (delta.role and 1 or 0)
      end
    end
    assert.equal(1, roles)
    local body = stream:reply().body
    assert.same({ "answer-1", TEXT, "stop" }, { body.id, body.choices[1].message.content,
      body.choices[1].finish_reason })
    assert.is_nil(body.choices[1].message.reasoning_content)
    finish(w)
  end)

  it("tells what both calls have taken, and what they cost", function()
    local price = { input = 1, output = 10 }
    local w = build { servers = { a = { cuts = { DONE } }, b = { usage = function()
      return { prompt_tokens = 100, completion_tokens = 20, total_tokens = 120,
        prompt_cache_hit_tokens = 60, prompt_cache_miss_tokens = 40 }
    end } }, order = { "a", "b" }, targets = { a = { prefix = "flag", price = price },
      b = { prefix = "flag", price = { input = 2, cached = 1, output = 20 } } } }
    local stream = assert(w.client:stream(question()))
    local told
    for piece in stream:pieces() do told = piece.usage and json.decode(piece.data).usage or told end
    local reply = stream:reply()
    local u = reply.usage
    local function tokens(bytes) return math.floor(bytes * 0.3 + 0.5) end
    local asked = 100 - tokens(#w.servers.b.asked[1].messages[2].content) -- without the text in it
    local said = tokens(w:seen "resume"[1].bytes)
    assert.same({ 100 + asked, 20 + said, 120 + asked + said, 60 }, { u.prompt_tokens,
      u.completion_tokens, u.total_tokens, u.cached_tokens })
    assert.equal(asked + said, u.estimated_tokens)
    assert.same({ 100 + asked, 20 + said, 120 + asked + said, 60, 40 + asked },
      { told.prompt_tokens, told.completion_tokens, told.total_tokens,
      told.prompt_cache_hit_tokens, told.prompt_cache_miss_tokens })
    assert.same(told, reply.body.usage)
    local cost = (asked + 10 * said + 40 * 2 + 60 + 20 * 20) / 1e6
    assert.is_true(math.abs(reply.cost - cost) < 1e-12, reply.cost)
    finish(w)
  end)

  it("knows no cost where one part has no price", function()
    local w = build { servers = { a = { cuts = { DONE } }, b = {} }, order = { "a", "b" },
      targets = { a = { prefix = "flag", price = { input = 1, output = 1 } } } }
    local stream = assert(w.client:stream(question()))
    drain(stream)
    assert.is_nil(stream:reply().cost)
    finish(w)
  end)

  it("tells its watcher", function()
    local w = build { servers = { a = { cuts = { DONE } }, b = {} }, order = { "a", "b" } }
    drain(assert(w.client:stream(question())))
    local e = w:seen "resume"
    assert.equal(1, #e)
    assert.same({ "b", "a", 2, "flag", "network", "a: body: reset by the server" },
      { e[1].target, e[1].from, e[1].number, e[1].way, e[1].code, e[1].message })
    assert.is_true(e[1].bytes > 10)
    assert.same({ 0, 1, 1 }, { #w:seen "cut", #w:seen "retry", w.client:status().resumed })
    finish(w)
  end)

  it("tells whoever shows the stream that it waits", function()
    local w = build { servers = { a = { cuts = { DONE } } } }
    local stream, seen = assert(w.client:stream(question())), {}
    assert.is_true(stream:is_resumable())
    function stream.on_resume(begins) seen[#seen + 1] = { begins, w:now() } end
    drain(stream)
    assert.same({ true, false, 2 }, { seen[1][1], seen[2][1], #seen })
    assert.is_true(seen[2][2] - seen[1][2] >= 0.5)
    finish(w)
    w = build { servers = { a = {} }, options = { resume = false } }
    stream = assert(w.client:stream(question()))
    assert.is_false(stream:is_resumable())
    stream:close()
    finish(w)
  end)

  it("asks what was asked, whatever becomes of the caller's table meanwhile", function()
    local w = build { servers = { a = { cuts = { DONE } } } }
    local request = question { top_p = 1 }
    local stream = assert(w.client:stream(request))
    request.messages[2] = { role = "assistant", content = "what came of it" }
    request.top_p, request.tools = 0, { {} }
    assert.equal(TEXT, drain(stream))
    local second = w.servers.a.asked[2]
    assert.same({ 2, true, 1 }, { #second.messages, second.messages[2].prefix, second.top_p })
    assert.is_nil(second.tools)
    finish(w)
  end)

  it("takes a whole answer for a stream", function()
    local rest
    local w
    w = build { servers = { a = { cuts = { DONE } }, b = { fails = setmetatable({}, {
      __index = function()
        local body = w.servers.b.asked[1]
        rest = TEXT:sub(#body.messages[2].content + 1)
        return world.good(rest)
      end }) } }, order = { "a", "b" } }
    local stream = assert(w.client:stream(question()))
    local ids = {}
    local text = {}
    for piece in stream:pieces() do
      if piece.data then ids[json.decode(piece.data).id] = true end
      text[#text + 1] = piece.text
    end
    assert.same({ TEXT, TEXT, { ["answer-1"] = true } },
      { table.concat(text), stream:reply().text, ids })
    finish(w)
  end)

  it("goes on several times, as often as there are tries", function()
    local w = build { servers = { a = { cuts = { DONE, 350, 350, 350, 350, 350 } } },
      options = { retry = { attempts = 4, base = 0.1, jitter = 0 } } }
    local stream = assert(w.client:stream(question()))
    local text, message, code, detail = drain(stream)
    assert.equal(TEXT:sub(1, #text), text)
    assert.same({ "cut", 4, 3 }, { code, detail.tries, stream.resumed })
    assert.equal("a: body: reset by the server (not continued: after 4 tries)", message)
    assert.same({ "cut", message }, { w:seen "cut"[1].code, w:seen "cut"[1].message })
    finish(w)
  end)

  it("counts a cut against its target, each at its own end", function()
    local w = build { servers = { a = { cuts = { DONE, 350 } } },
      options = { breaker = { min_calls = 2, failure_rate = 0.5, open_for = 5, window = 60 } } }
    local stream = assert(w.client:stream(question()))
    assert.equal(TEXT, drain(stream))
    assert.same({ "closed", "open" }, { w:seen "state"[1].from, w:seen "state"[1].to })
    assert.is_true(w.log[3].at - w.log[2].at >= 5) -- the third waits until the breaker may be asked
    finish(w)
  end)

  it("holds one place at a time", function()
    local w = build { servers = { a = { cuts = { DONE } } },
      options = { limiter = { kind = "fixed", initial = 1 } } }
    assert.equal(TEXT, drain(assert(w.client:stream(question()))))
    assert.equal(1, w.most_open)
    finish(w)
  end)

  it("takes a permit, or is not done", function()
    local w = build { servers = { a = { cuts = { DONE } } }, options = { budget = { tokens = 5 } } }
    local _, message, code = drain(assert(w.client:stream(question())))
    assert.equal("cut", code)
    assert.equal("a: body: reset by the server (not continued: the retry budget is spent)", message)
    finish(w)
  end)

  it("that is refused leaves the cut, and what was tried", function()
    local busy = { status = 503, body = "" }
    local w = build { servers = { a = { cuts = { DONE }, fails = { [2] = busy, [3] = busy } } },
      options = { retry = { attempts = 3, base = 0.1, jitter = 0 } } }
    local _, message, code, detail = drain(assert(w.client:stream(question())))
    assert.equal("a: body: reset by the server (not continued: a: 503 service overloaded "
      .. "(after 3 tries))", message)
    assert.same({ "cut", 3, "busy" }, { code, detail.tries, detail.continuation.code })
    finish(w)
  end)

  it("that finds no place leaves the cut, and why", function()
    local w = build { servers = { a = { cuts = { DONE } } },
      options = { breaker = { min_calls = 1, on_open = "fail", open_for = 50 } } }
    local _, message, code, detail = drain(assert(w.client:stream(question())))
    assert.same({ "cut", 1, "open" }, { code, detail.tries, detail.continuation.code })
    assert.matches("not continued: .*the breaker is open", message)
    finish(w)
    w = build { servers = { a = { cuts = { DONE } } }, options = { queue = { max_wait = 2 },
      breaker = { min_calls = 1, open_for = 50 } } }
    _, message, code, detail = drain(assert(w.client:stream(question())))
    assert.same({ "cut", 1, "open" }, { code, detail.tries, detail.continuation.code })
    assert.matches("not continued: .*the breaker is open", message)
    finish(w)
  end)

  it("is tried again where it is busy first", function()
    local busy = { status = 503, body = "" }
    local w = build { servers = { a = { cuts = { DONE }, fails = { [2] = busy } } } }
    assert.equal(TEXT, drain(assert(w.client:stream(question()))))
    assert.equal(3, #w.log)
    finish(w)
  end)

  it("is joined by nobody who says something else", function()
    local w = build { servers = { a = { cuts = { DONE }, repeats = 0, lead = "Sure: " } },
      targets = { a = {} }, options = { resume = "prompt" } }
    local text, message, code = drain(assert(w.client:stream(question())))
    assert.equal(TEXT:sub(1, #text), text)
    assert.same({ "cut", 2 }, { code, #w.log })
    assert.equal("a: body: reset by the server (not continued: a: body: the continuation does not "
      .. "take up the last words)", message)
    assert.equal(0, w.client:status().resumed)
    finish(w)
    w = build { servers = { a = { cuts = { DONE }, repeats = 0 }, b = {} }, order = { "a", "b" },
      targets = { a = {}, b = {} }, options = { resume = "prompt", policy = {
        route = function(_, t) return #t > 1 and t[1].name or nil end } } }
    assert.equal(TEXT, drain(assert(w.client:stream(question()))))
    assert.same({ "a", "a", "b" }, { w.log[1].host, w.log[2].host, w.log[3].host })
    finish(w)
  end)
end)

describe("what ends without going on", function()
  it("is an answer that was whole", function()
    local server = exact.new { text = TEXT }
    local events = server:events(question { stream_options = {} }, 1)
    local bytes = #table.concat(events, "", 1, #events - 2)
    local w = build { servers = { a = { cuts = { bytes } } } }
    local stream = assert(w.client:stream(question()))
    assert.equal(TEXT, drain(stream))
    local reply = stream:reply()
    assert.same({ "stop", 1, 0, TEXT }, { reply.finish_reason, #w.log, reply.resumed,
      reply.body.choices[1].message.content })
    assert.is_true(reply.usage.estimated_tokens > 0)
    finish(w)
  end)

  it("is one that has no room for more", function()
    for name, limit in pairs { max_tokens = 4, max_completion_tokens = 4 } do
      local w = build { servers = { a = { cuts = { 1500 } } } }
      local stream = assert(w.client:stream(question { [name] = limit }))
      local ends = {}
      local text = {}
      for piece in stream:pieces() do
        ends[#ends + 1], text[#text + 1] = piece.finish, piece.text
        if piece.finish then
          assert.equal("length", json.decode(piece.data).choices[1].finish_reason)
        end
      end
      assert.same({ "length" }, ends)
      assert.same({ 1, "length", table.concat(text) }, { #w.log, stream:reply().finish_reason,
        stream:reply().text })
      finish(w)
    end
  end)

  it("is one that stops at the seam", function()
    local w = build { servers = { a = { cuts = { DONE } } } }
    local first = build { servers = { a = { cuts = { DONE } } }, options = { resume = false } }
    local said = drain(assert(first.client:stream(question())))
    finish(first)
    local stop = TEXT:sub(#said - 1, #said + 2)
    local stream = assert(w.client:stream(question { stop = stop }))
    assert.equal(said, drain(stream))
    assert.same({ "stop", said }, { stream:reply().finish_reason, stream:reply().text })
    finish(w)
  end)
end)

describe("whoever stops a stream that is gone on with", function()
  local function hanging(at)
    local w
    w = build { servers = { a = { cuts = { DONE } }, b = { fails = {
      { status = 200, after = 1000, headers = { ["content-type"] = "text/event-stream" } } } } },
      order = { "a", "b" }, options = { clocks = { headers = 60, total = 5000 } } }
    w.stop_at = at
    return w
  end

  local function run(w, act, given)
    local code, ended
    w.loop.run(function()
      local stream = assert(w.client:stream(question(), given))
      local reader = w.loop.spawn(function() return drain(stream) end)
      w.loop.sleep(5)
      assert.equal(2, #w.log)
      act(stream, reader)
      local ok, _, _, how = pcall(reader.join, reader)
      code, ended = ok and how or "error", w:now()
    end)
    return code, ended
  end

  it("cancels: all is given back at once", function()
    local stop = unbusy.canceller()
    local w = hanging()
    local code, at = run(w, function() stop:cancel() end, { cancel = stop })
    assert.equal("cancelled", code)
    assert.is_true(at < 6)
    finish(w)
  end)

  it("closes the client", function()
    local w = hanging()
    assert.equal("closed", (run(w, function() w.client:close() end)))
    w:assert_clean()
  end)

  it("closes the stream", function()
    local w = hanging()
    assert.equal("cancelled", (run(w, function(stream) stream:close() end)))
    finish(w)
  end)

  it("cancels the task that reads", function()
    local w = hanging()
    assert.equal("error", (run(w, function(_, reader) w.loop.cancel(reader) end)))
    finish(w)
  end)

  it("is the deadline", function()
    local w = hanging()
    local stream = assert(w.client:stream(question(), { deadline = 20 }))
    local _, message, code = drain(stream)
    assert.equal("cut", code)
    assert.is_truthy(message:find("not continued: b: ", 1, true))
    assert.is_true(w:now() <= 20.1)
    finish(w)
  end)

  it("is a watcher of the continuation", function()
    local stop = unbusy.canceller()
    local w = build { servers = { a = { cuts = { DONE } } }, options = { on_event = function(e)
      if e.type == "retry" then stop:cancel() end
    end } }
    local _, _, code = drain(assert(w.client:stream(question(), { cancel = stop })))
    assert.same({ "cancelled", 1 }, { code, #w.log })
    finish(w)
  end)
end)
