-- What becomes of a stream that breaks off, but for its text: who is asked, what that costs, what
-- is told, and what ends it all the same.
local exact = require "spec.support.exact"
local json = require "unbusy.json"
local unbusy = require "unbusy"
local world = require "spec.support.world"

local TEXT = "The cat sat on the mat, and the dog looked on; nobody said a word about it."
local QUICK = { base = 0.5, jitter = 0 }
local DONE = 900 -- bytes into the stream: some words have come

local function question(more)
  local request = { model = "m", messages = { { role = "user", content = "Tell me." } } }
  for name, value in pairs(more or {}) do request[name] = value end
  return request
end

-- A world of exact servers; `targets` as of `world.new`.
local function build(o)
  local script, servers = {}, {}
  for name, given in pairs(o.servers) do
    given.text = given.text or TEXT
    servers[name] = exact.new(given)
    script[name] = servers[name].script
  end
  local options = { retry = QUICK, resume = "prefix" }
  for name, value in pairs(o.options or {}) do options[name] = value end
  local targets = { a = { prefix = "flag" }, b = { prefix = "flag" } }
  for name, value in pairs(o.targets or {}) do targets[name] = value end
  local w = world.new { script = script, options = options, targets = targets, order = o.order }
  w.servers = servers
  return w
end

local function drain(stream)
  local out = {}
  while true do
    local piece, message, code, detail = stream:read()
    if code then return table.concat(out), message, code, detail end
    if not piece then return table.concat(out) end
    out[#out + 1] = piece.text
  end
end

local function finish(w)
  w:assert_clean()
  w.client:close()
end

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

describe("nobody goes on with", function()
  local tools = { { type = "function", ["function"] = { name = "f" } } }
  local cases = {
    ["tools that are offered"] = { tools = tools },
    ["functions"] = { functions = { { name = "f" } } },
    ["JSON mode"] = { response_format = { type = "json_object" } },
    ["a schema"] = { response_format = { type = "json_schema" } },
    ["a grammar"] = { guided_regex = "a+" },
    ["several answers"] = { n = 2 },
    ["probabilities"] = { logprobs = true },
    ["sound"] = { modalities = { "text", "audio" } },
    ["a voice"] = { audio = { voice = "x" } },
    ["a message of the assistant"] = { messages = { { role = "user", content = "a" },
      { role = "assistant", content = "b" } } },
  }
  for name, more in pairs(cases) do
    it(name, function()
      local w = build { servers = { a = { cuts = { DONE } } }, options = { resume = "prompt" } }
      local _, message, code = drain(assert(w.client:stream(question(more))))
      assert.same({ "cut", "a: body: reset by the server", 1 }, { code, message, #w.log })
      finish(w)
    end)
  end

  it("thoughts, before there is text", function()
    local w = build { servers = { a = { cuts = { DONE }, reasoning = ("hm "):rep(100) } } }
    local _, _, code = drain(assert(w.client:stream(question())))
    assert.same({ "cut", 1 }, { code, #w.log })
    finish(w)
  end)

  it("a response", function()
    local event = 'event: response.output_text.delta\ndata: {"type":"response.output_text.delta",'
      .. '"delta":"x"}\n\n'
    local w = world.new { script = { a = { world.streamed({ { 0, event } }) } },
      options = { resume = "prompt" } }
    local stream = assert(w.client:stream { model = "m", input = "hi" })
    local _, _, code = drain(stream)
    assert.same({ "cut", 1 }, { code, #w.log })
    finish(w)
  end)

  it("tool calls that came unasked, or a refusal", function()
    for _, delta in ipairs { { tool_calls = { { index = 0, id = "t", ["function"] = { name = "f",
      arguments = "{" } } } }, { refusal = "I cannot" }, { annotations = { { type = "x" } } },
      { function_call = { name = "f" } } } do
      local w = world.new { script = { a = { world.streamed({ { 0, world.chunk {
        content = "so " } }, { 0, world.chunk(delta) } }) } }, options = { resume = "prompt" } }
      local _, _, code = drain(assert(w:stream()))
      assert.same({ "cut", 1 }, { code, #w.log })
      finish(w)
    end
  end)

  it("a call whose time is up", function()
    local w = build { servers = { a = { cuts = { DONE }, gap = 1 } } }
    local _, _, code = drain(assert(w.client:stream(question(), { deadline = 1.3 })))
    assert.same({ "cut", 1 }, { code, #w.log })
    finish(w)
  end)
end)

describe("what may be gone on with", function()
  it("are tools that may not be called, a plain format, a single answer", function()
    local w = build { servers = { a = { cuts = { DONE } } } }
    assert.equal(TEXT, drain(assert(w.client:stream(question { n = 1, tool_choice = "none",
      tools = { { type = "function" } }, response_format = { type = "text" }, logprobs = false,
      modalities = { "text" }, audio = json.null }))))
    finish(w)
  end)

  it("is a text behind its thoughts, which DeepSeek is given again", function()
    for _, host in ipairs { "api.deepseek.com", "relay.test" } do
      local said = exact.new { text = TEXT, cuts = { 2500 }, reasoning = "The user wants a story." }
      local w = world.new { script = { api = said.script, relay = said.script }, order = { "d" },
        options = { resume = "prefix", retry = QUICK },
        targets = { d = { url = "http://" .. host, provider = "deepseek", prefix = host
          == "relay.test" and "flag" or nil } } }
      local stream = assert(w.client:stream(question()))
      assert.equal(TEXT, drain(stream))
      assert.equal("The user wants a story.", stream:reply().reasoning)
      local last = said.asked[2].messages[2]
      assert.equal("The user wants a story.", last.reasoning_content)
      local beta = host == "api.deepseek.com" and "/beta" or ""
      assert.equal("http://" .. host .. beta .. "/chat/completions", w.log[2].request.url)
      finish(w)
    end
  end)

  it("is a beginning that the caller has made", function()
    local w = build { servers = { a = { cuts = { DONE } } } }
    local begun = TEXT:sub(1, 7)
    local stream = assert(w.client:stream(question { messages = { { role = "user", content = "?" },
      { role = "assistant", content = begun, prefix = true } } }))
    assert.equal(TEXT:sub(8), drain(stream))
    local last = w.servers.a.asked[2].messages[2]
    assert.equal(begun, last.content:sub(1, 7))
    assert.is_true(#last.content > 12)
    finish(w)
  end)

  it("are blanks: the question is asked anew, by anybody", function()
    local text = "\n\n  " .. TEXT
    local w = build { servers = { a = { text = text, cuts = { 290 } }, b = { text = text } },
      order = { "a", "b" }, targets = { a = {}, b = {} } }
    assert.equal(text, drain(assert(w.client:stream(question()))))
    assert.equal(1, #w.servers.b.asked[1].messages)
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

describe("the policy", function()
  it("says how, and is told what was said", function()
    local seen
    local w = build { servers = { a = { cuts = { DONE } } }, targets = { a = {} },
      options = { resume = false, policy = { resume = function(request, so_far)
        seen = request.messages[1].content .. "|" .. so_far.text
        return "prompt"
      end } } }
    assert.equal(TEXT, drain(assert(w.client:stream(question()))))
    assert.equal("Tell me.|The cat", seen:sub(1, 16))
    finish(w)
  end)

  it("may leave it to the option, or forbid it; the call goes before it", function()
    for _, case in ipairs { { nil, TEXT }, { false, "cut" }, { false, TEXT, "prefix" } } do
      local w = build { servers = { a = { cuts = { DONE } } },
        options = { policy = { resume = function() return case[1] end } } }
      local text, _, code = drain(assert(w.client:stream(question(), { resume = case[3] })))
      assert.equal(case[2], code or text)
      finish(w)
    end
  end)

  it("of the target that was cut decides", function()
    local w = build { servers = { a = { cuts = { DONE } } }, options = { resume = false },
      targets = { a = { prefix = "flag", policy = { resume = function() return "prefix" end } } } }
    assert.equal(TEXT, drain(assert(w.client:stream(question()))))
    finish(w)
  end)

  it("that fails leaves the option", function()
    local w = build { servers = { a = { cuts = { DONE } } },
      options = { policy = { resume = function() error "no" end } } }
    assert.equal(TEXT, drain(assert(w.client:stream(question()))))
    assert.equal(1, w.client:status().policy[1].faults.resume)
    finish(w)
  end)
end)

describe("the options", function()
  local function new(more)
    local o = { targets = { { name = "a", url = "http://a.test", key = "k" } } }
    for name, value in pairs(more) do o[name] = value end
    return unbusy.new(o)
  end

  it("are checked", function()
    for _, wrong in ipairs { true, "prefx", 1, {} } do
      assert.has_error(function() new { resume = wrong } end)
    end
    assert.has_error(function() new { resume = "prefix", retry = false } end,
      "unbusy: resume: 'retry' is needed, or there is no second try")
    local client = new { retry = false }
    assert.has_error(function() client:stream(question(), { resume = "prompt" }) end)
    assert.has_error(function() client:stream(question(), { resume = true }) end)
    client:close()
    for _, wrong in ipairs { true, "/beta", 1 } do
      assert.has_error(function()
        unbusy.new { targets = { { name = "a", url = "http://a.test", prefix = wrong } } }
      end)
    end
  end)
end)
