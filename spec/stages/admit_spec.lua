local world = require "spec.support.world"

local good, status = world.good, world.status

-- `count` calls at once; gives the replies and failures in the order of their ends.
local function burst(w, count, options)
  local ended = {}
  w.loop.run(function()
    for i = 1, count do
      w.loop.spawn(function()
        local reply, message, code, detail = w:chat(options)
        ended[#ended + 1] = { n = i, reply = reply, message = message, code = code, detail = detail,
          at = w:now() }
      end)
    end
  end)
  return ended
end

describe("the admit stage", function()
  it("keeps to the limit and serves in the order of arrival", function()
    local w = world.new { script = { a = { good("x", 1) } },
      options = { limiter = { kind = "fixed", initial = 3 } } }
    local ended = burst(w, 10)
    assert.equal(3, w.most_open)
    for i, e in ipairs(ended) do
      assert.equal(i, e.n)
      assert.is_truthy(e.reply)
    end
    assert.equal(4, ended[10].at)
    assert.equal(3, ended[10].reply.times.queued)
    assert.equal(10, #w.log) -- waiting cost no try
    w:assert_clean()
  end)

  -- One place, answers after a second, and so many waiting behind whom it takes: their deadlines.
  -- Gives the codes of their ends, or "answered", by number.
  local function behind_one(deadlines)
    local w = world.new { script = { a = { good("x", 1) } },
      options = { limiter = { kind = "fixed", initial = 1 } } }
    local ends = {}
    w.loop.run(function()
      w:chat() -- so much is known of the target
      w.loop.spawn(function() w:chat() end)
      for i, deadline in ipairs(deadlines) do
        w.loop.spawn(function()
          local reply, _, code = w:chat { deadline = deadline }
          ends[i] = reply and "answered" or code
        end)
      end
    end)
    w:assert_clean()
    return ends
  end

  it("lets those go first for whom an answer comes in time", function()
    assert.same({ "timeout", "answered", "answered" }, behind_one { 2.5, 100, 100 })
    assert.same({ "answered", "answered" }, behind_one { 3.5, 100 }) -- it has time enough
    assert.same({ "answered" }, behind_one { 2.5 }) -- nobody else wants the place
  end)

  it("lets the more urgent go first", function()
    local w = world.new { script = { a = { good("x", 1) } },
      options = { limiter = { kind = "fixed", initial = 1 } } }
    local order = {}
    w.loop.run(function()
      for _, p in ipairs { "normal", "batch", "normal", "interactive" } do
        w.loop.spawn(function()
          w:chat { priority = p }
          order[#order + 1] = p
        end)
      end
    end)
    assert.same({ "normal", "interactive", "normal", "batch" }, order)
  end)

  it("keeps a retrying call's turn", function()
    local w = world.new {
      options = { limiter = { kind = "fixed", initial = 1 }, retry = { base = 0.5, jitter = 0 } },
      script = { a = function(_, n) return n == 1 and status(500) or good("x", 1) end } }
    local ended = burst(w, 4)
    assert.equal(2, ended[1].n)
    assert.equal(1, ended[2].n) -- back from its pause it stands before 3 and 4
    w:assert_clean()
  end)

  it("waits through an open breaker, probes once, and then lets the others in", function()
    local down = true
    local w
    w = world.new {
      options = { retry = { attempts = 1 }, breaker = { min_calls = 5, open_for = 5 } },
      script = { a = function() return down and status(500) or good("x", 0.5) end } }
    local ended = burst(w, 5)
    assert.equal("upstream", ended[1].code)
    assert.equal("open", w.client:status().targets[1].state)
    down = false
    local before = #w.log
    ended = burst(w, 6)
    for _, e in ipairs(ended) do assert.is_truthy(e.reply, e.message) end
    assert.equal(6, #w.log - before)
    assert.is_true(ended[1].at >= 5.1 and ended[1].at < 5.7, ended[1].at) -- the probe
    assert.is_true(ended[2].at >= ended[1].at + 0.5)
    assert.equal("closed", w.client:status().targets[1].state)
    local states = w:seen "state"
    assert.same({ "open", "half_open", "closed" }, { states[1].to, states[2].to, states[3].to })
    w:assert_clean()
  end)

  it("fails at once when the wait would outlast the deadline", function()
    local w = world.new {
      options = { retry = { attempts = 1 }, breaker = { min_calls = 5, open_for = 20 } },
      script = { a = { status(500) } } }
    burst(w, 5)
    local at = w:now()
    local reply, message, code, detail = w:chat { deadline = 10 }
    assert.is_nil(reply)
    assert.equal("open", code)
    assert.matches("^a: .*open", message)
    assert.is_true(detail.retry_after > 10)
    assert.equal(at, w:now())
    assert.equal("queue", detail.phase)
    w:assert_clean()
  end)

  it("fails at the deadline when no place came free", function()
    local w = world.new { script = { a = { good("x", 100) } },
      options = { limiter = { kind = "fixed", initial = 1 } } }
    local ended = burst(w, 2, { deadline = 7 })
    for _, e in ipairs(ended) do
      assert.equal("timeout", e.code)
      assert.equal(7, e.at)
    end
    assert.equal(1, #w.log)
    w:assert_clean()
  end)

  it("waits no longer than queue.max_wait", function()
    local w = world.new { script = { a = { good("x", 100) } },
      options = { limiter = { kind = "fixed", initial = 1 }, queue = { max_wait = 3 } } }
    local ended = burst(w, 2)
    assert.equal("full", ended[1].code)
    assert.equal(3, ended[1].at)
  end)

  it("sheds what the line cannot hold", function()
    local w = world.new { script = { a = { good("x", 1) } },
      options = { limiter = { kind = "fixed", initial = 1 }, queue = { size = 3 } } }
    local ended = burst(w, 10)
    local shed = 0
    for _, e in ipairs(ended) do
      if e.code == "full" then shed = shed + 1 else assert.is_truthy(e.reply) end
    end
    assert.equal(6, shed) -- one is served, three wait
    w:assert_clean()
  end)

  it("uses the second target when the first is full", function()
    local w = world.new { script = { a = { good("x", 1) }, b = { good("x", 1) } },
      options = { limiter = { kind = "fixed", initial = 2 } } }
    burst(w, 4)
    assert.same({ a = 2, b = 2 }, w.sent)
    assert.equal(1.0, w:now())
  end)

  it("keeps an idle target open to those who ask for it while others wait for a full one",
  function()
    local w = world.new { script = { a = { good("x", 5) }, b = { good("x", 1) } },
      options = { limiter = { kind = "fixed", initial = 1 } } }
    local at = {}
    w.loop.run(function()
      for _ = 1, 3 do w.loop.spawn(function() w:chat { target = "a" } end) end
      w.loop.sleep(0.1)
      w:chat { target = "b" }
      at.b = w:now()
    end)
    assert.is_true(at.b < 1.2)
  end)

  it("shares a limit between targets of one account, not between accounts", function()
    local w = world.new { script = { a = { good("x", 1) }, b = { good("x", 1) } },
      targets = { a = { account = "one" }, b = { account = "one" } },
      options = { limiter = { kind = "fixed", initial = 2 } } }
    burst(w, 4)
    assert.equal(2, w.most_open)
  end)

  it("counts an answer that breaks after its start, whoever was to read it", function()
    local half = world.streamed { { 0, world.chunk { content = "half" } },
      { 0, 'data: {"error":{"message":"x"}}\n\n' } }
    local w = world.new { script = { a = { half } }, options = { retry = false,
      upstream_stream = true, breaker = { min_calls = 1 } } }
    assert.is_nil(w:chat())
    assert.equal("open", w.client:status().targets[1].state)
  end)

  it("does not open on busy answers while the target answers others", function()
    local w = world.new { options = { retry = false, limiter = false },
      script = { a = function(_, n)
        return n % 10 == 0 and good("x", 0.01) or status(503, nil, "", 0.01)
      end } }
    for _ = 1, 100 do w:chat() end
    assert.equal("closed", w.client:status().targets[1].state)
  end)

  it("opens on busy answers and nothing else", function()
    local w = world.new { options = { retry = false, limiter = false },
      script = { a = { status(503, nil, "", 0.01) } } }
    for _ = 1, 25 do w:chat { deadline = 1 } end
    assert.equal("open", w.client:status().targets[1].state)
  end)

  it("with on_open = 'fail' counts every busy and goes straight to the fallback", function()
    local w = world.new {
      options = { retry = false, limiter = false, breaker = { on_open = "fail" },
        fallback = "系统繁忙,请稍后再试" },
      script = { a = function(_, n)
        return n % 2 == 0 and good("x", 0.01) or status(503, nil, "", 0.01)
      end } }
    for _ = 1, 20 do w:chat() end
    assert.equal("open", w.client:status().targets[1].state)
    local at, sent = w:now(), #w.log
    local reply = w:chat()
    assert.equal("fallback", reply.source)
    assert.equal("open", reply.failure.code)
    assert.equal(at, w:now())
    assert.equal(sent, #w.log)
  end)

  it("says nothing of the target when the caller's own deadline was short", function()
    local w = world.new { script = { a = { good("x", 10) } },
      options = { breaker = { min_calls = 1 } } }
    local _, message, code = w:chat { deadline = 1 }
    assert.equal("timeout", code)
    assert.matches("^a: total: ", message)
    assert.equal("closed", w.client:status().targets[1].state)
    w:assert_clean()
  end)

  it("opens all the same when nobody is answered in the time that the callers give", function()
    local w = world.new { script = { a = { good("x", 1000) }, b = { good() } },
      options = { limiter = { kind = "fixed", initial = 100 } } }
    local codes, other = {}, nil
    w.loop.run(function()
      for i = 1, 20 do
        w.loop.spawn(function() codes[i] = select(3, w:chat { deadline = 20, target = "a" }) end)
      end
      w.loop.sleep(21)
      other = w:chat()
    end)
    assert.equal("timeout", codes[20])
    assert.equal("open", w:seen("state")[1].to)
    assert.equal("b", other.target) -- and the others go elsewhere
  end)

  it("stays closed while some are answered in the time that the callers give", function()
    local w = world.new { options = { limiter = { kind = "fixed", initial = 100 } },
      script = { a = function(_, n) return n % 4 == 0 and good("x", 15) or good("x", 1000) end } }
    burst(w, 40, { deadline = 20 })
    assert.equal("closed", w.client:status().targets[1].state)
  end)

  it("counts the client's own total clock against the target", function()
    local w = world.new { script = { a = { good("x", 100) } },
      options = { breaker = { min_calls = 1 }, clocks = { total = 10 }, retry = false } }
    assert.equal("timeout", select(3, w:chat()))
    assert.equal("open", w.client:status().targets[1].state)
  end)

  it("asks once even for a call that would not wait", function()
    local w = world.new { script = { a = { good("x", 1) } },
      options = { queue = { max_wait = 0 }, limiter = { kind = "fixed", initial = 1 } } }
    local ended = burst(w, 2)
    assert.equal("full", ended[1].code)
    assert.equal(0, ended[1].at)
    assert.is_truthy(ended[2].reply)
  end)

  it("takes a place back that was handed over as the client closed", function()
    local w = world.new { script = { a = { good("x", 1) } },
      options = { limiter = { kind = "fixed", initial = 1 } } }
    local code
    w.loop.run(function()
      w.loop.spawn(function() w:chat() w.client:close() end)
      w.loop.sleep(0.1)
      w.loop.spawn(function() code = select(3, w:chat()) end)
    end)
    assert.equal("closed", code)
    w:assert_clean()
  end)

  it("lets a crowd wait without looking at the clock for each of them", function()
    local admits = 0
    local w = world.new { script = { a = { status(429, nil, "", 0.05) } }, options = {
      breaker = false, limiter = { max = 5 }, queue = { max_wait = 3 }, retry = false } }
    local admit = w.client.targets[1].admit
    w.client.targets[1].admit = function(...)
      admits = admits + 1
      return admit(...)
    end
    burst(w, 1000)
    assert.is_true(admits < 5000, admits)
    w:assert_clean()
  end)

  it("asks every gate even when a model has left the line", function()
    local w = world.new { script = { a = { good() }, b = { good("x", 1) } } }
    w.loop.run(function()
      w.client.targets[1]:rest(25, w:now())
      w.client.targets[2]:rest(5, w:now())
      for i = 1, 4 do
        w.loop.spawn(function()
          assert.equal("b", w.client:chat({ model = i == 1 and "m1" or "m2",
            messages = world.question.messages }).target)
        end)
      end
    end)
    assert.is_true(w:now() <= 6.5, w:now()) -- half a second in which they come little by little
  end)

  it("does not take an old word for a new one when the first of the line leaves", function()
    local w = world.new { script = { a = { good() } } }
    local reply
    w.loop.run(function()
      w.client.targets[1]:rest(20, w:now())
      local first = w.loop.spawn(function() w:chat() end)
      w.loop.spawn(function() reply = w:chat() end)
      w.loop.sleep(12)
      w.loop.cancel(first)
    end)
    assert.is_truthy(reply)
  end)

  it("opens on a black hole, however short the callers' deadlines", function()
    for _, options in ipairs { { deadline = 4 }, { clocks = { total = 4 } } } do
      local w = world.new { script = { a = { good("x", 1000) } },
        options = { limiter = { kind = "fixed", initial = 100 }, retry = false } }
      burst(w, 40, options)
      assert.equal("open", (w:seen("state")[1] or {}).to)
    end
  end)

  it("lets everybody go when the client is closed", function()
    local w = world.new { script = { a = { good("x", 10) } },
      options = { limiter = { kind = "fixed", initial = 1 } } }
    local codes = {}
    w.loop.run(function()
      for i = 1, 3 do
        w.loop.spawn(function() codes[i] = select(3, w:chat()) end)
      end
      w.loop.sleep(1)
      w.client:close()
      w.client:close()
    end)
    assert.same({ "closed", "closed", "closed" }, codes)
    assert.equal("closed", select(3, w:chat()))
    w:assert_clean()
  end)
end)
