local busyd = require "spec.support.busyd"
local gateways = require "spec.support.gateways"
local json = require "unbusy.json"

local CONFIG = [[return {
  targets = { { name = "main", url = "${url}/v1" } },
  retry = { attempts = 3, base = 0.01, jitter = 0 }, ${more}
}]]

local STREAM = '{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}'

local EVENTS = { ["content-type"] = "text/event-stream" }

local DELTA = '{"choices":[{"index":0,"delta":{"content":"a"}}]}'
local LAST = '{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'

local RESPONSES = [[server {
  listen 127.0.0.1:${port2};
  location = /v1/responses {
    content_by_lua_block {
      ngx.header.content_type = "text/event-stream"
      ngx.print '${answer}'
    }
  }
}]]

describe("a stream of the gateway", function()
  local up, g

  local function start(more)
    g = gateways.start { config = CONFIG, values = { url = up.url, more = more or "" } }
  end

  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() if up then up:stop() end end)
  before_each(function() up:programme { reset = true } end)

  after_each(function()
    g:settle()
    assert.is_nil(g:errors():find("[error]", 1, true))
    g:stop()
  end)

  local function ask(body, path)
    return g:ask(path or "/v1/chat/completions", { body = body or STREAM })
  end

  -- The data of its events, decoded where they are JSON.
  local function data_of(answer)
    local out = {}
    for data in answer.body:gmatch "data: ([^\n]*)\n" do
      out[#out + 1] = data:find "^{" and json.decode(data) or data
    end
    return out
  end

  local function text_of(answer)
    local out = {}
    for _, chunk in ipairs(data_of(answer)) do
      local choice = type(chunk) == "table" and chunk.choices and chunk.choices[1]
      if choice then out[#out + 1] = choice.text or choice.delta and choice.delta.content end
    end
    return table.concat(out)
  end

  it("comes as it is said, not at its end", function()
    start()
    up:programme { token_interval = 0.2, answer = { tokens = 500 } }
    local s = g:connect()
    s:write(("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s")
      :format(#STREAM, STREAM))
    s:flush()
    for _ = 1, 3 do
      repeat local line = s:read "*l" until line:find "^data: {"
    end
    assert.equal(1, up:counts().in_service)
    s:close()
  end)

  it("says that it waits, and may still go elsewhere", function()
    start "gateway = { ping = 1 }"
    up:programme { script = { { preset = "stall_headers", seconds = 2.5, ending = "close" } } }
    local answer = ask()
    assert.equal(200, answer.status)
    assert.is_truthy(answer.body:find "^: ping\n\n: ping\n\n.*data: {")
    assert.equal("echo: hi", text_of(answer))
    assert.is_truthy(answer.body:find "data: %[DONE%]\n\n$")
    assert.equal(2, up:counts().received)
  end)

  it("that has said so tells its failure in an event", function()
    start "gateway = { ping = 1 }, fallback = nil"
    local bad = { status = 400, latency = 1.5 }
    up:programme { script = { bad } }
    local answer = ask()
    assert.equal(200, answer.status)
    assert.is_nil(answer.body:find("[DONE]", 1, true))
    local e = data_of(answer)[1].error
    assert.equal("invalid_request_error", e.type)
    local line = g:log(1)
    assert.same({ 200, "invalid" }, { line.status, line.code })
  end)

  it("that never says so has a status for every failure", function()
    start "gateway = { ping = false }"
    up:programme { script = { { status = 400, latency = 1.5 } } }
    assert.equal(400, ask().status)
  end)

  it("is a fallback when nobody answers, and says so", function()
    start [[fallback = { text = "later", status = 203 }]]
    up:programme { capacity = 0 }
    local answer = ask()
    assert.equal(203, answer.status)
    assert.equal("fallback", answer.headers["x-unbusy-source"])
    assert.equal("busy", answer.headers["x-unbusy-code"])
    assert.equal("later", text_of(answer))
    assert.is_truthy(answer.body:find "data: %[DONE%]\n\n$")
  end)

  it("comes out of the cache as chunks", function()
    start "cache = {}"
    local whole = STREAM:gsub('"stream":true,', "")
    assert.equal("upstream", ask((whole)).headers["x-unbusy-source"])
    for _, more in ipairs { "{", '{"stream_options":{"include_usage":true},' } do
      local answer = ask((STREAM:gsub("^{", more)))
      assert.equal("cache", answer.headers["x-unbusy-source"])
      assert.equal("echo: hi", text_of(answer))
      local chunks = data_of(answer)
      assert.equal("chat.completion.chunk", chunks[1].object)
      assert.equal("assistant", chunks[1].choices[1].delta.role)
      assert.equal("stop", chunks[1].choices[1].finish_reason)
      assert.equal("[DONE]", chunks[2])
    end
    local old = '{"model":"m","prompt":"hi"}'
    assert.equal(200, ask(old, "/v1/completions").status)
    local answer = ask(old:gsub("^{", '{"stream":true,'), "/v1/completions")
    assert.same({ "cache", "echo: hi" }, { answer.headers["x-unbusy-source"], text_of(answer) })
  end)

  it("is made of a whole answer where the upstream streams none", function()
    start()
    local call = { id = "t1", type = "function",
      ["function"] = { name = "f", arguments = "{}" } }
    up:programme { script = { { json = { id = "x", choices = { { index = 0,
      message = { role = "assistant", tool_calls = { call } }, finish_reason = "tool_calls" } } },
      headers = { ["content-type"] = "application/json" } } } }
    local answer = ask()
    local chunks = data_of(answer)
    call.index = 0
    assert.same({ call }, chunks[1].choices[1].delta.tool_calls)
    assert.equal(json.null, chunks[1].choices[1].finish_reason)
    assert.equal("tool_calls", chunks[2].choices[1].finish_reason)
    assert.equal("[DONE]", chunks[3])
  end)

  it("is cut with an event, whatever cuts it", function()
    for _, case in ipairs { { "cut_stream", "cut" }, { "reset_stream", "cut" },
      { "no_finish", "cut" }, { "error_in_stream" }, { "event_error" },
      { "stall_stream", "cut" } } do
      start "clocks = { token = 0.5 }, gateway = { ping = 1 }"
      up:programme { script = { { preset = case[1] } } }
      local answer = ask()
      assert.equal(200, answer.status)
      local events = data_of(answer)
      local e = events[#events].error
      assert.is_truthy(e)
      if case[2] then assert.equal(case[2], e.code) end
      assert.equal(e.code, g:log(1).code)
      if case[1] ~= "stall_stream" then
        g:settle()
        g:stop()
      end
    end
  end)

  it("of a completion comes as it is", function()
    start()
    local answer = ask('{"stream":true,"model":"m","prompt":"hi"}', "/v1/completions")
    assert.equal("echo: hi", text_of(answer))
    assert.is_truthy(answer.body:find "data: %[DONE%]\n\n$")
  end)

  it("of a response has its events' names, and no end mark", function()
    start()
    local body = table.concat({
      'event: response.created\ndata: {"type":"response.created","response":{"id":"r"}}\n\n',
      'event: response.output_text.delta\ndata: {"type":"response.output_text.delta",'
        .. '"delta":"hi"}\n\n',
      'event: response.completed\ndata: {"type":"response.completed","response":{"id":"r",'
        .. '"status":"completed","output":[{"type":"message","content":[{"type":"output_text",'
        .. '"text":"hi"}]}],"usage":{"input_tokens":1,"output_tokens":1,"total_tokens":2}}}\n\n',
    })
    local request = '{"stream":true,"model":"m","input":"hi"}'
    for what, text in pairs { whole = body, cut = body:match "^.-delta.-\n\n" } do
      g:stop()
      g = gateways.start { config = CONFIG, http = RESPONSES, values = { more = "",
        url = "http://127.0.0.1:${port2}", answer = text:gsub("\n", "\\n") } }
      local answer = ask(request, "/v1/responses")
      assert.equal("responses", g:log(1).kind)
      if what == "whole" then
        assert.equal(body, answer.body)
      else
        local e = json.decode(answer.body:match '\nevent: error\ndata: ({.-})\n\n$')
        assert.same({ "error", "cut", "cut" }, { e.type, e.code, e.error.code })
      end
    end
  end)

  it("keeps what is said in several lines or with an id", function()
    start()
    local body = ("id: 1\ndata: %s\ndata:\n\ndata: %s\n\n"):format(DELTA, LAST)
    up:programme { script = { { body = body, headers = EVENTS } } }
    assert.equal(("id: 1\ndata: %s\ndata: \n\nid: 1\ndata: %s\n\ndata: [DONE]\n\n")
      :format(DELTA, LAST), ask().body)
  end)
end)
