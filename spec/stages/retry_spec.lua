local world = require "spec.support.world"

local good, status = world.good, world.status

-- Seconds between the requests of a world.
local function gaps(w)
  local out = {}
  for i = 2, #w.log do out[i - 1] = w.log[i].at - w.log[i - 1].at end
  return out
end

describe("the retry stage", function()
  it("answers at the first try without waiting", function()
    local w = world.new { script = { a = { good "hi" } } }
    local reply = w:chat()
    assert.equal("hi", reply.text)
    assert.equal("upstream", reply.source)
    assert.equal(1, reply.tries)
    assert.equal(1, #w.log)
    w:assert_clean()
  end)

  it("waits 1, 2, 4, 8 s and up to a tenth more, five tries in all, then gives the last failure",
  function()
    local w = world.new { script = { a = { status(503) } } }
    local reply, message, code, detail = w:chat()
    assert.is_nil(reply)
    assert.equal("busy", code)
    assert.matches("^a: ", message)
    assert.equal(5, detail.tries)
    assert.equal(503, detail.status)
    assert.equal("a", detail.target)
    assert.equal(5, #w.log)
    for i, least in ipairs { 1, 2, 4, 8 } do
      local gap = gaps(w)[i] - 0.1 -- the server takes 0.1 s
      assert.is_true(gap >= least - 1e-9 and gap <= least * 1.1 + 1e-6,
        ("gap %d: %f"):format(i, gap))
    end
    w:assert_clean()
  end)

  it("takes the first good answer", function()
    local w = world.new { script = { a = { status(503), status(502), good() } } }
    local reply = w:chat()
    assert.equal(3, reply.tries)
    assert.equal(3, #w.log)
    w:assert_clean()
  end)

  it("never repeats what is the caller's fault", function()
    for _, s in ipairs { 400, 404, 413, 422 } do
      local w = world.new { script = { a = { status(s) }, b = { good() } } }
      local _, _, code = w:chat()
      assert.equal("invalid", code, s)
      assert.equal(1, #w.log)
      w:assert_clean()
    end
  end)

  it("goes elsewhere with a refused key or an empty account, and stays away from them", function()
    for s, code in pairs { [401] = "auth", [402] = "quota" } do
      local w = world.new { script = { a = { status(s) }, b = { good() } } }
      assert.equal("b", w:chat().target)
      assert.equal("b", w:chat().target)
      assert.equal(1, w.sent.a, code)
      w:assert_clean()
      local alone = world.new { script = { a = { status(s) } } }
      assert.equal(code, select(3, alone:chat()))
      assert.equal(code, select(3, alone:chat()))
      assert.equal(1, #alone.log)
      assert.equal(0.1, alone:now()) -- what time cannot cure is not waited for
    end
  end)

  it("asks no other target of an account that has no credit left", function()
    local w = world.new { script = { a = { status(402) }, b = { good() } },
      targets = { a = { account = "x" }, b = { account = "x" } } }
    w:chat()
    local before = #w.log
    assert.equal("quota", select(3, w:chat()))
    assert.equal(before, #w.log)
  end)

  it("comes back to a target that was only busy when another one refuses the key", function()
    local w = world.new { script = { a = { status(503), good() }, b = { status(401) } } }
    local reply = w:chat()
    assert.equal("a", reply.target)
    assert.equal(3, reply.tries)
    assert.same({ a = 2, b = 1 }, w.sent)
    w:assert_clean()
  end)

  it("tries a key again after it was set aside", function()
    local w = world.new { script = { a = { status(401), good() } } }
    assert.equal("auth", select(3, w:chat()))
    w.loop.run(function() w.loop.sleep(301) end)
    assert.equal("a", w:chat().target)
  end)

  it("obeys Retry-After, with chance on top and never below", function()
    for seed = 1, 10 do
      local w = world.new { script = { a = { status(429, { ["retry-after"] = "7" }), good() } } }
      assert.is_truthy(w:chat())
      local gap = gaps(w)[1] - 0.1
      assert.is_true(gap >= 7 and gap <= 7.7 + 1e-6, ("%d: %f"):format(seed, gap))
    end
  end)

  it("moves on instead of waiting for a target that wants to rest", function()
    local w = world.new { script = {
      a = { status(503, { ["retry-after"] = "60" }), good() }, b = { good() } } }
    assert.equal("b", w:chat().target)
    assert.equal("b", w:chat().target) -- all callers heed it
    assert.equal(1, w.sent.a)
    w.loop.run(function() w.loop.sleep(60) end)
    assert.equal("a", w:chat().target)
  end)

  it("fails at once when the server asks for more than max_wait, and says how much", function()
    local w = world.new { script = { a = { status(429, { ["retry-after"] = "600" }) } } }
    local _, message, code, detail = w:chat()
    assert.equal("limited", code)
    assert.equal(600, detail.retry_after)
    assert.matches("600 s", message)
    assert.equal(1, #w.log)
    assert.is_true(w:now() < 1)
  end)

  it("does not begin a wait that the deadline would cut", function()
    local w = world.new { script = { a = { status(503) } } }
    local _, message, code = w:chat { deadline = 2.5 }
    assert.equal("busy", code)
    assert.matches("deadline", message)
    assert.equal(2, #w.log)
    assert.is_true(w:now() < 2.5)
  end)

  it("obeys x-should-retry both ways", function()
    local w = world.new { script = {
      a = { status(503, { ["x-should-retry"] = "false" }), good() } } }
    assert.equal("busy", select(3, w:chat()))
    assert.equal(1, #w.log)
    w = world.new { script = { a = { status(400, { ["x-should-retry"] = "true" }), good() } } }
    assert.equal(2, w:chat().tries)
  end)

  it("makes one free move to another account, and pays for all else", function()
    local w = world.new { script = { a = { status(503) }, b = { good() } },
      options = { budget = { tokens = 0 } } }
    assert.equal("b", w:chat().target)
    assert.is_true(w:now() < 0.3) -- no pause before a move
    local poor = world.new { script = { a = { status(503) }, b = { status(503) }, c = { good() } },
      options = { budget = { tokens = 0 } } }
    local _, message, code, detail = poor:chat()
    assert.equal("busy", code)
    assert.matches("budget", message)
    assert.is_true(detail.budget)
    assert.equal(2, #poor.log)
    poor:assert_clean()
  end)

  it("counts two targets of one account as one", function()
    local w = world.new { script = { a = { status(503) }, b = { good() } },
      targets = { a = { account = "x" }, b = { account = "x" } },
      options = { budget = { tokens = 0 } } }
    assert.equal("busy", select(3, w:chat()))
    assert.equal(1, #w.log)
  end)

  it("gives a permit's tokens back when the retry was good", function()
    local w = world.new { script = { a = { status(500), good() } } }
    w:chat()
    assert.equal(500, w.client:status().budget.tokens)
    w = world.new { script = { a = { status(500) } } }
    w:chat()
    assert.equal(500 - 4 * 14, w.client:status().budget.tokens)
    w:assert_clean()
  end)

  it("waits for a permit while others try again, and loses nobody", function()
    local w = world.new { options = { limiter = false, retry = { jitter = 0 } },
      script = { a = function(_, n) return n <= 10 and status(503) or good() end } }
    local answered, most = 0, 0
    w.loop.run(function()
      for _ = 1, 10 do
        w.loop.spawn(function() if w:chat() then answered = answered + 1 end end)
      end
      for _ = 1, 100 do
        w.loop.sleep(0.05)
        most = math.max(most, w.client:status().budget.permits)
      end
    end)
    assert.equal(10, answered)
    assert.equal(3, most)
    w:assert_clean()
  end)

  it("ends calls that wait for a permit when the tokens are spent", function()
    local w = world.new { script = { a = { status(503) } }, options = { limiter = false,
      breaker = false, budget = { tokens = 20 } } }
    local ended = {}
    w.loop.run(function()
      for i = 1, 10 do
        w.loop.spawn(function()
          local _, message, code = w:chat()
          ended[i] = { message = message, code = code }
        end)
      end
    end)
    assert.equal(14, #w.log) -- ten first tries, and four at 5 tokens each
    for _, e in ipairs(ended) do assert.equal("busy", e.code) end
    w:assert_clean()
  end)

  it("gives permits in the order in which they are waited for", function()
    local w = world.new { script = { a = { status(500, nil, "", 0.1) } }, options = {
      breaker = false, limiter = false, budget = { floor = 1, ratio = 0 },
      retry = { attempts = 3, base = 0.1, jitter = 0 } } }
    local ended = {}
    w.loop.run(function()
      for i = 1, 4 do
        w.loop.spawn(function() w:chat() ended[#ended + 1] = i end)
      end
    end)
    assert.same({ 1, 2, 3, 4 }, ended)
    w:assert_clean()
  end)

  it("gives up its turn when it is cancelled or closed while it waits for a permit", function()
    local w = world.new { options = { limiter = false, budget = { floor = 1, ratio = 0 } },
      script = { a = function(_, n) return n <= 3 and status(503) or good() end } }
    local answered = 0
    w.loop.run(function()
      local waiting = {}
      for i = 1, 3 do
        waiting[i] = w.loop.spawn(function() if w:chat() then answered = answered + 1 end end)
      end
      w.loop.sleep(0.5)
      w.loop.cancel(waiting[2])
    end)
    assert.equal(2, answered)
    w:assert_clean()
    w = world.new { options = { limiter = false, budget = { floor = 1, ratio = 0 } },
      script = { a = { status(503) } } }
    w.loop.run(function()
      for _ = 1, 3 do w.loop.spawn(function() w:chat() end) end
      w.loop.sleep(0.5)
      w.client:close()
    end)
    assert.is_true(w:now() < 3)
    w:assert_clean()
  end)

  it("does not take a target whose key is set aside for one to move to", function()
    local w = world.new { script = { a = { status(503) }, b = { status(401) } }, order = { "b",
      "a" },
      options = { breaker = false, limiter = false } }
    w:chat()
    local before = #w.log
    w:chat()
    assert.equal(5, #w.log - before)
    for i = before + 2, #w.log do assert.is_true(w.log[i].at - w.log[i - 1].at >= 1) end
  end)

  it("tries the next key of a target at once when one is refused", function()
    local w = world.new { script = { a = function(request)
      local revoked = table.concat(request.headers):find "revoked"
      return revoked and status(401) or good()
    end } }
    w.client.targets[1].keys = { { aside_until = 0, secret = function() return "revoked" end },
      { aside_until = 0, secret = function() return "works" end } }
    assert.equal(2, w:chat().tries)
    assert.equal(1, w:chat().tries)
    assert.is_true(w:now() < 1)
  end)

  it("moves freely to another account, not to the next target of the same", function()
    local w = world.new { script = { a1 = { status(500) }, a2 = { status(500) }, b = { good() } },
      order = { "a1", "a2", "b" }, options = { budget = { tokens = 0 } },
      targets = { a1 = { account = "A" }, a2 = { account = "A" }, b = { priority = 2 } } }
    assert.equal("b", w:chat().target)
    assert.equal(2, #w.log)
  end)

  it("waits as it would when the server asks for no wait at all", function()
    for _, word in ipairs { "0", "Wed, 21 Oct 2015 07:28:00 GMT" } do
      local w = world.new { script = { a = { status(429, { ["retry-after"] = word }), good() } } }
      assert.is_truthy(w:chat())
      assert.is_true(gaps(w)[1] >= 1.1)
    end
  end)

  it("does not wait for a permit that cannot come", function()
    local w = world.new { script = { a = { status(500), good() } },
      options = { budget = { floor = 0 } } }
    local _, message, code = w:chat()
    assert.equal("upstream", code)
    assert.matches("budget", message)
    assert.is_true(w:now() < 1)
  end)

  it("can be switched off", function()
    local w = world.new { script = { a = { status(503), good() } }, options = { retry = false } }
    assert.equal("busy", select(3, w:chat()))
    assert.equal(1, #w.log)
  end)

  it("gives everything back when the task is cancelled in a pause, a wait or a try", function()
    for _, after in ipairs { 0.05, 0.5, 1.15 } do
      local w = world.new { script = { a = { status(503) } } }
      w.loop.run(function()
        local task = w.loop.spawn(function() w:chat() end)
        w.loop.sleep(after)
        w.loop.cancel(task)
      end)
      w:assert_clean()
    end
  end)
end)
