-- Second tries beside slow ones inside nginx: workers that share a region, and clients that leave.
local busyd = require "spec.support.busyd"
local core = require "unbusy.core"
local engines = require "spec.support.engines"
local sites = require "spec.support.site"

describe("inside nginx, two tries beside each other", function()
  local slow, quick, site, e

  setup(function()
    slow, quick = busyd.start {}, busyd.start {}
    e = core.engine()
  end)
  teardown(function()
    e:close()
    slow:stop()
    quick:stop()
  end)

  local function start(more)
    local o = { hedge = { after = 0.05, most = 1 }, retry = false, targets = {
      { name = "slow", url = slow.url .. "/v1", priority = 1 },
      { name = "quick", url = quick.url .. "/v1", priority = 2 } } }
    for name, value in pairs(more or {}) do o[name] = value end
    site = sites.start(o)
  end

  after_each(function()
    assert.equal("", site:faults())
    site:stop()
  end)

  local function programme(first, second)
    first.reset, second.reset = true, true
    slow:programme(first)
    quick:programme(second)
  end

  local function await_left(up, gone)
    sites.await("the server is left", function()
      local c = up:counts()
      return c.aborted_by_client + c.streams.aborted >= gone and c.in_service + c.queued == 0
    end)
  end

  -- How much is held, by the worker that answers and in its region.
  local function held(s)
    local sum = s.active + s.core.transfers + s.waiting + s.budget.permits + s.budget.active
    for _, t in ipairs(s.targets) do
      for _, l in pairs(t.limits) do sum = sum + l.in_flight end
      sum = sum + t.breaker.outstanding + t.queue.calls
    end
    return sum
  end

  -- Other workers may be at it yet.
  local function assert_clean()
    return sites.await("nothing is held", function()
      local status = site:status()
      return held(status) == 0 and status
    end)
  end

  it("the first to answer counts, and the other one is called off", function()
    start()
    programme({ latency = 600 }, {})
    assert.equal("echo: x", (site:get "/chat?q=x"))
    assert.equal("echo: y", (site:get "/stream?q=y"))
    await_left(slow, 2)
    assert.equal(2, assert_clean().hedge.won)
    programme({ latency = 0.5 }, { latency = 600 })
    assert.equal("echo: x", (site:get "/chat?q=x"))
    assert.equal("echo: y", (site:get "/stream?q=y"))
    await_left(quick, 2)
    assert.equal(2, assert_clean().hedge.lost)
    programme({ script = { { status = 500, latency = 0.3 } } }, { latency = 0.5 })
    assert.equal("echo: x", (site:get "/chat?q=x"))
    assert.equal(1, quick:counts().completed)
    assert_clean()
  end)

  it("a server's queue is left", function()
    start { policy = "interactive", hedge = false }
    programme({ capacity = 0, queue = 9, queue_sign = "keepalive" }, {})
    assert.equal("echo: x", (site:get "/stream?q=x"))
    await_left(slow, 1)
    assert.equal(1, assert_clean().hedge.switched)
  end)

  it("a client that leaves ends both", function()
    start { locations = [[
      location /unread { content_by_lua_block {
        local stream = client:stream(question())
        ngx.print(stream:read().text)
        ngx.flush(true)
        kept = stream
        ngx.sleep(1000)
      } }
      location /thread { content_by_lua_block {
        ngx.thread.spawn(function() client:chat(question()) end)
        ngx.sleep(1000)
      } }
    ]], init = "rawset(_G, 'kept', 1)" }
    for _, path in ipairs { "/chat", "/stream", "/thread" } do
      programme({ latency = 600 }, { latency = 600 })
      local id = assert(e:submit { url = site.url .. path, method = "GET", headers = {} })
      engines.drive(e, function() return quick:counts().in_service == 1 end)
      e:cancel(id)
      engines.work(e, 2)
      await_left(slow, 1)
      await_left(quick, 1)
      assert_clean()
    end
    -- The first has failed, and the second is what it waits for.
    programme({ script = { { status = 500, latency = 0.3 } } }, { latency = 600 })
    local id = assert(e:submit { url = site.url .. "/chat", method = "GET", headers = {} })
    engines.drive(e, function() return slow:counts().faulted == 1 end)
    e:cancel(id)
    engines.work(e, 2)
    await_left(quick, 1)
    assert_clean()
    -- Or a stream of it is under way.
    programme({ latency = 600 }, { token_interval = 0.05, answer = { tokens = 10000 } })
    id = assert(e:submit { url = site.url .. "/unread", method = "GET", headers = {} })
    engines.await_head(e, id)
    e:cancel(id)
    engines.work(e, 2)
    await_left(slow, 1)
    await_left(quick, 1)
    assert_clean()
  end)

  it("hundreds at once in workers that share a region, some of which leave", function()
    start { workers = 3, region = { name = "hedge" .. tostring(core.now()):gsub("%D", ""),
      bytes = 8e6 }, limiter = { initial = 400, max = 400 },
      budget = { floor = 500, tokens = 1e6 } }
    programme({ latency = { kind = "bimodal", mean = 0.02, slow = 5, p = 0.4 } },
      { latency = { kind = "uniform", min = 0, max = 0.1 }, token_interval = 0.002 })
    local ids = {}
    for i = 1, 200 do
      ids[i] = assert(e:submit { url = site.url .. (i % 2 == 0 and "/chat?q=" or "/stream?q=") .. i,
        method = "GET", headers = {} })
    end
    engines.work(e, 20)
    for i = 1, 200, 10 do e:cancel(ids[i]) end
    local rest = {}
    for i = 1, 200 do
      if i % 10 ~= 1 then rest[#rest + 1] = ids[i] end
    end
    for _, got in ipairs(engines.finish_all(e, rest)) do
      assert.matches("^echo: %d+$", got.body)
    end
    await_left(slow, 10)
    await_left(quick, 0)
    local seen = {}
    sites.await("all workers have been seen", function()
      local s = assert_clean()
      seen[s.pid] = s.hedge
      local count = 0
      for _ in pairs(seen) do count = count + 1 end
      return count == 3
    end)
    local won = 0
    for _, hedge in pairs(seen) do won = won + hedge.won end
    assert.is_true(won > 30, won)
  end)
end)
