-- Batches by a policy, and rules in files: what is the program's own to say.
local batching = require "spec.support.batching"
local guard = require "spec.support.leak_guard"

local ask, many, said, sizes = batching.ask, batching.many, batching.said, batching.sizes

-- A policy's functions that put embeddings together.
local function functions(own)
  local p = {
    batch = function(request) return { key = request.model, max = 3 } end,
    merge = function(requests)
      local inputs = {}
      for i, request in ipairs(requests) do inputs[i] = request.input end
      return { model = requests[1].model, input = inputs }
    end,
    split = function(body)
      local out = {}
      for i, item in ipairs(body.data) do out[i] = { data = { item } } end
      return out
    end,
  }
  for name, f in pairs(own or {}) do p[name] = f end
  return p
end

local function assert_own(out)
  for i, o in ipairs(out) do
    assert(o.reply, o.message)
    assert.equal("echo: t" .. i, said(o.reply))
  end
end

local function new(policy, more)
  local given = { options = { policy = policy } }
  for name, value in pairs(more or {}) do given[name] = value end
  return batching.world(given)
end

describe("a policy's batch", function()
  guard.watch(before_each, after_each)

  it("puts calls together with its own merge and split", function()
    local w = new(functions())
    local out = ask(w, "embed", many(7))
    assert_own(out)
    assert.same({ 3, 3, 1 }, sizes(w))
    assert.equal("policy", w:seen("batch")[1].rule)
    w:assert_clean()
  end)

  it("may say itself what each answer has used", function()
    local price = { input = 1e6, output = 1e6 }
    local w = new(functions { split = function(body)
      local out = {}
      for i, item in ipairs(body.data) do
        out[i] = { data = { item }, usage = { prompt_tokens = i, total_tokens = i } }
      end
      return out
    end }, { targets = { a = { price = price } } })
    local out = ask(w, "embed", many(3))
    for i = 1, 3 do
      assert.same({ i, i }, { out[i].reply.usage.prompt_tokens, out[i].reply.cost })
    end
    w = new(functions(), { targets = { a = { price = price } } }) -- else the batch's is shared
    out = ask(w, "embed", { "a", "bbb", "cc" })
    local sum = 0
    for i, tokens in ipairs { 1, 3, 2 } do
      assert.equal(tokens, out[i].reply.usage.prompt_tokens)
      sum = sum + out[i].reply.cost
    end
    assert.near(6 + 9, sum, 1e-9)
  end)

  it("comes before the client's rules, which are asked where it says nothing", function()
    local w = new(functions { batch = function(request)
      if request.model == "m" then return { key = "k", max = 2 } end
    end }, { batch = { rule = "embeddings", max = 4 } })
    ask(w, "embed", many(2))
    ask(w, "embed", { { "a", nil, { model = "n" } }, { "b", nil, { model = "n" } } })
    local seen = w:seen "batch"
    assert.same({ "policy", "embeddings" }, { seen[1].rule, seen[2].rule })
  end)

  it("says that a call goes alone", function()
    local w = new({ batch = function() return false end }, { batch = "embeddings" })
    ask(w, "embed", many(3))
    assert.same({ 1, 1, 1 }, sizes(w))
  end)

  it("names a shipped rule, with its own size and window", function()
    local w = new { batch = function() return { rule = "embeddings", max = 2, window = 1 } end }
    local out = ask(w, "embed", many(3))
    assert_own(out)
    assert.same({ 2, 1 }, sizes(w))
    assert.near(1, w.log[2].at, 1e-9)
    assert.equal("embeddings", w:seen("batch")[1].rule)
  end)

  it("goes alone where it names a rule that is none, or that does not take the request", function()
    for _, name in ipairs { "nothing", "completions", "../policies/x", "a b" } do
      local w = new { batch = function() return { rule = name } end }
      assert_own(ask(w, "embed", many(2)))
      assert.same({ 1, 1 }, sizes(w))
      w:assert_clean()
    end
  end)

  it("may go to a target's endpoint", function()
    local policy = functions { batch = function(request)
      return { key = request.model, endpoint = true }
    end, merge = function(requests)
      local list = {}
      for i, request in ipairs(requests) do list[i] = { prompt = request.messages[1].content } end
      return { requests = list }
    end, split = function(body) return body.responses end }
    local w = new(policy, { targets = { a = { batch = "/api/v1/batch" } } })
    assert_own(ask(w, "chat", many(3)))
    assert.equal("http://a.test/api/v1/batch", w.log[1].request.url)
    w = new(policy)
    assert_own(ask(w, "chat", many(3)))
    assert.same({ 1, 1, 1 }, sizes(w))
  end)

  it("is of one call alone, and goes with those of the same policy only", function()
    local one, other = functions(), functions()
    local w = batching.world {}
    ask(w, "embed", { { "a", { policy = one } }, { "b", { policy = one } }, { "c" } })
    assert.same({ 1, 2 }, sizes(w))
    w = batching.world {}
    ask(w, "embed", { { "a", { policy = one } }, { "b", { policy = other } } })
    assert.same({ 1, 1 }, sizes(w))
    w:assert_clean()
  end)

  it("that fails leaves each call its own way, and is counted", function()
    local loops = function() while true do end end -- luacheck: ignore 542
    local grows = function()
      local t = {}
      for i = 1, 1e9 do t[i] = ("x"):rep(1000) .. i end
      return t
    end
    for name, cases in pairs {
      batch = { loops, grows, function() error "oh" end, function() return 5 end,
        function() return {} end, function() coroutine.yield() end },
      merge = { loops, function() return nil end, function() return { f = print } end,
        function() local t = {} t.t = t return t end },
      split = { loops, function() return {} end, function() error "oh" end },
    } do
      for _, f in ipairs(cases) do
        local w = new(functions { [name] = f })
        assert_own(ask(w, "embed", many(3)))
        assert.is_true((w.client:status().policy[1].faults[name] or 0) > 0, name)
        assert.is_true(#w:seen "policy" >= 1)
        w:assert_clean()
      end
    end
  end)

  it("cannot change what the others see", function()
    local w = new(functions { batch = function(request)
      request.input, request.model = "spoilt", "spoilt"
      return { key = "k", max = 2 }
    end, merge = function(requests)
      return { input = { requests[1].input, requests[2].input } }
    end }, { options = nil })
    local request = batching.request("embed", "t1")
    w.loop.run(function()
      for _ = 1, 2 do w.loop.spawn(function() w.client:embed(request) end) end
    end)
    assert.same({ model = "m", input = "t1" }, request)
  end)
end)

describe("a rule in a file", function()
  guard.watch(before_each, after_each)
  local path

  local function write(text)
    local file = assert(io.open(path, "wb"))
    file:write(text)
    file:close()
  end

  before_each(function() path = os.tmpname() .. ".lua" end)
  after_each(function() os.remove(path) end)

  local RULE = [[
    local rule = {}
    function rule.batch(request) return { key = "k", max = %d } end
    function rule.merge(requests)
      local inputs = {}
      for i, request in ipairs(requests) do inputs[i] = request.input end
      return { model = "m", input = inputs }
    end
    function rule.split(body)
      local out = {}
      for i, item in ipairs(body.data) do out[i] = { data = { item } } end
      return out
    end
    return rule
  ]]

  it("runs, and is loaded anew by hand; a broken version changes nothing", function()
    write(RULE:format(2))
    local w = batching.world { batch = path }
    assert_own(ask(w, "embed", many(4)))
    write(RULE:format(4))
    assert.is_true(w.client:reload())
    assert_own(ask(w, "embed", many(4)))
    assert.same({ 2, 2, 4 }, sizes(w))
    for _, text in ipairs { "return", "return 5", "return { batch = 5 }", "x =", "" } do
      write(text)
      local ok, _, code = w.client:reload()
      assert.same({ nil, "policy" }, { ok, code })
    end
    assert_own(ask(w, "embed", many(4)))
    assert.same({ 2, 2, 4, 4 }, sizes(w))
    local status = w.client:status().batch.rules[1]
    assert.same({ path, 2, {} }, { status.path, status.version, status.faults })
  end)

  it("reaches nothing of the program", function()
    for _, text in ipairs { "require 'os'", "io.open 'x'", "os.exit()", "load 'x'",
      "getmetatable('').__index = nil", "_G.x = 1", "coroutine.yield()", "string.dump(print)" } do
      write(text .. " " .. RULE:format(2))
      local ok, message = pcall(batching.world, { batch = path })
      assert.is_false(ok, text)
      assert.matches("unbusy: batch: ", message)
    end
  end)

  it("must have its three functions", function()
    write "return { batch = function() end, merge = function() end }"
    local ok, message = pcall(batching.world, { batch = path })
    assert.is_false(ok)
    assert.matches("batch: .*no function 'split'", message)
    for _, text in ipairs { "\27Lua", "return print", "" } do
      write(text)
      assert.is_false((pcall(batching.world, { batch = path })))
    end
    os.remove(path)
    assert.is_false((pcall(batching.world, { batch = path })))
    assert.is_false((pcall(batching.world, { batch = "/tmp/" })))
  end)
end)
