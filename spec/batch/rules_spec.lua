-- The shipped rules, and what the option `batch` may say.
local batching = require "spec.support.batching"
local guard = require "spec.support.leak_guard"
local json = require "unbusy.json"
local rules = require "unbusy.batching.rules"
local unbusy = require "unbusy"

-- A shipped rule, asked as calls ask it.
local function shipped(name)
  local rule = assert(rules.shipped(name))
  return {
    plan = function(_, request)
      return rule:plan { shown_request = function() return request end }
    end,
    merge = function(_, requests) return rule:merge(nil, requests) end,
    split = function(_, body, requests) return rule:split(nil, body, requests) end,
  }
end

local function messages(text) return { { role = "user", content = text } } end

describe("the rule embeddings", function()
  local rule = shipped "embeddings"

  it("takes requests with one input", function()
    assert.same({ model = "m", dimensions = 3 },
      rule:plan({ model = "m", dimensions = 3, input = "x" }).key)
    for _, input in ipairs { { "x" }, { 1, 2 }, 5, json.null } do
      assert.is_nil(rule:plan { model = "m", input = input })
    end
    assert.is_nil(rule:plan { model = "m", prompt = "x" })
  end)

  it("makes one with all of their inputs", function()
    assert.same({ { model = "m", user = "u", input = { "a", "b", "c" } } }, { rule:merge {
      { model = "m", user = "u", input = "a" }, { model = "m", user = "u", input = "b" },
      { model = "m", user = "u", input = "c" } } })
  end)

  it("goes by the index of each answer", function()
    local function item(i) return { object = "embedding", index = i, embedding = { i } } end
    local body = { object = "list", model = "m", data = { item(2), item(0), item(1) } }
    local list = rule:split(body, { {}, {}, {} })
    for i = 1, 3 do
      assert.same({ object = "list", model = "m",
        data = { { object = "embedding", index = 0, embedding = { i - 1 } } } }, list[i])
    end
    list = rule:split({ data = { { embedding = { 1 } }, { embedding = { 2 } } } }, { {}, {} })
    assert.same({ 2 }, list[2].data[1].embedding)
  end)

  it("has a fault where an answer is missing, or there are two", function()
    local function item(i) return { index = i, embedding = { i } } end
    for _, data in ipairs { {}, { item(0) }, { item(0), item(0) }, { item(1), item(2) },
      { item(0), item(1), item(2) }, { item(0), "x" }, { item(0), item(0.5) },
      { item(0), item(-1) }, { a = 1 } } do
      assert.is_nil(rule:split({ data = data }, { {}, {} }))
    end
    assert.is_nil(rule:split({ data = "x" }, { {}, {} }))
    assert.is_nil(rule:split({}, { {}, {} }))
  end)
end)

describe("the rule completions", function()
  local rule = shipped "completions"

  it("takes requests with one prompt and one answer", function()
    assert.same({ model = "m", n = 1 }, rule:plan({ model = "m", n = 1, prompt = "x" }).key)
    assert.is_table(rule:plan { prompt = "x", n = json.null, suffix = json.null })
    for _, request in ipairs { { prompt = { "x" } }, { prompt = "x", n = 2 }, { input = "x" },
      { prompt = "x", best_of = 2 }, { prompt = "x", suffix = "y" },
      { prompt = "x", messages = {} } } do
      assert.is_nil(rule:plan(request))
    end
  end)

  it("makes one of them, and single answers of its choices", function()
    assert.same({ model = "m", prompt = { "a", "b" } },
      (rule:merge { { model = "m", prompt = "a" }, { model = "m", prompt = "b" } }))
    local list = rule:split({ id = "x", object = "text_completion", model = "m", created = 5,
      usage = { total_tokens = 3 }, choices = { { index = 1, text = "B", logprobs = json.null },
        { index = 0, error = { code = "e" } } } }, { {}, {} })
    assert.same({ error = { code = "e" } }, list[1])
    assert.same({ id = "x", object = "text_completion", model = "m", created = 5,
      choices = { { index = 0, text = "B", logprobs = json.null } } }, list[2])
  end)
end)

describe("the rule endpoint", function()
  local rule = shipped "endpoint"

  it("takes a chat that one prompt says all of", function()
    local plan = rule:plan { model = "m", temperature = 1, messages = messages "x" }
    assert.same({ { model = "m" }, true }, { plan.key, plan.endpoint })
    for _, request in ipairs {
      { prompt = "x" }, { messages = messages(5) }, { messages = {} },
      { messages = { { role = "system", content = "x" } } },
      { messages = { { role = "system", content = "x" }, { role = "user", content = "x" } } },
      { messages = { { role = "user", content = { { type = "text", text = "x" } } } } },
      { messages = { { role = "user", content = "x", name = "n" } } },
      { messages = messages "x", n = 2 }, { messages = messages "x", tools = {} },
      { messages = messages "x", functions = {} },
    } do
      assert.is_nil(rule:plan(request))
    end
  end)

  it("makes prompts and parameters of them", function()
    assert.same({ requests = {
      { prompt = "a", parameters = { model = "m", temperature = 1 } },
      { prompt = "b", parameters = { model = "m", stop = "x" } },
    } }, (rule:merge { { model = "m", temperature = 1, messages = messages "a", stream = false },
      { model = "m", stop = "x", messages = messages "b", stream_options = {} } }))
  end)

  it("reads answers whole, in short, and errors", function()
    local function choice(text)
      return { index = 0, message = { role = "assistant", content = text }, finish_reason = "stop" }
    end
    local list = rule:split({ object = "list", model = "m", created = 7, usage = {}, responses = {
      { id = "own", object = "chat.completion", model = "n", choices = { choice "a" } },
      { choices = { choice "b" } }, { choices = { { text = "c", finish_reason = "stop" } } },
      { text = "d" }, { error = { code = "e" } }, { error = json.null, text = "f" },
    } }, { {}, {}, {}, {}, {}, {} })
    assert.same({ id = "own", object = "chat.completion", model = "n", created = 7,
      choices = { choice "a" } }, list[1])
    for i, text in ipairs { "a", "b", "c", "d", false, "f" } do
      if text then
        assert.same(choice(text), list[i].choices[1])
        assert.same({ "chat.completion", 7 }, { list[i].object, list[i].created })
      end
    end
    assert.same({ error = { code = "e" } }, list[5])
    for _, wrong in ipairs { 5, "x", {}, { choices = {} }, { choices = "x" } } do
      assert.is_nil(rule:split({ responses = { wrong, { text = "x" } } }, { {}, {} }))
    end
    assert.is_nil(rule:split({ responses = "x" }, { {} }))
  end)
end)

describe("a batch to a target's endpoint", function()
  guard.watch(before_each, after_each)

  local function new(more)
    local given = { batch = { rule = "endpoint", max = 4 },
      targets = { a = { batch = "/api/v1/batch" } } }
    for name, value in pairs(more or {}) do given[name] = value end
    return batching.world(given)
  end

  it("has each call's own parameters, and one model", function()
    local w = new()
    local out = batching.ask(w, "chat", { { "a", nil, { temperature = 0 } },
      { "b", nil, { temperature = 1, stop = { "x" } } }, { "c", nil, { model = "n" } },
      { "d", nil, { model = "n" } } })
    for i, text in ipairs { "a", "b", "c", "d" } do
      local reply = out[i].reply
      assert.equal("echo: " .. text, reply.text)
      assert.same({ "batch", 2, "stop" }, { reply.source, reply.batch.size, reply.finish_reason })
      assert.same({ "chat.completion", "assistant", 0 }, { reply.body.object,
        reply.body.choices[1].message.role, reply.body.choices[1].index })
    end
    assert.equal("http://a.test/api/v1/batch", w.log[1].request.url)
    assert.same({ requests = { { prompt = "a", parameters = { model = "m", temperature = 0 } },
      { prompt = "b", parameters = { model = "m", temperature = 1, stop = { "x" } } } } },
      json.decode(w.log[1].request.body))
    assert.equal("n", json.decode(w.log[2].request.body).requests[1].parameters.model)
    w:assert_clean()
  end)

  it("has the model under the target's own name", function()
    local w = new { targets = { a = { batch = "/api/v1/batch", models = { m = "big",
      default = "small" } } } }
    batching.ask(w, "chat", { "a", "b" })
    local model = json.decode(w.log[1].request.body).requests[2].parameters.model
    assert.equal("big", model)
    w = new { targets = { a = { batch = "/b", models = { default = "small" } } } }
    w.loop.run(function()
      for _ = 1, 2 do
        w.loop.spawn(function() w.client:chat { messages = messages "x" } end)
      end
    end)
    assert.equal("http://a.test/b", w.log[1].request.url)
    assert.equal("small", json.decode(w.log[1].request.body).requests[1].parameters.model)
  end)

  it("goes to those that have one, and to nobody else", function()
    local both = { a = batching.server {}, b = batching.server {} }
    local w = new { script = both, targets = { b = { batch = "/api/v1/batch" } } }
    for i = 1, 3 do
      local out = batching.ask(w, "chat", { "x", "y" })
      assert.equal("b", out[i % 2 + 1].reply.target)
    end
    local out = batching.ask(w, "chat", { { "x", { target = "a" } }, { "y", { target = "a" } } })
    assert.same({ "a", "upstream" }, { out[1].reply.target, out[1].reply.source })
    out = batching.ask(w, "chat", { { "x", { target = "b" } }, { "y", { target = "b" } } })
    assert.same({ "b", "batch" }, { out[1].reply.target, out[1].reply.source })
    w:assert_clean()
  end)

  it("is not waited for where no target has one", function()
    local w = new { targets = {} }
    local out = batching.ask(w, "chat", { "x", "y" })
    assert.same({ "upstream", 0 }, { out[1].reply.source, out[1].reply.times.queued })
  end)

  it("is not tried for a while where the server does not know it", function()
    local w = new { whole = function(_, _, request)
      if request.url:find "/api/" then return { status = 404, body = "" } end
    end }
    for i = 1, 3 do
      local out = batching.ask(w, "chat", { "x", "y" })
      assert.same({ "echo: x", "echo: y" }, { out[1].reply.text, out[2].reply.text })
      assert.equal(1 + 2 * i, #w.log)
    end
    w.loop.run(function() w.loop.sleep(301) end)
    batching.ask(w, "chat", { "x", "y" })
    assert.equal(7 + 3, #w.log)
  end)

  it("is a plain chat where nobody else came", function()
    local w = new()
    local out = batching.ask(w, "chat", { "x", { "y", nil, nil, 1 } })
    assert.equal("http://a.test/v1/chat/completions", w.log[1].request.url)
    assert.same({ "upstream", "echo: x" }, { out[1].reply.source, out[1].reply.text })
  end)

  it("is asked for by a call where no rule says so", function()
    local w = new { batch = false }
    local out = batching.ask(w, "chat", { { "x", { batch = true } }, { "y", { batch = true } },
      "z" })
    assert.same({ "batch", "batch", "upstream" }, { out[1].reply.source, out[2].reply.source,
      out[3].reply.source })
  end)
end)

describe("the option batch", function()
  local function new(batch)
    local made = unbusy.new { targets = { { name = "a", url = "http://a.test" } }, batch = batch }
    return made
  end

  local function rule()
    local function f() end
    return { batch = f, merge = f, split = f }
  end

  it("is a name, a path, a table, functions, or a list of these", function()
    local path = os.tmpname() .. ".lua"
    local file = assert(io.open(path, "w"))
    file:write "local function f() end return { batch = f, merge = f, split = f }"
    file:close()
    for _, given in ipairs { "embeddings", path, { rule = "completions", max = 2, window = 0 },
      { rule = rule() }, rule(), { "embeddings", { rule = path }, rule() } } do
      assert.is_table(new(given).batches.rules[1])
    end
    os.remove(path)
    assert.equal(3, #new({ "embeddings", "completions", rule() }).batches.rules)
    assert.same({}, new(false).batches.rules)
    assert.is_table(new "embeddings":status().batch.rules[1])
    local own = rule()
    own.max, own.window = 5, 1
    assert.same({ 5, 1 }, { new(own).batches.rules[1].max, new(own).batches.rules[1].window })
  end)

  it("is checked at the caller's line", function()
    local wrong = {
      { "embedings", "batch: .*'embedings'" },
      { true, "batch: a rule expected" },
      { {}, "batch.rule is missing" },
      { { max = 3 }, "rule is missing" },
      { { rule = "embeddings", max = 0 }, "batch.max: a number at least 1" },
      { { rule = "embeddings", window = -1 }, "batch.window" },
      { { rule = "embeddings", windows = 1 }, "unknown option 'batch.windows', did you mean" },
      { { "embeddings", { rule = "x/y.lua" } }, "batch%[2%]: .*x/y.lua" },
      { { rule = 5 }, "batch.rule" },
      { 5, "batch: string or table or boolean expected" },
      { { batch = function() end }, "merge" },
      { { batch = function() end, merge = 5, split = 6 }, "merge" },
    }
    for _, case in ipairs(wrong) do
      local ok, message = pcall(new, case[1])
      assert.is_false(ok)
      assert.matches("^spec/batch/rules_spec.lua:%d+: unbusy: ", message)
      assert.matches(case[2], message)
    end
  end)

  it("of a target is a path", function()
    for _, path in ipairs { "batch", "", "/a b", "/a#b", "/a?b=c", "http://x/y", "/a\n" } do
      local ok, message = pcall(unbusy.new,
        { targets = { { name = "a", url = "http://a.test", batch = path } } })
      assert.is_false(ok)
      assert.matches("targets%[1%]%.batch: a path", message)
    end
  end)
end)
