-- Items that fail, batches that fail, rules that fail.
local batching = require "spec.support.batching"
local guard = require "spec.support.leak_guard"
local world = require "spec.support.world"

local ask, many, said, sizes = batching.ask, batching.many, batching.said, batching.sizes

local function new(more)
  local given = { batch = { rule = "embeddings", max = 16, window = 0.02 } }
  for name, value in pairs(more or {}) do given[name] = value end
  return batching.world(given)
end

local INVALID = { status = 400, body = '{"error":{"message":"no","code":"bad","type":'
  .. '"invalid_request_error"}}' }

-- A server that refuses every request with such a text in it.
local function refusing(words, answer)
  return function(texts)
    for _, text in ipairs(texts) do
      if text == words then return answer or INVALID end
    end
  end
end

local function codes(out)
  local list = {}
  for i, o in ipairs(out) do list[i] = o.code or "ok" end
  return list
end

local function assert_own(out, but)
  for i, o in ipairs(out) do
    if not (but and but[i]) then
      assert(o.reply, ("%d: %s"):format(i, o.message))
      assert.equal("echo: t" .. i, said(o.reply))
    end
  end
end

describe("an item of a batch that fails", function()
  guard.watch(before_each, after_each)

  it("fails alone, with the server's own code and words", function()
    local w = new { item = function(text)
      if text == "t2" then
        return { message = "too long", code = "context_length_exceeded", type = "invalid" }
      end
    end }
    local out = ask(w, "embed", many(3))
    assert.same({ "ok", "invalid", "ok" }, codes(out))
    assert_own(out, { [2] = true })
    local bad = out[2]
    assert.equal("a: item 2 of 3: 200 context_length_exceeded: too long", bad.message)
    assert.same({ "a", 200, 1, "context_length_exceeded", { size = 3, index = 2 } },
      { bad.detail.target, bad.detail.status, bad.detail.tries, bad.detail.provider_code,
        bad.detail.batch })
    assert.equal(1, #w.log)
    w:assert_clean()
  end)

  it("is asked again by itself where that may help, after a pause", function()
    local w = new { item = function(text)
      if text == "t2" then return { message = "busy", code = "server_is_overloaded" } end
    end }
    local out = ask(w, "embed", many(4))
    assert.same({ "ok", "ok", "ok", "ok" }, codes(out))
    assert_own(out)
    assert.same({ 4, 1 }, sizes(w))
    assert.is_true(w.log[2].at - w.log[1].at >= 1.1) -- the backoff's first pause
    assert.same({ "upstream", 2 }, { out[2].reply.source, out[2].reply.tries })
    assert.same({ "batch", 1 }, { out[1].reply.source, out[1].reply.tries })
    w:assert_clean()
  end)

  it("is also a completion that was broken off for want of room", function()
    local w = new { batch = "completions", whole = function(texts)
      if #texts == 1 then return nil end
      return { status = 200, body = '{"choices":[{"index":0,"text":"echo: t1","finish_reason":'
        .. '"stop"},{"index":1,"text":"half","finish_reason":"insufficient_system_resource"}]}' }
    end }
    local out = ask(w, "complete", many(2))
    assert_own(out)
    assert.same({ "batch", "upstream" }, { out[1].reply.source, out[2].reply.source })
    assert.equal(2, #w.log)
  end)

  it("is not asked again where there are to be no second tries", function()
    local w = new { options = { retry = false }, item = function(text)
      if text == "t2" then return { message = "busy", code = "server_is_overloaded" } end
    end }
    assert.same({ "ok", "busy", "ok" }, codes(ask(w, "embed", many(3))))
    assert.equal(1, #w.log)
  end)

  it("takes a permit of the budget, as every second try does", function()
    local w = new { options = { budget = { tokens = 10 } }, item = function(text)
      if text ~= "t1" then return { message = "busy", code = "server_is_overloaded" } end
    end }
    local out = ask(w, "embed", many(16))
    local counts = {}
    for _, code in ipairs(codes(out)) do counts[code] = (counts[code] or 0) + 1 end
    assert.is_true(counts.busy >= 10, "the budget is for a few only")
    assert.matches("the retry budget is spent", out[16].message)
    w:assert_clean()
  end)

  it("hides what must not be told", function()
    local w = new { targets = { a = { key = "sk-secret-key-1234" } }, item = function(text)
      if text == "t1" then return { message = "key sk-secret-key-1234 is bad" } end
    end, options = { retry = false } }
    local out = ask(w, "embed", many(2))
    assert.equal("upstream", out[1].code)
    assert.is_nil(out[1].message:find("sk-secret", 1, true))
  end)
end)

describe("a batch that fails", function()
  guard.watch(before_each, after_each)

  it("is tried again as one call, with one permit", function()
    local w = new { whole = function(_, n)
      if n <= 2 then return world.status(503) end
    end }
    local out = ask(w, "embed", many(8))
    assert_own(out)
    assert.same({ 8, 8, 8 }, sizes(w))
    for i = 1, 8 do assert.equal(3, out[i].reply.tries) end
    assert.equal(2, #w:seen "retry")
    w:assert_clean()
  end)

  it("goes to another target, as every call", function()
    local w = batching.world { batch = "embeddings", script = {
      a = { { status = 500, body = "" } }, b = batching.server {} } }
    local out = ask(w, "embed", many(3))
    assert_own(out)
    assert.equal("b", out[1].reply.target)
    assert.equal(2, #w.log)
  end)

  it("does not take the good ones down with a poisoned one", function()
    for _, n in ipairs { 2, 3, 4, 5, 8, 16 } do
      local poison = math.ceil(n / 2)
      local w = new { whole = refusing("t" .. poison) }
      local out = ask(w, "embed", many(n))
      assert_own(out, { [poison] = true })
      assert.equal("invalid", out[poison].code)
      assert.matches("a: 400 bad: no$", out[poison].message)
      assert.is_true(#w.log <= 9, ("%d calls for %d"):format(#w.log, n))
      w:assert_clean()
    end
  end)

  it("is halved, and asked singly in the end", function()
    local w = new { whole = refusing "t1" }
    local out = ask(w, "embed", many(16))
    assert_own(out, { true })
    assert.same({ 16, 8, 8, 4, 4, 1, 1, 1, 1 }, sizes(w))
    assert.equal(4, out[1].detail.tries)
    assert.same({ "batch", { size = 8, index = 8 }, 2 },
      { out[16].reply.source, out[16].reply.batch, out[16].reply.tries })
    assert.same({ "upstream", 4 }, { out[2].reply.source, out[2].reply.tries })
    assert.equal(3, w.client:status().batch.split)
    assert.equal(3, #w:seen "split")
  end)

  it("costs no more than twice the calls, even where all are poisoned", function()
    for _, n in ipairs { 2, 7, 16, 33 } do
      local w = new { batch = { rule = "embeddings", max = n },
        whole = function() return INVALID end }
      local out = ask(w, "embed", many(n))
      for i = 1, n do assert.equal("invalid", out[i].code) end
      assert.is_true(#w.log < 2 * n, ("%d calls for %d"):format(#w.log, n))
      w:assert_clean()
    end
  end)

  it("takes nothing from the budget for good where requests were wrong", function()
    local w = new { whole = function() return INVALID end }
    for _ = 1, 5 do ask(w, "embed", many(16)) end
    assert.equal(500, w.client:status().budget.tokens)
  end)

  it("is asked with fewer at once where the answer did not come whole", function()
    local w = new { options = { retry = { attempts = 2 } }, whole = function(texts)
      if #texts > 4 then
        return { status = 200, body = '{"data":[', fail = "cut", message = "gone" }
      end
    end }
    local out = ask(w, "embed", many(8))
    assert_own(out)
    assert.same({ 8, 8, 4, 4 }, sizes(w))
    assert.equal(3, out[1].reply.tries)
    w:assert_clean()
  end)

  it("is not halved where that were only more work for who has too much", function()
    for code, answer in pairs { busy = world.status(503), limited = world.status(429),
      auth = world.status(401), quota = world.status(402) } do
      local w = new { options = { retry = { attempts = 2 } }, whole = function() return answer end }
      local out = ask(w, "embed", many(8))
      for i = 1, 8 do assert.equal(code, out[i].code) end
      assert.is_true(#w.log <= 2)
      w:assert_clean()
    end
  end)

  it("is not halved where nobody was reached", function()
    local w = new { options = { retry = { attempts = 2 } }, whole = function()
      return { fail = "network", message = "no route" }
    end }
    local out = ask(w, "embed", many(8))
    assert.equal("network", out[1].code)
    assert.equal(2, #w.log)
    w = new { options = { retry = { attempts = 2 } }, whole = function()
      return { fail = "timeout", message = "no connection", phase = "connect" }
    end }
    assert.equal("timeout", ask(w, "embed", many(8))[1].code)
    assert.equal(2, #w.log)
  end)

  it("is not halved where the server sends it elsewhere", function()
    local w = new { whole = function() return world.status(302, { location = "/x" }) end }
    assert.equal("upstream", ask(w, "embed", many(8))[1].code)
    assert.equal(1, #w.log)
  end)

  it("makes no storm while everything fails: attempts, halves, singles, a budget", function()
    local w = new { whole = function() return world.status(500) end,
      options = { breaker = false } }
    local out = ask(w, "embed", many(16))
    for i = 1, 16 do assert.equal("upstream", out[i].code) end
    assert.is_true(#w.log <= 5 + 2 + 4 + 16)
    for i = 1, 16 do assert.is_true(out[i].detail.tries <= 8) end
    w:assert_clean()
    -- the same again: what the budget has left
    local before = #w.log
    for _ = 1, 5 do ask(w, "embed", many(16)) end
    assert.is_true(#w.log - before <= 5 * 5 + 40, #w.log - before .. " calls")
    assert.is_true(w.client:status().budget.tokens < 100)
    w:assert_clean()
  end)

  it("gives each member the failure, and tells the tries", function()
    local w = new { options = { retry = { attempts = 3 }, breaker = false },
      whole = function() return world.status(503) end }
    local out = ask(w, "embed", many(5))
    for i = 1, 5 do
      assert.same({ "busy", 3 }, { out[i].code, out[i].detail.tries })
      assert.matches("^a: 503 service overloaded %(after 3 tries%)$", out[i].message)
    end
    assert.are_not.equal(out[1].detail, out[2].detail)
  end)

  it("is not asked for those who have left since", function()
    local w = new { whole = function(texts)
      if #texts == 8 then return { status = 500, after = 1, body = "" } end
    end, options = { retry = false } }
    local texts = many(8)
    for i = 1, 4 do texts[i][2] = { deadline = 0.5 } end
    local out = ask(w, "embed", texts)
    assert.same({ "timeout", "timeout", "timeout", "timeout", "ok", "ok", "ok", "ok" }, codes(out))
    assert.same({ 8, 1, 1, 1, 1 }, sizes(w)) -- four are asked singly
    w:assert_clean()
  end)
end)

describe("what does not fit", function()
  guard.watch(before_each, after_each)

  -- A rule that does everything right, with one function replaced.
  local function rule(own)
    local r = {}
    function r.batch() return { key = "k", max = 3 } end
    function r.merge(requests)
      local inputs = {}
      for i, request in ipairs(requests) do inputs[i] = request.input end
      return { model = "m", input = inputs }
    end
    function r.split(body)
      local out = {}
      for i, item in ipairs(body.data) do out[i] = { data = { item } } end
      return out
    end
    for name, f in pairs(own) do r[name] = f end
    return r
  end

  local function assert_alone(own, calls)
    local w = batching.world { batch = rule(own) }
    local out = ask(w, "embed", many(3))
    assert_own(out)
    assert.equal(calls, #w.log)
    assert.is_true(w.client:status().batch.faults > 0)
    w:assert_clean()
    return w, out
  end

  it("is good where it fits", function()
    local w = batching.world { batch = rule {} }
    assert_own(ask(w, "embed", many(3)))
    assert.equal(1, #w.log)
  end)

  it("a split of too few, too many or something else: each is asked alone", function()
    local splits = {
      function(body) return { { data = { body.data[1] } } } end,
      function() return {} end,
      function() return nil end,
      function() return "x" end,
      function() return { {}, {}, {}, {} } end,
      function() return { {}, {}, "x" } end,
      function() return { {}, nil, {} } end,
      function() return { {}, {}, {}, more = {} } end,
      function() error "oh" end,
      function(body) return body.nothing.at.all end,
    }
    for i, split in ipairs(splits) do
      local w, out = assert_alone({ split = split }, 4)
      assert.same({ 3, 1, 1, 1 }, sizes(w), i)
      assert.equal(2, out[1].reply.tries)
    end
  end)

  it("answers that are none fail alone", function()
    local w = batching.world { batch = rule { split = function(body)
      return { { data = { body.data[1] } }, { nothing = true }, { error = "no" } }
    end }, options = { retry = false } }
    local out = ask(w, "embed", many(3))
    assert.same({ "ok", "upstream", "upstream" }, codes(out))
    assert.equal("a: item 2 of 3: 200 without data", out[2].message)
  end)

  it("a merge that gives no request: nothing is sent, and each is asked alone", function()
    for _, merge in ipairs {
      function() return nil end,
      function() return "text" end,
      function() return {}, "no/path" end,
      function() return {}, 5 end,
      function() error {} end,
    } do
      local _, out = assert_alone({ merge = merge }, 3)
      assert.equal(1, out[1].reply.tries)
    end
  end)

  it("a plan that is none: each goes alone, without a wait", function()
    for _, plan in ipairs { "x", true, {}, { key = 1, max = 0 }, { key = 1, max = 1.5 },
      { key = 1, window = -1 }, { key = 1, window = 0 / 0 }, { key = 1, window = math.huge },
      { key = 1, max = "2" }, { key = print }, { key = 1, endpoint = 1 } } do
      local _, out = assert_alone({ batch = function() return plan end }, 3)
      assert.equal(0, out[1].reply.times.queued)
    end
    assert_alone({ batch = function() error "oh" end }, 3)
  end)

  it("what cannot be written as JSON goes alone", function()
    local w = batching.world { batch = rule { merge = function() return { f = print } end } }
    local out = ask(w, "embed", many(3))
    assert_own(out)
    assert.equal(3, #w.log)
    w = batching.world { batch = rule { batch = function()
      return { key = { [1] = 1, a = 2 } }
    end } }
    assert_own(ask(w, "embed", many(3)))
    assert.equal(3, #w.log)
  end)

  it("a rule may post its requests elsewhere", function()
    local w
    w = batching.world { batch = rule { merge = function(requests)
      return { inputs = #requests }, "/elsewhere"
    end, split = function(body) return body.list end }, script = { a = function(request)
      assert.equal("http://a.test/v1/elsewhere", request.url)
      return { status = 200, body = '{"list":[{"data":[{"text":"echo: t1"}]},{"data":[{"text":'
        .. '"echo: t2"}]},{"data":[{"text":"echo: t3"}]}]}' }
    end } }
    assert_own(ask(w, "embed", many(3)))
    assert.equal('{"inputs":3}', w.log[1].request.body)
  end)
end)
