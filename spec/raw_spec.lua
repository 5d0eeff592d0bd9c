-- A request's own bytes: what reaches the server is what the caller had, but for what must differ.
local json = require "unbusy.json"
local raw_server = require "spec.support.raw_server"
local guard = require "spec.support.leak_guard"
local unbusy = require "unbusy"
local world = require "spec.support.world"

local RAW = '{ "n":1.0,"big":12345678901234567890, "model" : "m",\n"messages":[{"content":'
  .. '"\\u4e2d\\/","role":"user"}],"e":1E2,"empty":[ ],"unknown":{"b":[],"a":null} }'

local function new(target, script)
  return world.new { script = { a = script or { world.good "x" } }, targets = { a = target } }
end

local function body(w) return w.log[#w.log].request.body end

local function chat(w, raw, given)
  given = given or {}
  given.raw = raw
  return assert(w.client:chat(json.decode(raw), given))
end

describe("a request's raw bytes", function()
  it("are sent as they are where nothing must differ", function()
    local w = new()
    assert.equal("x", chat(w, RAW).text)
    assert.equal(RAW, body(w))
    w = new({ models = { m = "m" } })
    chat(w, RAW)
    assert.equal(RAW, body(w))
    w = new(nil, { { status = 200, body = '{"data":[{"embedding":[1]}]}' } })
    local embed = '{"input":[1.0, 2e1] ,"model":"e"}'
    assert(w.client:embed(json.decode(embed), { raw = embed }))
    assert.equal(embed, body(w))
    assert(w.client:post("/x", json.decode(embed), { raw = embed }))
    assert.equal(embed, body(w))
  end)

  it("have another model where the target calls it so", function()
    local w = new { models = { m = 'big "1"' } }
    chat(w, RAW)
    assert.equal((RAW:gsub('"m"', '"big \\"1\\""')), body(w))
    local plain = '{"messages":[{"role":"user","content":"x"}]}'
    w = new { models = { default = "d" } }
    chat(w, plain)
    assert.equal('{"messages":[{"role":"user","content":"x"}],"model":"d"}', body(w))
  end)

  it("ask for a stream where one is wanted", function()
    local w = new(nil, { world.words { "x" } })
    assert(w.client:stream(json.decode(RAW), { raw = RAW })):close()
    assert.equal((RAW:gsub(" }$", ',"stream":true,"stream_options":{"include_usage":true} }')),
      (body(w):gsub('("stream_options":%b{}),("stream":true)', "%2,%1")))
    local streamed = '{"stream":false,"messages":[1],"stream_options":{"include_usage":false}}'
    assert(w.client:stream(json.decode(streamed), { raw = streamed })):close()
    assert.equal((streamed:gsub("false", "true", 1)), body(w))
    local whole = '{"stream": true,"messages":[1],"stream_options":{"x":1.0}}'
    assert(w.client:stream(json.decode(whole), { raw = whole })):close()
    assert.equal(whole, body(w))
  end)

  it("ask for none where none is wanted", function()
    local w = new()
    chat(w, '{"stream":true,"messages":[1.0],"stream_options":{"include_usage":true}}')
    assert.equal('{"messages":[1.0]}', body(w))
    chat(w, '{"messages":[1.0],"stream":false}')
    assert.equal('{"messages":[1.0]}', body(w))
    chat(w, '{"messages":[1.0]}', { upstream_stream = true })
    assert.matches('^{"messages":%[1.0%],"stream', body(w))
    assert.is_true(json.decode(body(w)).stream)
  end)

  it("are the same in each try, with each target's model", function()
    local w = world.new { script = { a = { { status = 500, body = "" } }, b = { world.good "x" } },
      targets = { b = { models = { m = "other" } } } }
    chat(w, RAW)
    assert.equal(RAW, w.log[1].request.body)
    assert.equal((RAW:gsub('"m"', '"other"')), w.log[2].request.body)
  end)

  it("give way to what was decoded where they cannot simply be changed", function()
    for _, raw in ipairs { '{"model":"a","model":"m","messages":[1.0]}', '{"messages":[1.0]} x', "",
      '{"stream":false,"messages":[1.0],"\\u0073tream":false}', "[]", "1" } do
      local w = new { models = { m = "z" } }
      local ok, request = pcall(json.decode, raw)
      if not ok or type(request) ~= "table" or not request.messages then
        request = { model = "m", messages = { 1 } }
      end
      local sent = assert(w.client:chat(request, { raw = raw })) and body(w)
      assert.not_equal(raw, sent)
      local got = assert(json.decode(sent), sent)
      assert.equal(request.model == "m" and "z" or nil, got.model)
      assert.equal(#request.messages, #got.messages)
    end
  end)

  it("are a text", function()
    local w = new()
    local latin = '{"messages":["\255"]}'
    assert.equal("invalid", select(3, w.client:chat(json.decode(latin), { raw = latin })))
    assert.error_matches(function() w:chat { raw = {} } end, "chat: raw: string expected")
    assert.equal(0, #w.log)
  end)

  it("may be large", function()
    local raw = '{"messages":[{"content":"' .. ("系\\n x"):rep(1e5) .. '"}],"model":"m"}'
    local w = new { models = { m = "z" } }
    chat(w, raw)
    assert.equal((raw:gsub('"m"}$', '"z"}')), body(w))
  end)
end)

describe("a stream's pieces", function()
  guard.watch(before_each, after_each)
  local raw
  setup(function() raw = raw_server.start() end)
  teardown(function() raw:stop() end)

  -- A stream of exactly these bytes, byte 1 for a pause.
  local function stream_of(bytes)
    local client = unbusy.new { retry = false,
      targets = { { name = "a", url = raw.url, key = "k" } } }
    local answer = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" .. bytes
    -- The server sends back the body: a request whose JSON is the answer there is none, so the
    -- provider writes it.
    local provider = client.targets[1].provider
    client.targets[1].provider = setmetatable({}, { __index = provider })
    local encode = json.encode
    json.encode = function() return answer end
    local stream, message = client:stream { messages = { 1 } }
    json.encode = encode
    return assert(stream, message)
  end

  it("have the data of their events byte for byte, and their names", function()
    local chunks = {
      '{ "id":"x","choices":[{"index":0,"delta":{"content":"\\u4e2d\\/ 系"},"n":1.0}]}',
      '{"choices":[],"usage":{"prompt_tokens":12345678901234567890}, "e":1E2 }',
      '{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\t',
    }
    local stream = stream_of("event: first\nid: 7\ndata: " .. chunks[1]:gsub("系", "\231\1\179\187")
      .. "\r\n\r\n: comment\n\ndata:" .. chunks[2] .. "\n\ndata: " .. chunks[3]
      .. "\n\ndata: [DONE]\n\n")
    local seen = {}
    for piece in stream:pieces() do seen[#seen + 1] = piece end
    assert.equal(3, #seen)
    for i, piece in ipairs(seen) do assert.equal(chunks[i], piece.data) end
    assert.same({ "first", "7" }, { seen[1].event, seen[1].id })
    assert.is_nil(seen[2].event)
    assert.equal("中/ 系", stream:reply().text)
    assert.equal("text/event-stream", stream.headers["content-type"])
  end)
end)
