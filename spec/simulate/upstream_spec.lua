-- The model of a server, asked by hand: who is let in, who waits, who is refused, and when.
local chance = require "unbusy.simulate.chance"
local json = require "unbusy.json"
local news = require "unbusy.news"
local schema = require "unbusy.simulate.schema"
local upstream = require "unbusy.simulate.upstream"
local world = require "unbusy.simulate.world"

local USAGE = { prompt_tokens = 10, completion_tokens = 20 }

-- A server of these phases (as header lines) in a world of its own.
local function server(lines, more)
  local phases = {}
  for i, line in ipairs(lines) do
    line.target = "s"
    phases[i] = assert(schema.phase(line))
    phases[i].at = line.at or 0
  end
  local w = world.new(function() end, {})
  local target = { name = "s", phases = phases, price = { input = 1, output = 2 } }
  for name, value in pairs(more or {}) do target[name] = value end
  return upstream.new(w, target, { seed = 1, usage = USAGE }), w
end

-- Asks at each of the times; what came of each: { status, seconds, bytes, code }.
local function ask(up, w, times, way, body)
  local out, exchanges = {}, {}
  local function one(i, at)
    w.loop.sleep(at)
    local x = up:open(way or { kind = "chat" }, body)
    exchanges[i] = x
    local r = { parts = {} }
    while true do
      local kind, a, b = news.await(w.loop, x, 1e6)
      if kind == "head" then r.status, r.headers = a, b end
      if kind == "data" then r.parts[#r.parts + 1] = { w.now() - at, a } end
      if kind == "end" then r.code = a break end
    end
    r.seconds = w.now() - at
    out[i] = r
  end
  w.loop.run(function()
    for i, at in ipairs(times) do w.loop.spawn(one, i, at) end
  end)
  return out, exchanges
end

local function column(list, field)
  local out = {}
  for i, r in ipairs(list) do out[i] = r[field] end
  return out
end

describe("a simulated server", function()
  it("serves as many at once as it has places, and refuses the others", function()
    local up, w = server { { capacity = 2, latency = 1, when_full = { retry_after = 3 } } }
    local got = ask(up, w, { 0, 0.1, 0.2, 1.05, 1.06, 1.2 })
    assert.same({ 200, 200, 503, 200, 503, 200 }, column(got, "status"))
    assert.near(1, got[1].seconds, 1e-9)
    assert.equal(0, got[3].seconds)
    assert.equal("3", got[3].headers["retry-after"])
    assert.same({ 6, 4, 2, 0, 0 },
      { up.received, up.answered, up.refused, up.in_service, up.waiting })
    assert.near(4 * (10 * 1 + 20 * 2) / 1e6, up.cost, 1e-12)
  end)

  it("lets those in its line in, first come first served, and refuses when that is full", function()
    local up, w = server { { capacity = 1, queue = 2, latency = 1,
      when_full = { status = 429, latency = 0.25 } } }
    local got = ask(up, w, { 0, 0.1, 0.2, 0.3 })
    assert.same({ 200, 200, 200, 429 }, column(got, "status"))
    assert.near(1.9, got[2].seconds, 1e-9)
    assert.near(2.8, got[3].seconds, 1e-9)
    assert.near(0.25, got[4].seconds, 1e-9)
    assert.equal("rate_limit_exceeded", json.decode(got[4].parts[1][2]).error.code)
  end)

  it("shows those who wait keep-alives, where it does", function()
    local lines = { { capacity = 1, queue = 5, queue_sign = "keepalive", keepalive_every = 0.4,
      latency = 1 } }
    local up, w = server(lines)
    local got = ask(up, w, { 0, 0 })
    local parts = got[2].parts
    assert.same({ "\n", "\n" }, { parts[1][2], parts[2][2] })
    assert.near(0.4, parts[1][1], 1e-9)
    assert.equal(3, #parts)
    assert.is_table(json.decode(parts[3][2]).choices)
    up, w = server(lines)
    got = ask(up, w, { 0, 0 }, { kind = "chat", streams = true })
    assert.equal(": keep-alive\n\n", got[2].parts[1][2])
    assert.equal("text/event-stream", got[2].headers["content-type"])
    assert.matches("%[DONE%]", got[2].parts[#got[2].parts][2])
  end)

  it("streams from its first byte on to its last, never silent for long", function()
    local up, w = server { { latency = 2, writing = 25 } }
    local got = ask(up, w, { 0 }, { kind = "chat", streams = true })[1]
    local times = {}
    for i, part in ipairs(got.parts) do times[i] = part[1] end
    assert.same({ 2, 12, 22, 27 }, times)
    assert.equal(27, got.seconds)
    up, w = server { { latency = 2, writing = 25 } }
    assert.equal(27, ask(up, w, { 0 })[1].seconds) -- a whole one comes at the end
  end)

  it("changes at its times, and lets in who finds room then", function()
    local up, w = server { { capacity = 1, latency = 1, queue = 9 }, { at = 5, capacity = 0,
      queue = 9 }, { at = 20, capacity = 2, latency = 3 } }
    local got = ask(up, w, { 4.5, 6, 7, 8, 21 })
    assert.near(1, got[1].seconds, 1e-9) -- who is in service stays there
    assert.near(20 - 6 + 3, got[2].seconds, 1e-9)
    assert.near(20 - 7 + 3, got[3].seconds, 1e-9)
    assert.near(23 - 8 + 3, got[4].seconds, 1e-9)
    assert.equal(503, got[5].status) -- the line is gone with the last phase
  end)

  it("gives back the place of one who goes, in service and in line", function()
    local up, w = server { { capacity = 1, queue = 5, latency = 10 } }
    local x = {}
    w.loop.run(function()
      for i = 1, 4 do x[i] = up:open { kind = "chat" } end
      assert.same({ 1, 3 }, { up.in_service, up.waiting })
      x[3]:close()
      x[3]:close()
      assert.same({ 1, 2 }, { up.in_service, up.waiting })
      w.loop.sleep(1)
      x[1]:close()
      assert.same({ 1, 1 }, { up.in_service, up.waiting })
      w.loop.sleep(9.5)
      assert.is_nil(x[2]:take()) -- let in at 1 s, answered at 11 s
      w.loop.sleep(0.6)
      assert.equal("head", (x[2]:take()))
      assert.is_nil(x[4]:take())
      x[4]:abort()
      assert.equal("closed", select(2, x[4]:take()))
    end)
    assert.same({ 0, 0 }, { up.in_service, up.waiting })
  end)

  it("fails a share of those it lets in, with a place taken while it lasts", function()
    local up, w = server { { latency = 1, faults = { { share = 0.2, status = 500, latency = 0.1 },
      { share = 0.1, status = 0 } } } }
    local times = {}
    for i = 1, 5000 do times[i] = i end
    local by, got = {}, ask(up, w, times)
    for _, r in ipairs(got) do
      local key = r.status or r.code
      by[key] = (by[key] or 0) + 1
    end
    assert.near(1000, by[500], 120)
    assert.near(500, by.network, 90)
    assert.equal(5000, by[500] + by.network + by[200])
    assert.equal(up.faulted, by[500] + by.network)
  end)

  it("answers as many questions as stand in a list", function()
    local up, w = server { { latency = 1 } }
    local body = json.encode { input = { "a", "b", "c" } }
    local got = ask(up, w, { 0 }, { kind = "embed" }, body)[1]
    assert.equal(3, #json.decode(got.parts[1][2]).data)
    body = json.encode { prompt = { "a", "b" } }
    local two = json.decode(ask(up, w, { 0 }, { kind = "complete" }, body)[1].parts[1][2])
    assert.same({ 2, 20, 40 }, { #two.choices, two.usage.prompt_tokens,
      two.usage.completion_tokens })
    assert.equal(404, ask(up, w, { 0 }, {})[1].status)
  end)

  -- A naive model of a loss system, of numbers only: who finds a place, in the order of time.
  it("agrees with a model in ten lines, for thousands by chance", function()
    local draw = chance.stream(5, "spec")
    for round = 1, 5 do
      local capacity, at, times, ends, wanted = round * 2, 0, {}, {}, {}
      for i = 1, 2000 do
        at = at - math.log(draw()) / (capacity * 1.1)
        times[i] = at
        local busy = 0
        for j = #ends, math.max(1, #ends - 2 * capacity), -1 do
          if ends[j] > at then busy = busy + 1 end
        end
        wanted[i] = busy < capacity and 200 or 503
        if wanted[i] == 200 then ends[#ends + 1] = at + 1 end
      end
      local up, w = server { { capacity = capacity, latency = 1 } }
      assert.same(wanted, column(ask(up, w, times), "status"))
      assert.equal(up.received, up.answered + up.refused)
    end
  end)
end)
