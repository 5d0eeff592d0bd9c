local balancer = require "unbusy.balancer"
local random = require "spec.support.random"

-- Three servers in virtual time, without a limit; each call waits for its first token some 0.5 s.
-- For two minutes one of them is ten times slower. Calls come by chance, `rate` a second.
describe("balancer under a brown-out of one of three", function()
  local SERVERS, MEAN, SLOWER, RATE = 3, 0.5, 10, 40
  local FROM, TO, SECONDS = 60, 180, 240

  -- A time to the first token: half of it fixed, half of it exponential.
  local function takes(r, server, now)
    local mean = MEAN
    if server == 1 and now >= FROM and now < TO then mean = mean * SLOWER end
    return mean / 2 - mean / 2 * math.log(1 - r:float())
  end

  local function later(calls, call)
    local i = #calls + 1
    while i > 1 and calls[i - 1].ends > call.ends do
      calls[i] = calls[i - 1]
      i = i - 1
    end
    calls[i] = call
  end

  -- Sends the calls where `way` says; gives the times of those sent while it was slow, in order,
  -- and the share of the slow one.
  local function run(way, seed)
    local r, calls, times = random.new(seed), {}, {}
    local world = { now = 0, pending = { 0, 0, 0 }, r = random.new(seed + 1) }
    local w, slow = way(world), 0
    while world.now < SECONDS do
      world.now = world.now - math.log(1 - r:float()) / RATE
      local arrival = world.now
      while calls[1] and calls[1].ends <= arrival do
        local call = table.remove(calls, 1)
        world.now = call.ends
        world.pending[call.server] = world.pending[call.server] - 1
        if w.done then w.done(call) end
      end
      world.now = arrival
      local server, ticket = w.pick()
      local took = takes(r, server, arrival)
      world.pending[server] = world.pending[server] + 1
      later(calls, { server = server, ticket = ticket, ends = arrival + took, took = took })
      if arrival >= FROM and arrival < TO then
        times[#times + 1] = took
        if server == 1 then slow = slow + 1 end
      end
    end
    table.sort(times)
    return { p50 = times[math.ceil(#times * 0.5)], p99 = times[math.ceil(#times * 0.99)],
      share = slow / #times }
  end

  local ways = {}

  function ways.round_robin()
    local last = 0
    return { pick = function() last = last % SERVERS + 1 return last end }
  end

  -- The one with the fewest calls pending; among several, one of them by chance.
  function ways.least_connections(world)
    return { pick = function()
      local best, least = {}, math.huge
      for server, n in ipairs(world.pending) do
        if n < least then best, least = {}, n end
        if n == least then best[#best + 1] = server end
      end
      return world.r:pick(best)
    end }
  end

  function ways.p2c(world)
    local b = balancer.new { kind = "p2c", seed = world.r.seed,
      clock = function() return world.now end,
      targets = { { name = "1" }, { name = "2" }, { name = "3" } } }
    return {
      pick = function()
        local name, ticket = b:pick()
        return tonumber(name), ticket
      end,
      done = function(call) assert(b:report(call.ticket, "ok", call.took)) end,
    }
  end

  it("p2c's p99 is under those of round robin and of least connections", function()
    for i = 1, 5 do
      local seed = random.seed(i)
      local of = {}
      for name, way in pairs(ways) do of[name] = run(way, seed) end
      local told = ("UNBUSY_SEED=%d: p99 %.2f s of round robin, %.2f s of least connections, "
        .. "%.2f s of p2c; p50 %.2f, %.2f, %.2f s; to the slow one %.1f, %.1f, %.1f %%")
        :format(seed, of.round_robin.p99, of.least_connections.p99, of.p2c.p99,
        of.round_robin.p50, of.least_connections.p50, of.p2c.p50,
        of.round_robin.share * 100, of.least_connections.share * 100, of.p2c.share * 100)
      assert.is_true(of.p2c.p99 < 0.8 * of.least_connections.p99, told)
      assert.is_true(of.p2c.p99 < 0.4 * of.round_robin.p99, told)
      assert.is_true(of.p2c.share < of.least_connections.share, told)
    end
  end)

  it("p2c shares out evenly again afterwards, and before", function()
    local seed = random.seed(9)
    local r = random.new(seed)
    local world = { now = 0, r = r, pending = {} }
    local w = ways.p2c(world)
    local calls, n = {}, { 0, 0, 0 }
    for step = 1, 240 * RATE do
      world.now = step / RATE
      while calls[1] and calls[1].ends <= world.now do w.done(table.remove(calls, 1)) end
      local server, ticket = w.pick()
      local took = takes(r, server, world.now)
      later(calls, { server = server, ticket = ticket, ends = world.now + took, took = took })
      if world.now < FROM or world.now > TO + 20 then n[server] = n[server] + 1 end
    end
    local sum = n[1] + n[2] + n[3]
    for server = 1, SERVERS do
      assert.is_true(n[server] / sum > 0.28 and n[server] / sum < 0.39,
        ("UNBUSY_SEED=%d: %d of %d"):format(seed, n[server], sum))
    end
  end)
end)
