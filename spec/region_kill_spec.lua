-- Processes that are killed while they write in a region: at each machine instruction of an
-- operation, and at random by the thousand. UNBUSY_KILLS=n kills at every n-th.
local breaker = require "unbusy.breaker"
local chance = require "spec.support.random"
local core = require "unbusy.core"
local files = require "spec.support.files"
local guard = require "spec.support.leak_guard"
local options = require "unbusy.options"
local process = require "spec.support.fork"
local region = require "unbusy.region"
local regions = require "spec.support.regions"

local LEAST = 256 * 1024
local KILLED = 9
local OUTCOMES = { "ok", "fail", "neutral", "busy" }

-- Every so many instructions one is killed at; under sanitizers they are far more.
local STRIDE = tonumber(os.getenv "UNBUSY_KILLS")
  or os.getenv "UNBUSY_SANITIZED" and 401 or 79

-- {== At each instruction ==================================================

-- A case: `prepare(b, kept)` brings a breaker with these `options` into a state and keeps tickets;
-- `later` seconds on, a process is killed while it does `work(b, kept)`. Then the breaker has to be
-- as before that or as after it, told by private ones that did the same, now and from there on.
-- All times are given, since a clock of its own makes a method thousands of instructions longer.
local now = 0

local function open_breaker(given, where)
  local o = options.check(breaker.schema, given, "breaker")
  o.min_calls, o.seed = o.min_calls or 20, 3
  return assert(core.breaker(o, now, where, where and "part"))
end

-- All that can be read, as text.
local function seen(b)
  local all = { b:state(now), b:retry_after(now) }
  for name, value in pairs(b:stats(now)) do all[#all + 1] = name .. "=" .. tostring(value) end
  table.sort(all, function(x, y) return tostring(x) < tostring(y) end)
  return table.concat(all, " ")
end

-- Both go the same random way, which begins with a ticket that each gave.
local function same_breaker(part, model, ticket)
  local random, out = chance.new(11), { ticket }
  for _ = 1, 60 do
    assert.equal(seen(model), seen(part))
    now = now + random:float() * 0.2
    if random:chance(0.5) then
      local a, b = model:allow(now), part:allow(now)
      assert.equal(a, b)
      out[#out + 1] = a
    elseif out[1] then
      local one, outcome = table.remove(out, random:int(#out)), OUTCOMES[random:int(4)]
      assert.equal(model:report(one, outcome, 0.1, now), part:report(one, outcome, 0.1, now))
    end
  end
end

local function take(b, kept, n)
  for _ = 1, n do kept[#kept + 1] = assert(b:allow(now)) end
end

local function report(b, kept, n, outcome)
  for _ = 1, n do assert(b:report(table.remove(kept, 1), outcome, 0.1, now)) end
end

local function half_open(b)
  b:force("open", nil, now)
  now = now + 6
end

-- Kinds of work.
local function allow(b) return (b:allow(now)) end
local function succeed(b, kept) b:report(kept[1], "ok", 0.1, now) end
local function fail(b, kept) b:report(kept[1], "fail", 0.1, now) end

local breakers = {
  { what = "lets a call in", work = allow,
    prepare = function(b, kept) take(b, kept, 3) end },
  { what = "lets the first call in", work = allow },
  { what = "lets a call in when every slot is taken", options = { slots = 2, permits = 1 },
    work = allow,
    prepare = function(b, kept)
      take(b, kept, 2)
      b:force("closed", nil, now)
    end },
  { what = "counts a success", work = succeed,
    prepare = function(b, kept) take(b, kept, 3) end },
  { what = "counts a failure in a window that moves on",
    options = { window = 2, buckets = 4, min_calls = 1000 }, later = 1.1,
    work = fail,
    prepare = function(b, kept)
      take(b, kept, 9)
      for _ = 1, 4 do
        report(b, kept, 2, "fail")
        now = now + 0.5
      end
    end },
  { what = "counts a call in a full ring", options = { count = 3, min_calls = 3 },
    work = succeed,
    prepare = function(b, kept)
      take(b, kept, 6)
      report(b, kept, 5, "ok")
    end },
  { what = "opens", options = { min_calls = 4, open_jitter = 0.5 },
    work = fail,
    prepare = function(b, kept)
      take(b, kept, 6)
      report(b, kept, 3, "fail")
    end },
  { what = "lets a probe out", work = allow, prepare = half_open },
  { what = "closes", work = succeed,
    prepare = function(b, kept)
      half_open(b)
      take(b, kept, 1)
    end },
  { what = "counts a cut", work = function(b, kept) b:record(kept[1], "fail", now) end,
    prepare = function(b, kept)
      take(b, kept, 1)
      b:report(kept[1], "ok", 0.1, now)
    end },
  { what = "is forced", work = function(b) b:force("open", 3, now) end,
    prepare = function(b, kept) take(b, kept, 3) end },
}

-- A breaker just before the work.
local function begin(case, where)
  now = 0
  local b, kept = open_breaker(case.options or {}, where), {}
  if case.prepare then case.prepare(b, kept) end
  now = now + (case.later or 0)
  return b, kept
end

-- A private one that has done the work and given back what the work took.
local function finished(case)
  local b, kept = begin(case)
  local ticket = case.work(b, kept)
  if ticket then b:report(ticket, "neutral", nil, now) end
  return b
end

-- Fails unless the part is as before the operation, or as after it.
local function check(case, part, told)
  local models = { begin(case), finished(case) }
  local mine, ticket = seen(part), (part:allow(now))
  for _, model in ipairs(models) do
    local same = seen(model) == mine
    if (model:allow(now)) == ticket and same then
      local fine, said = pcall(same_breaker, part, model, ticket)
      if fine then return end
      error(told .. ": " .. tostring(type(said) == "table" and said.message or said), 0)
    end
  end
  error(told .. ": neither as before nor as after", 0)
end

-- Kills a process at the n-th instruction of the work (0: lets it end) and checks what it left.
-- Gives the numbers of the first and the last instruction that counts, if it was not killed.
local function step(case, n)
  local r = assert(region.new { bytes = LEAST })
  local part, kept = begin(case, r)
  local path = os.tmpname()
  local pid = process.fork()
  if pid == 0 then
    collectgarbage "stop" -- nothing but the work, the same each time
    debug.sethook() -- of an eager collector
    if jit then jit.off() jit.flush() end -- luacheck: ignore 113
    part:stats(now) -- has its number
    local first, last = process.step(n, function() case.work(part, kept) end)
    regions.write(path, ("%s %s"):format(tostring(first), tostring(last)))
    process.leave()
  end
  local signal = process.wait(pid)
  local first, last = files.read(path):match "(%d+) (%d+)"
  os.remove(path)
  if signal then assert.equal(KILLED, signal) end
  part:stats(now) -- the next to come finds what was left
  assert.equal(1, r:stats().processes) -- the dead are gone
  check(case, part, ("%s, instruction %d"):format(case.what, n))
  r:close()
  return tonumber(first), tonumber(last)
end

-- }========================================================================

-- {== At random ===========================================================

local KILLS = 1000
local MOST = 3 -- tickets that a writer holds

-- Works on parts until it is killed: makes and forgets some, calls and reports on others.
local function write(r, seed)
  local random, out, b = chance.new(seed), {}, nil
  while true do
    if not b or random:chance(0.03) then
      for _, ticket in ipairs(out) do b:report(ticket, "neutral") end -- slots are few
      b = breaker.new { region = r, name = "b" .. random:int(3), slots = 64, min_calls = 5,
        window = 0.05, open_for = 0.001, permits = 4, count = random:chance(0.3) and 50 or nil,
        open_jitter = 0.1 }
      out = {}
    elseif #out < MOST and random:chance(0.6) then
      out[#out + 1] = b:allow()
    elseif out[1] then
      b:report(table.remove(out, random:int(#out)), OUTCOMES[random:int(4)], 0.001)
    end
  end
end

local STATES = { closed = true, open = true, half_open = true }

-- Fails unless all that is read of a breaker with at most so many tickets out can be.
local function check_values(b, most)
  local stats, wait = b:stats(), b:retry_after()
  local sound = STATES[stats.state] and STATES[b:state()]
    and stats.calls == stats.successes + stats.failures -- there are no cuts
    and stats.slow == 0 and stats.failure_rate >= 0 and stats.failure_rate <= 1
    and stats.outstanding <= most and wait >= 0 and wait <= 0.0011 * 1.1
  if sound then return end
  local all = { "wait=" .. wait }
  for name, value in pairs(stats) do all[#all + 1] = name .. "=" .. tostring(value) end
  error(table.concat(all, " "))
end

-- Nothing is held any more: every slot can be had, and each ticket is good once.
local function check_slots(b)
  b:force "closed"
  local tickets, known = {}, {}
  for i = 1, 64 do
    tickets[i] = assert(b:allow())
    assert.is_nil(known[tickets[i]])
    known[tickets[i]] = true
  end
  assert.equal(64, b:stats().outstanding)
  for i = 64, 1, -1 do
    assert.is_true(b:report(tickets[i], "neutral"))
    assert.is_false(b:report(tickets[i], "neutral"))
  end
  assert.equal(0, b:stats().outstanding)
end

-- The breakers that `write` makes, both kinds of each name.
local function open_all(r)
  local all = {}
  for i = 1, 3 do
    for _, count in ipairs { false, 50 } do
      all[#all + 1] = assert(breaker.new { region = r, name = "b" .. i, slots = 64, min_calls = 5,
        window = 0.05, open_for = 0.001, permits = 4, count = count or nil, open_jitter = 0.1 })
    end
  end
  return all
end

-- }========================================================================

describe("a process killed", function()
  guard.watch(before_each, after_each)
  after_each(regions.collect)

  describe("at any instruction while the breaker", function()
    for _, case in ipairs(breakers) do
      it(case.what, function()
        local first, last = step(case, 0)
        if not first then pending "no stepping on this processor" return end
        local killed = 0
        for n = first + #case.what % STRIDE, last, STRIDE do
          if not step(case, n) then killed = killed + 1 end
          if n % 20 == 0 then regions.collect() end
        end
        assert.is_true(killed >= 10)
      end)
    end
  end)

  local writers = {}
  after_each(function()
    for i, pid in ipairs(writers) do
      process.kill(pid, KILLED)
      process.wait(pid)
      writers[i] = nil
    end
  end)

  it("at random, a thousand times, leaves all sound", function()
    local path, remove = regions.path()
    local r = assert(region.new { path = path, bytes = LEAST })
    local random = chance.new(chance.seed(5))
    local function start(seed)
      local pid = process.fork()
      if pid > 0 then return pid end
      pcall(write, r, seed)
      process.leave()
    end
    for i = 1, 3 do writers[i] = start(i) end
    local all = {}
    for n = 1, KILLS do
      process.nap(random:int(1500))
      local i = random:int(3)
      process.kill(writers[i], KILLED)
      assert.equal(KILLED, process.wait(writers[i])) -- it has not ended by an error
      for _, b in ipairs(all) do check_values(b, 64) end
      if n % 20 == 1 then -- from the beginning, by whoever makes it first
        for name in pairs(all) do all[name] = nil end
        regions.collect()
        all = open_all(r)
      end
      writers[i] = start(n + 3)
    end
    for i = 3, 1, -1 do
      process.kill(writers[i], KILLED)
      process.wait(writers[i])
      writers[i] = nil
    end
    assert.equal(1, r:stats().processes)
    for _, b in ipairs(all) do
      check_values(b, 0)
      check_slots(b)
    end
    assert.equal("6\n", regions.run(([[
      local r = assert(require "unbusy.region".new { path = %q }) -- looks through all of it
      print(r:stats().parts)]]):format(path)))
    all = nil -- luacheck: ignore 311
    r:close()
    remove()
  end)
end)
