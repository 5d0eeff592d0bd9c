-- Which answers are gone on with: by what was asked, what has come, the options and the policies.
local exact = require "spec.support.exact"
local json = require "unbusy.json"
local resumed = require "spec.support.resumed"
local unbusy = require "unbusy"
local world = require "spec.support.world"

local TEXT, QUICK, DONE = resumed.TEXT, resumed.QUICK, resumed.DONE
local question, build, drain, finish = resumed.question, resumed.build, resumed.drain,
  resumed.finish

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
