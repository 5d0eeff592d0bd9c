-- Servers say what JSON cannot: a text that ends within a character, since its tokens are bytes and
-- there were no more of them; a number beyond all numbers (1e999). Where a whole answer like that
-- was asked for as a stream, the gateway closed the connection without a word; and of a stream that
-- was to be given whole it made a 500.
local gateways = require "spec.support.gateways"
local guard = require "spec.support.leak_guard"
local json = require "unbusy.json"
local world = require "spec.support.world"

local TORN = '{"choices":[{"index":0,"finish_reason":"length","message":{"role":"assistant",'
  .. '"content":"so \228\189\160\229\165"}}],"model":"m"}'
local ENDLESS = '{"created":1e999,"choices":[{"index":0,"finish_reason":"stop","message":'
  .. '{"role":"assistant","content":"so"},"logprobs":{"content":[{"logprob":-1e999}]}}]}'
local EVENTS = 'data: {"created":1e999,"choices":[{"index":0,"delta":{"content":"so \228\189"}}]}'
  .. '\n\ndata: {"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}\n\ndata: [DONE]\n\n'

-- Byte for byte, as a text of nginx's configuration.
local function quoted(text)
  return '"' .. text:gsub('[^%w ]', function(c) return ("\\%03d"):format(c:byte()) end) .. '"'
end

local function upstream(body, kind)
  return ([[server {
    listen 127.0.0.1:${port2};
    access_log off;
    default_type %s;
    location / { content_by_lua_block { ngx.print(%s) } }
  }]]):format(kind, quoted(body))
end

describe("an answer that JSON cannot say", function()
  guard.watch(before_each, after_each)

  local function send(body, kind, path, request)
    local g = gateways.start { http = upstream(body, kind), values = {}, config = [[return {
      upstream_stream = true, retry = false,
      targets = { { name = "main", url = "http://127.0.0.1:${port2}/v1", key = "k" } } }]] }
    local answer = g:ask(path, { body = request })
    local errors = g:errors()
    g:stop()
    assert.is_nil(errors:find("[error]", 1, true), errors)
    assert.equal(200, answer.status)
    return answer.body
  end

  local function ask(body, kind, streams)
    return send(body, kind, "/v1/chat/completions", ('{"stream":%s,"messages":'
      .. '[{"role":"user","content":"x"}]}'):format(tostring(streams)))
  end

  it("is given as a stream, in UTF-8", function()
    for body, text in pairs { [TORN] = "so 你\239\191\189", [ENDLESS] = "so" } do
      local said = ask(body, "application/json", true)
      local event = json.decode(said:match "^data: ([^\n]*)")
      assert.equal(text, event.choices[1].delta.content)
      assert.truthy(said:find("data: [DONE]\n\n", 1, true))
    end
  end)

  it("is given whole, in UTF-8", function()
    local body = json.decode(ask(EVENTS, "text/event-stream", false))
    assert.equal("so \239\191\189", body.choices[1].message.content)
    assert.equal(json.null, body.created)
  end)

  -- Of many in one it was a 502.
  it("is given among others, in UTF-8", function()
    local body = json.decode(send(EVENTS, "text/event-stream", "/api/v1/batch",
      '{"requests":[{"prompt":"x"}]}'))
    assert.equal("so \239\191\189", body.responses[1].choices[1].message.content)
  end)

  it("has its bytes, where nobody has to write them anew", function()
    local w = world.new { script = { a = { { status = 200, body = TORN } } } }
    assert.equal(TORN, assert(w:chat()).raw)
    assert.equal("so 你\229\165", assert(w:chat()).text)
    assert.equal("so 你\229\165", assert(assert(w:stream()):reply()).text)
  end)

  it("is mended as a text is, and otherwise the same", function()
    local mark = "\239\191\189"
    for bytes, text in pairs { [""] = "", a = "a", ["你好"] = "你好", ["\255\255"] = mark,
      ["\228\189x"] = mark .. "x", ["\237\160\128"] = mark, ["你\128好"] = "你" .. mark .. "好",
      ["\192\128"] = mark, ["\244\144\128\128"] = mark, ["𝄞\240\157"] = "𝄞" .. mark,
      ["\228\189é"] = mark .. "é", ["\0\1\255"] = "\0\1" .. mark } do
      assert.equal(text, json.mended(bytes))
      assert.truthy(json.is_utf8(text))
    end
    local value = json.decode '{"a":[],"b":{},"c":[1,null,true,{"d":"e"}],"f":1e999}'
    local mended = json.mended(value)
    assert.same(json.decode '{"a":[],"b":{},"c":[1,null,true,{"d":"e"}],"f":null}', mended)
    assert.is_true(json.is_array(mended.a) and not json.is_array(mended.b))
    assert.equal(math.huge, value.f)
    assert.equal('{"' .. mark .. '":1}', json.encode(json.mended { ["\255"] = 1 }))
  end)
end)
