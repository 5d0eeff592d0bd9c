-- Second tries beside slow ones, over real connections and in every loop: the server of the one
-- that loses sees that it is called off.
local busyd = require "spec.support.busyd"
local cqueues = require "cqueues"
local guard = require "spec.support.leak_guard"
local unbusy = require "unbusy"
local uv = require "luv"
local wire = require "unbusy.loops.wire"

local function question(text)
  return { model = "m", messages = { { role = "user", content = text or "hi" } } }
end

-- Where a call may be made: `run(f)` runs it there, to its end.
local places = {
  { name = "outside of tasks", run = function(f) f() end },
  { name = "in a task", run = function(f) unbusy.run(f) end },
  { name = "in a foreign coroutine", run = function(f) coroutine.wrap(f)() end },
  { name = "in cqueues", run = function(f)
    local cq = cqueues.new()
    cq:wrap(f)
    assert(cq:loop())
  end },
  { name = "in luv", loop = "luv", run = function(f)
    local fault
    coroutine.wrap(function()
      local ok, message = pcall(f)
      fault = not ok and message or nil
    end)()
    uv.run()
    if fault then error(fault, 0) end
  end },
}

describe("two tries beside each other", function()
  local slow, quick
  setup(function() slow, quick = busyd.start { tls = true }, busyd.start { tls = true } end)
  teardown(function()
    slow:stop()
    quick:stop()
  end)
  guard.watch(before_each, after_each)

  local function new(loop, more)
    local o = { loop = loop, hedge = { after = 0.05, most = 1 }, retry = false, targets = {
      { name = "slow", url = slow.url .. "/v1", priority = 1 },
      { name = "quick", url = quick.url .. "/v1", priority = 2 } } }
    for name, value in pairs(more or {}) do o[name] = value end
    return unbusy.new(o)
  end

  local function programme(first, second)
    first.reset, second.reset = true, true
    slow:programme(first)
    quick:programme(second)
  end

  -- The server has seen so many of its callers go, and has nobody left.
  local function assert_left(up, count)
    local limit = os.time() + 60
    while true do
      local c = up:counts()
      local gone = c.aborted_by_client + c.streams.aborted
      if gone >= count and c.in_service + c.queued == 0 then return end
      assert.is_true(os.time() < limit, "the server has not seen it")
      os.execute "sleep 0.02"
    end
  end

  local function assert_clean(client)
    local s = client:status()
    assert.same({ 0, 0, 0, 0 }, { s.active, s.waiting, s.budget.permits, s.budget.active })
    for _, t in ipairs(s.targets) do
      for _, l in pairs(t.limits) do assert.equal(0, l.in_flight) end
      assert.equal(0, t.breaker.outstanding)
    end
    assert.is_false(wire.busy())
  end

  for _, place in ipairs(places) do
    it(place.name .. ": the second answers, and the first is called off", function()
      local client = new(place.loop)
      programme({ latency = 600 }, {})
      place.run(function()
        local reply = assert(client:chat(question "x"))
        assert.same({ "echo: x", "quick", 2, true },
          { reply.text, reply.target, reply.tries, reply.hedged.won })
      end)
      assert_left(slow, 1)
      assert.equal(1, quick:counts().completed)
      assert_clean(client)
    end)

    it(place.name .. ": the first answers, and the second is called off", function()
      local client = new(place.loop)
      programme({ latency = 0.4 }, { latency = 600 })
      place.run(function()
        local reply = assert(client:chat(question "x"))
        assert.same({ "slow", 2, false }, { reply.target, reply.tries, reply.hedged.won })
      end)
      assert_left(quick, 1)
      assert_clean(client)
    end)

    it(place.name .. ": streams", function()
      local client = new(place.loop)
      programme({ latency = 600 }, { token_interval = 0.02, answer = { tokens = 8 } })
      place.run(function()
        local stream = assert(client:stream(question "x"))
        assert.equal("quick", stream.target)
        local reply = assert(stream:reply())
        assert.equal(busyd.expected("x", { tokens = 8 }), reply.text)
        assert.is_true(reply.hedged.won)
      end)
      assert_left(slow, 1)
      assert_clean(client)
      programme({ latency = 0.4, token_interval = 0.02, answer = { tokens = 8 } },
        { latency = 600 })
      place.run(function()
        local stream = assert(client:stream(question "x"))
        assert.equal("slow", stream.target)
        assert.equal(busyd.expected("x", { tokens = 8 }), assert(stream:reply()).text)
      end)
      assert_left(quick, 1)
      assert_clean(client)
    end)

    it(place.name .. ": both end with their call", function()
      local client = new(place.loop)
      programme({ latency = 600 }, { latency = 600 })
      local code
      place.run(function() code = select(3, client:chat(question "x", { deadline = 0.5 })) end)
      assert.equal("timeout", code)
      assert_left(slow, 1)
      assert_left(quick, 1)
      local c = unbusy.canceller()
      programme({ latency = 600 }, { latency = 600 })
      client.on_event = function(e)
        if e.type == "hedge" and e.what == "begun" then c:cancel() end
      end
      place.run(function() code = select(3, client:chat(question "x", { cancel = c })) end)
      assert.equal("cancelled", code)
      assert_left(slow, 1)
      assert_clean(client)
      client.on_event = nil
      client.on_event = function(e)
        if e.type == "hedge" and e.what == "begun" then client:close() end
      end
      programme({ latency = 600 }, { latency = 600 })
      place.run(function() code = select(3, client:stream(question "x")) end)
      assert.equal("closed", code)
      assert_left(slow, 1)
    end)

    it(place.name .. ": the server's queue is left", function()
      local client = new(place.loop, { hedge = false, policy = {
        queued = function(try) return try.seconds > 0.2 and "switch" or "wait" end } })
      for _, kind in ipairs { "chat", "stream" } do
        programme({ capacity = 0, queue = 5, queue_sign = "keepalive" }, {})
        place.run(function()
          local answer = assert(client[kind](client, question "x"))
          if kind == "stream" then answer = assert(answer:reply()) end
          assert.same({ "echo: x", "quick", 2 }, { answer.text, answer.target, answer.tries })
        end)
        assert_left(slow, 1)
        assert_clean(client)
      end
      assert.equal(2, client:status().hedge.switched)
    end)

    it(place.name .. ": the server's queue is measured", function()
      local client = new(place.loop, { hedge = false })
      programme({ script = { { preset = "blank_lines", seconds = 0.5 },
        { preset = "keepalive_comments", seconds = 0.5 } } }, {})
      place.run(function()
        local reply = assert(client:chat(question "x"))
        assert.is_true(reply.times.queued_upstream > 0.1)
        assert.is_true(reply.times.queued_upstream <= reply.times.start)
        local stream = assert(client:stream(question "x"))
        assert.is_true(stream.times.queued_upstream > 0.1)
        assert(stream:reply())
      end)
      assert_clean(client)
    end)
  end

  it("over HTTP/2: only its own stream is reset, and the connection serves on", function()
    local client = unbusy.new { hedge = { after = 0.05, most = 1 }, retry = false, targets = {
      { name = "slow", url = slow.tls_url .. "/v1", tls = { ca = slow.ca }, priority = 1 },
      { name = "quick", url = quick.tls_url .. "/v1", tls = { ca = quick.ca }, priority = 2 } },
      limiter = { initial = 100, max = 100 }, budget = { floor = 100, tokens = 1e6 } }
    programme({ latency = { kind = "bimodal", mean = 0.01, slow = 600, p = 0.3 } },
      { latency = 0.01, token_interval = 0.001 })
    local answered = 0
    unbusy.run(function()
      for i = 1, 60 do
        unbusy.spawn(function()
          local text = "q" .. i
          local answer = assert(client[i % 2 == 0 and "chat" or "stream"](client, question(text)))
          if i % 2 == 1 then answer = assert(answer:reply()) end
          assert.equal("echo: " .. text, answer.text)
          answered = answered + 1
        end)
      end
    end)
    assert.equal(60, answered)
    local s = client:status().hedge
    assert.is_true(s.won > 5, s.won)
    assert_left(slow, 1)
    local c = slow:counts()
    assert.is_true(c.aborted_by_client > 5, c.aborted_by_client)
    assert.equal(60, c.aborted_by_client + c.completed) -- some of those that lost were under way
    assert.is_true(c.connections <= 2, c.connections)
    assert_clean(client)
  end)

  it("in cqueues, end with a controller that is dropped in the middle", function()
    local client = new()
    programme({ latency = 600 }, { latency = 600 })
    local cq = cqueues.new()
    for _ = 1, 3 do cq:wrap(function() client:chat(question "x") end) end
    repeat assert(cq:step(0.05)) until quick:counts().in_service == 3
    cq = nil -- luacheck: ignore 311
    collectgarbage()
    collectgarbage()
    assert.equal(0, client:status().active)
    wire.step()
    assert_left(slow, 3)
    assert_left(quick, 3)
    assert_clean(client)
  end)

  it("hundreds at once, that win, lose, fail and are left at any moment", function()
    local client = new(nil, { limiter = { initial = 500, max = 500 }, hedge = { after = 0.03,
      most = 1 }, budget = { floor = 1000, tokens = 1e6 }, breaker = false })
    programme({ latency = { kind = "bimodal", mean = 0.01, slow = 0.3, p = 0.5 },
      faults = { { share = 0.2, answer = { status = 503 } } } },
      { latency = { kind = "uniform", min = 0, max = 0.1 }, token_interval = 0.002,
      faults = { { share = 0.2, answer = { preset = "close" } } } })
    local ended, sent = 0, 0
    client.on_event = function(e) if e.type == "try" then sent = sent + 1 end end
    unbusy.run(function()
      for i = 1, 300 do
        unbusy.spawn(function()
          unbusy.sleep(i / 500)
          local c = unbusy.canceller()
          if i % 5 == 0 then
            unbusy.spawn(function()
              unbusy.sleep(i % 60 / 500)
              c:cancel()
            end)
          end
          local kind = i % 2 == 0 and "chat" or "stream"
          local answer = client[kind](client, question("q" .. i),
            { cancel = c, deadline = i % 7 == 0 and 0.05 or nil })
          if answer and kind == "stream" then
            if i % 3 == 0 then answer:close() else answer:reply() end
          end
          ended = ended + 1
        end)
      end
    end)
    assert.equal(300, ended)
    local s = client:status()
    assert.same({ 0, 0, 0 }, { s.active, s.budget.active, s.budget.permits })
    for _, t in ipairs(s.targets) do
      for _, l in pairs(t.limits) do assert.equal(0, l.in_flight) end
    end
    local h = s.hedge -- how many of each is a matter of how quick this machine is
    assert.is_true(h.won + h.lost + h.failed > 20, h.won + h.lost + h.failed)
    assert_left(slow, 0)
    assert_left(quick, 0)
    -- libcurl sends again what a connection that was kept did not take, once at most.
    assert.is_true(slow:counts().received + quick:counts().received <= 2 * sent)
  end)
end)
