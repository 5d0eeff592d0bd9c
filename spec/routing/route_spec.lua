-- Which target a call goes to: targets that are out, that come back, and how many may be out.
local world = require "spec.support.world"

local good, status = world.good, world.status

-- Counts what hosts were sent since the last look.
local function watch(w)
  local before = {}
  return function()
    local out = {}
    for host, n in pairs(w.sent) do
      local more = n - (before[host] or 0)
      if more > 0 then out[host] = more end
      before[host] = n
    end
    return out
  end
end

local function chats(w, n, options)
  local failed = 0
  for _ = 1, n do
    if not w:chat(options) then failed = failed + 1 end
  end
  return failed
end

local function target(w, name)
  for _, t in ipairs(w.client.targets) do
    if t.name == name then return t end
  end
end

-- Opens a breaker, and lets a call find that.
local function open(w, name, state, seconds)
  local t = target(w, name)
  t.breaker:force(state, seconds)
  t:admit(nil, w:now())
  assert.equal(state, t.state)
end

describe("a target that is out", function()
  it("leaves its share to the others, by their weights", function()
    local w = world.new { script = { a = { good() }, b = { good() }, c = { good() } },
      targets = { a = { weight = 2 }, b = { weight = 2 }, c = { weight = 1 } } }
    open(w, "a", "forced_open")
    chats(w, 30)
    assert.same({ b = 20, c = 10 }, w.sent)
  end)

  it("because it rests, too", function()
    local w = world.new { targets = { a = { weight = 1 }, b = { weight = 2 }, c = { weight = 1 } },
      script = { a = { status(429, { ["retry-after"] = "60" }), good() }, b = { good() },
        c = { good() } } }
    local look = watch(w)
    repeat chats(w, 1) until w.sent.a
    look()
    chats(w, 30)
    assert.same({ b = 20, c = 10 }, look())
    w.loop.run(function() w.loop.sleep(61) end)
    chats(w, 40)
    assert.same({ a = 10, b = 20, c = 10 }, look())
  end)

  it("and because its last key was refused, or its account has no credit", function()
    for _, answer in ipairs { status(401), status(402) } do
      local w = world.new { script = { a = { answer }, b = { good() }, c = { good() } },
        targets = { a = { weight = 8 }, b = { weight = 1 }, c = { weight = 1 } } }
      assert.equal(0, chats(w, 21))
      assert.equal(1, w.sent.a)
      assert.near(w.sent.b, w.sent.c, 1)
    end
  end)

  it("is asked all the same where every one is out", function()
    local w = world.new { script = { a = { good() }, b = { good() } },
      targets = { a = { weight = 1 }, b = { weight = 1 } }, options = { breaker = {
        open_for = 2 } } }
    target(w, "a").breaker:force("open")
    target(w, "b").breaker:force("open", 10)
    assert.equal("a", w:chat().target)
    assert.near(2, w:now(), 0.2)
  end)

  it("comes back by 10, 25, 50 and 100 % of its share", function()
    local w = world.new { script = { a = { good("", 0.001) }, b = { good("", 0.001) } },
      targets = { a = { weight = 90 }, b = { weight = 10 } }, options = { limiter = false } }
    open(w, "a", "open", 1)
    w.loop.run(function() w.loop.sleep(1.01) end)
    repeat chats(w, 1) until target(w, "a").state == "closed"
    local look = watch(w)
    for _, part in ipairs { 0.1, 0.25, 0.5, 1 } do
      look()
      local began, n = w:now(), 0
      while w:now() < began + 1.9 do
        chats(w, 1)
        n = n + 1
      end
      local share = (look().a or 0) / n
      assert.near(90 * part / (90 * part + 10), share, 0.03)
      w.loop.run(function() w.loop.sleep(began + 2 - w:now()) end)
    end
  end)

  it("comes back by steps without weights, too", function()
    local w = world.new { script = { a = { good("", 0.001) }, b = { good("", 0.001) } },
      options = { limiter = false } }
    open(w, "a", "open", 1)
    w.loop.run(function() w.loop.sleep(1.01) end)
    chats(w, 1)
    assert.equal("closed", target(w, "a").state)
    assert.equal(0.1, w.client:status().targets[1].share)
    local look = watch(w)
    look()
    chats(w, 200)
    assert.same({ a = 20, b = 180 }, look())
    w.loop.run(function() w.loop.sleep(6) end)
    chats(w, 100)
    assert.same({ a = 100 }, look())
    assert.is_nil(w.client:status().targets[1].share)
  end)
end)

describe("of several targets that fail in part", function()
  -- Fails every call but each n-th.
  local function flaky(n)
    return function(_, i) return i % n == 0 and good("", 0.01) or status(500, nil, "", 0.01) end
  end

  local function client_of(script, options)
    local targets = {}
    for name in pairs(script) do targets[name] = { weight = 1 } end
    options = options or {}
    options.retry = options.retry or { attempts = 1 }
    return world.new { script = script, targets = targets, options = options }
  end

  local function states(w)
    local out = {}
    for _, t in ipairs(w.client.targets) do
      local state = t.breaker:state()
      out[state] = (out[state] or 0) + 1
    end
    return out
  end

  it("no more than half are out", function()
    local w = client_of { a = flaky(3), b = flaky(3), c = flaky(3), d = flaky(3), e = flaky(3) }
    local most = 0
    for _ = 1, 600 do
      w:chat()
      most = math.max(most, states(w).open or 0)
    end
    assert.equal(2, most)
    assert.is_true(#w:seen "kept" > 0)
    assert.same({ "kept" }, { w:seen("kept")[1].type })
    for _, s in ipairs(w:seen "state") do assert.not_equal(s.from, s.to) end
  end)

  it("and a call that is tried elsewhere is mostly answered", function()
    local w = client_of({ a = flaky(2), b = flaky(2), c = flaky(2), d = flaky(2) },
      { retry = { attempts = 4, base = 0.01 }, budget = false, queue = { max_wait = 0 } })
    assert.is_true(chats(w, 300) <= 300 * 0.1)
  end)

  it("a target that answers nothing may be out beyond that", function()
    local w = client_of { a = { status(500, nil, "", 0.01) }, b = { status(500, nil, "", 0.01) },
      c = { status(500, nil, "", 0.01) }, d = flaky(3) }
    for _ = 1, 110 do w:chat { deadline = 0.5 } end
    assert.equal("closed", target(w, "d").breaker:state())
    local out = 0
    for _, name in ipairs { "a", "b", "c" } do
      if target(w, name).breaker:state() ~= "closed" then out = out + 1 end
    end
    assert.equal(3, out)
  end)

  it("and all of them may be, which are then probed", function()
    local w = client_of({ a = { status(500, nil, "", 0.01) }, b = { status(500, nil, "", 0.01) } },
      { queue = { max_wait = 0 } })
    chats(w, 60)
    assert.same({ open = 2 }, states(w))
    local before = #w.log
    w.loop.run(function() w.loop.sleep(5.1) end)
    chats(w, 10)
    assert.is_true(#w.log > before and #w.log <= before + 2)
  end)

  it("the one target of a client is out as its breaker says, and so is a breaker to the letter",
    function()
    local w = client_of { a = flaky(3) }
    chats(w, 20)
    assert.same({ open = 1 }, states(w))
    w = client_of({ a = flaky(3), b = flaky(3) }, { breaker = { on_open = "fail" } })
    chats(w, 45)
    assert.same({ open = 2 }, states(w))
  end)

  it("no more than half of a pool are out either", function()
    local w = world.new { script = { a = flaky(3), b = flaky(3), c = { good("", 0.01) },
      d = { good("", 0.01) }, e = { good("", 0.01) } },
      targets = { a = { pool = "p" }, b = { pool = "p" } },
      options = { retry = { attempts = 1 } } }
    for _ = 1, 100 do w:chat { pool = "p" } end
    assert.equal(1, states(w).open)
    assert.is_true(#w:seen "kept" > 0)
  end)

  it("a reserve counts with its own pool", function()
    local w = world.new { script = { a = flaky(3), b = flaky(3), c = flaky(3) },
      targets = { b = { pool = "r", reserve = true }, c = { pool = "r", reserve = true } },
      options = { retry = { attempts = 1 } } }
    chats(w, 20)
    assert.equal("open", target(w, "a").breaker:state())
    chats(w, 20, { pool = "r", target = "b" })
    chats(w, 30, { pool = "r", target = "c" })
    assert.equal("open", target(w, "b").breaker:state())
    assert.equal("closed", target(w, "c").breaker:state())
  end)
end)

describe("route.balance", function()
  it("order takes no note of weights", function()
    local w = world.new { script = { a = { good() }, b = { good() } },
      targets = { b = { weight = 9 } }, options = { route = { balance = "order" } } }
    chats(w, 10)
    assert.same({ a = 10 }, w.sent)
  end)

  it("p2c goes where answers begin sooner, and lower priorities still come first", function()
    local w = world.new { script = { a = { good("", 2) }, b = { good("", 0.1) },
      c = { good("", 0.01) } }, targets = { c = { priority = 2 } },
      options = { route = { balance = "p2c" }, seed = 3 } }
    chats(w, 100)
    assert.is_true(w.sent.a <= 10, w.sent.a)
    assert.equal(100, w.sent.a + w.sent.b)
    local s = w.client:status().targets
    assert.near(0.1, s[2].start, 0.01)
    assert.equal(0, s[1].pending + s[2].pending + s[3].pending)
    w:assert_clean()
  end)

  it("p2c spreads calls that are made at once", function()
    local w = world.new { script = { a = { good("", 1) }, b = { good("", 1) } },
      options = { route = { balance = "p2c" }, seed = 3, limiter = false } }
    w.loop.run(function()
      local tasks = {}
      for i = 1, 100 do tasks[i] = w.loop.spawn(function() return w:chat() end) end
      for i = 1, 100 do assert(tasks[i]:join()) end
    end)
    assert.near(50, w.sent.a, 2)
  end)

  it("p2c probes a target whose breaker may be asked at once, and takes it back", function()
    local w = world.new { script = { a = { good("", 0.1) }, b = { good("", 0.1) } },
      options = { route = { balance = "p2c" }, seed = 3 } }
    chats(w, 20)
    open(w, "a", "open", 1)
    w.loop.run(function() w.loop.sleep(1.1) end)
    assert.equal("a", w:chat().target)
    assert.equal("closed", target(w, "a").breaker:state())
    w.loop.run(function() w.loop.sleep(6) end)
    local look = watch(w)
    look()
    chats(w, 100)
    assert.is_true(look().a > 30)
  end)

  it("p2c probes none that rests", function()
    local w = world.new { script = { a = { good("", 0.1) }, b = { good("", 0.1) },
      c = { good("", 0.1) } }, options = { route = { balance = "p2c" }, seed = 3 } }
    open(w, "a", "open", 1)
    target(w, "a"):rest(60, w:now())
    w.loop.run(function() w.loop.sleep(1.1) end)
    chats(w, 20)
    assert.is_nil(w.sent.a)
  end)

  it("p2c hears of a server's queue while calls still stand in it", function()
    local waits = {}
    for i = 1, 5 do waits[i] = { 1, world.KEEP_ALIVE } end
    for _, word in ipairs(world.words({ "a" }, 0.1).steps) do waits[#waits + 1] = word end
    local w = world.new { script = { a = { world.streamed(waits) }, b = { world.words { "b" } } },
      options = { route = { balance = "p2c" }, seed = 1, limiter = false } }
    w.loop.run(function()
      local task = w.loop.spawn(function()
        return assert(w:stream { target = "a" }):reply().text
      end)
      w.loop.sleep(3.5)
      assert.near(3, w.client:status().targets[1].start, 0.2) -- so much at least
      for _ = 1, 5 do assert.equal("b", assert(w:stream()):reply().text) end
      assert.equal("a", task:join())
      assert.near(5.2, w.client:status().targets[1].start, 0.2)
    end)
    -- of a whole answer, blank lines
    local blank = {}
    for i = 1, 4 do blank[i] = { 1, "\n" } end
    blank[5] = { 1, good("x").body }
    w = world.new { script = { a = { { status = 200, steps = blank } }, b = { good("", 0.1) } },
      options = { route = { balance = "p2c" }, seed = 1, limiter = false } }
    w.loop.run(function()
      local task = w.loop.spawn(function() return w:chat { target = "a" } end)
      w.loop.sleep(3.5)
      assert.near(3, w.client:status().targets[1].start, 0.2)
      assert(task:join())
    end)
    w:assert_clean()
  end)

  it("a place tells of the server's queue as long as it lasts", function()
    local w = world.new { script = { a = { good("", 10) }, b = { good("", 0.1) } },
      options = { route = { balance = "p2c" }, seed = 1 } }
    local a = target(w, "a")
    local place = a:admit(nil, w:now())
    place:queues(3)
    assert.equal(3, w.client:status().targets[1].start)
    assert.equal(1, w.client:status().targets[1].pending)
    place:finish()
    place:queues(30)
    assert.equal(0, w.client:status().targets[1].pending)
    assert.equal(3, w.client:status().targets[1].start)
  end)

  it("serves more targets than fit into one number", function()
    local script, targets, order = {}, {}, {}
    for i = 1, 70 do
      local name = ("t%02d"):format(i)
      script[name], targets[name], order[i] = { good("", 0.001) }, { weight = 1 }, name
    end
    local w = world.new { script = script, targets = targets, order = order }
    for i = 1, 10 do open(w, order[i], "forced_open") end
    chats(w, 120)
    for i = 1, 70 do assert.equal(i > 10 and 2 or nil, w.sent[order[i]]) end
  end)

  it("is refused where it is no word of these", function()
    local unbusy = require "unbusy"
    for message, route in pairs {
      ["route.balance: one of order, weighted, p2c expected"] = { balance = "p3c" },
      ["route.sticky: one of prefix, user expected"] = { sticky = "users" },
      ["route.sticky: one of prefix, user expected, got a boolean"] = { sticky = true },
      ["unknown option 'route.balans', did you mean 'balance'"] = { balans = "p2c" },
      ["route.start: a number above 0 expected"] = { start = 0 },
    } do
      local ok, text = pcall(unbusy.new, { targets = { { name = "a", url = "http://a.test" } },
        route = route })
      assert.is_false(ok)
      assert.is_truthy(text:find("unbusy: " .. message, 1, true), text)
    end
  end)
end)

describe("a client of one target", function()
  it("has nothing to choose, whatever it is told", function()
    for _, route in ipairs { {}, { balance = "p2c" }, { sticky = "prefix", start = 1 } } do
      local w = world.new { script = { a = { status(500), good("", 3) } },
        targets = { a = { weight = 0, pool = "p" } },
        options = { route = route, retry = { base = 0.1 }, pools = { p = { spill = { start = 1,
          queue = 1 } } }, breaker = { consecutive = 1, open_for = 1 } } }
      assert.equal("a", w:chat().target)
      assert.equal("a", w:chat().target)
      local s = w.client:status()
      assert.is_false(s.targets[1].away)
      assert.is_nil(s.targets[1].start)
      assert.equal(2, s.pools.p.answers)
      assert.equal(0, #w:seen "spill")
      w:assert_clean()
    end
  end)
end)
