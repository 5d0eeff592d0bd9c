-- The real client against the model: what comes out is what it must be.
local guard = require "spec.support.leak_guard"
local report = require "unbusy.simulate.report"
local simulate = require "unbusy.simulate"
local trace = require "unbusy.simulate.trace"
local generate = require "unbusy.simulate.generate"

-- A trace of these header lines with a call at each of the times.
local function traced(lines, times, calls)
  local t = trace.new()
  for _, line in ipairs(lines) do assert.is_nil(trace.declare(t, line)) end
  for _, at in ipairs(times) do trace.add(t, at, 1, 1, false, 0) end
  for name, value in pairs(calls or {}) do t.calls[name] = value end
  return t
end

local function every(step, from, to)
  local out = {}
  for i = 0, math.floor((to - from) / step + 1e-9) - 1 do out[i + 1] = from + i * step end
  return out
end

-- The figures of each client, by name.
local function meet(t, policies, given)
  local r, message = simulate.compare(t, policies or {}, given)
  assert(r, message)
  local by = {}
  for _, c in ipairs(r.clients) do by[c.name] = c end
  return by, r
end

local NONE = { { name = "none" } }

describe("a simulation", function()
  guard.watch(before_each, after_each)

  it("answers everybody where all is well, with one upstream call each", function()
    local t = traced({ { target = "a", capacity = 50, latency = 1 } }, every(0.1, 0, 60))
    local by = meet(t, NONE)
    for _, name in ipairs { "none", "naive", "retry loop" } do
      local c = by[name]
      assert.same({ 600, 1, 1, 0 }, { c.answered, c.availability, c.calls_each, c.refused })
      assert.near(1, c.total.p99, 1e-9)
    end
  end)

  it("gives the same bytes each time, and for a policy whoever runs beside it", function()
    local t = assert(generate.new { kind = "outage", seconds = 60, stream = 0.3, backup = true })
    local _, one = meet(t, NONE)
    local _, again = meet(t, NONE)
    assert.equal(report.json(one), report.json(again))
    local script = { retry = function(try) return try.number < 9 and 0.5 or nil end }
    local _, three = meet(t, { { name = "x", policy = script }, { name = "none" },
      { name = "y", policy = script } })
    local data, alone = report.data(three), report.data(one)
    assert.same(alone.clients[1], data.clients[2])
    assert.same(data.clients[1].over_time, data.clients[3].over_time)
    assert.not_same(data.clients[1].calls_each, data.clients[2].calls_each)
    local _, other = meet(t, NONE, { seed = 2 })
    assert.not_equal(report.json(one), report.json(other))
  end)

  it("has streams that break off, and clients that go on with them", function()
    local t = traced({ { target = "a", capacity = 500, latency = 0.5, writing = 10,
      faults = { { share = 0.2, cut = 0.5 } } } }, every(0.1, 0, 60), { stream = 1,
      deadline = 300 })
    local options = { budget = { floor = 100 }, breaker = false, limiter = false,
      retry = { attempts = 20 }, targets = { { name = "a", url = "http://a.test" } } }
    local function clients()
      return { { name = "none" }, { name = "words", policy = { resume = function()
        return "prompt"
      end } } }
    end
    local function cut(c) return c.codes and c.codes.cut or 0 end
    local by = meet(t, clients(), { config = options })
    assert.is_true(by.none.answered < 500 and by.naive.answered < 500)
    assert.equal(600, by.words.answered)
    assert.is_true(by.words.calls_each > 1.1 and by.words.calls_each < 1.5)
    assert.equal(0, cut(by.words))
    options.resume, options.targets[1].prefix = "prefix", "continue"
    assert.equal(600, meet(t, NONE, { config = options }).none.answered)
    local plain = traced({ { target = "a", writing = 10,
      faults = { { share = 0.2, cut = 0.5 } } } }, every(0.1, 0, 60), { deadline = 300 })
    by = meet(plain, NONE, { config = options })
    assert.is_true(by.naive.answered < 550)
    assert.equal(600, by.none.answered)
  end)

  it("tells how far chance moves the figures, with several seeds", function()
    local t = assert(generate.new { kind = "outage", seconds = 60 })
    local by, r = meet(t, NONE, { seeds = 3, seed = 5 })
    assert.equal(3, r.seeds)
    local single = {}
    for i = 1, 3 do single[i] = meet(t, NONE, { seed = 4 + i }).naive.availability end
    assert.equal(single[1], by.naive.availability)
    table.sort(single)
    local s = by.naive.spread
    assert.same(single, { s.availability.least, s.availability.middle, s.availability.most })
    assert.is_true(s.availability.least < s.availability.most)
    assert.same({ 1, 1 }, { s.calls_each.least, s.calls_each.most })
    assert.is_table(by.none.spread.cost_per_1000)
    assert.is_nil(meet(t, NONE).none.spread)
  end)

  it("asks once without unbusy, and five times in the loop", function()
    local dead = traced({ { target = "a", capacity = 0 } }, { 0, 1, 2 })
    local by = meet(dead)
    assert.same({ 1, 5 }, { by.naive.calls_each, by["retry loop"].calls_each })
    assert.same({ busy = 3 }, by["retry loop"].failures)
    -- 1 + 2 + 4 + 8 s and up to a tenth; with 5 s to wait there is time for two pauses
    by = meet(dead, {}, { deadline = 5 })
    assert.equal(3, by["retry loop"].calls_each)
    -- a connection that does not come about is not "busy"
    by = meet(traced({ { target = "a", capacity = 0, when_full = { status = 0 } } }, { 0, 1 }))
    assert.same({ 1, { network = 2 } }, { by["retry loop"].calls_each, by["retry loop"].failures })
  end)

  it("gives naive what a model of numbers gives", function()
    local ends, wanted, times = {}, 0, every(0.13, 0, 100)
    for _, at in ipairs(times) do
      local busy = 0
      for _, e in ipairs(ends) do
        if e > at then busy = busy + 1 end
      end
      if busy < 4 then
        wanted = wanted + 1
        ends[#ends + 1] = at + 1.01
      end
    end
    local by = meet(traced({ { target = "a", capacity = 4, latency = 1.01 } }, times))
    assert.equal(wanted, by.naive.answered)
    assert.equal(#times, by.naive.upstream_calls)
  end)

  it("runs the stages: retries, the line, the breaker, the move to another target", function()
    local lines = { { target = "a", capacity = 5, latency = 1 },
      { target = "b", capacity = 5, latency = 1 }, { target = "a", at = 20, capacity = 0 } }
    local by, r = meet(traced(lines, every(0.25, 0, 60)), NONE)
    assert.is_true(by.none.availability > 0.99)
    assert.is_true(by.none.targets[2].answered > 100)
    local breakers = report.data(r).clients[1].over_time.breakers.a
    local opened = false
    for _, state in ipairs(breakers) do opened = opened or state == "open" end
    assert.is_true(opened)
  end)

  it("obeys a Retry-After", function()
    local t = traced({ { target = "a", capacity = 0, when_full = { retry_after = 7 } },
      { target = "a", at = 5, capacity = 9, latency = 0.5 } }, { 0 })
    local by = meet(t, NONE)
    assert.equal(1, by.none.answered)
    assert.is_true(by.none.total.p50 > 7.5 and by.none.total.p50 < 8.3)
    assert.equal(2, by.none.calls_each)
  end)

  it("fails at the deadline where nobody answers, in silence or with keep-alives", function()
    for _, sign in ipairs { "silent", "keepalive" } do
      for _, share in ipairs { 0, 1 } do
        local t = traced({ { target = "a", capacity = 0, queue = 1000, queue_sign = sign } },
          every(1, 0, 10), { deadline = 6, stream = share })
        local by = meet(t, NONE)
        assert.equal(0, by.naive.answered)
        assert.is_true(by.naive.failures.timeout == 10)
        assert.equal(0, by.none.answered)
      end
    end
  end)

  it("shows the first of a streamed answer before the last", function()
    local t = traced({ { target = "a", latency = 2, writing = 3 } }, every(1, 0, 10),
      { stream = 1 })
    local by = meet(t, NONE)
    assert.near(2, by.none.first.p50, 1e-9)
    assert.near(5, by.none.total.p50, 1e-9)
  end)

  it("counts the cost of all answers that were begun", function()
    local price = { input = 1, output = 4 }
    local t = traced({ { target = "a", latency = 2, price = price } }, every(1, 0, 10),
      { prompt_tokens = 100, completion_tokens = 50 })
    local by = meet(t, NONE)
    assert.near(10 * (100 + 200) / 1e6, by.none.cost, 1e-12)
    assert.near((100 + 200) / 1e3, by.none.cost_per_1000, 1e-9)
    -- callers that have gone pay too
    by = meet(t, {}, { deadline = 1 })
    assert.equal(0, by.naive.answered)
    assert.near(10 * 300 / 1e6, by.naive.cost, 1e-12)
    assert.is_nil(by.naive.cost_per_1000)
    assert.is_nil(meet(traced({ { target = "a" } }, { 0 })).naive.cost)
  end)

  it("asks the target of the row without unbusy", function()
    local t = traced({ { target = "a", capacity = 0 }, { target = "b" } }, {})
    for i = 1, 4 do trace.add(t, i, i % 2 + 1, 1, false, 0) end
    trace.add(t, 5, 0, 1, false, 0) -- whose target nobody knows: the first
    local by = meet(t)
    assert.same({ 3, 2 }, { by.naive.targets[1].received, by.naive.targets[2].received })
  end)

  it("can ask for completions and embeddings", function()
    for _, kind in ipairs { "chat", "complete", "embed" } do
      local by = meet(traced({ { target = "a" } }, { 0, 1 }, { kind = kind }), NONE)
      assert.equal(2, by.none.answered)
    end
  end)
end)

describe("a simulation with a configuration", function()
  guard.watch(before_each, after_each)
  local lines = { { target = "a", capacity = 2, latency = 1, price = { input = 1, output = 1 } },
    { target = "a", at = 10, capacity = 0 }, { target = "b", latency = 3 } }

  local function with(config, t)
    config.targets = config.targets or { { name = "a", url = "https://api.deepseek.com" } }
    return meet(t or traced(lines, every(0.5, 0, 30)), NONE, { config = config })
  end

  it("uses its targets, retries, fallback and cache, and nothing of the network", function()
    local by = with { fallback = "later", retry = { attempts = 1 }, clocks = { total = 5 },
      targets = { { name = "a", url = "https://api.deepseek.com", key = "secret",
        headers = { x = "y" }, tls = { ca = "/no/such" }, proxy = "http://p" } } }
    assert.is_true(by.none.sources.fallback > 20)
    assert.equal(by.none.answered, by.none.sources.upstream)
    assert.is_nil(by.none.sources.failed)
    assert.is_true(by.naive.sources.failed > 20) -- what it goes without
    assert.equal(0, by.none.targets[2].received)
  end)

  it("finds repeated questions in its cache, and gives a stale answer", function()
    local t = traced(lines, every(0.5, 0, 30), { questions = 5 })
    local by = with({ cache = { ttl = 3 } }, t)
    assert.is_true(by.none.sources.cache > 10)
    assert.is_true(by.none.sources.stale > 10)
    assert.equal(1, by.none.availability)
    -- no two alike: nothing to be found
    by = with { cache = { ttl = 3 } }
    assert.is_nil(by.none.sources.cache)
  end)

  it("has each target in the trace", function()
    local t = traced(lines, { 0 })
    for text, targets in pairs {
      ["targets[1]: 'c' does not stand"] = { { name = "c", url = "http://x" } },
      ["targets: a list expected"] = {}, ["targets[1]: a table"] = { 7 },
      ["targets[1]: 'nil' does not"] = { {} },
      ["unknown option 'targets[1].weigth'"] = { { name = "a", url = "http://x", weigth = 1 } },
    } do
      local r, message = simulate.compare(t, NONE, { config = { targets = targets } })
      assert.is_nil(r)
      assert.is_truthy(message:find(text, 1, true), message)
    end
    local _, message = simulate.compare(t, NONE, { config = { targets = { { name = "a",
      url = "http://x" } }, retyr = {} } })
    assert.is_truthy(message:find("unknown option 'retyr'", 1, true), message)
  end)
end)

describe("a simulation of a policy", function()
  guard.watch(before_each, after_each)

  it("asks the script, whose clock is the trace's", function()
    local t = traced({ { target = "a", capacity = 0 }, { target = "a", at = 3, capacity = 9,
      latency = 0.5 } }, { 0 })
    t.start = 1767000000
    local seen
    local by = meet(t, { { name = "x", policy = { retry = function(try)
      seen = try
      return 1
    end } } })
    assert.same({ 1, 4 }, { by.x.answered, by.x.calls_each })
    assert.same({ "a", 503, 3 }, { seen.target, seen.status, seen.number })
    local path = os.tmpname() .. ".lua"
    local file = assert(io.open(path, "w"))
    file:write [[
      return { retry = function(try) return now() < 1767000060 and 1 or nil end }
    ]]
    file:close()
    by = meet(t, { { name = "x", policy = path } })
    assert.same({ 1, {} }, { by.x.answered, by.x.policy_faults })
    t.start = 1767000100
    by = meet(t, { { name = "x", policy = path } })
    os.remove(path)
    assert.equal(1, by.x.calls_each) -- later than the script wants
  end)

  it("counts its faults, and goes on with the built-in decision", function()
    local t = traced({ { target = "a", capacity = 0 }, { target = "a", at = 3, capacity = 9,
      latency = 0.5 } }, { 0 })
    local by = meet(t, { { name = "x", policy = { retry = function() error "oops" end } },
      { name = "none" } })
    assert.equal(by.none.total.p50, by.x.total.p50)
    assert.equal(by.none.calls_each - 1, by.x.policy_faults.retry)
    assert.is_string(by.x.last_fault)
  end)

  it("that does not exist is told", function()
    local t = traced({ { target = "a" } }, { 0 })
    for _, policy in ipairs { "no-such", "/no/such.lua", "spec", "a\0b" } do
      local r, message = simulate.compare(t, { { name = "x", policy = policy } })
      assert.is_nil(r)
      assert.matches("^x: ", message)
    end
  end)
end)
