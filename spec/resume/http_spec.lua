-- Over HTTP: streams of a busy upstream that break off behind every character of their text, or any
-- byte on the wire, and are gone on with, byte for byte.
local busyd = require "spec.support.busyd"
local cjson = require "cjson"
local random = require "spec.support.random"
local unbusy = require "unbusy"

local TEXT = "哈哈 \"ha ha ha ha\"\\n\n\n  天气: <&>/é 😀\t ha ha ha\n"
local QUESTION = { model = "m", messages = { { role = "user", content = "q" } } }
local PIECES = #dofile("spec/support/busyd/server/text.lua").pieces(TEXT, 24)
local ANSWER = { text = TEXT, chunks = 24, continues = true }

describe("over HTTP", function()
  local up
  setup(function() up = busyd.start { workers = 2 } end)
  teardown(function() up:stop() end)

  local function client_of(how, more)
    local o = { retry = { base = 0.001, jitter = 0, attempts = 5 }, resume = how, breaker = false,
      budget = false, targets = { { name = "up", url = up.url .. "/v1", key = "k",
        prefix = how == "prefix" and "flag" or nil } } }
    for name, value in pairs(more or {}) do o[name] = value end
    return unbusy.new(o)
  end

  local function text_of(client)
    local stream, message = client:stream(QUESTION)
    local out = {}
    for piece in assert(stream, message):pieces() do
      local data = piece.data and cjson.decode(piece.data)
      local choice = data and data.choices[1]
      out[#out + 1] = choice and choice.delta.content ~= cjson.null and choice.delta.content or nil
    end
    return table.concat(out), stream:reply()
  end

  for _, how in ipairs { "prefix", "prompt" } do
    it("a stream cut behind each piece is whole, by " .. how, function()
      local client = client_of(how)
      for after = 0, PIECES do
        up:programme { reset = true, answer = ANSWER,
          script = { { preset = after % 2 == 0 and "cut_stream" or "reset_stream",
            after = after } } }
        local text, reply = text_of(client)
        assert.same({ TEXT, after == 0 and 0 or 1, 2 }, { text, reply.resumed, reply.tries })
        assert.equal(TEXT, reply.text)
        local counts = up:counts()
        assert.same({ 2, 1, 1 }, { counts.received, counts.faulted, counts.completed })
      end
      client:close()
    end)
  end

  it("streams cut behind any byte, again and again, are whole", function()
    local r = random.new(random.seed(31))
    local clients = { prefix = client_of "prefix", prompt = client_of "prompt" }
    random.walk(r, 60, function()
      local script = {}
      for i = 1, r:int(3) do script[i] = { preset = "cut_stream", bytes = r:int(6000) } end
      up:programme { answer = { text = TEXT, chunks = r:int(24), continues = true,
        lead = r:pick { "\n", "… ", "" }, repeats = r:chance(0.5) and 1000 or nil },
        script = script, reset = true }
      local text, reply = text_of(clients.prompt)
      assert.same({ TEXT, TEXT }, { text, reply.text })
      up:programme { answer = { text = TEXT, chunks = r:int(24), continues = true },
        script = script }
      text, reply = text_of(clients.prefix)
      assert.same({ TEXT, TEXT }, { text, reply.text })
    end)
    clients.prefix:close()
    clients.prompt:close()
  end)

  it("asks with what was said, where the URL leads", function()
    local client = client_of "prefix"
    up:programme { reset = true, log = true, answer = ANSWER,
      script = { { preset = "cut_stream", after = 5 } } }
    assert.equal(TEXT, (text_of(client)))
    local last = cjson.decode(up:log()[2].body).messages[2]
    assert.same({ "assistant", true }, { last.role, last.prefix })
    assert.equal("/v1/chat/completions", up:log()[2].path)
    client:close()
  end)

  it("is refused while the upstream is busy, and then goes on", function()
    local client = client_of "prefix"
    up:programme { reset = true, answer = ANSWER,
      script = { { preset = "cut_stream", after = 5 }, { preset = "busy_503" },
        { preset = "rate_limited" } } }
    local text, reply = text_of(client)
    assert.same({ TEXT, 1, 4 }, { text, reply.resumed, reply.tries })
    client:close()
  end)

  it("goes on after an error in the stream, a stall, an end without a reason", function()
    local client = client_of("prefix", { clocks = { token = 0.3 } })
    for _, bad in ipairs { { preset = "error_in_stream", after = 3 },
      { preset = "event_error", after = 3 }, { preset = "no_finish" },
      { preset = "stall_stream", after = 3, seconds = 5 },
      { answer = { finish_reason = "insufficient_system_resource" } } } do
      up:programme { reset = true, answer = ANSWER, script = { bad } }
      local text, reply = text_of(client)
      assert.same({ TEXT, 1, bad.preset }, { text, reply.resumed, bad.preset })
    end
    client:close()
  end)

  it("goes on in tasks, and in coroutines of somebody else", function()
    local client = client_of("prompt", { retry = { base = 0.001, jitter = 0, attempts = 50 } })
    up:programme { reset = true, answer = ANSWER, faults = { { share = 0.4,
      answer = { preset = "cut_stream", after = 6 } } } }
    local texts = {}
    unbusy.run(function()
      for i = 1, 20 do unbusy.spawn(function() texts[i] = text_of(client) end) end
    end)
    coroutine.wrap(function() texts[21] = text_of(client) end)()
    for i = 1, 21 do assert.equal(TEXT, texts[i]) end
    assert.is_true(client:status().resumed > 0)
    client:close()
  end)

  it("a whole answer that is asked as a stream is gone on with, too", function()
    local client = client_of("prefix", { upstream_stream = true })
    for after = 1, 24, 5 do
      up:programme { reset = true, log = true, answer = ANSWER,
        script = { { preset = "cut_stream", after = after } } }
      local reply = assert(client:chat(QUESTION))
      assert.same({ TEXT, 1, 2 }, { reply.text, reply.resumed, reply.tries })
      assert.equal(TEXT, reply.body.choices[1].message.content)
      assert.is_true(cjson.decode(up:log()[2].body).messages[2].prefix)
    end
    client:close()
  end)
end)
