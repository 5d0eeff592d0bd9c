-- When the time is over for which a server wanted to be left alone, those who wait for it come
-- little by little: all of them at one instant, in each of many processes, would bring it down.
local world = require "spec.support.world"

local LIMIT = 20

-- A client that was told to come back after so many seconds, and has so many calls in line: when
-- their requests were sent, from the end of that time on.
local function sent_after(seconds, count, options)
  options = options or {}
  options.limiter = options.limiter == nil and { kind = "fixed", initial = LIMIT }
    or options.limiter
  options.retry = false
  options.queue = { max_wait = 1e5 }
  local refuses = options.status or 503
  options.status = nil
  local w = world.new { options = options, script = {
    a = function(_, n)
      if n > 1 then return world.good("yes", 30) end
      return world.status(refuses, { ["retry-after"] = tostring(seconds) })
    end } }
  w.loop.run(function()
    assert(not w:chat())
    for _ = 1, count do w.loop.spawn(function() assert(w:chat { deadline = 1e5 }) end) end
  end)
  w:assert_clean()
  local out = {}
  for i = 2, #w.log do out[#out + 1] = w.log[i].at - w.log[1].at - 0.1 - seconds end
  return out
end

local function count_within(times, seconds)
  local n = 0
  for _, at in ipairs(times) do if at <= seconds + 1e-6 then n = n + 1 end end
  return n
end

describe("after a server's Retry-After", function()
  for _, status in ipairs { 503, 429 } do
    it("one call goes first, and all within a tenth of that time: " .. status, function()
      local times = sent_after(20, LIMIT, { status = status })
      assert.equal(LIMIT, #times)
      assert.equal(1, count_within(times, 0.05))
      local half = count_within(times, 1)
      assert.is_true(half >= LIMIT / 2 - 1 and half <= LIMIT / 2 + 1, half)
      assert.equal(LIMIT, count_within(times, 2.1))
    end)
  end

  it("they take ten seconds for that at most", function()
    local times = sent_after(200, LIMIT)
    assert.equal(1, count_within(times, 0.4))
    assert.equal(LIMIT, count_within(times, 10.5))
  end)

  it("the order of the line is kept, and whoever comes later stands behind", function()
    local w = world.new { options = { limiter = { kind = "fixed", initial = LIMIT }, retry = false,
      queue = { max_wait = 100 } }, script = { a = function(_, n)
        if n > 1 then return world.good("yes", 30) end
        return world.status(503, { ["retry-after"] = "20" })
      end } }
    local order = {}
    local function ask(name)
      w.loop.spawn(function()
        local reply = assert(w:chat { deadline = 1000 })
        order[#order + 1] = { name, reply.times.queued }
      end)
    end
    w.loop.run(function()
      assert(not w:chat())
      for i = 1, 10 do ask(i) end
      w.loop.sleep(20.45)
      for i = 11, 12 do ask(i) end
    end)
    for i = 1, 12 do assert.equal(i, order[i][1]) end
    w:assert_clean()
  end)

  it("nobody waits for that where there is no limit of calls at once", function()
    assert.equal(30, count_within(sent_after(20, 30, { limiter = false }), 0.01))
  end)

  it("a target is asked again after an hour, whatever it said", function()
    local w = world.new { options = { retry = false }, script = { a = function(_, n)
      if n > 1 then return world.good "yes" end
      return world.status(503, { ["retry-after"] = "31536000" })
    end } }
    assert.equal("busy", select(3, w:chat()))
    local _, _, code, detail = w:chat()
    assert.same({ "open", 3600 }, { code, math.floor(detail.retry_after + 0.5) })
    w.loop.run(function() w.loop.sleep(3600) end)
    assert.equal("yes", assert(w:chat()).text)
    w:assert_clean()
  end)
end)
