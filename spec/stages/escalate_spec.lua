-- A weak answer of the edge: the centre is asked in its place, and it is not lost.
local guard = require "spec.support.leak_guard"
local json = require "unbusy.json"
local region = require "unbusy.region"
local unbusy = require "unbusy"
local world = require "spec.support.world"

local good, status = world.good, world.status

local CHEAP = { input = 1e6, output = 1e6 } -- a token costs 1
local DEAR = { input = 10e6, output = 10e6 }

local function body_of(choice, usage)
  return { status = 200, body = json.encode { id = "x", object = "chat.completion", model = "m",
    choices = json.array { choice }, usage = usage } }
end

local function cut(text)
  return body_of({ index = 0, finish_reason = "length",
    message = { role = "assistant", content = text or "half of it" } },
    { prompt_tokens = 3, completion_tokens = 2, total_tokens = 5 })
end

local REFUSAL = "I'm sorry, but I can't help with that."

-- An edge and a centre, which answers well unless it is said otherwise.
local function new(given)
  local o = { escalate = true }
  for name, value in pairs(given.options or {}) do o[name] = value end
  return world.new { script = { edge = given.edge or { good "from the edge" },
    centre = given.centre or { good "from the centre" } }, order = { "edge", "centre" },
    targets = { edge = { pool = "edge", price = given.no_price == nil and CHEAP or nil },
      centre = { pool = "centre", price = DEAR } }, options = o }
end

local function asked(w)
  local out = {}
  for i, entry in ipairs(w.log) do out[i] = entry.host end
  return table.concat(out, " ")
end

local function report(w)
  return w.client:status().escalate
end

describe("an answer of the edge", function()
  it("that is good is the answer, and nobody else is asked", function()
    local w = new {}
    local reply = w:chat()
    assert.same({ "from the edge", "edge", 1, nil, nil },
      { reply.text, reply.target, reply.tries, reply.weak, reply.escalated })
    assert.equal("edge", asked(w))
    assert.same({ answers = { edge = 1 }, judged = 1, weak = {}, asked = 0, replaced = 0,
      kept = {} }, report(w))
    w:assert_clean()
  end)

  it("that is weak gives way to the centre's, and the reply says so", function()
    local w = new { edge = { cut() } }
    local reply = w:chat()
    assert.same({ "from the centre", "upstream", "centre", 2, "stop" },
      { reply.text, reply.source, reply.target, reply.tries, reply.finish_reason })
    assert.is_nil(reply.weak)
    assert.equal("length", reply.escalated.reason)
    assert.equal("edge", reply.escalated.target)
    assert.near(0.2, reply.times.total, 1e-9)
    assert.same({ answers = { edge = 1 }, judged = 1, weak = { length = 1 }, asked = 1,
      replaced = 1, kept = {} }, report(w))
    local told = w:seen "escalate"
    assert.same({ 1, "edge", "length", "centre", 2 },
      { #told, told[1].target, told[1].reason, told[1].pool, told[1].number })
    assert.same({}, w:seen "weak")
    w:assert_clean()
  end)

  it("costs what both have cost, and uses what both have used", function()
    local w = new { edge = { cut() } }
    local reply = w:chat()
    assert.same({ 13, 7, 20 }, { reply.usage.prompt_tokens, reply.usage.completion_tokens,
      reply.usage.total_tokens })
    assert.near(5 + 150, reply.cost, 1e-9)
    assert.near(5, reply.escalated.cost, 1e-9)
    assert.equal(5, reply.escalated.usage.total_tokens)
    assert.equal(15, reply.body.usage.total_tokens) -- the bytes are the server's
  end)

  it("of a target without a price leaves the cost unknown", function()
    local w = new { edge = { cut() }, no_price = true }
    assert.is_nil(w:chat().cost)
  end)

  it("is not judged where `escalate` is off", function()
    local w = new { edge = { cut() }, options = { escalate = false } }
    assert.equal("half of it", w:chat().text)
    assert.is_nil(report(w))
  end)

  it("is not judged where the call says so", function()
    local w = new { edge = { cut() } }
    assert.same({ "half of it", nil }, { w:chat({ escalate = false }).text, w:chat().weak })
    assert.equal("edge edge centre", asked(w))
    assert.equal(1, report(w).judged)
  end)

  it("is not judged when it is the centre's", function()
    local w = new { edge = { status(500) }, centre = { cut() } }
    local reply = w:chat()
    assert.same({ "half of it", "centre", nil }, { reply.text, reply.target, reply.weak })
    assert.equal("edge centre", asked(w))
    assert.equal(0, report(w).judged)
  end)

  it("is no failure: neither breaker nor limiter hears of it", function()
    local w = new { edge = { good "" }, options = { breaker = { min_calls = 2, window = 100 } } }
    for _ = 1, 9 do w:chat() end
    local edge = w.client:status().targets[1]
    assert.same({ "closed", 9, 0 }, { edge.state, edge.breaker.calls, edge.breaker.failures })
    assert.same({}, w:seen "failed")
    assert.equal(9, report(w).replaced)
  end)

  it("takes no permit of the retry budget", function()
    local w = new { edge = { good "" },
      options = { budget = { tokens = 0, ratio = 0, floor = 0 } } }
    assert.equal("centre", w:chat().target)
    assert.equal(0, w.client:status().budget.refused)
    w:assert_clean()
  end)

  for reason, answer in pairs { length = cut(), refused = good(REFUSAL), short = good "  " } do
    it("is known as weak: " .. reason, function()
      local w = new { edge = { answer } }
      assert.equal(reason, w:chat().escalated.reason)
      assert.equal(1, report(w).weak[reason])
    end)
  end

  it("without any choice is a failure as ever", function()
    local w = new { edge = { { status = 200, body = '{"choices":[]}' } } }
    local reply = w:chat()
    assert.same({ "centre", nil }, { reply.target, reply.escalated })
    assert.equal("empty", w:seen "failed"[1].code)
  end)

  it("may be huge", function()
    local w = new { edge = { good(("all is well "):rep(1e6)) } }
    local reply = w:chat()
    assert.same({ "edge", 12e6 }, { reply.target, #reply.text })
  end)

  it("that is passed on undecoded is judged all the same", function()
    local config = require "unbusy.config"
    local w = new { edge = { good(REFUSAL), good "fine" } }
    local function ask()
      return w.client:chat(world.question, config.trusted { undecoded = true })
    end
    local reply = ask()
    assert.same({ "centre", 30 }, { reply.target, reply.usage.total_tokens })
    assert.equal("from the centre", json.decode(reply.raw).choices[1].message.content)
    assert.equal("edge", ask().target)
  end)
end)

describe("a completion and a response", function()
  it("are judged, too", function()
    local function completion(text)
      return { status = 200, body = json.encode { choices = {
        { index = 0, text = text, finish_reason = "stop" } } } }
    end
    local w = new { edge = { completion "" }, centre = { completion "words" } }
    assert.equal("words", w.client:complete({ prompt = "once" }).text)
    local function response(text)
      return { status = 200, body = json.encode { status = "completed", output = json.array {
        { type = "message", content = { { type = "output_text", text = text } } } } } }
    end
    w = new { edge = { response(REFUSAL) }, centre = { response "yes" } }
    assert.same({ "yes", "refused" }, { w.client:responses({ input = "x" }).text,
      w:seen "escalate"[1].reason })
  end)

  it("are, and embeddings and posts are not", function()
    local w = new { edge = { { status = 200, body = '{"data":[{"embedding":[]}]}' } } }
    w.client:embed { input = "x" }
    w.client:post("/x", {})
    w.client:pass { path = "/x" }
    assert.equal("edge edge edge", asked(w))
    assert.equal(0, report(w).judged)
  end)
end)

describe("a centre that does not answer", function()
  local failures = { busy = status(503), invalid = status(400), auth = status(401),
    quota = status(402), upstream = status(500), network = { fail = "network" },
    empty = { status = 200, body = "" } }
  for code, answer in pairs(failures) do
    it("leaves the edge's answer, marked: " .. code, function()
      local w = new { edge = { cut() }, centre = { answer },
        options = { retry = { attempts = 2 } } }
      local reply = w:chat()
      assert.same({ "half of it", "edge", "length", code },
        { reply.text, reply.target, reply.weak, reply.failure.code })
      assert.matches("^centre: ", reply.failure.message)
      assert.equal(#w.log, reply.tries)
      assert.near(w:now(), reply.times.total, 1e-9)
      assert.equal(#w.log, reply.failure.detail.tries)
      assert.is_nil(reply.escalated)
      assert.near(5, reply.cost, 1e-9)
      assert.same({ failed = 1 }, report(w).kept)
      local told = w:seen "weak"[1]
      assert.same({ "edge", "length", "failed", code },
        { told.target, told.reason, told.why, told.code })
      w:assert_clean()
    end)
  end

  it("is tried again as ever", function()
    local w = new { edge = { cut() }, centre = { status(503), good "at last" } }
    local reply = w:chat()
    assert.same({ "at last", "centre", 3 }, { reply.text, reply.target, reply.tries })
    assert.equal("edge centre centre", asked(w))
  end)

  it("has until the deadline, and no longer", function()
    local w = new { edge = { cut() }, centre = { good("too late", 60) } }
    local reply = w:chat { deadline = 10 }
    assert.same({ "half of it", "timeout" }, { reply.text, reply.failure.code })
    assert.near(10, w:now(), 1e-9)
    w:assert_clean()
  end)

  it("that answers weakly too is believed", function()
    local w = new { edge = { cut() }, centre = { good "" } }
    local reply = w:chat()
    assert.same({ "", "centre", nil }, { reply.text, reply.target, reply.weak })
    assert.equal("edge centre", asked(w))
  end)
end)

describe("a weak answer", function()
  -- It is the caller's, and nobody else was asked.
  local function assert_kept(w, why, options)
    local reply = w:chat(options)
    assert.same({ "edge", "length", nil }, { reply.target, reply.weak, reply.failure })
    assert.equal(1, report(w).kept[why] or 0, why)
    assert.equal(0, report(w).asked)
    assert.equal(why, w:seen "weak"[1].why)
    w:assert_clean()
  end

  it("is kept where the call names its target, or its pool", function()
    assert_kept(new { edge = { cut() } }, "named", { target = "edge" })
    assert_kept(new { edge = { cut() } }, "named", { pool = "edge" })
  end)

  it("is kept where too little time is left", function()
    local w = new { edge = { cut() } }
    w.script.edge[1].after = 9.95
    assert_kept(w, "time", { deadline = 10 })
  end)

  it("is kept where the centre usually takes longer than what is left", function()
    local w = new { edge = { cut() }, centre = { good("slow", 4) } }
    for _ = 1, 20 do w:chat { target = "centre" } end
    w.script.edge[1].after = 7
    assert_kept(w, "time", { deadline = 10 })
  end)

  it("is kept where the centre is full: it does not wait in line", function()
    local w = new { edge = { cut() }, centre = { good("slow", 30) },
      options = { limiter = { kind = "fixed", initial = 1 } } }
    w.loop.run(function()
      w.loop.spawn(function() w:chat { target = "centre" } end)
      w.loop.sleep(1)
      local began = w:now()
      local reply = w:chat()
      assert.same({ "edge", "length" }, { reply.target, reply.weak })
      assert.near(0.1, w:now() - began, 1e-9)
      assert.equal(1, report(w).kept.full)
    end)
    w:assert_clean()
  end)

  it("is kept where the centre's breaker is open, or it rests", function()
    local w = new { edge = { cut() }, centre = { status(500) }, options = { retry = false,
      breaker = { min_calls = 1, open_for = 60 } } }
    w:chat { target = "centre" }
    assert_kept(w, "full")
    w = new { edge = { cut() }, centre = { status(503, { ["retry-after"] = "60" }) },
      options = { retry = false } }
    w:chat { target = "centre" }
    assert_kept(w, "full")
  end)

  it("is kept once a share of the answers of a minute was asked elsewhere", function()
    local w = new { edge = { good "" }, options = { escalate = { most = 0.2, floor = 3 } } }
    w.loop.run(function()
      for _ = 1, 100 do
        w:chat()
        w.loop.sleep(0.05)
      end
    end)
    local seen = report(w)
    assert.same({ 100, 100 }, { seen.judged, seen.weak.short })
    assert.equal(100, seen.replaced + seen.kept.share)
    assert.is_true(seen.asked >= 19 and seen.asked <= 21, seen.asked)
  end)

  it("may be asked elsewhere again when the minute is over", function()
    local w = new { edge = { good "" }, options = { escalate = { most = 0, floor = 2 } } }
    w.loop.run(function()
      for _ = 1, 5 do w:chat() end
      assert.equal(2, report(w).replaced)
      w.loop.sleep(120)
      for _ = 1, 5 do w:chat() end
      assert.equal(4, report(w).replaced)
    end)
  end)

  it("is never asked elsewhere with neither share nor floor", function()
    local w = new { edge = { cut() }, options = { escalate = { most = 0, floor = 0 } } }
    assert_kept(w, "share")
  end)

  it("of a batch of clients in one region is bounded in common", function()
    local r = assert(region.new { bytes = 4 * 1024 * 1024 })
    local one = new { edge = { good "" }, options = { region = r,
      escalate = { most = 0, floor = 3 } } }
    local other = new { edge = { good "" }, options = { region = r,
      escalate = { most = 0, floor = 3 } } }
    for _ = 1, 2 do
      one:chat()
      other:chat()
    end
    assert.same({ 4, 3, 1 }, { report(one).judged, report(other).replaced, report(one).kept.share })
    assert.same(report(one), report(other))
    one.client:close()
    other.client:close()
    r:close()
  end)
end)

describe("who leaves while the centre is asked", function()
  guard.watch(before_each, after_each)

  local function left(stop)
    local w = new { edge = { cut() }, centre = { good("late", 5) } }
    local cancel, result = unbusy.canceller(), nil
    w.loop.run(function()
      w.loop.spawn(function()
        w.loop.sleep(1)
        stop(w, cancel)
      end)
      result = { w:chat { cancel = cancel } }
    end)
    assert.near(1, w.log[2].exchange.closed and 1 or 0, 0)
    w:assert_clean()
    return result
  end

  it("gets no answer: cancelled, or closed", function()
    local result = left(function(_, cancel) cancel:cancel() end)
    assert.same({ nil, "cancelled" }, { result[1], result[3] })
    result = left(function(w) w.client:close() end)
    assert.same({ nil, "closed" }, { result[1], result[3] })
  end)

  it("may be who is told of it", function()
    local cancel = unbusy.canceller()
    local w = new { edge = { cut() }, options = { on_event = function(e)
      if e.type == "escalate" then cancel:cancel() end
    end } }
    local reply, _, code = w:chat { cancel = cancel }
    assert.same({ nil, "cancelled" }, { reply, code })
    assert.equal("edge", asked(w))
    w:assert_clean()
  end)
end)

describe("the cache", function()
  it("does not keep a weak answer, and keeps the one in its place", function()
    local w = new { edge = { good(REFUSAL) }, options = { cache = true } }
    assert.equal("centre", w:chat().target)
    local again = w:chat()
    assert.same({ "cache", "from the centre" }, { again.source, again.text })
    w = new { edge = { good(REFUSAL) }, options = { cache = true,
      escalate = { most = 0, floor = 0 } } }
    w:chat()
    assert.same({ "upstream", "refused" }, { w:chat().source, w:chat().weak })
  end)

  it("answers before anything is judged", function()
    local w = new { options = { cache = true } }
    w:chat()
    w:chat()
    assert.equal(1, report(w).judged)
  end)
end)

describe("a fallback's second asking", function()
  it("is judged, but not twice for one call", function()
    local w = new { edge = { cut() }, centre = { status(500) },
      options = { retry = false, fallback = { { model = "other" }, "sorry" } } }
    local reply = w:chat()
    assert.same({ "half of it", "length", nil }, { reply.text, reply.weak, reply.fallback })
    assert.equal("edge centre", asked(w))
  end)
end)
