-- Who goes together, and how long they wait for each other.
local batching = require "spec.support.batching"
local guard = require "spec.support.leak_guard"
local json = require "unbusy.json"

local ask, many, said, sizes = batching.ask, batching.many, batching.said, batching.sizes

local function embeddings(more)
  local given = { batch = { rule = "embeddings", max = 4, window = 0.02 } }
  for name, value in pairs(more or {}) do given[name] = value end
  return batching.world(given)
end

describe("a batch", function()
  guard.watch(before_each, after_each)

  it("is off by default", function()
    local w = batching.world {}
    local out = ask(w, "embed", many(4))
    assert.same({ 1, 1, 1, 1 }, sizes(w))
    assert.equal("upstream", out[1].reply.source)
    assert.is_nil(out[1].reply.batch)
    assert.same({ sent = 0, members = 0, lone = 0, split = 0, faults = 0, rules = {} },
      w.client:status().batch)
  end)

  it("is sent when it is full, without a wait", function()
    local w = embeddings()
    local out = ask(w, "embed", many(4))
    assert.same({ 4 }, sizes(w))
    assert.equal(0, w.log[1].at)
    for i = 1, 4 do
      local reply = out[i].reply
      assert.equal("echo: t" .. i, said(reply))
      assert.equal("batch", reply.source)
      assert.same({ size = 4, index = i }, reply.batch)
      assert.same({ 0, 0.1, 1, "a" },
        { reply.times.queued, reply.times.total, reply.tries, reply.target })
    end
    local counts = w.client:status().batch
    assert.same({ 1, 4, 0, 0, 0 }, { counts.sent, counts.members, counts.lone, counts.split,
      counts.faults })
    assert.same({ "embeddings", 6 }, { counts.rules[1].name, counts.rules[1].asked })
    w:assert_clean()
  end)

  it("is sent at the end of its window, which began with the first", function()
    local w = embeddings()
    local out = ask(w, "embed", { "a", { "b", nil, nil, 0.015 }, { "c", nil, nil, 0.03 } })
    assert.same({ 2, 1 }, sizes(w))
    assert.near(0.02, w.log[1].at, 1e-9)
    assert.near(0.05, w.log[2].at, 1e-9)
    assert.near(0.02, out[1].reply.times.queued, 1e-9)
    assert.near(0.005, out[2].reply.times.queued, 1e-9)
    assert.near(0.12, out[1].reply.times.total, 1e-9)
  end)

  it("is none where nobody else comes: the call goes its own way, as it is", function()
    local w = embeddings()
    local out = ask(w, "embed", { "a", { "b", nil, nil, 1 }, { "c", nil, nil, 2 } })
    assert.same({ 1, 1, 1 }, sizes(w))
    assert.equal("a", json.decode(w.log[1].request.body).input)
    assert.equal("upstream", out[1].reply.source)
    assert.is_nil(out[1].reply.batch)
    assert.near(0.02, out[1].reply.times.queued, 1e-9)
    assert.equal(2, w.client:status().batch.lone)
  end)

  it("is not waited for where nobody could come", function()
    local w = embeddings()
    local reply = assert(w.client:embed(batching.request("embed", "a")))
    assert.same({ 0, 0.1 }, { reply.times.queued, reply.times.total })
    w.loop.run(function()
      reply = assert(w.client:embed(batching.request("embed", "b")))
    end)
    assert.equal(0, reply.times.queued)
    assert.equal(0, w.client:status().batch.lone)
  end)

  it("takes those of one turn where the window is 0", function()
    local w = batching.world { batch = { rule = "embeddings", window = 0 } }
    ask(w, "embed", { "a", "b", "c", { "d", nil, nil, 0.001 } })
    assert.same({ 3, 1 }, sizes(w))
    assert.equal(0, w.log[1].at)
  end)

  it("takes no more than its rule's default of 16 in 0.02 s", function()
    local w = batching.world { batch = "embeddings" }
    ask(w, "embed", many(40))
    assert.same({ 16, 16, 8 }, sizes(w))
    assert.near(0.02, w.log[3].at, 1e-9)
  end)

  it("is one try, at one place, in one loop", function()
    local w = embeddings { options = { limiter = { kind = "fixed", initial = 1 } } }
    local out = ask(w, "embed", many(12))
    assert.same({ 4, 4, 4 }, sizes(w))
    assert.equal(1, w.most_open)
    assert.near(0.2, out[12].reply.times.queued, 1e-9)
    assert.equal(3, w.client:status().targets[1].tries)
    w:assert_clean()
  end)

  it("tells who watches what goes together", function()
    local w = embeddings()
    ask(w, "embed", many(3))
    local seen = w:seen "batch"
    assert.equal(1, #seen)
    assert.same({ "embeddings", 3, 3 }, { seen[1].rule, seen[1].size, #seen[1].calls })
    assert.equal(1, #w:seen "try")
    assert.equal(seen[1].call, w:seen("try")[1].call)
  end)
end)

describe("who goes together", function()
  guard.watch(before_each, after_each)

  -- The sizes of the batches that two calls make.
  local function two(kind, a, b, more)
    local w = batching.world(more or { batch = { "embeddings", "completions" } })
    ask(w, kind, { { "a", a[1], a[2] }, { "b", b[1], b[2] } })
    w:assert_clean()
    return #w.log == 1
  end

  it("agrees in every other field of the request", function()
    assert.is_true(two("embed", {}, {}))
    assert.is_true(two("complete", { nil, { temperature = 0.5, stop = { "x", "y" } } },
      { nil, { stop = { "x", "y" }, temperature = 0.5 } }))
    for name, value in pairs { model = "n", dimensions = 3, user = "u", extra = { a = 1 } } do
      assert.is_false(two("embed", {}, { nil, { [name] = value } }), name)
    end
    for name, value in pairs { temperature = 0, max_tokens = 7, logprobs = 1, seed = 1,
      stop = { "x" } } do
      assert.is_false(two("complete", { nil, { [name] = json.null } }, { nil, { [name] = value } }),
        name)
    end
    assert.is_false(two("complete", { nil, { stop = { "x", "y" } } },
      { nil, { stop = { "y", "x" } } }))
  end)

  it("agrees in what the call itself says", function()
    for name, values in pairs { priority = { "batch", "interactive" }, target = { "a", nil },
      clocks = { { total = 5 }, { total = 6 } },
      headers = { { ["openai-organization"] = "one" }, { ["openai-organization"] = "two" } } } do
      assert.is_true(two("embed", { { [name] = values[1] } }, { { [name] = values[1] } }), name)
      assert.is_false(two("embed", { { [name] = values[1] } }, { { [name] = values[2] } }), name)
    end
    assert.is_true(two("embed", { { deadline = 5 } }, { { deadline = 7, cache = false } }))
    assert.is_true(two("embed", { { deadline = 5, priority = "normal" } }, {}))
  end)

  it("is not who wants to go alone", function()
    for name, value in pairs { batch = false, trace = true, upstream_stream = true,
      headers = { ["x-request-id"] = "1" } } do
      local own = { [name] = value }
      assert.is_false(two("complete", { own }, { own }), name)
    end
    local traced = { headers = {
      traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" } }
    assert.is_false(two("embed", { traced }, { traced }))
  end)

  it("is not who asks for what one of a list cannot have", function()
    for _, fields in ipairs { { n = 2 }, { best_of = 3 }, { suffix = "x" }, { prompt = { "" } } } do
      assert.is_false(two("complete", { nil, fields }, { nil, fields }))
    end
    assert.is_false(two("embed", { nil, { input = { "a" } } }, { nil, { input = { "a" } } }))
    assert.is_true(two("complete", { nil, { n = 1 } }, { nil, { n = 1 } }))
  end)

  it("is not who sends bytes that Lua could not write again", function()
    local function raw(request) return { raw = request } end
    local plain = '{"model":"m","input":"a","seed":12345}'
    local long = '{"model":"m","input":"a","seed":12345678901234567}'
    local function calls(text)
      local w = batching.world { batch = "embeddings" }
      local request = json.decode(text)
      w.loop.run(function()
        for _ = 1, 2 do
          w.loop.spawn(function() assert(w.client:embed(request, raw(text))) end)
        end
      end)
      return #w.log
    end
    assert.equal(1, calls(plain))
    assert.equal(2, calls(long))
  end)

  it("is not a stream, nor a kind that no rule knows", function()
    local w = batching.world { batch = { "completions", "embeddings" }, whole = function()
      return { status = 503, body = "" }
    end, options = { retry = false } }
    w.loop.run(function()
      for _ = 1, 2 do
        w.loop.spawn(function() w.client:stream { prompt = "x" } end)
        w.loop.spawn(function() w.client:chat(batching.request("chat", "x")) end)
      end
    end)
    assert.equal(4, #w.log)
  end)

  it("is asked about the request as it was when it came", function()
    local w = embeddings()
    w.loop.run(function()
      local request = batching.request("embed", "a")
      w.loop.spawn(function() assert(w.client:embed(request)) end)
      w.loop.spawn(function()
        request.input = "b"
        assert(w.client:embed(request))
      end)
    end)
    assert.same({ "a", "b" }, (batching.texts(w.log[1].request)))
  end)

  it("is in no larger batch, and waits no longer, than its own rule says", function()
    local rule = { merge = function(requests)
      local inputs = {}
      for i, r in ipairs(requests) do inputs[i] = r.input end
      return { model = "m", input = inputs }
    end, split = function(body)
      local out = {}
      for i, item in ipairs(body.data) do out[i] = { data = { item } } end
      return out
    end }
    function rule.batch(request)
      return { key = "k", max = request.max, window = request.window }
    end
    local w = batching.world { batch = rule }
    ask(w, "embed", { { "a", nil, { max = 9 } }, { "b", nil, { max = 9 } },
      { "c", nil, { max = 2 } }, { "d", nil, { max = 9 } } })
    assert.same({ 2, 2 }, sizes(w))
    w = batching.world { batch = rule }
    ask(w, "embed", { { "a", nil, { window = 5 } }, { "b", nil, { window = 0.5 } } })
    assert.same({ 2 }, sizes(w))
    assert.near(0.5, w.log[1].at, 1e-9)
  end)
end)
