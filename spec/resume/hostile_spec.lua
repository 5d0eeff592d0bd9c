-- Servers that go on in odd ways, or tear characters in two: the text is whole, or the end is a
-- cut; nothing raises, nothing is left.
local json = require "unbusy.json"
local random = require "spec.support.random"
local world = require "spec.support.world"

local HEAD = '{"id":"%s","object":"chat.completion.chunk","created":%d,"model":"m",'

-- An event whose text is these bytes, whatever they are.
local function event(id, text, finish)
  local raw = text:gsub('[%z\1-\31\\"]', function(c) return ("\\u%04x"):format(c:byte()) end)
  return "data: " .. HEAD:format(id, #id) .. '"choices":[{"index":0,"delta":{"content":"' .. raw
    .. '"},"finish_reason":' .. (finish and '"' .. finish .. '"' or "null") .. "}]}\n\n"
end

local function streamed(...)
  return world.streamed({ { 0, table.concat { ... } } })
end

local function build(first, second, how)
  return world.new { script = { a = { first, second } },
    targets = { a = { prefix = how ~= "prompt" and "flag" or nil } },
    options = { resume = how or "prefix", retry = { base = 0.1, jitter = 0, attempts = 2 } } }
end

-- The text as the caller has it, as the events have it, and the failure.
local function drain(stream)
  local text, told = {}, {}
  while true do
    local piece, message, code = stream:read()
    if code then return table.concat(text), table.concat(told), code, message end
    if not piece then return table.concat(text), table.concat(told) end
    text[#text + 1] = piece.text
    local body = piece.data and json.decode(piece.data)
    local choice = body and body.choices and body.choices[1]
    told[#told + 1] = choice and choice.delta and choice.delta.content or nil
  end
end

local function finish(w)
  w:assert_clean()
  w.client:close()
end

describe("going on with", function()
  it("a text whose characters its server tears in two", function()
    local text = "a 天气 😀é "
    for cut = 1, #text do
      local said = text:sub(1, cut)
      local w
      w = build(streamed(event("x", said)), setmetatable({}, { __index = function(_, name)
        local kept = json.decode(w.log[2].request.body).messages[2]
        local rest = kept and text:sub(#kept.content + 1) or text
        local events = {}
        for i = 1, #rest do events[i] = event("y", rest:sub(i, i)) end
        events[#events + 1] = event("y", "", "stop")
        return streamed(table.concat(events), world.DONE)[name]
      end }))
      local stream = assert(w:stream())
      local got, told, code = drain(stream)
      assert.same({ text, text, cut }, { got, told, cut }, code)
      assert.equal("x", stream:reply().body.id)
      finish(w)
    end
  end)

  it("a torn character that becomes another one is refused", function()
    local w = build(streamed(event("x", "a \228\189")),
      streamed(event("y", " \229\165\189", "stop"), world.DONE))
    local _, _, code, message = drain(assert(w:stream()))
    assert.equal("cut", code)
    assert.matches("begins with another character", message)
    finish(w)
  end)

  local ok = event("y", " end", "stop")
  local odd = {
    ["events with a name twice"] = 'data: {"id":"q","id":"y","choices":[{"index":0,"delta":'
      .. '{"content":" end"},"finish_reason":"stop"}]}\n\n',
    ["events without a head"] = 'data: {"choices":[{"delta":{"content":" end"},'
      .. '"finish_reason":"stop"}]}\n\n',
    ["ids that are no names"] = 'data: {"id":{"a":[1]},"created":1e300,"model":[],"choices":['
      .. '{"index":0,"delta":{"content":" end"},"finish_reason":"stop"}]}\n\n',
    ["a content in parts"] = 'data: {"id":"y","choices":[{"index":0,"delta":{"content":['
      .. '{"type":"text","text":" e"},{"type":"text","text":"nd"}]},"finish_reason":"stop"}]}\n\n',
    ["roles again and again"] = 'data: {"id":"y","choices":[{"index":0,"delta":{"role":"assistant",'
      .. '"content":" en"}}]}\n\ndata: {"id":"y","choices":[{"index":0,"delta":{"role":"assistant",'
      .. '"content":"d"},"finish_reason":"stop"}]}\n\n',
    ["a usage of odd numbers"] = ok:gsub('"model":"m"', '"usage":{"prompt_tokens":"x",'
      .. '"completion_tokens":-5,"total_tokens":1.5}'),
    ["thoughts in between"] = event("y", " e") .. 'data: {"choices":[{"index":0,"delta":'
      .. '{"reasoning_content":"hm"}}]}\n\n' .. event("y", "nd", "stop"),
    ["comments, blanks and empty texts"] = ": x\n\n\n\n" .. event("y", "") .. event("y", "")
      .. event("y", " end") .. event("y", "") .. event("y", "", "stop"),
    ["the mark of our own"] = event("y", " unbusy-resume-text", nil) .. event("y", " end", "stop"),
  }
  for name, bytes in pairs(odd) do
    it(name, function()
      local w = build(streamed(event("x", "The")), streamed(bytes, world.DONE))
      local text, told, code, message = drain(assert(w:stream()))
      local wanted = name == "the mark of our own" and "The unbusy-resume-text end" or "The end"
      assert.is_nil(code, message)
      assert.same({ wanted, wanted }, { text, told })
      finish(w)
    end)
  end

  local bad = {
    ["a tool call"] = 'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"t",'
      .. '"function":{"name":"f","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}\n\n',
    ["a refusal"] = 'data: {"choices":[{"index":0,"delta":{"refusal":"no"},"finish_reason":"stop"'
      .. "}]}\n\n",
    ["no JSON"] = "data: <html>\n\n",
    ["an error"] = 'data: {"error":{"message":"no","code":"x"}}\n\n',
    ["nothing"] = "",
    ["a status of 400"] = { status = 400, body = '{"error":{"message":"prefix is not known"}}' },
    ["a status of 401"] = { status = 401, body = "" },
  }
  for name, answer in pairs(bad) do
    it(name .. " is a cut", function()
      local w = build(streamed(event("x", "The")),
        type(answer) == "string" and streamed(answer, world.DONE) or answer)
      local text, _, code, message = drain(assert(w:stream()))
      assert.same({ "The", "cut" }, { text, code }, message)
      assert.matches("not continued: a: ", message)
      finish(w)
    end)
  end

  it("a number that nobody can write is a cut, and what stood beside it is not lost in silence",
  function()
    local w = build(streamed(event("x", "The")),
      streamed((ok:gsub('"model":"m"', '"usage":{"total_tokens":1e400}')), world.DONE))
    local text, _, code, message = drain(assert(w:stream()))
    assert.same({ "The", "cut" }, { text, code })
    assert.matches("an event that cannot be passed on", message)
    finish(w)
  end)

  it("a text whose last words came with a failure, and so never came", function()
    local w = build(streamed(event("x", "The"), event("x", " end", "insufficient_system_resource")),
      streamed(event("y", " end", "stop"), world.DONE))
    local text, told = drain(assert(w:stream()))
    assert.same({ "The end", "The end" }, { text, told })
    assert.equal("The", json.decode(w.log[2].request.body).messages[2].content)
    finish(w)
  end)

  it("bytes of chance never raises, and loses nothing that was said", function()
    local r = random.new(random.seed(5))
    local good = event("y", " end of it") .. event("y", "", "stop") .. world.DONE
    random.walk(r, 400, function()
      local bytes = {}
      for i = 1, #good do bytes[i] = good:sub(i, i) end
      for _ = 1, r:int(6) do
        bytes[r:int(#bytes)] = r:pick { "", '"', "\\", "{", "}", "\n", "\255", "0", "data: " }
      end
      local w = build(streamed(event("x", "The very")), streamed(table.concat(bytes)),
        r:pick { "prefix", "prompt" })
      local text, told = drain(assert(w:stream()))
      assert.equal("The very", text:sub(1, 8))
      assert.equal("The very", told:sub(1, 8))
      finish(w)
    end)
  end)
end)
