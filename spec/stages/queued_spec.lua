-- The server's queue: how long a call stands there, who is told, and who leaves it.
local guard = require "spec.support.leak_guard"
local unbusy = require "unbusy"
local world = require "spec.support.world"

local good = world.good

-- A stream behind `count` keep-alives, one every `every` seconds.
local function queued_stream(count, every, words)
  local steps = {}
  for i = 1, count do steps[i] = { every, world.KEEP_ALIVE } end
  for _, step in ipairs(world.words(words or { "one" }).steps) do steps[#steps + 1] = step end
  return world.streamed(steps, { after = 0 })
end

-- A whole answer behind so many blank lines.
local function queued_answer(count, every, text)
  local steps = {}
  for i = 1, count do steps[i] = { every, "\n" } end
  steps[#steps + 1] = { every, good(text).body }
  return { status = 200, after = 0, steps = steps, headers = {} }
end

local function new(script, policy, options)
  local o = { retry = false, policy = policy }
  for k, v in pairs(options or {}) do o[k] = v end
  return world.new { script = script, options = o,
    targets = { a = { priority = 1 }, b = { priority = 2 }, c = { priority = 3 } } }
end

local function text_of(stream)
  return assert(stream:reply()).text
end

-- A policy's `queued` that says this after so many seconds, and notes when it was asked.
local function saying(what, seconds, asked)
  return { queued = function(try)
    if asked then asked[#asked + 1] = try end
    return try.seconds >= seconds and what or "wait"
  end }
end

describe("the server's queue", function()
  after_each(world.end_all)
  guard.watch(before_each, after_each)

  it("is measured to the last keep-alive before an answer, a stream or a whole one", function()
    local w = new { a = { queued_stream(4, 0.5) } }
    local stream = assert(w:stream())
    assert.near(2, stream.times.queued_upstream, 1e-9)
    assert.near(2.1, stream.times.start, 1e-9)
    assert.near(2, assert(stream:reply()).times.queued_upstream, 1e-9)
    w = new { a = { queued_answer(3, 2, "hi") } }
    local reply = w:chat()
    assert.near(6, reply.times.queued_upstream, 1e-9)
    assert.near(8, reply.times.start, 1e-9)
    assert.equal(0, reply.times.queued)
    w = new { a = { good "hi" } }
    assert.is_nil(w:chat().times.queued_upstream)
    w:assert_clean()
  end)

  it("is that of the try that answers", function()
    local w = new({ a = { world.streamed({ { 1, world.KEEP_ALIVE }, { 1, world.KEEP_ALIVE } }),
      queued_stream(1, 0.25) } }, nil, { retry = { attempts = 2 } })
    assert.near(0.25, assert(w:stream()).times.queued_upstream, 1e-9)
  end)

  it("shows while it lasts, by the longest that stands there", function()
    local w = new({ a = { queued_stream(10, 1), queued_stream(4, 1), queued_stream(1, 9) } }, nil,
      { limiter = { initial = 10 } })
    local function look() return w.client:status().targets[1].queue end
    assert.same({ calls = 0, seconds = 0 }, look())
    w.loop.run(function()
      local streams = {}
      for i = 1, 3 do w.loop.spawn(function() streams[i] = assert(w:stream()) end) end
      w.loop.sleep(0.5)
      assert.same({ calls = 0, seconds = 0 }, look())
      w.loop.sleep(3)
      assert.same({ calls = 2, seconds = 3 }, look())
      w.loop.sleep(3) -- the second one has begun at 4.1
      assert.same({ calls = 1, seconds = 6, last = 4 }, look())
      assert.equal(6, w.client.targets[1].queue_seconds)
      w.loop.sleep(3)
      assert.same({ calls = 1, seconds = 9, last = 9 }, look())
      w.loop.sleep(2)
      assert.same({ calls = 0, seconds = 0, last = 10 }, look())
      for i = 1, 3 do streams[i]:close() end
    end)
    w:assert_clean()
  end)

  it("is left by whoever goes, whatever way", function()
    for _, ends in ipairs { "cancel", "close", "deadline", "start" } do
      local c = unbusy.canceller()
      local w = new({ a = { queued_stream(100, 1) } }, nil, { clocks = { start = 50 } })
      w.loop.run(function()
        w.loop.spawn(function()
          w.loop.sleep(3.5)
          assert.equal(1, w.client.targets[1].queue_calls)
          if ends == "cancel" then c:cancel() elseif ends == "close" then w.client:close() end
        end)
        assert.is_nil((w:stream { cancel = c, deadline = ends == "deadline" and 5 or 100 }))
      end)
      local t = w.client.targets[1]
      assert.same({ 0, 0 }, { t.queue_calls, t.queue_seconds })
      assert.is_nil(next(t.in_queue))
      w:assert_clean()
    end
  end)
end)

describe("a policy's `queued`", function()
  after_each(world.end_all)
  guard.watch(before_each, after_each)

  it("is asked at keep-alives, and once a second between them, and not before", function()
    local asked = {}
    local steps = { { 2.5, world.KEEP_ALIVE }, { 0.1, world.KEEP_ALIVE }, { 0.3, world.KEEP_ALIVE },
      { 2.8, world.chunk { content = "x" } }, { 0, world.chunk({}, "stop") }, { 0, world.DONE } }
    local w = new({ a = { world.streamed(steps, { after = 0 }) }, b = { good "b" } },
      saying("wait", 0, asked))
    assert.equal("x", text_of(assert(w:stream())))
    local at = {}
    for i, try in ipairs(asked) do at[i] = ("%.2f"):format(try.seconds) end
    assert.same({ "2.50", "2.90", "3.90", "4.90" }, at)
    local first = asked[1]
    assert.same({ "a", 1, true, 2, true, "chat" }, { first.target, first.keep_alives,
      first.untried, first.targets, first.stream, first.kind })
    assert.equal(1, #w.log)
    w:assert_clean()
  end)

  it("is asked of whole answers, too", function()
    local asked = {}
    local w = new({ a = { queued_answer(3, 2, "late") }, b = { good "b" } },
      saying("wait", 0, asked))
    assert.equal("late", w:chat().text)
    assert.equal(6, #asked - 1) -- at 2, 3, … and before 8 s
    w:assert_clean()
  end)

  it("is not asked where nothing could come of it", function()
    local asked = {}
    local w = new({ a = { queued_stream(9, 1) } }, saying("switch", 0, asked))
    text_of(assert(w:stream()))
    w = new({ a = { queued_stream(9, 1) }, b = { good "b" } }, saying("switch", 0, asked))
    text_of(assert(w:stream { target = "a" }))
    assert.equal(0, #asked)
    w:assert_clean()
  end)

  it("lets a call leave for another account that is free", function()
    local w = new({ a = { queued_stream(100, 1) }, b = { queued_stream(0, 1, { "b" }) } },
      saying("switch", 3), { budget = { tokens = 100 } })
    local stream = assert(w:stream())
    assert.near(3, w.log[2].at, 1e-9)
    assert.is_true(w.log[1].exchange.closed)
    assert.equal("b", stream.target)
    assert.equal(2, stream.tries)
    assert.is_nil(stream.times.queued_upstream)
    assert.equal("b", text_of(stream))
    local failed = w:seen("failed")[1]
    assert.same({ "busy", "a: start: 3 s in its queue, and another target is free", "start" },
      { failed.code, failed.message, failed.phase })
    local s = w.client:status()
    assert.equal(1, s.hedge.switched)
    assert.equal(100, s.budget.tokens) -- a first move costs nothing
    assert.same({ 0, "closed" }, { s.targets[1].breaker.failures, s.targets[1].state })
    assert.is_true(s.targets[1].limits[""].limit < 20)
    w:assert_clean()
  end)

  it("of a whole answer, at a keep-alive and between two", function()
    for _, seconds in ipairs { 4, 5 } do
      local w = new({ a = { queued_answer(100, 4, "a") }, b = { good("b", 1) } },
        saying("switch", seconds))
      assert.equal("b", w:chat().text)
      assert.near(seconds, w.log[2].at, 1e-9)
      assert.is_true(w.log[1].exchange.closed)
      w:assert_clean()
    end
  end)

  it("keeps the place where nobody is free", function()
    for _, how in ipairs { "rest", "open", "same", "line" } do
      local w = new({ a = { queued_stream(9, 1, { "a" }) }, b = { good("b", 99) } },
        saying("switch", 2), how == "line"
          and { limiter = { kind = "fixed", initial = 1 } } or nil)
      local b = w.client.targets[2]
      if how == "rest" then b:rest(1000, 0) end
      if how == "open" then b.breaker:force("open", 1000) end
      if how == "same" then b.account_name = "a" end
      w.loop.run(function()
        if how == "line" then
          w.loop.spawn(function() w:chat { target = "b", deadline = 20 } end)
        end
        assert.equal("a", text_of(assert(w:stream())))
      end)
      assert.equal(how == "line" and 2 or 1, #w.log)
      w:assert_clean()
    end
  end)

  it("lets it leave again, and then each move is paid for", function()
    local w = new({ a = { queued_stream(100, 1) }, b = { queued_stream(100, 1) },
      c = { queued_stream(0, 1, { "c" }) } }, saying("switch", 2), { budget = { tokens = 100 } })
    local stream = assert(w:stream())
    assert.equal("c", text_of(stream))
    assert.equal(3, stream.tries)
    assert.near(4, w.log[3].at, 1e-9)
    assert.equal(100, w.client:status().budget.tokens) -- it was good
    w:assert_clean()
    w = new({ a = { queued_stream(9, 1) }, b = { queued_stream(9, 1, { "b" }) },
      c = { good "c" } }, saying("switch", 2), { budget = { tokens = 0 } })
    assert.equal("b", text_of(assert(w:stream()))) -- there is nothing to pay with
    w:assert_clean()
  end)

  it("goes on with the retry where the other one fails", function()
    local w = new({ a = { queued_stream(100, 1), queued_stream(0, 1, { "again" }) },
      b = { world.status(500) } }, saying("switch", 2), { retry = { attempts = 3, base = 0.5 } })
    local stream = assert(w:stream())
    assert.equal("again", text_of(stream))
    assert.equal(3, stream.tries)
    w:assert_clean()
  end)

  it("asks somebody else beside it", function()
    local w = new({ a = { queued_stream(100, 1) }, b = { queued_stream(0, 1, { "b" }) } },
      saying("hedge", 3), { hedge = { most = 1, after = 1000 } })
    local stream = assert(w:stream())
    assert.equal("b", text_of(stream))
    assert.near(3, w.log[2].at, 1e-9)
    assert.same({ true, "a", "cancelled" }, { stream.hedged.won, stream.hedged.target,
      stream.hedged.code })
    assert.equal("queued", w:seen("hedge")[1].cause)
    w:assert_clean()
    w = new({ a = { queued_stream(5, 1, { "a" }) }, b = { good("b", 60) } }, saying("hedge", 3),
      { hedge = { most = 1, after = 1000 } })
    assert.equal("a", text_of(assert(w:stream()))) -- the place in the queue was kept
    w:assert_clean()
    w = new({ a = { queued_stream(5, 1, { "a" }) }, b = { good("b", 1) } }, saying("hedge", 3),
      { hedge = false })
    assert.equal("a", text_of(assert(w:stream())))
    assert.equal(1, #w.log)
    w:assert_clean()
  end)

  it("that fails, or says what cannot be, is one that waits", function()
    for _, f in ipairs { function() error "no" end, function() return "go" end,
      function() return nil end, function() while true do end end } do
      local w = new({ a = { queued_stream(3, 1, { "a" }) }, b = { good "b" } }, { queued = f })
      assert.equal("a", text_of(assert(w:stream())))
      assert.equal(1, #w.log)
      w:assert_clean()
    end
  end)

  it("of a target is asked of its tries", function()
    local w = world.new { script = { a = { queued_stream(9, 1, { "a" }) },
      b = { queued_stream(9, 1, { "b" }) } }, options = { retry = false },
      targets = { a = { priority = 1, policy = saying("switch", 2) }, b = { priority = 2 } } }
    assert.equal("b", text_of(assert(w:stream())))
    assert.equal(2, #w.log)
    w:assert_clean()
  end)

  it("leaves nothing where the call ends at that moment", function()
    for _, ends in ipairs { "cancel", "close" } do
      local c, w = unbusy.canceller(), nil
      w = new({ a = { queued_stream(100, 1) }, b = { good("b", 50) } }, { queued = function(try)
        if try.seconds < 3 then return "wait" end
        if ends == "cancel" then c:cancel() else w.client:close() end
        return "switch"
      end })
      local reply, _, code = w:stream { cancel = c }
      assert.is_nil(reply)
      assert.equal(ends == "cancel" and "cancelled" or "closed", code)
      assert.equal(1, #w.log)
      w:assert_clean()
    end
  end)
end)

describe("a policy's `hedge`", function()
  after_each(world.end_all)
  guard.watch(before_each, after_each)

  local function hedging(policy, hedge, script, given)
    local w = new(script or { a = { good("a", 20) }, b = { good("b", 1) } }, policy,
      { hedge = hedge })
    for _ = 1, 19 do w:chat { target = "b" } end
    w.log = {}
    return w, w:chat(given)
  end

  it("turns hedging on, under the same limits", function()
    local w = new({ a = { good("a", 20) }, b = { good("b", 1) } },
      { hedge = function() return 2 end })
    for _ = 1, 40 do w:chat() end
    local s = w.client:status().hedge
    assert.same({ 40, 2 }, { s.calls, s.begun })
    assert.equal("policy", w:seen("hedge")[1].cause)
    w:assert_clean()
  end)

  it("goes before the client's option; nil is none, a fault the option's", function()
    local w = hedging({ hedge = function() return 3 end }, { after = 1, most = 1 })
    assert.near(3, w.log[2].at - w.log[1].at, 1e-9)
    w = hedging({ hedge = function() return nil end }, { after = 1, most = 1 })
    assert.equal(1, #w.log)
    w = hedging({ hedge = function() error "no" end }, { after = 1, most = 1 })
    assert.near(1, w.log[2].at - w.log[1].at, 1e-9)
  end)

  it("does not go before `hedge = false`", function()
    local w = hedging({ hedge = function() return 1 end }, false)
    assert.equal(1, #w.log)
    w = hedging({ hedge = function() return 1 end }, { most = 1 }, nil, { hedge = false })
    assert.equal(1, #w.log)
  end)

  it("wants any price, unless the client's option says otherwise", function()
    local function goes(hedge)
      local price = { input = 1, output = 1 }
      local w = world.new { script = { a = { good("a", 20) }, b = { good("b", 1) } },
        options = { policy = { hedge = function() return 1 end }, hedge = hedge },
        targets = { a = { priority = 1, price = price }, b = { priority = 2, price = price } } }
      for _ = 1, 20 do w:chat() end
      return w.client:status().hedge.begun
    end
    assert.equal(1, goes(nil))
    assert.equal(20, goes { most = 1 })
    assert.equal(0, goes { most = 1, price = "lower" })
  end)

  it("is told how long answers take to begin, once that is known", function()
    local seen = {}
    local w = new({ a = { good("a", 2) }, b = { good("b", 1) } },
      { hedge = function(try) seen[#seen + 1] = try.p95 or false return nil end })
    for _ = 1, 22 do w:chat() end
    assert.is_false(seen[20])
    assert.near(2, seen[21], 0.02)
  end)
end)
