-- What is built for one thing, where it meets what is built for another.
local call = require "unbusy.call"
local guard = require "spec.support.leak_guard"
local resumed = require "spec.support.resumed"
local world = require "spec.support.world"

local TEXT, CUT = resumed.TEXT, resumed.DONE
local good, status = world.good, world.status

-- Two pools, each with one exact server.
local function two_pools(servers, options, more)
  local targets = { a = { pool = "edge", prefix = "flag" }, b = { pool = "centre",
    prefix = "flag" } }
  for name, fields in pairs(more or {}) do
    targets[name] = targets[name] or {}
    for k, v in pairs(fields) do targets[name][k] = v end
  end
  return resumed.build { servers = servers, options = options, targets = targets,
    order = { "a", "b" } }
end

local function tries(w)
  local out = {}
  for i, e in ipairs(w:seen "try") do out[i] = e.target end
  return table.concat(out, " ")
end

local NO_QUOTA = 'data: {"error":{"code":"insufficient_quota","message":"no more"}}\n\n'

-- Some words, and then an end of which the same target makes nothing better.
local function spent(text, after)
  return world.streamed({ { 0, world.chunk { role = "assistant", content = "" } },
    { 0, world.chunk { content = text } }, { 0.5, NO_QUOTA } }, { after = after or 0.1 })
end

describe("streams that are held back and gone on with:", function()
  after_each(world.end_all)
  guard.watch(before_each, after_each)

  it("one that breaks off unseen is answered from the beginning elsewhere", function()
    local w = two_pools({ a = { cuts = { CUT } }, b = {} },
      { escalate = { hold = true } })
    local text, _, code = resumed.drain(assert(w:stream()))
    assert.same({ TEXT }, { text, code })
    assert.equal("a b", tries(w))
    assert.equal(1, #w.servers.b.asked[1].messages)
    resumed.finish(w)
  end)

  it("one of the centre that breaks off goes on at the edge as it comes", function()
    local w = two_pools({ a = { fails = { status(503) } }, b = { cuts = { CUT, CUT, CUT } } },
      { escalate = { hold = true } })
    local text, _, code = resumed.drain(assert(w:stream()))
    assert.same({ TEXT }, { text, code })
    assert.equal("a b a", tries(w))
    resumed.finish(w)
  end)

  it("an answer in place of a weak one is gone on with where the weak one is not", function()
    local w = two_pools({ a = { fails = { world.words { "I don't know" } } },
      b = { cuts = { CUT } } }, { escalate = { hold = true } })
    local stream = assert(w:stream())
    local text, _, code = resumed.drain(stream)
    assert.same({ TEXT }, { text, code })
    assert.same({ "a b b", 1, "refused" }, { tries(w), stream.resumed, stream.escalated.reason })
    assert.equal(3, stream.tries)
    resumed.finish(w)
  end)
end)

describe("second tries beside the first, and", function()
  after_each(world.end_all)
  guard.watch(before_each, after_each)
  local HEDGE = { after = 0.3, most = 1, price = "any" }

  it("a stream that was in time is gone on with by the one that had been called off", function()
    local w = resumed.build { servers = { a = { cuts = { CUT }, fails = {} }, b = { gap = 9 } },
      options = { hedge = HEDGE }, order = { "a", "b" } }
    local script = w.script.a
    w.script.a = function(request, n)
      local answer = script(request, n)
      answer.after = 0.5
      return answer
    end
    local stream = assert(w:stream(nil))
    assert.is_false(stream.hedged.won)
    local text, _, code = resumed.drain(stream)
    assert.same({ TEXT }, { text, code })
    assert.equal(1, stream.resumed)
    assert.equal(stream.tries, #w.log)
    resumed.finish(w)
  end)

  it("a stream whose server cannot go on: that one is not asked again, the other one is", function()
    local w = resumed.build { servers = { a = { fails = { spent(TEXT:sub(1, 20), 0.5) } },
      b = { fails = { { after = 60, status = 503 } } } },
      options = { hedge = HEDGE, retry = { base = 0.1, jitter = 0 } }, order = { "a", "b" } }
    local stream = assert(w:stream(nil))
    assert.is_false(stream.hedged.won)
    local text, message, code = resumed.drain(stream)
    assert.same({ TEXT }, { text, code, message })
    assert.equal("a b b", tries(w))
    resumed.finish(w)
  end)

  it("the centre's, of a call that was sent on there with a weak answer", function()
    local w = world.new { script = { a = { good "I don't know" }, b = { good("slow", 9) },
      c = { good "quick" } }, order = { "a", "b", "c" }, targets = { a = { pool = "edge" },
        b = { pool = "centre" }, c = { pool = "centre" } },
      options = { escalate = true, hedge = HEDGE } }
    local reply = assert(w:chat())
    assert.same({ "quick", "c", 3, true, "a", "a b c" }, { reply.text, reply.target, reply.tries,
      reply.hedged.won, reply.escalated.target, tries(w) })
    w:assert_clean()
    w.client:close()
  end)

  it("a call that its pool has sent on: back home, and answers count once", function()
    local w = world.new { script = { a = { good("first", 5), good "home" },
      b = { good("away", 9) } }, order = { "a", "b" }, targets = { a = { pool = "private" },
        b = { pool = "cloud" } },
      options = { hedge = { after = 6, most = 1, price = "any" }, retry = false,
        limiter = { kind = "fixed", initial = 1 },
        pools = { private = { priority = 1 }, cloud = { priority = 2 } } } }
    local first, second
    w.loop.run(function()
      w.loop.spawn(function() first = w:chat() end)
      w.loop.sleep(0.1)
      second = w:chat()
    end)
    assert.same({ "first", "home", true }, { first.text, second.text, second.hedged.won })
    local pools = w.client:status().pools
    assert.same({ 2, 0, 1 }, { pools.private.answers, pools.cloud.answers,
      pools.private.sent_on })
    w:assert_clean()
    w.client:close()
  end)

  it("limits per minute: where none is left nobody is asked beside the first", function()
    local w = world.new { script = { a = { good("a", 1) }, b = { good "b" } },
      order = { "a", "b" }, targets = { b = { limits = { requests_per_minute = 1 } } },
      options = { hedge = HEDGE } }
    assert.equal("b", w:chat { target = "b" }.text)
    local reply = assert(w:chat())
    assert.same({ "a", 1 }, { reply.text, reply.tries })
    assert.equal(1, #w:seen "try" - 1)
    assert.is_true(w.client:status().hedge.refused.nobody > 0)
    w:assert_clean()
    w.client:close()
  end)
end)

describe("a stream that is gone on with", function()
  after_each(world.end_all)
  guard.watch(before_each, after_each)

  it("ends with its client, wherever it stands", function()
    for _, seconds in ipairs { 0.05, 0.15, 0.3, 0.6, 0.65, 0.75 } do
      local w = two_pools({ a = { cuts = { CUT, CUT, CUT }, gap = 0.1 },
        b = { cuts = { CUT }, gap = 0.1 } }, { hedge = { after = 0.05, most = 1 } })
      local code
      w.loop.run(function()
        w.loop.spawn(function()
          w.loop.sleep(seconds)
          w.client:close()
        end)
        local stream, _, why = w:stream()
        code = why
        if stream then code = select(3, resumed.drain(stream)) end
      end)
      assert.equal("closed", code, seconds)
      w:assert_clean()
    end
  end)

  it("in vain ends with the cut: what is kept of old is for calls without any answer", function()
    local broken = world.streamed({ { 0, world.chunk { content = "Other" } } },
      { fail = "network" })
    local w = resumed.build { servers = { a = { fails = { [2] = broken } } },
      options = { cache = { ttl = 1 }, retry = { attempts = 1 }, fallback = { { stale = true } } },
      targets = { b = nil }, order = { "a" } }
    local text = resumed.drain(assert(w.client:stream(resumed.question())))
    assert.equal(TEXT, text)
    w.loop.run(function() w.loop.sleep(5) end)
    local _, _, code = resumed.drain(assert(w.client:stream(resumed.question())))
    assert.equal("cut", code)
    resumed.finish(w)
  end)
end)

describe("conversations that stay at their target", function()
  after_each(world.end_all)
  guard.watch(before_each, after_each)

  it("go on to the next pool while it is full, and are back behind the ramp", function()
    local down = false
    local function server(name)
      return function()
        if down and name ~= "c" then return status(500) end
        return good(name)
      end
    end
    local w = world.new { script = { a = server "a", b = server "b", c = server "c" },
      order = { "a", "b", "c" }, targets = { a = { pool = "private" }, b = { pool = "private" },
        c = { pool = "cloud" } }, options = { route = { sticky = "user", balance = "weighted" },
        pools = { private = { priority = 1, spill = { hold = 1 } }, cloud = { priority = 2 } },
        breaker = { min_calls = 3, open_for = 1 }, retry = { attempts = 3, base = 0 }, seed = 3 } }
    local function asked(user)
      local request = { user = user, messages = { { role = "user", content = "hi" } } }
      local reply = w.client:chat(request)
      return reply and reply.target
    end
    local home = {}
    w.loop.run(function()
      for i = 1, 20 do home[i] = asked("user " .. i) end
      down = true
      for _ = 1, 3 do
        for i = 1, 20 do asked("user " .. i) end
      end
      for i = 1, 20 do assert.equal("c", asked("user " .. i)) end
      down = false
      for _ = 1, 20 do
        w.loop.sleep(1)
        for i = 1, 20 do asked("user " .. i) end
      end
      for i = 1, 20 do assert.equal(home[i], asked("user " .. i)) end
    end)
    assert.is_false(w.client:status().pools.private.spills)
    w:assert_clean()
    w.client:close()
  end)
end)

describe("a lane beside a call", function()
  local ALONE = { "lost", "moving", "permit", "race", "switch" } -- besides what it is given

  it("is about all that the call is about, and holds nothing of what the call holds", function()
    local c, given = { tries = {}, held = {}, place = {}, exchange = {}, counted = true }, {}
    setmetatable(c, call)
    for name, value in pairs(call) do
      if value == false or value == 0 then c[name] = { name } end
    end
    local lane = c:fork(given, {})
    local differs = {}
    for name, value in pairs(c) do
      if call[name] ~= nil and rawget(lane, name) ~= value then differs[#differs + 1] = name end
    end
    table.sort(differs)
    assert.same({ "at_once", "lane_of", "lost", "moving", "permit", "race", "switch" }, differs)
    for _, name in ipairs(ALONE) do
      assert.is_true(name == "race" and lane.race == given or not lane[name], name)
    end
    assert.same({ true, given }, { lane.at_once, lane.lane_of })
    assert.equal(c.tries, lane.tries)
    assert.same({ nil, nil, nil, nil }, { lane.held, lane.place, lane.exchange, lane.counted })
  end)
end)
