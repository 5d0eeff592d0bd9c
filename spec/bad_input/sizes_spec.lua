-- Very large requests and answers, and very many small pieces. What is refused for its size is in
-- lasting_spec.lua.
local busyd = require "spec.support.busyd"
local guard = require "spec.support.leak_guard"
local json = require "unbusy.json"
local raw_server = require "spec.support.raw_server"
local unbusy = require "unbusy"
local world = require "spec.support.world"

local BYTES = os.getenv "UNBUSY_SANITIZED" and 10e6 or 50e6

local function question(text)
  return { model = "m", messages = { { role = "user", content = text or "hi" } } }
end

describe("sizes:", function()
  guard.watch(before_each, after_each)
  local up, raw
  setup(function()
    up = busyd.start { workers = 1 }
    raw = raw_server.start()
  end)
  teardown(function()
    up:stop()
    raw:stop()
  end)
  before_each(function() up:programme { reset = true } end)

  local function new(more, options)
    local t = { name = "a", url = up.url, key = "key-1", proxy = false }
    for k, v in pairs(more or {}) do t[k] = v end
    local o = { targets = { t }, retry = false }
    for k, v in pairs(options or {}) do o[k] = v end
    return unbusy.new(o)
  end

  it("a request of 50 MB arrives whole", function()
    up:programme { reset = true, answer = { text = "got it" } }
    local reply = assert(new():chat(question(("x"):rep(BYTES))))
    assert.equal("got it", reply.text)
    assert.is_true(reply.usage.prompt_tokens >= BYTES / 4)
    collectgarbage()
  end)

  it("an answer of 50 MB arrives whole, and one of 10 MB as one event of a stream", function()
    for way, bytes in pairs { chat = BYTES, stream = BYTES / 5 } do
      up:programme { reset = true, script = { { preset = "huge_event", bytes = bytes } } }
      local client = new()
      local reply = assert(client[way](client, question()))
      if way == "stream" then reply = assert(reply:reply()) end
      assert.equal(bytes, #reply.text)
      assert.is_nil(reply.text:find("[^x]"))
      collectgarbage()
    end
  end)

  it("headers of 100 KB, there and back", function()
    local headers, value = {}, ("h"):rep(10000)
    for i = 1, 10 do headers["X-" .. i] = value end
    up:programme { reset = true, log = true, script = { { headers = headers } } }
    local reply = assert(new({ headers = headers }):chat(question()))
    local log = up:log()
    for i = 1, 10 do
      assert.equal(value, log[1].headers["x-" .. i])
      assert.equal("***", reply.headers["x-" .. i]) -- it came back, and is masked
    end
    up:programme { reset = true, script = { { headers = headers } } }
    assert.equal(value, assert(new():chat(question())).headers["x-7"])
  end)

  it("more header than a server takes is its refusal, and final", function()
    local _, message, code, detail =
      new({ headers = { ["X-Long"] = ("h"):rep(100000) } }):chat(question())
    assert.same({ "invalid", 400 }, { code, detail.status })
    assert.matches("^a: 400 bad request", message)
    assert.is_nil(message:find("hhhhh", 1, true))
  end)

  it("one header line of 100 KB is read, and a longer one refused", function()
    local client = new { url = raw.url }
    local function answer(bytes)
      return client:post("/", ("HTTP/1.1 200 OK\r\nConnection: close\r\nX-Long: %s\r\n"
        .. "Content-Length: 2\r\n\r\n{}"):format(("h"):rep(bytes)))
    end
    assert.equal(100000, #assert(answer(100000)).headers["x-long"])
    local reply, message, code, detail = answer(300000)
    assert.is_nil(reply)
    assert.same({ "upstream", "a: headers: the answer's header is too long", true },
      { code, message, detail.lasting })
  end)

  it("10,000 events in one write are 10,000 pieces", function()
    up:programme { reset = true, script = { { preset = "many_events", n = 10000 } } }
    local stream = assert(new():stream(question()))
    local n, text = 0, {}
    unbusy.run(function()
      for piece in stream:pieces() do
        if piece.text then
          n = n + 1
          text[n] = piece.text
        end
      end
    end)
    assert.equal(10000, n)
    assert.matches(" w1 .* w9999 w10000$", table.concat(text))
  end)

  it("an event in 10,000 pieces is one", function()
    local text = ("abcdefghij"):rep(990)
    local event, steps = world.chunk({ content = text }, "stop"), {}
    for i = 1, #event do steps[i] = { 0, event:sub(i, i) } end
    assert.is_true(#steps >= 10000)
    local w = world.new { script = { a = { world.streamed(steps) } } }
    local pieces = {}
    for piece in assert(w:stream()):pieces() do pieces[#pieces + 1] = piece.text end
    assert.same({ text }, pieces)
    w:assert_clean()
    up:programme { reset = true, script = { { preset = "split_event", n = 50 } } } -- over TCP
    assert.equal("echo: 忙", assert(new():stream(question "忙")):reply().text)
  end)

  it("a line without an end in a stream is refused at its bound", function()
    up:programme { reset = true, faults = { { share = 1,
      answer = { preset = "endless_line", bytes = 2 ^ 23 } } } }
    local client = new({ limits = { body = 2 ^ 20 } }, { retry = { base = 0.001 } })
    local stream, message, code, detail = client:stream(question())
    assert.is_nil(stream)
    assert.same({ "upstream", "a: body: the answer is larger than allowed", 1 },
      { code, message, detail.tries })
    assert.equal(1, up:counts().received)
  end)

  it("an answer within a stream that outgrows its bound is a cut", function()
    up:programme { reset = true, answer = { tokens = 100000, chunks = 1000 } }
    local stream = assert(new({ limits = { body = 2 ^ 18 } }):stream(question()))
    local reply, message, code = stream:reply()
    assert.is_nil(reply)
    assert.same({ "cut", "a: body: the answer is larger than allowed" }, { code, message })
    local again, same = stream:read()
    assert.same({ nil, message }, { again, same })
  end)

  it("JSON nested 10,000 deep, in an answer, an error and an event", function()
    local deep = ("["):rep(10000) .. ("]"):rep(10000)
    local objects = ('{"a":'):rep(10000) .. "1" .. ("}"):rep(10000)
    for _, body in ipairs { deep, objects, '{"choices":' .. deep .. "}", ("["):rep(1e6) } do
      up:programme { reset = true, script = { { status = 200, body = body },
        { status = 500, body = body }, { status = 200, body = "data: " .. body .. "\n\n",
          headers = { ["content-type"] = "text/event-stream" } } } }
      local _, message, code = new():chat(question())
      assert.same({ "upstream", "a: 200 with malformed JSON" }, { code, message })
      _, message, code = new():chat(question())
      assert.same({ "upstream", "a: 500 internal server error" }, { code, message })
      _, message, code = new():stream(question())
      assert.same({ "upstream", "a: stream: an event that is no JSON object" }, { code, message })
    end
  end)

  it("JSON nested to the limit goes both ways", function()
    local deep = json.array {}
    for _ = 1, json.max_depth - 2 do deep = json.array { deep } end
    local request = question()
    request.metadata = deep
    assert(new():chat(request))
    local list = ("["):rep(json.max_depth - 1) .. ("]"):rep(json.max_depth - 1)
    up:programme { reset = true, script = { { status = 200, body = '{"choices":[{"index":0,'
      .. '"message":{"content":"x"},"finish_reason":"stop"}],"extra":' .. list .. "}" } } }
    assert.equal("x", assert(new():chat(question())).text)
  end)
end)
