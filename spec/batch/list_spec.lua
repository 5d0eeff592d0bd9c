-- client:batch: many requests as a list.
local batching = require "spec.support.batching"
local guard = require "spec.support.leak_guard"
local unbusy = require "unbusy"

local said, sizes = batching.said, batching.sizes

local function new(more)
  local given = { batch = { { rule = "embeddings", max = 4 }, { rule = "completions", max = 4 } } }
  for name, value in pairs(more or {}) do given[name] = value end
  return batching.world(given)
end

local function inputs(n)
  local out = {}
  for i = 1, n do out[i] = { model = "m", input = "t" .. i } end
  return out
end

local function texts(results)
  local out = {}
  for i, r in ipairs(results) do out[i] = r.code or said(r) end
  return out
end

describe("client:batch", function()
  guard.watch(before_each, after_each)

  it("gives an answer for each request, in order", function()
    local w = new()
    local results = w.client:batch(inputs(10))
    for i = 1, 10 do assert.equal("echo: t" .. i, said(results[i])) end
    assert.same({ 4, 4, 2 }, sizes(w))
    assert.same({}, w.client:batch {})
    w:assert_clean()
  end)

  it("takes requests of all shapes, and what one prompt says", function()
    local w = new { targets = { a = { batch = "/api/v1/batch" } } }
    local results = w.client:batch({
      { messages = { { role = "user", content = "a" } } }, { prompt = "b", max_tokens = 3 },
      { input = "c" }, { prompt = "d", parameters = { temperature = 0 } }, { prompt = "e" },
      { prompt = "f", parameters = unbusy.null },
    }, { model = "m" })
    assert.same({ "echo: a", "echo: b", "echo: c", "echo: d", "echo: e", "echo: f" },
      texts(results))
    assert.same({ "chat.completion", "text_completion", "list", "chat.completion" },
      { results[1].body.object, results[2].body.object, results[3].body.object,
        results[4].body.object })
    assert.same({ "batch", 4 }, { results[5].source, results[5].batch.size })
    assert.equal("m", results[6].model)
    w:assert_clean()
  end)

  it("asks each alone where no rule takes it, so many at a time", function()
    local w = new { batch = false }
    assert.same({ "echo: t1", "echo: t7" }, { texts(w.client:batch(inputs(7), { at_once = 3 }))[1],
      texts(w.client:batch(inputs(7), { at_once = 3 }))[7] })
    assert.equal(3, w.most_open)
    assert.equal(14, #w.log)
    w = new()
    w.client:batch(inputs(7), { batch = false })
    assert.equal(7, #w.log)
  end)

  it("has failures in the places of those that failed", function()
    local w = new { options = { retry = false }, item = function(text)
      if text == "t2" then return { code = "bad", type = "invalid_request_error" } end
    end }
    local results = w.client:batch(inputs(4))
    assert.same({ "echo: t1", "invalid", "echo: t3", "echo: t4" }, texts(results))
    assert.equal("a: item 2 of 4: 200 bad", results[2].message)
    assert.equal(1, results[2].detail.tries)
  end)

  it("has one deadline for all", function()
    local w, results, ended = new { after = 1 }, nil, nil
    w.loop.run(function()
      results, ended = w.client:batch(inputs(20), { deadline = 2.5, at_once = 4 }), w:now()
    end)
    for i, code in ipairs(texts(results)) do
      assert.equal(i <= 8 and "echo: t" .. i or "timeout", code)
    end
    assert.near(2.5, ended, 1e-9)
    assert.equal("batch: its time was up before it was asked", results[20].message)
    assert.equal(3, #w.log)
    w:assert_clean()
  end)

  it("has one cancel for all", function()
    local w, c, results = new { after = 1 }, unbusy.canceller(), nil
    w.loop.run(function()
      w.loop.spawn(function()
        results = w.client:batch(inputs(20), { cancel = c, at_once = 4 })
      end)
      w.loop.sleep(1.5)
      c:cancel()
    end)
    for i, code in ipairs(texts(results)) do
      assert.equal(i <= 4 and "echo: t" .. i or "cancelled", code)
    end
    assert.near(2, w:now(), 0.5)
    assert.equal(2, #w.log)
    w:assert_clean()
  end)

  it("ends with the client, and with its task", function()
    local w, results = new { after = 1 }, nil
    w.loop.run(function()
      w.loop.spawn(function() results = w.client:batch(inputs(6)) end)
      w.loop.sleep(0.5)
      w.client:close()
    end)
    assert.same({ "closed", "closed", "closed", "closed", "closed", "closed" }, texts(results))
    w:assert_clean()
    w = new { after = 1 }
    w.loop.run(function()
      local task = w.loop.spawn(function() w.client:batch(inputs(6)) end)
      w.loop.sleep(0.5)
      w.loop.cancel(task)
    end)
    assert.equal(0, w.client:status().active)
    w:assert_clean()
  end)

  it("passes on what holds for each call", function()
    local w = new { script = { a = batching.server {}, b = batching.server {} },
      options = { cache = true } }
    for _ = 1, 2 do
      local results = w.client:batch(inputs(3), { target = "b", headers = { ["x-team"] = "t" } })
      assert.equal("b", results[1].target)
    end
    assert.equal(1, #w.log)
    assert.matches("x%-team: t", table.concat(w.log[1].request.headers, "\n"))
    assert.equal("cache", w.client:batch(inputs(3), { target = "b",
      headers = { ["x-team"] = "t" } })[3].source)
  end)

  it("takes its options beside the requests too", function()
    local w = new { batch = false }
    local list = inputs(4)
    list.at_once = 2
    w.client:batch(list)
    assert.equal(2, w.most_open)
  end)

  it("carries a caller's trace", function()
    local w = new()
    local id = "4bf92f3577b34da6a3ce929d0e0e4736"
    local results = w.client:batch(inputs(3),
      { headers = { traceparent = ("00-%s-00f067aa0ba902b7-01"):format(id) } })
    assert.equal(1, #w.log)
    assert.matches("traceparent: 00%-" .. id, table.concat(w.log[1].request.headers, "\n"))
    for i = 1, 3 do assert.equal(id, results[i].trace.id) end
    assert.equal(1, #results[1].trace.spans)
  end)

  it("raises at the caller's line for what makes no sense", function()
    local w = new()
    local cases = {
      { "batch: a list of requests expected, got a string", "x" },
      { "request 1: a request expected", { "x" } },
      { "request 2: messages, prompt or input expected", { { input = "x" }, { model = "m" } } },
      { "request 1: messages: a list of at least one", { { messages = {} } } },
      { "request 1: model: a name expected", { { input = "x", model = 5 } } },
      { "request 1: stream: there are none in a batch", { { input = "x", stream = true } } },
      { "request 1: prompt: a text expected", { { prompt = { "x" } } } },
      { "request 1: parameters: an object expected", { { prompt = "x", parameters = { 1 } } } },
      { "request 1: parameters: they hold another", { { prompt = "x",
        parameters = { messages = {} } } } },
      { "unknown option 'at_onc', did you mean 'at_once'", { at_onc = 5 } },
      { "unknown option 'raw'", {}, { raw = "x" } },
      { "beside the requests or behind them", { at_once = 5 }, {} },
      { "a list without holes", { [2] = { input = "x" } } },
      { "at_once: a number at least 1", {}, { at_once = 0 } },
      { "headers: a header that names one", {}, { headers = { ["idempotency-key"] = "1" } } },
    }
    for _, case in ipairs(cases) do
      local ok, message = pcall(function() w.client:batch(case[2], case[3]) end)
      assert.is_false(ok)
      assert.matches("^spec/batch/list_spec.lua:%d+: batch: ", message)
      assert.is_truthy(message:find(case[1], 1, true), message)
    end
    assert.equal(0, #w.log)
  end)

  it("raises what one of the calls raises, and leaves nothing", function()
    local w = new()
    local ok, message = pcall(function() w.client:batch(inputs(3), { target = "nobody" }) end)
    assert.is_false(ok)
    assert.matches("no target is named 'nobody'", message)
    w:assert_clean()
  end)
end)
