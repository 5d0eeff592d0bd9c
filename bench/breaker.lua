-- The breaker's allow + report, closed and in use, against the same in plain Lua.
--
-- The peer is a breaker as one writes it in Lua for speed: a window of buckets, tickets told apart,
-- the clock read once a call, rates judged at each report; without slow calls, probes by number,
-- late cuts and forced states. On LuaJIT all of it is compiled. Beside them, where npm can install
-- them, stand opossum and cockatiel, the breakers of Node.js (bench/support/breakers.mjs): a call
-- through them is a promise that is awaited, so what awaiting the same without a breaker takes is
-- taken off. Ours has a function to call, too.
local breaker = require "unbusy.breaker"
local clock = require "bench.support.clock"
local measure = require "bench.support.measure"

-- {== The peer ============================================================

local plain = {}
plain.__index = plain

local BUCKETS, WIDTH, MIN_CALLS, RATE, OPEN_FOR = 10, 1, 20, 0.5, 5

local function new_plain()
  local o = { state = "closed", sequence = 0, generation = 0, issued = {}, at = 1, calls = {},
    failures = {}, all_calls = 0, all_failures = 0, start = clock(), opens_until = 0, probes = 0 }
  for i = 1, BUCKETS do o.calls[i], o.failures[i] = 0, 0 end
  return setmetatable(o, plain)
end

local function clear(self)
  for i = 1, BUCKETS do self.calls[i], self.failures[i] = 0, 0 end
  self.all_calls, self.all_failures = 0, 0
end

local function advance(self, now)
  local steps = math.floor((now - self.start) / WIDTH)
  self.start = self.start + steps * WIDTH
  if steps >= BUCKETS then return clear(self) end
  for _ = 1, steps do
    local at = self.at % BUCKETS + 1
    self.all_calls = self.all_calls - self.calls[at]
    self.all_failures = self.all_failures - self.failures[at]
    self.at, self.calls[at], self.failures[at] = at, 0, 0
  end
end

local function enter(self, state)
  self.state, self.probes, self.issued = state, 0, {}
  if state == "closed" then clear(self) end
end

function plain:allow()
  local now = clock()
  if self.state == "open" and now >= self.opens_until then enter(self, "half_open") end
  if self.state == "open" or self.state == "half_open" and self.probes > 0 then
    return nil, "the breaker is open", "open", { retry_after = self.opens_until - now }
  end
  if self.state == "half_open" then self.probes = 1 end
  local ticket = self.sequence + 1
  self.sequence = ticket
  self.issued[ticket] = now
  return ticket
end

local function open(self, now)
  enter(self, "open")
  self.opens_until = now + OPEN_FOR
end

function plain:report(ticket, outcome)
  local now = clock()
  if not self.issued[ticket] then return false end
  self.issued[ticket] = nil
  local failed = outcome == "fail"
  if outcome == "neutral" then return true end
  if self.state == "half_open" then
    if failed then open(self, now) else enter(self, "closed") end
    return true
  end
  if now - self.start >= WIDTH then advance(self, now) end
  local at = self.at
  self.calls[at], self.all_calls = self.calls[at] + 1, self.all_calls + 1
  if failed then
    self.failures[at], self.all_failures = self.failures[at] + 1, self.all_failures + 1
  end
  if self.all_calls >= MIN_CALLS and self.all_failures / self.all_calls >= RATE then
    open(self, now)
  end
  return true
end

-- }========================================================================

local function pairs_of(b)
  return function(n)
    for _ = 1, n do b:report(b:allow(), "ok", 0.5) end
  end
end

local ours, peer, opened = breaker.new {}, new_plain(), breaker.new {}
opened:force "forced_open"

local ns = measure.race("breaker, allow + report", {
  { name = "unbusy", run = pairs_of(ours) },
  { name = "plain Lua", run = pairs_of(peer) },
  { name = "unbusy, refused (allow alone)", run = function(n)
    for _ = 1, n do opened:allow() end
  end },
  { name = "floor: the clock, twice", run = function(n)
    for _ = 1, n do
      clock()
      clock()
    end
  end },
})
measure.goal("allow + report", ns.unbusy, rawget(_G, "jit") and 120 or 250, "ns")
measure.goal("against plain Lua", ns.unbusy / ns["plain Lua"], 1, "times")

-- {== In a region ==========================================================

local region = require "unbusy.region"
local shared = assert(breaker.new { region = assert(region.new {}), name = "bench" })

ns = measure.race("breaker in shared memory, nobody else at it", {
  { name = "private: allow + report", run = pairs_of(ours) },
  { name = "shared: allow + report", run = pairs_of(shared) },
  { name = "private: state", run = function(n) for _ = 1, n do ours:state() end end },
  { name = "shared: state", run = function(n) for _ = 1, n do shared:state() end end },
})
measure.goal("shared allow + report", ns["shared: allow + report"], 400, "ns")

-- }========================================================================

-- {== Of Node.js ===========================================================

local BREAKERS = "build/breakers"

-- Nanoseconds by name, or nil where they cannot be had.
local function of_node()
  local ready = os.execute(("sh bench/support/npm.sh bench/support/breakers %s opossum && cp "
    .. "bench/support/breakers.mjs %s/"):format(BREAKERS, BREAKERS))
  if ready ~= true and ready ~= 0 then return nil end
  local pipe, took = assert(io.popen("node " .. BREAKERS .. "/breakers.mjs")), {}
  for line in pipe:lines() do
    local name, figure = line:match "^(%S+) ([%d.]+)$"
    took[name or error(line)] = tonumber(figure)
  end
  pipe:close()
  return took
end

local function answer() return 1 end

local function around(b)
  return function(n)
    for _ = 1, n do
      local ticket = b:allow()
      if answer() ~= 1 then error "another answer" end
      b:report(ticket, "ok")
    end
  end
end

local before = of_node()
ns = measure.race("a call through a breaker", { { name = "unbusy", run = around(ours) } })
local after = before and of_node()
if after then
  local none = math.min(before.none, after.none)
  local rows = { { "unbusy", ns.unbusy } }
  for _, name in ipairs { "opossum", "cockatiel" } do
    local took = math.min(before[name], after[name]) - none
    print(("  %-44s %10.1f ns  × %.2f"):format(name .. ", without its await", took,
      took / ns.unbusy))
    rows[#rows + 1] = { name .. " (Node.js), without its await", took }
    measure.peer(name, "a call through a breaker", ns.unbusy / took)
  end
  measure.rows("a call through a breaker, beside Node.js", rows, "ns")
else
  print "  without opossum and cockatiel: npm has not got them"
end

-- }========================================================================
