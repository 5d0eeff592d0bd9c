-- What stands in for an answer, as the gateway's clients see it.
local busyd = require "spec.support.busyd"
local gateways = require "spec.support.gateways"
local json = require "unbusy.json"

local CONFIG = [[return {
  targets = { { name = "main", url = "${url}/v1", key = "sk-main" },
    { name = "reserve", url = "${url}/v1", key = "sk-reserve", pool = "reserve", reserve = true } },
  retry = false, breaker = false, limiter = false, ${more}
}]]

local paths = { chat = "/v1/chat/completions", complete = "/v1/completions",
  responses = "/v1/responses" }
local questions = { chat = '{"model":"pro","messages":[{"role":"user","content":"hi"}]}',
  complete = '{"model":"pro","prompt":"hi"}', responses = '{"model":"pro","input":"hi"}' }

describe("the gateway's fallback", function()
  local up, g

  local function start(more)
    g = gateways.start { config = CONFIG, values = { url = up.url, more = more } }
  end

  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() if up then up:stop() end end)
  before_each(function() up:programme { reset = true, capacity = 0 } end)

  after_each(function()
    g:settle()
    assert.is_nil(g:errors():find("[error]", 1, true))
    g:stop()
  end)

  local function ask(kind, streaming, headers)
    local body = questions[kind]
    if streaming then body = body:gsub("}$", ',"stream":true}') end
    return g:ask(paths[kind], { body = body, headers = headers })
  end

  local readers = {}
  function readers.chat(body) return body.choices[1].message.content end
  function readers.complete(body) return body.choices[1].text end
  function readers.responses(body) return body.output[1].content[1].text end

  local function events_of(answer)
    local out = {}
    for data in answer.body:gmatch "data: (%b{})\n\n" do out[#out + 1] = json.decode(data) end
    return out
  end

  -- The text that a stream's events say.
  local deltas = {}
  function deltas.chat(e) return e.choices[1] and e.choices[1].delta.content end
  function deltas.complete(e) return e.choices[1] and e.choices[1].text end
  function deltas.responses(e) return e.type == "response.output_text.delta" and e.delta or nil end

  local function text_of(kind, answer)
    local out = {}
    for _, event in ipairs(events_of(answer)) do out[#out + 1] = deltas[kind](event) end
    return table.concat(out)
  end

  it("is JSON or events, as it was asked for, with its status", function()
    start [[fallback = { text = "忙:{code}", status = 203 } ]]
    for kind in pairs(paths) do
      local answer = ask(kind)
      assert.same({ 203, "application/json", "忙:busy" }, { answer.status,
        answer.headers["content-type"], readers[kind](json.decode(answer.body)) })
      local stream = ask(kind, true)
      assert.same({ 203, "text/event-stream; charset=utf-8", "忙:busy" }, { stream.status,
        stream.headers["content-type"], text_of(kind, stream) })
      assert.equal(kind ~= "responses", stream.body:find "data: %[DONE%]\n\n$" ~= nil)
      for _, one in ipairs { answer, stream } do
        assert.same({ "fallback", "text", "busy", "1", nil, nil }, {
          one.headers["x-unbusy-source"], one.headers["x-unbusy-fallback"],
          one.headers["x-unbusy-code"], one.headers["x-unbusy-tries"],
          one.headers["x-unbusy-target"], one.headers["retry-after"] })
      end
    end
    local line = g:log(1)
    assert.same({ "fallback", "text", "busy", 203, 1 },
      { line.source, line.fallback, line.code, line.status, line.tries })
  end)

  it("with a status of failure is an error too, and says when to come again", function()
    start [[fallback = { text = "later", status = 503 }]]
    up:programme { reset = true, capacity = 0, when_full = { preset = "busy_503",
      retry_after = 3600 } }
    local code = "busy" -- and then the target rests
    for kind in pairs(paths) do
      for _, streaming in ipairs { false, true } do
        local answer = ask(kind, streaming)
        assert.same({ 503, "application/json", "fallback", code }, { answer.status,
          answer.headers["content-type"], answer.headers["x-unbusy-source"],
          answer.headers["x-unbusy-code"] })
        assert.is_true(tonumber(answer.headers["retry-after"]) > 3500)
        local body = json.decode(answer.body)
        assert.same({ "later", { message = "later", type = "service_unavailable_error",
          code = code, param = json.null } }, { readers[kind](body), body.error })
        code = "open"
      end
    end
    assert.same({ 503, "fallback", "busy" }, { g:log(1).status, g:log(1).source, g:log(1).code })
  end)

  it("tells SDKs not to try again where we have", function()
    start [[retry = { attempts = 2, base = 0.01 }, fallback = { text = "x", status = 429 }]]
    local answer = ask "chat"
    assert.same({ 429, "1", "false" }, { answer.status, answer.headers["retry-after"],
      answer.headers["x-should-retry"] })
    assert.equal("rate_limit_error", json.decode(answer.body).error.type)
  end)

  it("keeps an error that a whole reply brings along", function()
    start [[fallback = { status = 500, reply = { error = { message = "mine" },
      choices = { { message = { content = "hi" } } } } }]]
    local body = json.decode(ask("chat").body)
    assert.same({ { message = "mine" }, "hi" }, { body.error, readers.chat(body) })
  end)

  it("comes as events where status 200 is out already", function()
    start [[gateway = { ping = 1 }, fallback = { text = "later", status = 503 }]]
    up:programme { script = { { preset = "busy_503", latency = 1.5 } } }
    local answer = ask("chat", true)
    assert.equal(200, answer.status)
    assert.truthy(answer.body:find(": ping\n\n", 1, true))
    assert.equal("later", text_of("chat", answer))
  end)

  it("gives the usage to who asks for it, and to nobody else", function()
    start [[fallback = { text = "x", usage = { completion_tokens = 3 } }]]
    local with = g:ask(paths.chat, { body = questions.chat:gsub("}$",
      ',"stream":true,"stream_options":{"include_usage":true}}') })
    local events = events_of(with)
    assert.same({ 0, 3 }, { #events[#events].choices, events[#events].usage.total_tokens })
    for _, event in ipairs(events_of(ask("chat", true))) do
      assert.same({ 1, nil }, { #event.choices, event.usage })
    end
    assert.equal(3, g:log(1).completion_tokens)
  end)

  it("is another model's answer, and says so", function()
    start [[fallback = { { model = "flash" }, "x" }]]
    up:programme { reset = true, log = true,
      script = { { preset = "busy_503" }, {}, { preset = "busy_503" }, {} } }
    for i, streaming in ipairs { false, true } do
      local answer = ask("chat", streaming)
      assert.same({ 200, "upstream", "model", "busy", "main", "2" }, { answer.status,
        answer.headers["x-unbusy-source"], answer.headers["x-unbusy-fallback"],
        answer.headers["x-unbusy-code"], answer.headers["x-unbusy-target"],
        answer.headers["x-unbusy-tries"] })
      local line = g:log(i)
      assert.same({ "upstream", "model", "busy", "flash", 2 },
        { line.source, line.fallback, line.code, line.model, line.tries })
    end
    local asked = {}
    for i, request in ipairs(up:log()) do asked[i] = json.decode(request.body).model end
    assert.same({ "pro", "flash", "pro", "flash" }, asked)
  end)

  it("is another pool's answer", function()
    start [[fallback = { { pool = "reserve" }, "x" }]]
    up:programme { reset = true, per_key = true, capacity = 10, capacities = { ["sk-main"] = 0 } }
    local answer = ask "chat"
    assert.same({ "echo: hi", "reserve", "pool" }, { readers.chat(json.decode(answer.body)),
      answer.headers["x-unbusy-target"], answer.headers["x-unbusy-fallback"] })
    assert.equal("echo: hi", text_of("chat", ask("chat", true)))
  end)

  it("speaks the client's language", function()
    start [[fallback = { by_language = { zh = "忙", en = "busy", ["pt-BR"] = "ocupado" } }]]
    for header, text in pairs { ["accept-language: zh-CN,zh;q=0.9,en;q=0.8"] = "忙",
      ["accept-language: en;q=0.4, pt-br;q=0.5"] = "ocupado", ["accept-language: fr"] = "busy",
      ["accept-language: *"] = "busy", ["x-other: zh"] = "busy",
      ["accept-language: ;;,q=,zh;q=9"] = "busy" } do
      assert.same({ header, text },
        { header, readers.chat(json.decode(ask("chat", false, { header }).body)) })
    end
    local twice = ask("chat", false, { "accept-language: fr", "accept-language: zh;q=0.5" })
    assert.equal("忙", readers.chat(json.decode(twice.body)))
    local question = questions.chat:gsub("hi", "天气如何")
    assert.equal("忙", readers.chat(json.decode(g:ask(paths.chat, { body = question }).body)))
  end)

  it("ends with a client that goes away in its second asking", function()
    start [[fallback = { { model = "flash" }, "x" }]]
    up:programme { reset = true, script = { { preset = "busy_503" }, { latency = 5 } } }
    local s = g:connect()
    s:write(("POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n"
      .. "content-type: application/json\r\n\r\n%s"):format(paths.chat, #questions.chat,
      questions.chat))
    s:flush()
    gateways.eventually(function() return up:counts().received == 2 end)
    s:close()
    gateways.eventually(function() return up:counts().aborted_by_client == 1 end)
    assert.same({ 499, "cancelled" }, { g:log(1).status, g:log(1).code })
  end)
end)
