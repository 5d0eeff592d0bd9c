-- Plain calls that share one, in one process.
local coalesced = require "spec.support.coalesced"
local guard = require "spec.support.leak_guard"
local json = require "unbusy.json"
local world = require "spec.support.world"

local ask, told, idle = coalesced.ask, coalesced.told, coalesced.assert_idle
local good, status = world.good, world.status

describe("calls that ask the same at the same time", function()
  guard.watch(before_each, after_each)

  it("are one upstream call, and each has its own whole answer", function()
    local w = coalesced.world({ good("hello", 2) }, nil,
      { a = { price = { input = 1, output = 1 } } })
    local out = ask(w, 1000)
    assert.equal("coalesced: 999, upstream: 1", told(out))
    assert.equal(1, #w.log)
    local cost, seen = 0, {}
    for _, o in ipairs(out) do
      local r = o.reply
      cost = cost + r.cost
      assert.equal("hello", r.text)
      assert.same({ "a", 200, "stop", 15, 1 },
        { r.target, r.status, r.finish_reason, r.usage.total_tokens, r.tries })
      assert.near(2, o.at, 1e-9)
      assert.near(2, r.times.total, 1e-9)
      assert.is_nil(seen[r.body] or seen[r.usage] or seen[r.headers])
      seen[r.body], seen[r.usage], seen[r.headers] = true, true, true
    end
    assert.equal(out[1].reply.cost, cost)
    assert.is_true(cost > 0)
    assert.equal(1, w.client:status().cache.stored)
    local s = w.client:status().coalesce
    assert.same({ 1, 999, 0 }, { s.flights, s.joined, s.again })
    idle(w)
  end)

  it("have an answer that nobody else can change", function()
    local w = coalesced.world { good "hello" }
    local out = ask(w, 3)
    out[1].reply.body.choices[1].message.content = "changed"
    out[2].reply.headers["content-type"], out[2].reply.usage.total_tokens = "x", 0
    assert.equal("hello", out[3].reply.body.choices[1].message.content)
    assert.equal("application/json", out[3].reply.headers["content-type"])
    assert.equal(15, out[3].reply.usage.total_tokens)
  end)

  it("share completions and embeddings too", function()
    local body = json.encode { object = "list", model = "m",
      data = { { index = 0, object = "embedding", embedding = { 1, 2 } } } }
    local w = coalesced.world { { status = 200, body = body, after = 1 } }
    local request = { model = "m", input = "x" }
    local out = ask(w, { { kind = "embed", request = request },
      { kind = "embed", request = request } })
    assert.equal("coalesced: 1, upstream: 1", told(out))
    assert.same(out[1].reply.body, out[2].reply.body)
    assert.same({ 1, 2 }, out[2].reply.body.data[1].embedding)
    assert.equal(1, #w.log)
  end)

  it("share what cannot be kept", function()
    local w = coalesced.world { { status = 200, after = 1, body = json.encode { model = "m",
      choices = { { index = 0, finish_reason = "length",
        message = { role = "assistant", content = "half" } } } } } }
    local out = ask(w, 3)
    assert.equal("coalesced: 2, upstream: 1", told(out))
    assert.same({ "half", "length" }, { out[3].reply.text, out[3].reply.finish_reason })
    assert.equal(0, w.client:status().cache.entries)
  end)

  it("are joined until the answer is there, and then it is in the cache", function()
    local w = coalesced.world { good("hello", 2) }
    local out = ask(w, { {}, { after = 1.999 }, { after = 2.001 } })
    assert.same({ "upstream", "coalesced", "cache" },
      { out[1].reply.source, out[2].reply.source, out[3].reply.source })
    assert.near(0.001, out[2].reply.times.total, 1e-9)
  end)

  it("tell it to who watches", function()
    local w = coalesced.world { good("hello", 2) }
    ask(w, 3)
    local seen = w:seen "coalesced"
    assert.equal(2, #seen)
    assert.same({ 2, 3 }, { seen[1].members, seen[2].members })
    local try = w:seen "try"
    assert.equal(1, #try)
    assert.equal(try[1].call, seen[1].with) -- the events of the flight are its first member's
    assert.is_true(seen[1].call > seen[1].with)
  end)

  it("fail together where all tries have failed", function()
    local w = coalesced.world({ status(500, nil, nil, 1) },
      { retry = { attempts = 2, base = 0.1 } })
    local out = ask(w, 4)
    assert.equal("upstream: 4", told(out))
    assert.equal(2, #w.log)
    for _, o in ipairs(out) do
      assert.matches("^a: 500.*after 2 tries", o.message)
      assert.same({ 2, 500, "a" }, { o.detail.tries, o.detail.status, o.detail.target })
    end
    assert.not_equal(out[1].detail, out[2].detail)
    idle(w)
  end)

  it("share the server's word on the request", function()
    for _, code in ipairs { 400, 401, 402 } do
      local w = coalesced.world { status(code, nil, nil, 1) }
      local out = ask(w, 3)
      assert.equal(out[1].code, out[3].code)
      assert.is_nil(out[3].reply)
      assert.equal(1, #w.log)
    end
  end)

  it("share a second try that is good", function()
    local w = coalesced.world({ status(503, nil, nil, 0.1), good "late" },
      { retry = { attempts = 3, base = 1 } })
    local out = ask(w, 3)
    assert.equal("coalesced: 2, upstream: 1", told(out))
    assert.same({ 2, 2 }, { out[1].reply.tries, out[3].reply.tries })
    idle(w)
  end)
end)

describe("calls that are not the same", function()
  guard.watch(before_each, after_each)

  local function apart(a, b, options)
    local w = coalesced.world({ good("hello", 1) }, options)
    local out = ask(w, { a, b })
    assert.is_truthy(out[1].reply and out[2].reply, out[1].message or out[2].message)
    local n = #w.log
    idle(w)
    return n == 2
  end

  it("go apart: other questions, models, temperatures", function()
    assert.is_false(apart({}, {}))
    assert.is_true(apart({ text = "x" }, { text = "y" }))
    assert.is_true(apart({}, { more = { model = "n" } }))
    assert.is_true(apart({}, { more = { temperature = 0.5 } }))
    assert.is_false(apart({}, { more = { user = "bob" } }))
  end)

  it("go apart: options that change what is asked, or how", function()
    local policy = { retry = function() end }
    for _, given in ipairs { { target = "a" }, { headers = { ["accept-language"] = "de" } },
      { upstream_stream = true }, { hedge = false }, { escalate = false }, { batch = false },
      { clocks = { connect = 1 } }, { resume = false }, { policy = policy } } do
      assert.is_true(apart({}, { given = given }), next(given))
      assert.is_false(apart({ given = given }, { given = given }), next(given))
    end
  end)

  it("go together whatever else they say", function()
    for _, given in ipairs { { deadline = 20 }, { stale = false }, { language = "de" },
      { trace = true }, { clocks = { total = 20 } }, { cache = 60 },
      { headers = { ["x-request-id"] = "7" } } } do
      assert.is_false(apart({}, { given = given }), next(given))
    end
  end)

  -- It was given the answer to what had been asked before it came.
  it("do not join what was sent before they came, where they want a new answer", function()
    local fresh = { given = { cache = "refresh" }, after = 0.5 }
    for _, kind in ipairs { "chat", "stream" } do
      local n = 0
      local w = coalesced.world(function()
        n = n + 1
        return kind == "chat" and good("answer " .. n, 1) or world.words({ "answer ", "" .. n }, 1)
      end)
      fresh.kind = kind
      local out = ask(w, { { kind = kind }, fresh, { kind = kind, after = 0.6 },
        { kind = kind, given = { cache = "refresh" }, after = 0.7 } })
      assert.equal("answer 1", out[1].reply.text)
      assert.equal("answer 2", out[2].reply.text)
      assert.equal("answer 1", out[3].reply.text) -- or the new one
      assert.equal("answer 3", out[4].reply.text)
      idle(w)
    end
  end)

  -- A slow answer took the place of the new one, for all of its time.
  it("do not take the place of what was asked for after them, anew", function()
    for _, kind in ipairs { "chat", "stream" } do
      local n = 0
      local w = coalesced.world(function()
        n = n + 1
        if kind == "chat" then return good("answer " .. n, n == 1 and 5 or 1) end
        return world.words({ "answer ", "" .. n }, n == 1 and 2.5 or 0.1)
      end)
      local out = ask(w, { { kind = kind },
        { kind = kind, given = { cache = "refresh" }, after = 0.5 }, { after = 3 }, { after = 6 } })
      assert.equal("answer 1", out[1].reply.text)
      for i = 3, 4 do
        assert.same({ "cache", "answer 2" }, { out[i].reply.source, out[i].reply.text })
      end
      idle(w)
    end
  end)

  it("take its place where they are asked for later, though they came before", function()
    local n = 0
    local w = coalesced.world(function()
      n = n + 1
      return good("answer " .. n, 1)
    end, { limiter = { kind = "fixed", initial = 1 } })
    local out = ask(w, { { text = "other" }, { given = { priority = "batch" }, after = 0.1 },
      { given = { cache = "refresh" }, after = 0.2 }, { after = 4 } })
    assert.same({ "answer 3", "answer 2" }, { out[2].reply.text, out[3].reply.text })
    assert.same({ "cache", "answer 3" }, { out[4].reply.source, out[4].reply.text })
    idle(w)
  end)

  it("share a new answer where all of them want one before it is asked for", function()
    local w = coalesced.world({ good("hello", 1) }, { limiter = { kind = "fixed", initial = 1 } })
    local out = ask(w, { { text = "other" }, { given = { cache = "refresh" }, after = 0.1 },
      { given = { cache = "refresh" }, after = 0.2 }, { after = 0.3 } })
    assert.equal("coalesced: 2, upstream: 2", told(out))
    assert.equal(2, #w.log)
    idle(w)
  end)

  it("go apart where they have no part in the cache", function()
    assert.is_true(apart({}, { given = { cache = false } }))
    assert.is_true(apart({ given = { cache = false } }, { given = { cache = false } }))
    assert.is_true(apart({ more = { n = 2 } }, { more = { n = 2 } }))
  end)

  it("go apart where the client does not want it otherwise", function()
    assert.is_true(apart({}, {}, { cache = { coalesce = false } }))
    local w = coalesced.world({ good "x" }, { cache = false })
    assert.is_nil(w.client:status().coalesce)
  end)

  it("go apart where they only have the same hash", function()
    local flights = require "unbusy.caching.flight"
    local w = coalesced.world { good("hello", 1) }
    local real = flights.takes
    local keys = {}
    function flights.takes(f, call, key) -- as it would be were all hashes the same
      keys[#keys + 1] = f.key == key
      return real(f, call, key)
    end
    local tostring_of = _G.tostring
    _G.tostring = function(v) -- luacheck: ignore 122
      return type(v) == "userdata" and "unbusy.key: 0" or tostring_of(v)
    end
    local ok, out = pcall(ask, w, { { text = "x" }, { text = "y" }, { text = "x" } })
    _G.tostring, flights.takes = tostring_of, real -- luacheck: ignore 122
    assert.is_true(ok, out)
    assert.equal(2, #w.log)
    assert.equal("coalesced: 1, upstream: 2", told(out))
    assert.same({ false, true }, keys)
  end)

  it("are bounded: who would be one more kind of the same goes alone", function()
    local w = coalesced.world { good("hello", 1) }
    local list = {}
    for i = 1, 20 do list[i] = { given = { clocks = { connect = i } } } end
    for i = 21, 40 do list[i] = { given = { clocks = { connect = i - 20 } } } end
    local out = ask(w, list)
    assert.equal("coalesced: 8, upstream: 32", told(out))
    idle(w)
  end)

  it("do not wait behind those that are less urgent", function()
    local w = coalesced.world({ good("hello", 1) }, { limiter = { kind = "fixed", initial = 1 } })
    local out = ask(w, { { text = "other" }, { given = { priority = "batch" }, after = 0.1 },
      { given = { priority = "interactive" }, after = 0.2 },
      { given = { priority = "normal" }, after = 0.3 } })
    assert.near(2, out[3].at, 1e-9)
    assert.same({ "upstream", "coalesced" }, { out[3].reply.source, out[4].reply.source })
    assert.equal(3, #w.log) -- the batch's own comes last
    idle(w)
  end)

  it("join the less urgent once it has its place", function()
    local w = coalesced.world { good("hello", 1) }
    local out = ask(w, { { given = { priority = "batch" } },
      { given = { priority = "interactive" }, after = 0.5 } })
    assert.same({ "upstream", "coalesced" }, { out[1].reply.source, out[2].reply.source })
  end)
end)

describe("a call that nobody could join", function()
  guard.watch(before_each, after_each)

  it("makes no flight", function()
    local w = coalesced.world { good "hello" }
    assert.equal("upstream", w:chat().source)
    assert.equal("cache", w:chat().source)
    assert.equal(0, w.client:status().coalesce.flights)
    assert.is_nil(next(w.client.flights.open))
  end)
end)

describe("a fallback that asks again", function()
  guard.watch(before_each, after_each)

  it("shares its second asking as the first, and pays for it once", function()
    local json_of = world.good("cheap", 1)
    local asked = {}
    local w = coalesced.world(function(request)
      local model = json.decode(request.body).model
      asked[#asked + 1] = model
      return model == "m" and status(500, nil, nil, 1) or json_of
    end, { fallback = { model = "n" } })
    local out = ask(w, 3)
    assert.same({ "m", "n" }, asked)
    assert.equal("coalesced: 2, upstream: 1", told(out))
    assert.equal("cheap", out[3].reply.text)
    assert.equal("model", out[3].reply.fallback.kind)
    idle(w)
  end)

  it("is charged where the second asking fails too", function()
    local w = coalesced.world({ status(500, nil, nil, 1) }, { fallback = { model = "n" } })
    local before = w.client.budget:stats().tokens
    local out = ask(w, 3)
    assert.equal("upstream: 3", told(out))
    assert.equal(2, #w.log)
    assert.equal(before - 14, w.client.budget:stats().tokens)
    idle(w)
  end)
end)

describe("the answer of a flight", function()
  guard.watch(before_each, after_each)

  it("says that it is weak, and whose place it took, to all", function()
    local w = world.new { script = { edge = { good("I do not know", 1) },
      centre = { good("42", 1) } }, order = { "edge", "centre" },
      targets = { edge = { pool = "edge", priority = 1, price = { input = 1, output = 1 } },
        centre = { pool = "centre", priority = 2, price = { input = 2, output = 2 } } },
      options = { cache = true, retry = false,
        policy = { accept = function(_, reply) return reply.text == "42" end } } }
    local out = ask(w, 3)
    assert.same({ "42", "42" }, { out[1].reply.text, out[3].reply.text })
    assert.same({ "edge", "edge" },
      { out[1].reply.escalated.target, out[3].reply.escalated.target })
    assert.is_true(out[1].reply.cost > 0)
    assert.equal(0, out[3].reply.cost)
    assert.is_nil(out[3].reply.escalated.cost)
    assert.equal(2, #w.log)
    assert.equal(2, #w:seen "try")
    idle(w)
  end)

  it("is masked and passed on as it came", function()
    local w = coalesced.world { good "hello" }
    local out = ask(w, 2)
    assert.equal(out[1].reply.raw, out[2].reply.raw)
    assert.equal("unbusy.reply", getmetatable(out[2].reply).__name)
  end)

  it("came as a stream and is whole all the same", function()
    local w = coalesced.world({ world.words({ "a", "b" }) }, { upstream_stream = true })
    local out = ask(w, 3)
    assert.equal("coalesced: 2, upstream: 1", told(out))
    assert.same({ "ab", "ab" }, { out[1].reply.text, out[2].reply.text })
    assert.same(out[1].reply.body, out[2].reply.body)
    assert.equal(1, #w.log)
  end)
end)
