-- The busy upstream and requests of several items.
package.path = "./?.lua;./?/init.lua;" .. package.path

local busyd = require "spec.support.busyd"
local cjson = require "cjson"
local probe = require "spec.support.busyd_probe"

local ask, body_of, status_of, eventually = probe.ask, probe.body_of, probe.status_of,
  probe.eventually

probe.watch { setup = setup, teardown = teardown, before_each = before_each,
  after_each = after_each }

local function batch(...)
  local list = {}
  for i, prompt in ipairs { ... } do
    list[i] = { prompt = prompt, parameters = { model = "m", max_tokens = 5 } }
  end
  return cjson.encode { requests = list }
end

local function asked(body, path)
  local reply = ask(body, nil, path or "/api/v1/batch")
  return cjson.decode(body_of(reply)), status_of(reply)
end

describe("busyd: a batch", function()
  it("has one answer for each request, in order, and takes one place", function()
    probe.up:programme { capacity = 1 }
    local answer, status = asked(batch("a", "b", "你好"))
    assert.same(200, status)
    assert.same({ "list", "m", 3 }, { answer.object, answer.model, #answer.responses })
    for i, question in ipairs { "a", "b", "你好" } do
      local choice = answer.responses[i].choices[1]
      assert.same({ "assistant", "echo: " .. question, "stop" },
        { choice.message.role, choice.message.content, choice.finish_reason })
    end
    assert.same({ 2, 7, 9 }, { answer.usage.prompt_tokens, answer.usage.completion_tokens,
      answer.usage.total_tokens })
    local counts = probe.up:counts()
    assert.same({ 1, 1, 1 }, { counts.received, counts.completed, counts.in_service_max })
    assert.same({ ["/api/v1/batch"] = 1 }, counts.paths)
  end)

  it("is refused where it is none", function()
    for _, body in ipairs { "{}", '{"requests":[]}', '{"requests":{"a":1}}', '{"requests":[1]}',
      '{"requests":[{"parameters":{}}]}', '{"requests":[{"prompt":"x","parameters":1}]}',
      '{"requests":[{"prompt":1}]}' } do
      local answer, status = asked(body)
      assert.same(400, status, body)
      assert.same("invalid_request_error", answer.error.type)
    end
    assert.same(404, status_of(ask(batch "a", nil, "/v1/api/v1/batch")))
  end)

  it("meets scripts and faults as any request", function()
    probe.up:programme { script = { { preset = "busy_503" }, { preset = "cut_body" } } }
    assert.same(503, status_of(ask(batch("a", "b"), nil, "/api/v1/batch")))
    ask(batch("a", "b"), nil, "/api/v1/batch")
    assert.same(200, status_of(ask(batch("a", "b"), nil, "/api/v1/batch")))
    assert.same(2, probe.up:counts().faulted)
  end)
end)

describe("busyd: items", function()
  it("fail by themselves", function()
    probe.up:programme { items = { { match = "poison" },
      { match = "busy", error = { code = "server_is_overloaded", message = "busy" } } } }
    local answer = asked(batch("a", "poison b", "busy c", "d"))
    assert.same("invalid_item", answer.responses[2].error.code)
    assert.same("server_is_overloaded", answer.responses[3].error.code)
    assert.same("echo: d", answer.responses[4].choices[1].message.content)
    answer = asked('{"input":["a","poison"]}', "/v1/embeddings")
    assert.same(busyd.embedding "a", answer.data[1].embedding)
    assert.same({ 1, "invalid_item" }, { answer.data[2].index, answer.data[2].error.code })
    answer = asked('{"prompt":["busy","a"]}', "/v1/completions")
    assert.same("server_is_overloaded", answer.choices[1].error.code)
    assert.same("echo: a", answer.choices[2].text)
    assert.same("echo: poison", asked('{"prompt":"poison"}', "/v1/completions").choices[1].text)
    assert.same("invalid_item", asked(batch "poison").responses[1].error.code)
  end)

  it("take the others down with them, where the programme says so", function()
    probe.up:programme { items = { { match = "poison", whole = { preset = "invalid_400" } } } }
    local _, status = asked(batch("a", "poison"))
    assert.same(400, status)
    assert.same(400, select(2, asked('{"input":["poison"]}', "/v1/embeddings")))
    assert.same(400, status_of(ask(probe.chat "poison")))
    assert.same(200, select(2, asked(batch("a", "b"))))
    assert.same(3, probe.up:counts().faulted)
  end)

  it("are checked", function()
    for _, wrong in ipairs { {}, { match = 1 }, { match = "x", whole = { preset = "?" } },
      { match = "x", error = 1 }, { match = "x", more = 1 } } do
      assert.has_error(function() probe.up:programme { items = { wrong } } end)
    end
  end)

  it("take their time", function()
    probe.up:programme { latency = 0.01, latency_per_item = 0.1 }
    local function seconds(...)
      local body = batch(...)
      return tonumber((ask(body, "-w '%{time_starttransfer}'", "/api/v1/batch"):match "[%d.]+$"))
    end
    assert.is_true(seconds("a", "b", "c") >= 0.2)
  end)
end)

describe("busyd: bytes", function()
  it("are those of requests and answers with their headers", function()
    local reply = ask(batch("a", "b"), "-H 'x-more: 1'", "/api/v1/batch")
    eventually(function() return probe.up:counts().bytes_counted == 1 end)
    local counts = probe.up:counts()
    assert.same(#reply, counts.bytes_sent)
    local body = #batch("a", "b")
    assert.is_true(counts.bytes_received > body + 100 and counts.bytes_received < body + 400)
    ask(batch("a", "b"), "-H 'x-more: 1234567'", "/api/v1/batch")
    eventually(function() return probe.up:counts().bytes_counted == 2 end)
    assert.same(2 * counts.bytes_received + 6, probe.up:counts().bytes_received)
  end)
end)
