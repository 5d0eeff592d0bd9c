-- Pools in their order, and calls that go on from one to the next.
local unbusy = require "unbusy"
local world = require "spec.support.world"

local good, status = world.good, world.status

local function price(n) return { input = n, output = n } end

-- A private target of so many places, and a cloud that takes all.
local function new(pool, options)
  local o = { pools = { private = pool, cloud = { priority = 2 } },
    limiter = { kind = "fixed", initial = 4 } }
  for name, value in pairs(options or {}) do o[name] = value end
  local w = world.new { script = { near = { good("", 1) }, far = { good("", 0.5) } },
    order = { "far", "near" }, options = o, targets = {
      near = { pool = "private", price = price(1) },
      far = { pool = "cloud", price = price(10) },
    } }
  return w
end

-- So many calls at once; gives how many each answered.
local function at_once(w, n, options)
  local by = { failed = 0 }
  w.loop.run(function()
    local tasks = {}
    for i = 1, n do tasks[i] = w.loop.spawn(function() return w:chat(options) end) end
    for i = 1, n do
      local reply = tasks[i]:join()
      local name = reply and reply.target or "failed"
      by[name] = (by[name] or 0) + 1
    end
  end)
  return by
end

local function sleep(w, seconds)
  w.loop.run(function() w.loop.sleep(seconds) end)
end

describe("pools by priority", function()
  it("keep calls on the first while it has room, and send on what it has none for", function()
    local w = new { priority = 1 }
    assert.same({ near = 4, failed = 0 }, at_once(w, 4))
    assert.equal(0, #w:seen "spill")
    assert.same({ near = 4, far = 4, failed = 0 }, at_once(w, 8))
    w:assert_clean()
  end)

  it("tell of each beginning and end, once", function()
    local w = new { priority = 1, spill = { hold = 3 } }
    at_once(w, 6)
    at_once(w, 6)
    local seen = w:seen "spill"
    assert.equal(1, #seen)
    assert.same({ "private", true, "cloud", "full" },
      { seen[1].pool, seen[1].spills, seen[1].to, seen[1].reason })
    assert.is_true(w.client:status().pools.private.spills)
    sleep(w, 3.1)
    assert(w:chat())
    assert.equal(2, #w:seen "spill")
    assert.is_false(w.client:status().pools.private.spills)
    assert.equal(2, #w:seen "spill")
    assert.is_false(w:seen("spill")[2].spills)
  end)

  it("count answers, cost and shares", function()
    local w = new { priority = 1 }
    at_once(w, 7)
    local s = w.client:status().pools
    assert.equal(4, s.private.answers)
    assert.equal(3, s.private.sent_on)
    assert.equal(3, s.cloud.answers)
    assert.equal(0, s.cloud.sent_on)
    assert.near(3 / 7, s.cloud.share, 1e-9)
    assert.near(15e-6, s.private.cost_each, 1e-12) -- 15 tokens
    assert.near(150e-6 * 3, s.cloud.cost, 1e-12)
    assert.same({ 1, 2 }, { s.private.priority, s.cloud.priority })
  end)

  it("count a stream at its end", function()
    local w = new { priority = 1 }
    w.script.near = { world.words { "one", "two" } }
    w.loop.run(function()
      local stream = assert(w:stream())
      assert.equal(0, w.client:status().pools.private.answers)
      assert(stream:reply())
      assert.equal(1, w.client:status().pools.private.answers)
      stream = assert(w:stream())
      stream:close()
      assert.equal(1, w.client:status().pools.private.answers)
    end)
    w:assert_clean()
  end)

  it("come before the priority of targets", function()
    local w = world.new { script = { a = { good() }, b = { good() } },
      targets = { a = { pool = "one", priority = 1 }, b = { pool = "two", priority = 9 } },
      options = { pools = { one = { priority = 2 }, two = { priority = 1 } } } }
    assert.equal("b", w:chat().target)
    w.script.b = { status(500) }
    assert.equal("a", w:chat().target)
  end)

  it("send on for a broken first one, which is told apart", function()
    local w = new { priority = 1 }
    w.client.targets[2].breaker:force("open", 60)
    assert.equal("far", w:chat().target) -- which finds that
    assert.equal("far", w:chat().target)
    assert.equal(1, #w:seen "spill")
    assert.equal("open", w:seen("spill")[1].reason)
  end)

  it("leave calls alone that name a pool or a target", function()
    local w = new { priority = 1 }
    assert.equal("far", w:chat({ pool = "cloud" }).target)
    assert.equal("far", w:chat({ target = "far" }).target)
    assert.equal(0, w.client:status().pools.private.sent_on)
    assert.same({ near = 6, failed = 0 }, at_once(w, 6, { pool = "private" }))
    assert.equal(0, #w:seen "spill")
  end)

  it("are as they were where the option is not given", function()
    local w = world.new { script = { a = { good() }, b = { good() } },
      targets = { a = { pool = "x" }, b = { pool = "y" } } }
    assert.equal("a", w:chat().target)
    assert.equal(1, w.client:status().pools.x.answers)
    assert.is_nil(w.client:status().pools.x.priority)
  end)

  it("are refused where they are none", function()
    for message, pools in pairs {
      ["pools: no target is in the pool 'privat', did you mean 'private'?"] = { privat = {} },
      ["pools: no target is in the pool 'x'"] = { x = {} },
      ["pools.private: table expected, got 1"] = { private = 1 },
      ["unknown option 'pools.private.priorty', did you mean 'priority'?"] =
        { private = { priorty = 1 } },
      ["pools.private.spill.start: a number above 0 expected, got 0"] =
        { private = { spill = { start = 0 } } },
      ["unknown option 'pools.private.spill.strat', did you mean 'start'?"] =
        { private = { spill = { strat = 1 } } },
      ["pools: names of pools expected as keys"] = { {} },
    } do
      local ok, text = pcall(unbusy.new, { pools = pools,
        targets = { { name = "a", url = "http://a.test", pool = "private" } } })
      assert.is_false(ok)
      assert.is_truthy(text:find("unbusy: " .. message, 1, true), text)
    end
  end)
end)

describe("spill.queue", function()
  it("waits for a cheap place so long, and then goes on", function()
    local w = new({ priority = 1, spill = { queue = 0.8 } })
    w.script.near = { good("", 0.6) }
    -- four at once, four in the places that they leave, and the rest is sent on
    local by = at_once(w, 12)
    assert.same({ near = 8, far = 4, failed = 0 }, by)
    assert.same({ "queued" }, { w:seen("queued")[1].type })
    assert.equal(0, #w:seen "refused")
    w:assert_clean()
  end)

  it("waits no more while it spills, and again when it is back", function()
    local w = new({ priority = 1, spill = { queue = 0.8, hold = 2 } })
    at_once(w, 6) -- answers take 1 s there: two are sent on after 0.8 s
    local began = w:now()
    at_once(w, 6)
    local queued = 0
    for _, e in ipairs(w:seen "try") do
      if e.at == began then queued = queued + 1 end
    end
    assert.equal(6, queued) -- all of them at once, two of them elsewhere
    sleep(w, 3)
    w.script.near = { good("", 0.5) }
    assert.same({ near = 6, failed = 0 }, at_once(w, 6))
  end)

  it("goes on at once where the line is full", function()
    local w = new({ priority = 1, spill = { queue = 5 } }, { queue = { size = 0 } })
    assert.same({ near = 4, far = 3, failed = 0 }, at_once(w, 7))
    assert.is_true(w:now() < 1.1)
    w:assert_clean()
  end)

  it("leaves nothing when the watcher of a spill closes the client", function()
    local w = new({ priority = 1 })
    w.client.on_event = function(e)
      if e.type == "spill" then w.client:close() end
    end
    local codes = {}
    w.loop.run(function()
      local tasks = {}
      for i = 1, 6 do tasks[i] = w.loop.spawn(function() return select(3, w:chat()) end) end
      for i = 1, 6 do codes[i] = tasks[i]:join() or "answered" end
    end)
    for i = 1, 6 do assert.equal("closed", codes[i]) end
    assert.is_nil(w.sent.far)
    w:assert_clean()
  end)

  it("counts a watcher that raises, and goes on", function()
    local w = new({ priority = 1 })
    w.client.on_event = function(e)
      if e.type == "spill" then error "no" end
    end
    assert.same({ near = 4, far = 2, failed = 0 }, at_once(w, 6))
    assert.equal(1, w.client:status().event_faults)
  end)

  it("leaves nothing when the call ends while it waits", function()
    local w = new({ priority = 1, spill = { queue = 5 } })
    w.script.near = { good("", 20) }
    w.loop.run(function()
      local held = {}
      for i = 1, 4 do held[i] = w.loop.spawn(function() return w:chat() end) end
      w.loop.sleep(0.1)
      local stop = unbusy.canceller()
      local task = w.loop.spawn(function() return select(3, w:chat { cancel = stop }) end)
      local late = w.loop.spawn(function() return select(3, w:chat { deadline = 1 }) end)
      w.loop.sleep(0.5)
      stop:cancel()
      assert.equal("cancelled", task:join())
      assert.equal("timeout", late:join())
      for i = 1, 4 do assert(held[i]:join()) end
    end)
    assert.is_nil(w.sent.far)
    w:assert_clean()
  end)
end)

describe("spill.start", function()
  -- A private server that answers `places` calls at a time and lets the others wait; it refuses
  -- nobody.
  local function server(w, places, seconds)
    local busy, line = 0, {}
    return function()
      local loop = w.loop
      if busy == places then
        local event = loop.event()
        line[#line + 1] = event
        loop.wait { event }
      else
        busy = busy + 1
      end
      loop.sleep(seconds)
      local first = table.remove(line, 1)
      if first then first:set() else busy = busy - 1 end
      return good("", 0)
    end
  end

  -- Calls at a rate for a while: how long each took, by target.
  local function load(w, rate, seconds)
    local took, tasks = { near = {}, far = {}, failed = {} }, {}
    w.loop.run(function()
      for i = 1, rate * seconds do
        tasks[i] = w.loop.spawn(function()
          local began = w:now()
          local reply = w:chat()
          local list = took[reply and reply.target or "failed"]
          list[#list + 1] = { at = began, took = w:now() - began }
        end)
        w.loop.sleep(1 / rate)
      end
      for _, task in ipairs(tasks) do task:join() end
    end)
    return took
  end

  local function new_server(options)
    local w = new({ priority = 1, spill = { start = 2 } }, { limiter = false })
    for name, value in pairs(options or {}) do w[name] = value end
    local serve = server(w, 10, 0.5) -- 20 a second
    w.script.near = function() return serve() end
    return w
  end

  it("sends nothing on below the line", function()
    local w = new_server()
    local took = load(w, 18, 30)
    assert.equal(0, #took.far)
    assert.equal(0, #w:seen "spill")
  end)

  it("sends on what is too much, and keeps the private pool full", function()
    local w = new_server()
    local took = load(w, 60, 60) -- three times what it can do
    assert.equal(0, #took.failed)
    local late, kept = 0, 0
    for _, call in ipairs(took.near) do
      if call.at > 20 then
        kept = kept + 1
        if call.took > 3 then late = late + 1 end
      end
    end
    assert.is_true(kept / 40 > 0.9 * 20, kept / 40)  -- calls a second
    assert.is_true(late <= 0.05 * kept, late)
    assert.equal("start", w:seen("spill")[1].reason)
    w:assert_clean()
  end)

  it("comes back when the peak is over", function()
    local w = new_server()
    load(w, 60, 20)
    sleep(w, 10)
    assert.is_false(w.client:status().pools.private.spills)
    local took = load(w, 18, 20)
    assert.equal(0, #took.far)
    assert.equal(2, #w:seen "spill")
  end)
end)
