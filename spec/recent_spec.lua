-- What happened lately: answers by minute, failures, starts; alone, and of several processes.
local counters = require "unbusy.counters"
local guard = require "spec.support.leak_guard"
local recent = require "unbusy.recent"
local region = require "unbusy.region"
local regions = require "spec.support.regions"
local world = require "spec.support.world"

local function sum(list)
  local n = 0
  for _, count in ipairs(list) do n = n + count end
  return n
end

describe("what happened lately", function()
  local time, client, r

  local function attach(more)
    client = { now = function() return time end, targets = { {}, {} } }
    for name, value in pairs(more or {}) do client[name] = value end
    r = recent.attach(client)
  end

  after_each(function()
    client, r = nil, nil
    regions.collect()
  end)
  guard.watch(before_each, after_each)
  before_each(function()
    time = 6000 -- a minute begins
    attach()
  end)

  it("is told to the client and its targets", function()
    assert.equal(r, client.recent)
    assert.equal(r, client.targets[2].recent)
  end)

  it("has nothing before anything has happened", function()
    local hour, start_of = r:status()
    assert.same({ 60, 0, 0 }, { hour.step, hour.gone, #hour.failures })
    for _, source in ipairs(recent.sources) do
      assert.same({ 60, 0 }, { #hour.answers[source], sum(hour.answers[source]) })
    end
    assert.is_nil(start_of "up")
  end)

  it("counts answers by source and minute, for an hour", function()
    for _ = 1, 3 do r:answered "upstream" end
    time = time + 61
    r:answered "cache"
    local answers = r:status().answers
    assert.same({ 3, 0, 0, 1 }, { answers.upstream[59], answers.upstream[60], answers.cache[59],
      answers.cache[60] })
    time = time + 57 * 60
    assert.equal(3, r:status().answers.upstream[2])
    time = time + 2 * 60 -- the first minute is over an hour old
    answers = r:status().answers
    assert.same({ 0, 1 }, { sum(answers.upstream), sum(answers.cache) })
    time = time + 60
    assert.equal(0, sum(r:status().answers.cache))
  end)

  it("holds a whole hour of all sources", function()
    for _ = 1, 70 do
      for _, source in ipairs(recent.sources) do r:answered(source) end
      time = time + 60
    end
    time = time - 60
    for source, list in pairs(r:status().answers) do
      assert.same({ source, 60 }, { source, sum(list) })
    end
  end)

  it("knows no other source", function()
    r:answered "天气如何"
    for _, list in pairs(r:status().answers) do assert.equal(0, sum(list)) end
  end)

  it("tells each failure once, with how often and when last", function()
    for _ = 1, 3 do r:failed("up", "busy") end
    time = time + 10
    r:failed("up", "network")
    r:failed(nil, "full")
    time = time + 5
    r:failed("other", "busy")
    local list = r:status().failures
    assert.same({ { "other", "busy", 1, 0 }, { "", "full", 1, 5 }, { "up", "network", 1, 5 },
      { "up", "busy", 3, 15 } }, (function()
      local out = {}
      for i, f in ipairs(list) do out[i] = { f.target, f.code, f.count, f.ago } end
      return out
    end)())
    assert.matches("keep%-alives", list[1].meaning)
    time = time + 7201
    assert.same(0, #r:status().failures)
  end)

  it("takes for no failure what the caller did", function()
    for _, code in ipairs { "cancelled", "closed", "nomem" } do r:failed("up", code) end
    assert.equal(0, #r:status().failures)
  end)

  it("tells fifty failures at most, of however many targets, with names however long", function()
    for i = 1, 2000 do
      r:failed(("target %d "):format(i) .. ("长"):rep(100), "busy")
      time = time + 0.001
    end
    local list = r:status().failures
    assert.equal(50, #list)
    assert.matches("^target 2000 长", list[1].target)
    assert.is_truthy(require("unbusy.json").is_utf8(list[1].target))
    assert.is_true(#list[1].target <= 96)
  end)

  it("knows how long answers take to begin, to an eighth", function()
    for i = 1, 100 do r:started("up", i / 100) end
    local start = select(2, r:status()) "up"
    assert.equal(100, start.calls)
    assert.is_true(start.half > 0.5 / 1.13 and start.half < 0.5 * 1.13, tostring(start.half))
    assert.is_true(start.most > 0.95 / 1.13 and start.most < 0.95 * 1.13, tostring(start.most))
    time = time + 601
    assert.is_nil(select(2, r:status()) "up")
  end)

  it("takes any number for a start", function()
    for _, seconds in ipairs { 0, -1, 0 / 0, 1 / 0, 1e300 } do r:started("up", seconds) end
    local start = select(2, r:status()) "up"
    assert.equal(5, start.calls)
    assert.is_true(start.half < start.most and start.most < 2000)
  end)

  it("is one in a region, and of its own where that is full", function()
    local shared = assert(region.new { bytes = 1024 * 1024 })
    local common = { part = function(_, o, name)
      local out = { region = shared, name = name }
      for key, value in pairs(o) do out[key] = value end
      return out
    end }
    attach { common = common }
    local first = r
    first:answered "upstream"
    first:failed("up", "busy")
    attach { common = common }
    assert.are_not.equal(first, r)
    assert.same({ 1, 1 }, { r:status().answers.upstream[60], r:status().failures[1].count })
    local full = assert(region.new { bytes = 256 * 1024 })
    local kept = {} -- what nobody has is let go of, and its room comes back
    repeat
      local one = counters.new { region = full, name = tostring(#kept), counters = 20 }
      kept[#kept + 1] = one
    until not one
    shared:close()
    shared = full
    attach { common = common }
    r:answered "cache"
    assert.equal(1, r:status().answers.cache[60])
    full:close()
  end)
end)

describe("what targets did lately, and why they are left alone", function()
  after_each(world.end_all)

  -- A world with such answers, whose calls are told; what was told; and its only target's status.
  local function try(script, ask)
    local w = world.new { script = { up = script }, options = { retry = false, breaker = false } }
    local r = recent.attach(w.client)
    local hour, start_of
    w.loop.run(function()
      ask(w)
      hour, start_of = r:status()
    end)
    return hour.failures, start_of "up", w.client:status().targets[1], w
  end

  local function chat(w) w:chat() end

  local function near(expected, seconds)
    assert.is_true(seconds > expected / 1.13 and seconds < expected * 1.13, tostring(seconds))
  end

  it("tells when a whole answer began, and a stream", function()
    local failures, start = try({ world.good("x", 2) }, chat)
    assert.same({ 0, 1 }, { #failures, start.calls })
    near(2, start.half)
    failures, start = try({ world.words({ "a", "b" }, 0.7) }, function(w)
      for _ in w:stream():pieces() do end -- luacheck: ignore
    end)
    assert.same({ 0, 1 }, { #failures, start.calls })
    near(0.8, start.half)
  end)

  it("tells a failure, and of its body's beginning nothing", function()
    local failures, start = try({ world.status(503, nil, "busy") }, chat)
    assert.same({ "up", "busy", 1 }, { failures[1].target, failures[1].code, failures[1].count })
    assert.is_nil(start)
  end)

  it("tells a stream that broke off", function()
    local steps = { { 0, world.chunk { content = "a" } } }
    local failures, start = try({ world.streamed(steps, { fail = "cut", message = "gone" }) },
      function(w)
        local stream = assert(w:stream())
        while stream:read() do end -- luacheck: ignore
      end)
    assert.same({ "cut", 1 }, { failures[1].code, start.calls })
  end)

  it("tells nothing of a call that its caller has given up", function()
    local failures = try({ world.good("x", 20) }, function(w)
      local cancel = require("unbusy").canceller()
      w.loop.spawn(function()
        w.loop.sleep(1)
        cancel:cancel()
      end)
      w:chat { cancel = cancel }
    end)
    assert.same(0, #failures)
  end)

  it("says that a server wants to be left alone, and for how long", function()
    local _, _, target, w = try({ world.status(503, { ["retry-after"] = "30" }, "busy") }, chat)
    assert.is_true(target.rests > 29 and target.rests <= 30, tostring(target.rests))
    w.loop.run(function() w.loop.sleep(31) end)
    assert.is_nil(w.client:status().targets[1].rests)
  end)

  it("says that its key was refused, or that its account has no credit", function()
    local _, _, target = try({ world.status(401, nil, "no") }, chat)
    assert.equal("auth", target.refused)
    local w
    _, _, target, w = try({ world.status(402, nil, "no") }, chat)
    assert.equal("quota", target.refused)
    w.loop.run(function() w.loop.sleep(301) end)
    assert.is_nil(w.client:status().targets[1].refused)
  end)
end)
