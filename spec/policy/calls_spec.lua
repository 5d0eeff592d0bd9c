-- Calls under a policy: who is asked what, and what comes of it.
local json = require "unbusy.json"
local world = require "spec.support.world"

local good, status = world.good, world.status

-- The targets that were asked, in order.
local function asked(w)
  local out = {}
  for i, entry in ipairs(w.log) do out[i] = entry.host end
  return table.concat(out, " ")
end

local function gaps(w)
  local out = {}
  for i = 2, #w.log do out[i - 1] = math.floor((w.log[i].at - w.log[i - 1].at) * 1000 + 0.5) end
  return out
end

local function no_faults(w)
  for _, p in ipairs(w.client:status().policy) do assert.same({}, p.faults, p.last_fault) end
  w:assert_clean()
end

describe("a policy's retry", function()
  it("says how long to wait, and when it is enough", function()
    local w = world.new { script = { a = { status(503) } }, options = { policy = {
      retry = function(try) if try.number < 4 then return try.number * 0.5 end end } } }
    local reply, message, code = w:chat()
    assert.same({ nil, "busy" }, { reply, code })
    assert.equal("a: 503 service overloaded (the policy wants no more tries)", message)
    assert.same({ 600, 1100, 1600 }, gaps(w)) -- and 100 ms that the server takes
    assert.equal(0.5, w:seen "retry"[1].seconds)
    no_faults(w)
  end)

  it("is bound by neither attempts nor `retry = false`, but by a hundred tries", function()
    for _, retry in ipairs { false, { attempts = 2 } } do
      local w = world.new { script = { a = { status(503) } }, options = { retry = retry,
        budget = false, breaker = false, limiter = false,
        policy = { retry = function() return 0 end } } }
      local _, message = w:chat()
      assert.equal(100, #w.log)
      assert.equal(retry and "a: 503 service overloaded (after 100 tries)"
        or "a: 503 service overloaded", message)
      no_faults(w)
    end
  end)

  it("takes the built-in decision for \"default\"", function()
    local w = world.new { script = { a = { status(503) } }, options = {
      policy = { retry = function() return "default" end } } }
    local _, message = w:chat()
    assert.matches("after 5 tries", message)
    assert.is_true(gaps(w)[4] >= 8100)
    no_faults(w)
  end)

  it("waits no less than the only server asks for, and no longer than is allowed", function()
    local w = world.new { script = { a = { status(503, { ["retry-after"] = "7" }), good() } },
      options = { policy = { retry = function(try) return try.retry_after / 7 end } } }
    assert.equal(2, w:chat().tries)
    assert.is_true(gaps(w)[1] >= 7100 and gaps(w)[1] <= 7800, gaps(w)[1])
    w = world.new { script = { a = { status(503, { ["retry-after"] = "150" }) } },
      options = { policy = { retry = function() return 1 end } } }
    local _, message = w:chat()
    assert.matches("the server asks for 150 s, more than 120 s", message)
    w = world.new { script = { a = { status(503, { ["retry-after"] = "7" }) }, b = { good() } },
      options = { policy = { retry = function() return 1 end } } }
    w:chat()
    assert.same({ 1100 }, gaps(w)) -- others may be asked at once
  end)

  it("is not asked where no other try may be made", function()
    local count = 0
    local policy = { retry = function() count = count + 1 return 1 end }
    local function none(options, script, call)
      options.policy = policy
      local w = world.new { script = { a = script }, options = options }
      local _, _, code = w:chat(call)
      assert.equal(1, #w.log)
      assert.equal(0, count, code)
      w:assert_clean()
    end
    none({}, { status(400) })
    none({}, { status(401) })
    none({}, { { status = 503, body = "", after = 20 } }, { deadline = 10 })
    local w = world.new { script = { a = { { fail = "network", message = "reset" } } },
      options = { policy = policy } }
    local _, message = w.client:pass { method = "POST", path = "/x", body = "y" }
    assert.matches("it may have been carried out", message)
    assert.equal(0, count)
    local unbusy = require "unbusy"
    local cancel = unbusy.canceller()
    w = world.new { script = { a = { status(503, nil, "", 5) } }, options = { policy = policy } }
    w.loop.run(function()
      w.loop.spawn(function()
        w.loop.sleep(1)
        cancel:cancel()
      end)
      local _, _, code = w:chat { cancel = cancel }
      assert.equal("cancelled", code)
    end)
    assert.equal(0, count)
  end)

  it("leaves the budget and the free move to another account as they are", function()
    local busy = { status(503) }
    local w = world.new { script = { a = busy, b = busy, c = busy },
      options = { budget = { floor = 1, ratio = 0, tokens = 0, retry_cost = 1, throttle_cost = 1 },
        policy = { retry = function(try) return try.untried and 0 or 1 end } } }
    local _, message = w:chat()
    assert.matches("the retry budget is spent", message)
    assert.equal("a b", asked(w)) -- the move was free; the next would have been paid for
    assert.same({ 100 }, gaps(w))
    no_faults(w)
  end)

  it("is told of the try, and can change nothing of it", function()
    local seen = {}
    local limited = status(429, { ["retry-after"] = "3", ["x-mine"] = "v",
      ["x-echo"] = "key-of-a" }, '{"error":{"message":"slow down key-of-a","code":"slow_down"}}')
    local w = world.new { script = { a = { limited },
        b = { status(503, nil, "not JSON") } },
      targets = { a = { account = "acme" } },
      options = { policy = { retry = function(try)
        local copy = { mine = try.headers["x-mine"], echo = try.headers["x-echo"] }
        for k, v in pairs(try) do copy[k] = v end
        seen[#seen + 1] = copy
        try.headers["x-mine"], try.code, try.target, try.number = "changed", "auth", "c", 99
        return #seen < 3 and 0.25 or nil
      end } } }
    w.client:chat({ model = "m", messages = { { role = "user", content = "hi" } } },
      { deadline = 60 })
    local first = seen[1]
    assert.same({ 1, "a", "acme", "m", "chat", false, "limited", 429, 3, 5, true, 0 },
      { first.number, first.target, first.account, first.model, first.kind, first.stream,
        first.code, first.status, first.retry_after, first.attempts, first.untried, first.queued })
    assert.matches("slow_down", first.message)
    assert.equal("slow_down", first.body.error.code)
    assert.equal("slow down ***", first.body.error.message)
    assert.same({ "***", "v" }, { first.echo, first.mine })
    assert.same({ 0.1, 0.1, 59.9, 0 }, { first.seconds, first.elapsed, first.remaining,
      first.keep_alives })
    assert.same({ 2, "b", "busy", "not JSON" }, { seen[2].number, seen[2].target, seen[2].code,
      seen[2].text })
    assert.is_nil(seen[2].body)
    no_faults(w)
  end)
end)

describe("a policy's classify", function()
  it("gives a failure another code, which all are told", function()
    local w = world.new { script = { a = { status(404) }, b = { good() } },
      options = { policy = { classify = function(try)
        if try.status == 404 then return "quota" end
      end } } }
    local reply = w:chat()
    assert.equal("b", reply.target)
    assert.equal("quota", w:seen "failed"[1].code)
    assert.matches("^a: 404 .*%(quota, says the policy%)$", w:seen "failed"[1].message)
    w:chat()
    assert.equal("a b b", asked(w)) -- an account without credit is left alone
    no_faults(w)
  end)

  it("makes a try again possible, or impossible, whatever was concluded before", function()
    local refused = status(503, { ["x-should-retry"] = "false" })
    local w = world.new { script = { a = { refused, good() } }, options = {
      policy = { classify = function(try) return try.code and "upstream" end } } }
    assert.equal(2, w:chat().tries)
    w = world.new { script = { a = { status(302), good() } }, options = {
      policy = { classify = function(try) return try.code and "busy" end } } }
    assert.equal(2, w:chat().tries)
    w = world.new { script = { a = { status(503) }, b = { good() } }, options = {
      policy = { classify = function() return "invalid" end } } }
    local _, _, code = w:chat()
    assert.same({ "invalid", 1 }, { code, #w.log })
    w:assert_clean()
  end)

  it("is told the built-in code, in whatever way the try has failed", function()
    local codes = {}
    local policy = { classify = function(try)
      codes[#codes + 1] = try.code .. " " .. try.keep_alives
    end }
    local tries = { status(503), status(429), status(401), status(402), status(400),
      { fail = "network", message = "reset" }, { fail = "tls", message = "bad" },
      { status = 200 }, { status = 200, body = "{" },
      world.streamed { { 1, world.KEEP_ALIVE }, { 1, world.KEEP_ALIVE } },
      world.streamed { { 0, world.chunk { content = "x" } } },
      { status = 200, hang = 1000 } }
    for _, answer in ipairs(tries) do
      local w = world.new { script = { a = { answer } }, options = { policy = policy,
        retry = false } }
      local stream = answer.steps and w.client:stream(world.question)
      if stream then stream:reply() end
      if not answer.steps then w:chat() end
      w:assert_clean()
    end
    assert.same({ "busy 0", "limited 0", "auth 0", "quota 0", "invalid 0", "network 0", "tls 0",
      "empty 0", "upstream 0", "busy 2", "timeout 0" }, codes) -- a cut stream is no try that failed
  end)

  it("turns a whole good answer into that failure, for the breaker and the limiter too", function()
    local w = world.new { script = { a = { good "I cannot help with that" } },
      options = { retry = false, breaker = { min_calls = 2 }, limiter = { initial = 10 },
        policy = { classify = function(try)
          if not try.code and try.text:find "cannot" then return "busy" end
        end } } }
    local reply, message, code, detail = w:chat()
    assert.is_nil(reply)
    assert.same({ "busy", "a: a poor answer, says the policy", 200 },
      { code, message, detail.status })
    assert.equal(0, #w:seen "answer")
    assert.equal("busy", w:seen "failed"[1].code)
    local s = w.client:status().targets[1]
    assert.is_true(s.limits[""].limit < 10)
    assert.equal(1, s.breaker.failures)
    w:chat()
    assert.equal("open", w.client:status().targets[1].state)
    no_faults(w)
  end)

  it("does so with an answer that was assembled from a stream, and not with a stream", function()
    local policy = { classify = function(try)
      if not try.code then return try.body.choices[1].finish_reason == "stop" and "upstream" end
    end }
    local w = world.new { script = { a = { world.words { "a", "b" } } },
      options = { policy = policy, retry = false } }
    local _, _, code = w:chat { upstream_stream = true }
    assert.equal("upstream", code)
    assert.equal(1, w.client:status().targets[1].breaker.failures)
    assert.equal("ab", w:stream():reply().text)
    no_faults(w)
  end)

  it("cannot change the answer", function()
    local w = world.new { script = { a = { good "hello" } }, options = { policy = {
      classify = function(try)
        try.body.choices[1].message.content, try.text, try.headers.x = "changed", "changed", "y"
      end } } }
    local reply = w:chat()
    assert.equal("hello", reply.text)
    assert.equal("hello", reply.body.choices[1].message.content)
    assert.is_nil(reply.headers.x)
    no_faults(w)
  end)

  it("does not make a request that may have been carried out one that was not", function()
    local reset = { fail = "network", message = "reset", phase = "start" }
    local w = world.new { script = { a = { reset } },
      options = { policy = { classify = function() return "busy" end } } }
    local _, message, code = w.client:pass { method = "POST", path = "/pay", body = "1" }
    assert.equal("busy", code)
    assert.matches("it may have been carried out", message)
    assert.equal(1, #w.log)
  end)
end)

describe("a policy's route", function()
  local three = { a = { good "a" }, b = { good "b" }, c = { good "c" } }

  it("chooses the targets and their order, for each try", function()
    local w = world.new { script = { a = { status(503) }, b = { status(503) }, c = { good() } },
      options = { policy = {
        route = function(_, targets)
          local tries = targets[1].tries + targets[2].tries
          return tries == 0 and { "b", "a" } or tries == 1 and "b" or "c"
        end, retry = function() return 0 end } } }
    assert.equal("c", w:chat().target)
    assert.equal("b b c", asked(w))
    no_faults(w)
  end)

  it("is told of the targets", function()
    local seen
    local w = world.new { script = three, targets = { a = { weight = 3, priority = 2,
        account = "acme", price = { input = 1, output = 2 }, models = { m = "their-m" } } },
      options = { limiter = { initial = 8 }, policy = { route = function(request, targets)
        seen = { request = request, targets = targets }
        targets[1], request.model = nil, "changed"
        seen.first = targets[2]
      end } } }
    w.client:chat { model = "m", messages = { { role = "user", content = "hi" } } }
    assert.equal("hi", seen.request.messages[1].content)
    assert.same({ name = "b", account = "b", pool = "default", priority = 1, model = "m",
      state = "closed", free = true, limit = 8, in_flight = 0, round_trip = 0.1, tries = 0 },
      seen.first)
    assert.matches('"model":"m"', w.log[1].request.body)
    no_faults(w)
  end)

  it("tells prices, the model's name there, and what is open", function()
    local seen
    local w = world.new { script = { a = { status(500) }, b = { good() } }, targets = { a = {
        weight = 3, account = "acme", price = { input = 1, output = 2 }, models = { m = "x-m" } } },
      options = { breaker = { min_calls = 1 }, policy = { route = function(_, targets)
        seen = targets
        return nil
      end } } }
    w.client:chat { model = "m", messages = { { role = "user", content = "hi" } } }
    local a = seen[1]
    assert.same({ "acme", 3, { input = 1, output = 2 }, "x-m", "open", false, 1 },
      { a.account, a.weight, a.price, a.model, a.state, a.free, a.tries })
  end)

  it("is not asked where the call names its target, or there is no choice", function()
    local count = 0
    local policy = { route = function() count = count + 1 return "b" end }
    local w = world.new { script = three, options = { policy = policy } }
    assert.equal("c", w:chat { target = "c" }.target)
    world.new({ script = { a = { good() } }, options = { policy = policy } }):chat()
    assert.equal(0, count)
  end)

  it("brings no target back that the call has ruled out", function()
    local w = world.new { script = { a = { status(401) }, b = { good() } }, options = {
      policy = { route = function() return { "a", "b" } end } } }
    assert.equal("b", w:chat().target)
    assert.equal("a b", asked(w))
    w = world.new { script = { a = { status(401) }, b = { good() } }, options = {
      policy = { route = function() return "a" end } } }
    assert.equal("b", w:chat().target)
    no_faults(w)
  end)
end)

describe("a policy's normalise and cache", function()
  local function question(text, more)
    local r = { model = "m", messages = { { role = "user", content = text } } }
    for k, v in pairs(more or {}) do r[k] = v end
    return r
  end

  it("says which questions are the same", function()
    local w = world.new { script = { a = { good "one", good "two" } }, options = { cache = true,
      policy = { normalise = function(request)
        request.messages[1].content = request.messages[1].content:lower():gsub("%s+", " ")
        return request
      end } } }
    assert.equal("upstream", w.client:chat(question "What  is it").source)
    local reply = w.client:chat(question "what is IT")
    assert.same({ "cache", "one" }, { reply.source, reply.text })
    assert.matches("What  is it", w.log[1].request.body) -- what is sent stays as it was
    assert.equal("two", w.client:chat(question "what else").text)
    no_faults(w)
  end)

  it("keeps nothing of a request that was changed meanwhile", function()
    local request = question "x"
    local w = world.new { script = { a = function()
        request.messages[1].content = "y"
        return good()
      end }, options = { cache = true,
      policy = { normalise = function() return { same = true } end } } }
    w.client:chat(request)
    assert.equal("upstream", w.client:chat(question "x").source)
    no_faults(w)
  end)

  it("says for how long an answer is kept, and whether at all", function()
    local says
    local w = world.new { script = { a = { good() } }, options = {
      cache = { ttl = 100, stale = 1, jitter = 0 },
      policy = { cache = function() return says end } } }
    local function source(text, seconds, options)
      w.loop.run(function() w.loop.sleep(seconds) end)
      return w.client:chat(question(text, options), options and options.call).source
    end
    says = 10
    assert.equal("upstream", source("a", 0))
    assert.equal("cache", source("a", 9))
    assert.equal("upstream", source("a", 2))
    says = false
    assert.equal("upstream", source("b", 0))
    assert.equal("upstream", source("b", 0))
    says = true -- whatever its temperature
    assert.equal("upstream", source("c", 0, { temperature = 2 }))
    assert.equal("cache", source("c", 50, { temperature = 2 }))
    says = nil
    assert.equal("upstream", source("d", 0, { temperature = 2 }))
    assert.equal("upstream", source("d", 0, { temperature = 2 }))
    assert.equal("upstream", source("e", 0))
    assert.equal("cache", source("e", 99))
    no_faults(w)
  end)

  it("is not asked where the call says it itself, nor without a cache", function()
    local count = 0
    local policy = { cache = function() count = count + 1 return false end }
    local w = world.new { script = { a = { good() } }, options = { cache = true, policy = policy } }
    w:chat { cache = 100 }
    assert.equal("cache", w:chat { cache = true }.source)
    world.new({ script = { a = { good() } }, options = { policy = policy } }):chat()
    assert.equal(0, count)
    assert.equal("upstream", w:chat().source)
    assert.equal(1, count)
  end)
end)

describe("the policies of a call", function()
  it("are its own, its try's target's, the client's; the first that knows decides", function()
    local function says(seconds) return { retry = function() return seconds end } end
    local busy = { status(503), status(503), good() }
    local w = world.new { script = { a = busy }, options = { policy = says(1) } }
    w:chat()
    assert.same({ 1100, 1100 }, gaps(w))
    w = world.new { script = { a = busy }, options = { policy = says(1) },
      targets = { a = { policy = says(2) } } }
    w:chat()
    assert.same({ 2100, 2100 }, gaps(w))
    w = world.new { script = { a = busy }, options = { policy = says(1) },
      targets = { a = { policy = says(2) } } }
    w:chat { policy = says(3) }
    assert.same({ 3100, 3100 }, gaps(w))
    w = world.new { script = { a = busy }, options = { policy = says(1) },
      targets = { a = { policy = { route = function() return "a" end } } } }
    w:chat { policy = { classify = function() end } }
    assert.same({ 1100, 1100 }, gaps(w))
  end)

  it("of a target are asked about its tries alone", function()
    local w = world.new { script = { a = { status(503) }, b = { status(503) } },
      options = { policy = { route = function(_, targets)
        return targets[1].tries == 0 and "a" or "b" end, retry = function(try)
        return try.number < 4 and 1 or nil end } },
      targets = { a = { policy = { retry = function() return 5 end,
        route = function() error "not asked" end } } } }
    w:chat()
    assert.equal("a b b b", asked(w))
    assert.same({ 5100, 1100, 1100 }, gaps(w))
    no_faults(w)
  end)

  it("that fail do not hand over to the next: the built-in decision is taken", function()
    local w = world.new { script = { a = { status(503) } },
      options = { policy = { retry = function() return 50 end } },
      targets = { a = { policy = { retry = function() return -1 end } } } }
    local _, message = w:chat()
    assert.matches("after 5 tries", message)
    assert.is_true(gaps(w)[1] < 1300)
  end)

  it("of single calls stay loaded, some of them", function()
    local w = world.new { script = { a = { status(503) } } }
    local paths = {}
    for i = 1, 70 do
      paths[i] = os.tmpname()
      local f = assert(io.open(paths[i], "w"))
      f:write "return { retry = function() return nil end }"
      f:close()
      w:chat { policy = paths[i] }
    end
    assert.equal(70, #w.log)
    local listed = w.client:status().policy
    assert.equal(64, #listed)
    assert.equal(paths[7], listed[1].name)
    for i = 1, 70 do os.remove(paths[i]) end
    w:chat { policy = paths[70] } -- it is not read again
    assert.equal(2, w.client:status().policy[64].asked)
    assert.has_error(function() w:chat { policy = paths[1] } end)
  end)

  it("cost a client nothing that has none", function()
    local w = world.new { script = { a = { good() } } }
    w:chat()
    assert.is_nil(w.client:status().policy)
    assert.is_false(w.client.policy)
    assert.is_true(w.client:reload())
    w:chat { policy = { cache = function() return false end } }
    assert.equal(1, #w.client:status().policy)
  end)

  it("see the time and the dice of their loop", function()
    local loop = require("unbusy.loops.virtual").new { wall = 1700000000,
      random = function() return 0.25 end, serve = function(_, x) x:head(503) end }
    local seen = {}
    local client = require("unbusy").new { loop = loop, targets = {
      { name = "a", url = "http://a.test/v1", key = "k" } }, policy = "spec/policy/clock.lua",
      on_event = function(e) seen[#seen + 1] = e.type == "retry" and e.seconds or nil end }
    client:chat(world.question, { deadline = 30 })
    assert.same({ 1.25, 3 }, seen)
    client:close()
  end)

  it("may all be in one client over many calls without harm", function()
    local w = world.new { script = { a = { status(503), good() }, b = { good() } },
      options = { cache = true, policy = {
        classify = function(try) return try.code end, retry = function() return 0 end,
        route = function(_, t) return t[2].name end, normalise = function(r) return r end,
        cache = function() return 10 end, queued = function() return "wait" end,
        hedge = function() return 1 end, accept = function() return true end,
        resume = function() return "prefix" end, peak = function() return false end } } }
    for i = 1, 20 do
      assert(w.client:chat { messages = { { role = "user", content = json.encode { i } } } })
    end
    assert.equal("b", w.log[1].host)
    no_faults(w)
  end)
end)
