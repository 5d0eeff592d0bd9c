-- Everything at once over real connections: every call has its own answer, byte for byte, or a
-- clear failure, and neither side has anything left.
local busyd = require "spec.support.busyd"
local codes = require "unbusy.codes"
local guard = require "spec.support.leak_guard"
local random = require "spec.support.random"
local unbusy = require "unbusy"
local wire = require "unbusy.loops.wire"

local CALLS, DEADLINE = 150, 20
local ANSWER = { tokens = 12 }

local FAULTS = {
  { share = 0.08, answer = { preset = "cut_stream", after = 4 } },
  { share = 0.05, answer = { preset = "busy_503" } },
  { share = 0.03, answer = { preset = "rate_limited", retry_after_ms = 50 } },
  { share = 0.03, answer = { preset = "server_500" } },
  { share = 0.05, answer = { latency = 0.5 } },
  { share = 0.05, answer = { answer = { finish_reason = "length" } } }, -- weak
}

local function programme(seed, more)
  local out = { reset = true, seed = seed, faults = FAULTS, capacity = 20, queue = 40,
    queue_sign = "keepalive", keepalive_every = 0.02, latency = 0.02, token_interval = 0.002,
    answer = ANSWER }
  for name, value in pairs(more or {}) do out[name] = value end
  return out
end

describe("everything at once on the wire", function()
  local edge, centre
  setup(function() edge, centre = busyd.start { workers = 1 }, busyd.start { workers = 1 } end)
  teardown(function()
    edge:stop()
    centre:stop()
  end)
  guard.watch(before_each, after_each)

  local function new(r, hold)
    return unbusy.new { targets = {
        { name = "e", url = edge.url .. "/v1", pool = "edge", prefix = "flag", proxy = false },
        { name = "c1", url = centre.url .. "/v1", pool = "centre", prefix = "flag", proxy = false },
        { name = "c2", url = centre.url .. "/beta", pool = "centre", prefix = "flag",
          weight = 2, proxy = false } },
      route = { balance = "p2c", sticky = "user" },
      pools = { edge = { spill = { start = 0.3, hold = 0.2, queue = 0.05 } },
        centre = { priority = 2 } },
      hedge = { after = 0.15, most = 0.3, price = "any" }, resume = "prefix",
      escalate = { hold = hold, most = 1 }, limiter = { kind = "gradient", initial = 10 },
      retry = { base = 0.02 }, breaker = { min_calls = 30, open_for = 0.2 }, cache = { ttl = 60,
        bytes = 1e6, entries = 100 }, seed = r.seed, fallback = "Later." }
  end

  local function checked(n, text, a)
    local own = busyd.expected("question " .. n, ANSWER)
    if text == own then return "own" end
    return a.source == "fallback" and text == "Later." and "fallback"
  end

  local function ask(r, client, n)
    local request = { model = "m", user = "user " .. r:int(5),
      messages = { { role = "user", content = "question " .. n } } }
    local given = { deadline = DEADLINE, trace = true,
      priority = r:pick { "interactive", "normal", "batch" } }
    unbusy.sleep(r:float())
    if r:chance(0.5) then return client:chat(request, given) end
    local stream, message, code, detail = client:stream(request, given)
    if not stream then return nil, message, code, detail end
    if r:chance(0.1) then
      stream:read()
      stream:close()
      return nil, "closed by its reader", "closed"
    end
    return stream:reply()
  end

  local function run(r, client)
    local seen = {}
    unbusy.run(function()
      for n = 1, CALLS do
        unbusy.spawn(function()
          local a, message, code = ask(r, client, n)
          assert(not seen[n], "twice")
          seen[n] = a and (checked(n, a.text, a) or "other: " .. tostring(a.text)) or code
          if not a then assert(codes[code] and message) end
        end)
      end
    end)
    return seen
  end

  local function assert_left(up)
    local limit = os.time() + 60
    repeat
      local c = up:counts()
      local nobody = c.in_service + c.queued == 0
      assert.is_true(nobody or os.time() < limit, "the server has not seen that they have gone")
      if not nobody then os.execute "sleep 0.02" end
    until nobody
  end

  local function assert_clean(client)
    local s = client:status()
    assert.same({ 0, 0, 0, 0 }, { s.active, s.waiting, s.budget.permits, s.budget.active })
    for _, t in ipairs(s.targets) do
      for _, l in pairs(t.limits) do assert.equal(0, l.in_flight) end
      assert.same({ 0, 0, 0 }, { t.breaker.outstanding, t.queue.calls, t.pending })
    end
    assert.is_true(s.hedge.begun <= s.hedge.calls * 0.3 + 1e-6)
    assert.is_false(wire.busy())
    return s
  end

  local seed = random.seed(1)
  for i, hold in ipairs { false, true } do
    it(("a stream is held back: %s (UNBUSY_SEED=%d)"):format(hold, seed), function()
      local r = random.new(seed * 10 + i)
      edge:programme(programme(r.seed, { capacity = 4 }))
      centre:programme(programme(r.seed + 1))
      local client = new(r, hold)
      local seen, count = run(r, client), {}
      assert.equal(CALLS, #seen)
      for n, what in ipairs(seen) do
        assert.is_truthy(codes[what] or what == "own" or what == "fallback",
          ("question %d: %s"):format(n, what))
        count[what] = (count[what] or 0) + 1
      end
      assert.is_true(count.own > CALLS / 2, "hardly anybody was answered")
      assert_left(edge)
      assert_left(centre)
      local s = assert_clean(client)
      assert.is_true(s.escalate.judged > 0 and s.hedge.calls > 0)
      local tries = 0
      for _, t in ipairs(s.targets) do tries = tries + t.tries end
      assert.is_true(edge:counts().received + centre:counts().received <= tries)
      client:close()
    end)
  end
end)
