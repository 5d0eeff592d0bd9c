-- Processes that are killed while they use a limiter, a meter, a budget, a balancer, counters or a
-- list of what comes often: at each machine instruction of an operation, and (a cache too, of which
-- spec/cache_kill_spec.lua has the rest) at random. UNBUSY_KILLS=n kills at every
-- n-th.
local chance = require "spec.support.random"
local core = require "unbusy.core"
local files = require "spec.support.files"
local guard = require "spec.support.leak_guard"
local process = require "spec.support.fork"
local region = require "unbusy.region"
local regions = require "spec.support.regions"

local LEAST = 256 * 1024
local KILLED = 9

-- Every so many instructions one is killed at; under sanitizers they are far more.
local STRIDE = tonumber(os.getenv "UNBUSY_KILLS")
  or os.getenv "UNBUSY_SANITIZED" and 1009 or 307
local KILLS = os.getenv "UNBUSY_KILLS" and 300 or 60 -- at random

-- In the quick run a long operation is not stepped through more than some ten times.
local function stride_of(instructions)
  return os.getenv "UNBUSY_KILLS" and STRIDE or math.max(STRIDE, math.floor(instructions / 10))
end

-- {== The parts ============================================================

-- A kind of part: `make(where)` opens one, private without `where`; `go(p, kept, random, say)`
-- takes one random step and says what it saw; `clears`: what a process died at empties it. All
-- times are given, since a clock of its own makes a method thousands of instructions longer.
-- Each case: `prepare(p, kept)` in this process, then `own(p, mine)` in another one, which is
-- killed `later` seconds on while it does `work(p, mine)`; `given_back(p, result, mine)` is what
-- has to come of what it held. Then the part has to go on as one that never did the work, or one
-- that has done it. (What this process keeps the other one could not give back.)
local now = 0

local function sorted(t)
  local all = {}
  for name, value in pairs(t) do all[#all + 1] = ("%s=%s"):format(name, tostring(value)) end
  table.sort(all)
  return table.concat(all, " ")
end

local function remove_one(list, random)
  return table.remove(list, random:int(#list))
end

-- {== The limiter ----------------------------------------------------------

local limiter = { name = "limiter" }

function limiter.make(where)
  return assert(core.limiter({ min = 1, max = 6, initial = 4, ratio = 0.5 }, now, where, "part"))
end

local OUTCOMES = { "ok", "ok", "fail", "neutral" }

function limiter.go(l, kept, random, say)
  if random:chance(0.5) then
    local ticket, _, _, detail = l:allow(now)
    kept[#kept + 1] = ticket
    say(ticket, detail and detail.retry_after)
  elseif kept[1] then
    say(l:report(remove_one(kept, random), random:pick(OUTCOMES), random:float(), now))
  end
  say(sorted(l:stats(now)), l:retry_after(now))
end

local function take(l, kept, n)
  for _ = 1, n do kept[#kept + 1] = assert(l:allow(now)) end
end

local function drop(l, kept, n)
  for _ = 1, n do assert(l:report(table.remove(kept, 1), "fail", 0.1, now)) end
end

local function allow(l) return (l:allow(now)) end

-- What the killed one was let in with.
local function neutral(l, ticket, mine)
  if ticket then l:report(ticket, "neutral", nil, now) end
  for _, held in ipairs(mine) do l:report(held, "neutral", nil, now) end
end

local function takes(n)
  return function(l, mine) take(l, mine, n) end
end

limiter.cases = {
  { what = "lets the first call in", work = allow, given_back = neutral },
  { what = "lets a call in", work = allow, given_back = neutral,
    prepare = function(l, kept) take(l, kept, 2) end },
  { what = "refuses a call", work = allow, prepare = function(l, kept) take(l, kept, 4) end },
  { what = "ends rests and lets a call in", later = 0.25, work = allow, given_back = neutral,
    prepare = function(l, kept)
      take(l, kept, 4)
      drop(l, kept, 3)
    end },
  { what = "counts a success", work = function(l, mine) l:report(mine[2], "ok", 0.1, now) end,
    later = 0.2, own = takes(4), given_back = neutral },
  { what = "counts a drop", work = function(l, mine) l:report(mine[2], "fail", 0.1, now) end,
    own = takes(4), given_back = neutral },
  { what = "counts a drop when the ring of drops comes round", own = takes(1),
    work = function(l, mine) l:report(mine[1], "fail", 0.1, now) end, given_back = neutral,
    prepare = function(l, kept)
      for _ = 1, 7 do
        take(l, kept, 1)
        drop(l, kept, 1)
        now = now + 2
      end
    end },
  { what = "notes a start", work = function(l, mine) l:started(mine[2], 0.1, now) end,
    own = takes(3), given_back = neutral },
  { what = "gives a place back", own = takes(3), given_back = neutral,
    work = function(l, mine) l:report(mine[2], "neutral", nil, now) end },
  { what = "freezes", later = 3, work = function(l) l:freeze(2, now) end,
    prepare = function(l, kept)
      take(l, kept, 4)
      drop(l, kept, 2)
    end },
  { what = "goes on", later = 3, work = function(l) l:restore(now) end,
    prepare = function(l, kept)
      take(l, kept, 4)
      drop(l, kept, 1)
      l:freeze(2, now)
    end },
}

-- }------------------------------------------------------------------------

-- {== The budget ------------------------------------------------------------

local budget = { name = "budget" }
local MINE = 2 -- calls of this process

function budget.make(where)
  return assert(core.budget({ ratio = 0.5, floor = 1, tokens = 100, retry_cost = 14,
    throttle_cost = 5 }, nil, where, "part"))
end

function budget.go(b, kept, random, say)
  local what = random:int(4)
  if what == 1 then
    b:begin()
  elseif what == 2 then
    say(b:finish(random:pick { "ok", "fail" }))
  elseif what == 3 then
    local permit = b:take(random:pick { "retry", "throttle", "hedge" })
    kept[#kept + 1] = permit
    say(permit)
  elseif kept[1] then
    say(b:give(remove_one(kept, random), random:pick { "ok", "fail" }))
  end
  say(sorted(b:stats()))
end

-- The calls of the killed one end, and its permits come back unpaid.
local function ended(b, permit, mine)
  while b:stats().active > MINE do b:finish "fail" end
  for _, held in ipairs { permit or mine[1] } do b:give(held, "fail") end
end

local function begin_calls(n)
  return function(b)
    for _ = 1, n do b:begin() end
  end
end

local function take_permits(n)
  return function(b, kept)
    begin_calls(MINE)(b)
    for _ = 1, n do kept[#kept + 1] = assert(b:take "retry") end
  end
end

budget.cases = {
  { what = "begins a call", work = function(b) b:begin() end, given_back = ended },
  { what = "begins one call more", own = begin_calls(3), work = function(b) b:begin() end,
    given_back = ended },
  { what = "ends a call", own = begin_calls(3), work = function(b) b:finish "ok" end,
    given_back = ended, prepare = take_permits(1) },
  { what = "takes a permit", own = begin_calls(3), given_back = ended,
    work = function(b) return (b:take "throttle") end },
  { what = "gets none", work = function(b) return (b:take "retry") end, given_back = ended,
    prepare = take_permits(1) },
  { what = "gives a permit back", given_back = ended,
    own = function(b, mine) mine[1] = assert(b:take "retry") end,
    work = function(b, mine) b:give(mine[1], "ok") end },
}
for _, case in ipairs(budget.cases) do case.prepare = case.prepare or begin_calls(MINE) end

-- }------------------------------------------------------------------------

local balancer = require("spec.support.killed_balancer").by(function() return now end)
local rate = require("spec.support.killed_rate").by(function() return now end)
local metrics = require "spec.support.killed_metrics"

-- {== Counters ---------------------------------------------------------------

local counters = { name = "counters" }

function counters.make(where)
  return assert(core.counters({ counters = 4, seed = 5 }, nil, where, "part"))
end

function counters.go(c, _, random, say)
  local what, name = random:int(5), "n" .. random:int(7)
  if what == 1 then
    say(c:add(name, random:int(9), nil, now))
  elseif what == 2 then
    say(c:add(name, random:int(9), 2, now))
  elseif what == 3 then
    say(c:peak(name, random:int(9), 1, now))
  elseif what == 4 then
    say(c:get(name, now))
  else
    say(c:delete(name))
  end
  say(sorted(c:list(now)), sorted(c:stats()))
end

local function add_names(n)
  return function(c)
    for i = 1, n do
      c:add("n" .. i, i, i % 2 == 0 and 2 or nil, now)
      now = now + 0.1
    end
  end
end

counters.cases = {
  { what = "adds the first name", work = function(c) c:add("n1", 5, 2, now) end },
  { what = "adds a name", work = function(c) c:add("n5", 5, nil, now) end, prepare = add_names(2) },
  { what = "adds to one", work = function(c) c:add("n3", 5, nil, now) end, prepare = add_names(4) },
  { what = "puts a name out for another", work = function(c) c:add("n6", 5, nil, now) end,
    prepare = add_names(4) },
  { what = "lets a window pass", later = 2.5, work = function(c) c:add("n2", 5, 2, now) end,
    prepare = add_names(4) },
  { what = "begins a sum anew", later = 0.5, work = function(c) c:add("n2", 5, 1, now) end,
    prepare = add_names(4) },
  { what = "keeps a peak", work = function(c) c:peak("n7", 5, 1, now) end, prepare = add_names(4) },
  { what = "reads", work = function(c) c:get("n1", now) end, prepare = add_names(4) },
  { what = "deletes", work = function(c) c:delete "n2" end, prepare = add_names(4) },
}

-- }------------------------------------------------------------------------

-- {== The list -----------------------------------------------------------------

local topk = { name = "list of what comes often", clears = true }

function topk.make(where)
  return assert(core.topk({ counters = 4, key_bytes = 8, seed = 5, note_bytes = 8,
    half_life = 1 }, now, where, "part"))
end

function topk.go(t, _, random, say)
  local key = ("key"):rep(random:int(3)) .. random:int(3)
  if t:add(key, random:int(5), now) then t:note(key, key:sub(-8)) end
  for _, entry in ipairs(t:top(nil, true, now)) do say(sorted(entry)) end
  say(sorted(t:stats(now)))
end

local function add_keys(n)
  return function(t)
    for i = 1, n do t:add("key" .. i, 2 * i, now) end
    t:note("key1", "one")
  end
end

topk.cases = {
  { what = "adds the first", work = function(t) t:add("key", 1, now) end },
  { what = "adds to one", work = function(t) t:add("key1", 5, now) end, prepare = add_keys(4) },
  { what = "puts one out, and its note", work = function(t) t:add("keykeykey1", 3, now) end,
    prepare = add_keys(4) },
  { what = "brings its counts down", later = 40, work = function(t) t:add("key2", 3, now) end,
    prepare = add_keys(4) },
  { what = "clears", work = function(t) t:clear() end, prepare = add_keys(4) },
  { what = "notes", work = function(t) t:note("key1", "note") end, prepare = add_keys(4) },
}

-- }------------------------------------------------------------------------

-- }========================================================================

-- {== At each instruction ==================================================

-- A part just before the killed one's doings.
local function prepared(kind, case, where)
  now = 1000
  local p, kept = kind.make(where), {}
  if case.prepare then case.prepare(p, kept) end
  return p, kept
end

-- What a part answers on a random way from here on, as text.
local function way(kind, p, kept)
  local random, said = chance.new(11), {}
  local function say(...)
    for i = 1, select("#", ...) do said[#said + 1] = tostring((select(i, ...))) end
  end
  for _ = 1, 60 do
    kind.go(p, kept, random, say)
    now = now + random:float() * 0.2
  end
  return table.concat(said, "\n")
end

-- The ways that are right: of private parts that did not do the work, did it, or were cleared.
local function right_ways(kind, case)
  local ways = {}
  for _, how in ipairs { "before", "after", kind.clears and "cleared" } do
    local p, kept = prepared(kind, case)
    local mine = {}
    if case.own then case.own(p, mine) end
    now = now + (case.later or 0)
    local result = how == "after" and case.work(p, mine) or nil
    if case.given_back then case.given_back(p, result, mine) end
    if how == "cleared" then p:clear() end
    ways[how] = way(kind, p, kept)
  end
  return ways
end

-- Kills a process at the n-th instruction of the work (0: lets it end): how the part goes on, and
-- the numbers of the first and the last instruction that count, if it was not killed.
local function step(kind, case, n)
  local r = assert(region.new { bytes = LEAST })
  local p, kept = prepared(kind, case, r)
  local path = os.tmpname()
  local pid = process.fork()
  if pid == 0 then
    collectgarbage "stop" -- nothing but the work, the same each time
    debug.sethook() -- of an eager collector
    if jit then jit.off() jit.flush() end -- luacheck: ignore 113
    local mine = {}
    if case.own then case.own(p, mine) end
    now = now + (case.later or 0)
    p:stats(now) -- has its number
    local first, last = process.step(n, function() case.work(p, mine) end)
    regions.write(path, ("%s %s"):format(tostring(first), tostring(last)))
    process.leave()
  end
  now = now + (case.later or 0)
  local signal = process.wait(pid)
  local first, last = files.read(path):match "(%d+) (%d+)"
  os.remove(path)
  if signal then assert.equal(KILLED, signal) end
  kind.make(r) -- who opens a part looks for the dead first
  local went = way(kind, p, kept)
  r:close()
  return went, tonumber(first), tonumber(last)
end

-- Fails where the way is none of the right ones, by the first line that differs from 'after'.
local function check(ways, went, told)
  for how, right in pairs(ways) do
    if went == right then return how end
  end
  local right = ways.after:gmatch "[^\n]+"
  for line in went:gmatch "[^\n]+" do
    local wanted = right()
    if line ~= wanted then
      error(("%s: %s\nnot as after the work: %s"):format(told, line, tostring(wanted)), 0)
    end
  end
  error(told .. ": it ended early", 0)
end

-- }========================================================================

-- {== At random ============================================================

local MOST = 40 -- calls that the limiter lets in, and names that there is room for

local function open_all(r)
  return {
    limiter = assert(core.limiter({ min = 1, max = MOST, initial = MOST, ratio = 0.9 }, nil, r,
      "a")),
    budget = assert(core.budget({ ratio = 0.5, floor = 9, tokens = 500, retry_cost = 14,
      throttle_cost = 5 }, nil, r, "a")),
    balancer = balancer.make(r),
    counters = assert(core.counters({ counters = MOST }, nil, r, "a")),
    cache = assert(core.cache({ entries = MOST, bytes = 50000, ttl = 100, stale = 0 }, nil, r,
      "a")),
    topk = assert(core.topk({ counters = MOST, key_bytes = 16 }, nil, r, "a")),
  }
end

-- Tells by itself whether it is whole.
local function value_of(n) return (n .. ";"):rep(n % 400 + 1) end

-- Uses all of them until it is killed, and holds some of everything.
local function use_all(r, seed)
  local p, random, tickets, permits, calls = open_all(r), chance.new(seed), {}, {}, 0
  local calls_of = {}
  while true do
    local n = random:int(100000)
    tickets[#tickets + 1] = p.limiter:allow()
    if #tickets > random:int(12) then
      assert(p.limiter:report(remove_one(tickets, random), random:pick(OUTCOMES), 0.001) == true)
    end
    if calls < random:int(10) then
      p.budget:begin()
      calls = calls + 1
    else
      assert(p.budget:finish(random:pick { "ok", "fail" }) == true)
      calls = calls - 1
    end
    permits[#permits + 1] = p.budget:take(random:pick { "retry", "throttle" })
    if #permits > random:int(4) then
      assert(p.budget:give(remove_one(permits, random), random:pick { "ok", "fail" }) == true)
    end
    calls_of[#calls_of + 1] = p.balancer:begin(p.balancer:choose(nil, n, true), now)
    if #calls_of > 1 then p.balancer:report(remove_one(calls_of, random), "ok", 0.001, now) end
    local name = "n" .. n % (2 * MOST)
    p.counters:add(name, 2)
    if n % 3 == 0 then p.counters:delete(name) end
    p.cache:set(name, value_of(n))
    p.cache:get("n" .. n % 7)
    if n % 5 == 0 then p.cache:delete("n" .. n % 7) end
    p.topk:add(name, n % 3 + 1)
  end
end

local function check_limits(p)
  local l, b = p.limiter:stats(), p.budget:stats()
  assert(l.limit >= 1 and l.limit <= MOST, l.limit)
  assert(l.in_flight + l.resting <= MOST)
  assert(b.tokens >= 0 and b.tokens <= 500, b.tokens)
  assert(b.active <= 3 * 10, b.active)
  assert(b.permits <= math.max(9, 0.5 * 3 * 10), b.permits)
end

local function check_contents(p)
  local c = p.cache:stats()
  assert(c.entries <= MOST and c.bytes <= 50000)
  for i = 0, 2 * MOST - 1 do
    local value = p.cache:get("n" .. i)
    if value then assert(value == value_of(tonumber(value:match "^%d+"))) end
  end
  local sum, entries = 0, p.topk:top()
  for _, entry in ipairs(entries) do sum = sum + entry.count end
  assert(#entries <= MOST)
  for name, value in pairs(p.counters:list()) do
    assert(name:match "^n%d+$" and value % 2 == 0, name)
  end
end

-- Nobody is at work any more: what is counted in two ways has to agree, and all is given back.
local function check_still(p)
  check_limits(p)
  check_contents(p)
  local sum, names = 0, 0
  for _, entry in ipairs(p.topk:top()) do sum = sum + entry.count end
  for _ in pairs(p.counters:list()) do names = names + 1 end
  assert.equal(p.topk:stats().total, sum) -- Space-Saving keeps the sum of all counts
  assert.equal(p.counters:stats().used, names)
  assert.equal(0, p.limiter:stats().in_flight)
  for _, s in pairs(p.balancer:stats()) do assert.equal(0, s.pending) end
  assert.same({ 0, 0 }, { p.budget:stats().active, p.budget:stats().permits })
end

-- Every place of the limiter can be had once.
local function check_places(l)
  local tickets, known = {}, {}
  l:freeze(0)
  for i = 1, math.floor(l:limit()) do
    tickets[i] = assert(l:allow())
    assert.is_nil(known[tickets[i]])
    known[tickets[i]] = true
  end
  assert.is_nil((l:allow()))
  for _, ticket in ipairs(tickets) do
    assert.is_true(l:report(ticket, "neutral"))
    assert.is_false(l:report(ticket, "neutral"))
  end
end

-- }========================================================================

describe("a process killed", function()
  local users -- processes that are at work

  after_each(function()
    for _, pid in pairs(users) do
      process.kill(pid, KILLED)
      process.wait(pid)
    end
    regions.collect()
  end)
  guard.watch(before_each, after_each)
  before_each(function() users = {} end)

  for _, kind in ipairs { limiter, rate, budget, balancer, counters, topk, metrics } do
    describe("at any instruction while the " .. kind.name, function()
      for _, case in ipairs(kind.cases) do
        it(case.what, function()
          local ways = right_ways(kind, case)
          local went, first, last = step(kind, case, 0)
          if not first then pending "no stepping on this processor" return end
          assert.equal("after", check({ after = ways.after }, went, case.what))
          local killed, stride = {}, stride_of(last - first)
          for n = first + #case.what % stride, last, stride do
            local how, unkilled
            went, unkilled = step(kind, case, n)
            how = check(ways, went, ("%s, instruction %d"):format(case.what, n))
            if not unkilled then killed[how] = (killed[how] or 0) + 1 end
            if n % 20 == 0 then regions.collect() end
          end
          assert.is_true((killed.before or 0) + (killed.after or 0) + (killed.cleared or 0) >= 3)
        end)
      end
    end)
  end

  it("at random, time and again, leaves all sound and gives all back", function()
    local r = assert(region.new { bytes = 4 * LEAST })
    local p, random = open_all(r), chance.new(chance.seed(5))
    local function start(seed)
      local pid = process.fork()
      if pid > 0 then return pid end
      pcall(use_all, r, seed)
      process.leave()
    end
    local function kill(i)
      process.kill(users[i], KILLED)
      local signal = process.wait(users[i])
      users[i] = nil
      assert.equal(KILLED, signal) -- it has not ended by an error
    end
    for i = 1, 3 do users[i] = start(i) end
    for n = 1, KILLS do
      process.nap(random:int(3000))
      local i = random:int(3)
      kill(i)
      regions.wait_for(function() return r:stats().processes <= 3 end, "the number of a dead one")
      check_limits(p)
      if n % 10 == 0 then check_contents(p) end
      users[i] = start(n + 3)
    end
    assert.is_true(p.cache:stats().stored > KILLS)
    for i = 1, 3 do kill(i) end
    regions.wait_for(function() return r:stats().processes == 1 end, "the numbers of the dead")
    check_still(p)
    check_places(p.limiter)
    p = nil -- luacheck: ignore 311
    r:close()
  end)
end)
