local files = require "spec.support.files"
local generate = require "unbusy.simulate.generate"
local observed = require "unbusy.simulate.observed"
local simulate = require "unbusy.simulate"
local trace = require "unbusy.simulate.trace"

local function text_of(made, header)
  local parts = {}
  trace.write(made, header, function(text) parts[#parts + 1] = text end)
  return table.concat(parts)
end

-- A trace, as it is when it has been written and read again.
local function made(o)
  local t, header = generate.new(o)
  assert(t, header)
  local path = os.tmpname()
  local file = assert(io.open(path, "wb"))
  file:write(text_of(t, header))
  file:close()
  local read = assert(trace.read(path))
  os.remove(path)
  return read
end

-- Arrivals a second between two times.
local function rate(t, from, to)
  local n = 0
  for i = 1, t.rows do
    if t.times[i] >= from and t.times[i] < to then n = n + t.arrivals[i] end
  end
  return n / (to - from)
end

-- The share of rows between two times that have a status.
local function share(t, status, from, to)
  local n, all = 0, 0
  for i = 1, t.rows do
    if t.times[i] >= from and t.times[i] < to then
      all = all + 1
      if t.statuses[i] == status then n = n + 1 end
    end
  end
  return n / all
end

describe("a trace that is made", function()
  it("is the same for a seed, and another one for another", function()
    local one = text_of(generate.new { kind = "outage", seconds = 60 })
    assert.equal(one, text_of(generate.new { kind = "outage", seconds = 60, seed = 1 }))
    assert.not_equal(one, text_of(generate.new { kind = "outage", seconds = 60, seed = 2 }))
  end)

  it("has a burst of so many times what can be answered", function()
    local t = made { kind = "burst", seconds = 400, at = 100, length = 100, times = 3 }
    assert.near(14, rate(t, 0, 100), 2)
    assert.near(60, rate(t, 100, 200), 4)
    assert.near(14, rate(t, 200, 400), 2)
    assert.near(2 / 3, share(t, 503, 110, 200), 0.04) -- a third of them finds a place
    assert.is_true(share(t, 503, 210, 400) < 0.05)
  end)

  it("has a brown-out of fewer places, twice the time, and faults", function()
    local t = made { kind = "brownout", seconds = 1000, at = 200, length = 600 }
    assert.near(14, rate(t, 0, 1000), 1)
    assert.near(1 - 4 / 14, share(t, 503, 210, 800), 0.04) -- 8 places of 2 s: 4 a second
    assert.near(0.03 * 4 / 14, share(t, 500, 210, 800), 0.006)
    assert.is_true(share(t, 200, 820, 1000) > 0.95)
  end)

  for how, wanted in pairs { refuse = 503, limit = 429, dead = 0, silent = 0, keepalive = 200 } do
    it("has a black-out in which nobody is answered: " .. how, function()
      local t = made { kind = "blackout", seconds = 100, at = 20, length = 60, how = how,
        deadline = 5, capacity = 5 }
      for i = 1, t.rows do
        if t.times[i] > 20.1 and t.times[i] < 70 then
          -- A keep-alive comes with a 200 at once, and then nothing.
          assert.is_true(t.statuses[i] == (how == "keepalive" and 0 or wanted))
        end
      end
      assert.is_true(share(t, 200, 0, 20) > 0.8)
      assert.is_true(share(t, 200, 82, 100) > 0.6)
    end)
  end

  it("has Retry-After and a backup where that is wanted", function()
    local t = made { kind = "blackout", seconds = 50, retry_after = 7, backup = true,
      target = "deepseek" }
    assert.equal(7, t.targets[1].phases[2].when_full.retry_after)
    assert.same({ "deepseek", "backup" }, { t.targets[1].name, t.targets[2].name })
    assert.is_true(t.targets[2].declared)
  end)

  it("of streams takes as long in all", function()
    local t = made { kind = "burst", seconds = 300, stream = 1, load = 0.2, times = 0.2 }
    local sum = 0
    for i = 1, t.rows do sum = sum + t.latencies[i] end
    assert.near(1, sum / t.rows, 0.05)
  end)

  for text, o in pairs {
    ["--kind: burst"] = {}, ["lasts from 40 to 60 s"] = { kind = "burst", seconds = 50, at = 40,
      length = 20 }, ["more calls than a trace may hold"] = { kind = "burst", seconds = 86400,
      capacity = 10000 }, ["another name than backup"] = { kind = "burst", backup = true,
      target = "backup" }, ["nobody calls"] = { kind = "brownout", seconds = 10, load = 1e-9 },
    ["target: 1 to 64"] = { kind = "burst", target = ("x"):rep(65) },
  } do
    it("is turned down: " .. text, function()
      local t, message = generate.new(o)
      assert.is_nil(t)
      assert.is_truthy(message:find(text, 1, true), message)
    end)
  end
end)

describe("the trace of examples/", function()
  local path = "examples/traces/outage.csv"

  it("is what its command makes, byte by byte, and small enough to be read", function()
    local file = assert(io.open(path, "rb"))
    local text = file:read "*a"
    file:close()
    assert.is_true(#text < 500 * 1024)
    local command = text:match "^# (unbusy trace [^\n]+)\n"
    local lua = os.getenv "UNBUSY_LUA" or "lua5.4"
    local again = files.output(("%s bin/%s 2>&1"):format(lua, command))
    assert.is_true(again == text, "another trace came out")
  end)
end)

describe("what the rows of a trace show", function()
  local t = made { kind = "outage", seconds = 420, seed = 3 }
  local phases = observed.phases(t, 1, true)

  local function at(seconds)
    local found
    for _, phase in ipairs(phases) do
      if phase.at <= seconds then found = phase end
    end
    return found
  end

  local function mean(phase)
    local sum = 0
    for _, x in ipairs(phase.latency.values) do sum = sum + x end
    return sum / #phase.latency.values
  end

  it("is close to what the header says: places, seconds, refusals", function()
    local told = t.targets[1].phases
    for i, from in ipairs { 20, 100, 150, 190, 240 } do
      local seen = at(from)
      assert.near(told[i].capacity, seen.capacity, 2)
      if told[i].capacity > 0 then assert.near(told[i].latency.mean, mean(seen), 0.6) end
    end
    assert.same({ 503, true }, { at(150).when_full.status, at(150).when_full.latency > 0.04 })
  end)

  it("leads to figures that are near those of the header", function()
    local given, rows = simulate.compare(t, {}, {}), simulate.compare(t, {}, { observed = true })
    for i = 1, 2 do
      assert.near(given.clients[i].availability, rows.clients[i].availability, 0.03)
      assert.near(given.clients[i].calls_each, rows.clients[i].calls_each, 0.1)
    end
    assert.near(given.trouble.from, rows.trouble.from, 8)
    assert.near(given.trouble.to, rows.trouble.to, 8)
  end)

  it("of other failures is their share of those let in", function()
    local path = os.tmpname()
    local file = assert(io.open(path, "wb"))
    file:write(trace.COLUMNS, "\n")
    for i = 1, 400 do
      local status = i % 4 == 0 and 500 or i % 10 == 1 and 0 or 200
      file:write(("%.2f,a,1,%d,0.5\n"):format(i / 40, status))
    end
    file:close()
    local one = assert(trace.read(path))
    os.remove(path)
    local by = {}
    for _, fault in ipairs(observed.phases(one, 1)[3].faults) do by[fault.status] = fault.share end
    assert.near(0.25, by[500], 0.02)
    assert.near(0.1, by[0], 0.03)
  end)
end)
