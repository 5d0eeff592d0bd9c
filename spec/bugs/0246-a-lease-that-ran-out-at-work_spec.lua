-- Who keeps a cache warm renewed its lease only when a question had its answer. Where that took
-- longer than three rounds another process of the region took over, and asked the same once more,
-- while the first one still waited for it: each such question was paid for twice, or more often.
local guard = require "spec.support.leak_guard"
local json = require "unbusy.json"
local region = require "unbusy.region"
local unbusy = require "unbusy"
local world = require "spec.support.world"

local function request(text)
  return { messages = { { role = "user", content = text } } }
end

describe("the one of all processes that keeps the cache warm", function()
  local r
  before_each(function() r = assert(region.new { bytes = 16 * 1024 * 1024 }) end)
  after_each(function() r:close() end)
  guard.watch(before_each, after_each)

  -- A lease that runs in simulated time.
  local function lease_in(loop)
    local holder, ends_at = false, 0
    return function(_, _, token, seconds)
      local now = loop.now()
      if holder ~= token and now < ends_at then return false end
      holder, ends_at = token, now + seconds
      return true
    end
  end

  local function two()
    local w = world.new { script = { a = function(r1)
      return world.good("x", r1.body:find "slow" and 100 or 0.1)
    end }, options = { region = r, cache = { ttl = 10000, bytes = 100000, entries = 100,
      warm = { questions = { "slow one", "slow two" }, every = 10 } } } }
    local other = assert(unbusy.new(w.given))
    w.client.common.leads = lease_in(w.loop)
    assert.equal(w.client.common, other.common)
    return w, other
  end

  local function asked(w, text)
    local count = 0
    for _, entry in ipairs(w.log) do
      if json.decode(entry.request.body).messages[1].content == text then count = count + 1 end
    end
    return count
  end

  -- Calls come to it every five seconds.
  local function busy(w, client, rounds)
    for _ = 1, rounds do
      client:chat(request "touch")
      w.loop.sleep(5)
    end
  end

  it("goes on as long as it works, and nobody asks beside it", function()
    local w, other = two()
    w.loop.run(function()
      w.loop.spawn(busy, w, w.client, 60)
      w.loop.spawn(busy, w, other, 60)
    end)
    assert.same({ 1, 1 }, { asked(w, "slow one"), asked(w, "slow two") })
    assert.equal(0, other:status().warm.warmer.rounds)
    other:close()
    w.client:close()
  end)

  it("is followed by another one when its host has dropped its work without a word", function()
    local w, other = two()
    w.loop.run(function()
      busy(w, w.client, 60)
      local warmer = w.client.warmer
      assert.is_false(warmer.job)
      warmer.job, warmer.running = { stop = function() end }, true -- as it stays
      warmer.heard_at = w.loop.now()
      w.loop.spawn(busy, w, w.client, 60)
      busy(w, other, 60)
      assert.equal(0, other:status().warm.warmer.rounds)
      w.loop.spawn(busy, w, w.client, 60)
      busy(w, other, 60)
      warmer.job = false
    end)
    assert.same({ 1, 1 }, { asked(w, "slow one"), asked(w, "slow two") })
    assert.is_true(other:status().warm.warmer.rounds > 0)
    other:close()
    w.client:close()
  end)

  it("is followed by another one when nothing comes to it any more", function()
    local w, other = two()
    w.loop.run(function()
      w.loop.spawn(busy, w, w.client, 2)
      w.loop.spawn(busy, w, other, 60)
    end)
    assert.equal(2, asked(w, "slow one"))
    assert.equal(1, asked(w, "slow two")) -- the first one has stopped when it heard of it
    other:close()
    w.client:close()
  end)
end)
