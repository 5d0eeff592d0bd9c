local figures = require "unbusy.simulate.figures"
local trace = require "unbusy.simulate.trace"

-- A trace of these header lines, with a call at each of the times.
local function traced(lines, times)
  local t = trace.new()
  for _, line in ipairs(lines) do assert.is_nil(trace.declare(t, line)) end
  for _, at in ipairs(times) do trace.add(t, at, 1, 1, false, 0) end
  return t, { n = #times, at = times }
end

local function every(step, from, to)
  local out = {}
  for i = 0, math.floor((to - from) / step + 1e-9) - 1 do out[i + 1] = from + i * step end
  return out
end

-- What became of the calls, by f(time) -> source, seconds.
local function recorded(calls, f)
  local record = { name = "x", totals = {}, firsts = {}, sources = {}, codes = {}, samples = {},
    ups = {} }
  for i = 1, calls.n do
    local source, seconds, code = f(calls.at[i])
    record.sources[i], record.totals[i], record.firsts[i] = source, seconds, seconds / 2
    record.codes[i] = code or false
  end
  return record
end

describe("figures", function()
  it("count what was answered, by whom, and why not; a fallback is no answer", function()
    local calls = { n = 100, at = every(1, 0, 100) }
    local record = recorded(calls, function(at)
      if at < 60 then return "upstream", at + 1 end
      if at < 70 then return "cache", 0 end
      if at < 75 then return "stale", 0, "busy" end
      if at < 90 then return "fallback", 9, "busy" end
      return "failed", 9, at < 98 and "timeout" or "open"
    end)
    record.ups = {
      { name = "a", received = 150, answered = 60, refused = 80, faulted = 10, cost = 2 },
      { name = "b", received = 50, answered = 0, refused = 50, faulted = 0 } }
    local f = figures.of(record, 100)
    assert.same({ 75, 0.75 }, { f.answered, f.availability })
    assert.same({ upstream = 60, cache = 10, stale = 5, fallback = 15, failed = 10 }, f.sources)
    assert.same({ busy = 15, timeout = 8, open = 2 }, f.failures)
    assert.same({ 200, 2, 130, 10 }, { f.upstream_calls, f.calls_each, f.refused, f.faulted })
    assert.same({ 2, 2 * 1000 / 75 }, { f.cost, f.cost_per_1000 })
    assert.same({ p50 = 23, p99 = 60 }, f.total) -- fifteen of nothing, then 1 to 60 s
    assert.same({ p50 = 11.5, p99 = 30 }, f.first)
  end)

  it("have nothing to say where nobody was answered", function()
    local calls = { n = 3, at = { 0, 1, 2 } }
    local f = figures.of(recorded(calls, function() return "failed", 1, "busy" end), 3)
    assert.same({ 0, 0 }, { f.answered, f.availability })
    assert.same({ {}, {} }, { f.total, f.first })
    assert.is_nil(f.cost_per_1000)
  end)

  it("put each call where it arrived", function()
    local calls = { n = 5, at = { 0, 0.9, 1, 2.5, 7 } }
    local record = recorded(calls, function(at)
      return at < 2 and "upstream" or "failed", 3 - at
    end)
    local list = figures.columns(record, calls, 1, 3)
    assert.same({ 2, 1, 2 }, { list[1].calls, list[2].calls, list[3].calls })
    assert.same({ 2, 1, 0 }, { list[1].answered, list[2].answered, list[3].answered })
    assert.same({ 2.1, 3 }, list[1].totals) -- sorted
    assert.same({ failed = 2 }, list[3].by_source)
  end)

  it("tell the capacity at each time", function()
    local t = traced({ { target = "a", capacity = 4 }, { target = "a", at = 3, capacity = 0 },
      { target = "a", at = 5, capacity = require("unbusy.json").null } }, { 0 })
    assert.same({ 4, 4, 4, 0, 0, math.huge, math.huge },
      figures.capacity(t.targets[1].phases, 1, 7))
  end)
end)

describe("the trouble of a trace", function()
  it("is where a target does less than usual", function()
    local t, calls = traced({ { target = "a", capacity = 20 }, { target = "a", at = 40,
      capacity = 5 }, { target = "a", at = 70, capacity = 20 } }, every(0.2, 0, 120))
    local trouble = figures.trouble(t, calls)
    assert.near(40, trouble.from, 1)
    assert.near(70, trouble.to, 1)
    assert.is_false(trouble.open)
  end)

  it("is where it takes longer, or fails", function()
    for _, line in ipairs { { latency = 4 }, { writing = 3 },
      { faults = { { share = 0.5, status = 500 } } } } do
      line.target, line.at = "a", 80
      local t, calls = traced({ { target = "a", capacity = 20, latency = 1 }, line },
        every(0.2, 0, 120))
      local trouble = figures.trouble(t, calls)
      assert.near(80, trouble.from, 1)
      assert.is_true(trouble.open)
    end
  end)

  it("is where more arrives than can be answered", function()
    local times = every(1, 0, 60)
    for _, at in ipairs(every(0.01, 60, 80)) do times[#times + 1] = at end
    for _, at in ipairs(every(1, 80, 200)) do times[#times + 1] = at end
    local t, calls = traced({ { target = "a", capacity = 20, latency = 1 } }, times)
    local trouble = figures.trouble(t, calls)
    assert.near(60, trouble.from, 5)
    assert.near(80, trouble.to, 5)
  end)

  it("is none where all is well, or nothing has a limit", function()
    local t, calls = traced({ { target = "a", capacity = 20 } }, every(0.2, 0, 120))
    assert.is_nil(figures.trouble(t, calls))
    t, calls = traced({ { target = "a" } }, every(0.01, 0, 20))
    assert.is_nil(figures.trouble(t, calls))
  end)
end)

describe("the recovery", function()
  local lines = { { target = "a", capacity = 20 }, { target = "a", at = 40, capacity = 0 },
    { target = "a", at = 60, capacity = 20 } }
  local t, calls = traced(lines, every(0.1, 0, 120))
  local trouble = figures.trouble(t, calls)

  local function recovery(f) return figures.recovery(recorded(calls, f), calls, t, trouble) end

  it("is the time until calls are answered as usual", function()
    assert.equal(0, recovery(function() return "upstream", 1 end))
    assert.near(20, recovery(function(at)
      return at > 40 and at < 80 and "failed" or "upstream", 1
    end), 1.5)
    assert.near(30, recovery(function(at)
      return "upstream", at > 40 and at < 90 and 3 or 1
    end), 1.5)
    assert.near(25, recovery(function(at)
      return at > 40 and at < 85 and "fallback" or "upstream", 1
    end), 1.5)
  end)

  it("bears a few that fail, and not many", function()
    assert.equal(0, recovery(function(at)
      return math.floor(at * 10 + 0.5) % 40 == 0 and "failed" or "upstream", 1
    end))
    assert.is_nil(recovery(function(at)
      return at > 40 and math.floor(at * 10 + 0.5) % 5 == 0 and "failed" or "upstream", 1
    end))
  end)

  it("needs three good windows in a row", function()
    -- Good from 60 on, but for a moment at 61.5: it counts from behind that.
    assert.near(2.5, recovery(function(at)
      return (at > 40 and at < 60 or at > 61 and at < 62.5) and "failed" or "upstream", 1
    end), 1.1)
  end)

  it("is not there where it does not come, and zero where nothing was wrong", function()
    assert.is_nil(recovery(function(at) return at > 40 and "failed" or "upstream", 1 end))
    assert.equal(0, figures.recovery(recorded(calls, function() return "failed", 1 end), calls, t,
      nil))
    local open = { from = 40, to = 120, open = true }
    assert.is_nil(figures.recovery(recorded(calls, function() return "upstream", 1 end), calls, t,
      open))
  end)
end)
