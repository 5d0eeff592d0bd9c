-- A black-out: how many upstream calls a call costs meanwhile, and how soon all is well again.
--
-- First in simulated time: a server of 20 places is gone for 60 s, while 15 calls come each second,
-- with a patience of 30 s. Then over real HTTP, against the busy upstream, for 15 s. Three clients
-- meet it: unbusy as it is without any option, one that asks once, and the loop that everybody
-- writes (5 tries, 1 s × 2 up to 30 s, up to a tenth longer).
--
-- Counted are the calls that begin in the black-out: those that are in flight when it begins are
-- not. Each call says its number in its question, by which the server's side is counted: over HTTP
-- just before the end, and again when all is over.
local busyd = require "spec.support.busyd"
local chance = require "unbusy.simulate.chance"
local measure = require "bench.support.measure"
local setup = require "unbusy.simulate.setup"
local tasks = require "unbusy.loops.tasks"
local trace = require "unbusy.simulate.trace"
local unbusy = require "unbusy"
local upstream = require "unbusy.simulate.upstream"
local world = require "unbusy.simulate.world"

local CONTESTANTS = { { name = "none" }, { name = setup.NAIVE }, { name = setup.LOOP } }
local PATIENCE = 30
-- Of recovery: the breaker's open time, the ramp of four steps, and two seconds more.
local OPEN_FOR, RAMP, MORE = 5, 8, 2
local NORMAL = 0.95 -- of the calls that came

-- {== The calls ===========================================================

-- When they come: at random, `rate` a second.
local function arrivals(rate, seconds)
  local draw, at, out = chance.stream(7, "arrivals"), 0, {}
  while true do
    at = at - math.log(1 - draw()) / rate
    if at >= seconds then return out end
    out[#out + 1] = at
  end
end

local function request_of(i)
  return { model = "m", messages = { { role = "user", content = ("question %d."):format(i) } } }
end

local function number_of(body)
  return tonumber(body:match "question (%d+)%.")
end

-- Asks every call at its time; `record.ends` gets when it was answered, or false.
local function ask_all(loop, contestant, record)
  local began = loop.now()
  for i, at in ipairs(record.at) do
    local pause = began + at - loop.now()
    if pause > 0 then loop.sleep(pause) end
    loop.spawn(function()
      local reply = contestant.ask(request_of(i), "up", false)
      record.ends[i] = reply and loop.now() - began or false
    end)
  end
end

-- }========================================================================

-- {== Figures =============================================================

-- Upstream calls of those that began in the black-out: for each of them, while it lasted, and in
-- all.
local function calls_each(record, from, to)
  local calls, meanwhile, all = 0, 0, 0
  for i, at in ipairs(record.at) do
    if at >= from and at < to then
      calls = calls + 1
      for _, sent in ipairs(record.sent[i] or {}) do
        all = all + 1
        if sent.at < to then meanwhile = meanwhile + 1 end
      end
    end
  end
  return meanwhile / calls, all / calls
end

local WINDOW = 3 -- seconds over which a throughput is taken

-- The seconds after the end until as many are answered as come, over each window from there on.
local function recovery(record, to, till)
  local answered, came = {}, {}
  for i, at in ipairs(record.at) do
    local ended = record.ends[i]
    came[math.floor(at)] = (came[math.floor(at)] or 0) + 1
    if ended then answered[math.floor(ended)] = (answered[math.floor(ended)] or 0) + 1 end
  end
  for second = math.floor(to), till - WINDOW do
    local sum, all = 0, 0
    for k = second, second + WINDOW - 1 do
      sum, all = sum + (answered[k] or 0), all + (came[k] or 0)
    end
    if sum >= NORMAL * all then return second - to end
  end
end

local function answered_share(record)
  local n = 0
  for i in ipairs(record.at) do n = n + (record.ends[i] and 1 or 0) end
  return n / #record.at
end

local function show(c, record, from, to, till)
  local meanwhile, all = calls_each(record, from, to)
  local seconds = recovery(record, to, till)
  print(("  %-12s %6.3f upstream calls a call meanwhile, %6.3f in all; %5.1f %% answered; %s")
    :format(c.name == "none" and "unbusy" or c.name, meanwhile, all, answered_share(record) * 100,
      seconds and ("normal after %.0f s"):format(seconds) or "never normal again"))
  return meanwhile, seconds
end

local function judge(meanwhile, seconds)
  measure.goal("upstream calls a call", meanwhile, 1.1, "times")
  measure.goal("normal again after", seconds or math.huge, OPEN_FOR + RAMP + MORE, "s")
end

-- }========================================================================

-- {== Simulated ===========================================================

local FROM, TO, TILL, RATE = 60, 120, 200, 15

local function simulated_server(w)
  local t = trace.new "blackout"
  for _, line in ipairs {
    { target = "up", capacity = 20, latency = { kind = "lognormal", mean = 1, sigma = 0.4 },
      when_full = { status = 503, latency = 0.05 } },
    { target = "up", at = FROM, capacity = 0 }, { target = "up", at = TO, capacity = 20 },
  } do
    assert(not trace.declare(t, line))
  end
  return upstream.new(w, { name = "up", phases = t.targets[1].phases },
    { seed = 1, usage = t.calls })
end

local function meet_simulated(c)
  local record, up, w = { at = arrivals(RATE, TILL), ends = {}, sent = {} }, nil, nil
  w = world.new(function(_, body)
    local i = number_of(body)
    record.sent[i] = record.sent[i] or {}
    table.insert(record.sent[i], { at = w.now() })
    return up:open({ upstream = up, kind = "chat", streams = false }, body)
  end, { random = chance.stream(1, "scripts") })
  up = simulated_server(w)
  local contestant = assert(setup.contestant(c,
    { targets = { { name = "up", url = "http://up.invalid/v1", key = "k" } } },
    { loop = w.loop, seed = 1, deadline = PATIENCE, kind = "chat" }))
  w.loop.run(ask_all, w.loop, contestant, record)
  return record
end

local function simulated()
  print(("a black-out of %d s, simulated (%s)"):format(TO - FROM,
    jit and jit.version or _VERSION)) -- luacheck: ignore 113
  local meanwhile, seconds
  for i, c in ipairs(CONTESTANTS) do
    local m, s = show(c, meet_simulated(c), FROM, TO, TILL)
    if i == 1 then meanwhile, seconds = m, s end
  end
  judge(meanwhile, seconds)
end

-- }========================================================================

-- {== Real ================================================================

local REAL = { from = 10, to = 25, till = 50, rate = 30 }
local BEFORE = 0.2 -- seconds before its end that its tries are counted: nobody is answered yet

-- Its black-out is timed from when the calls begin.
local function begin(server)
  server:programme { capacity = 20, latency = 0.3, track = true,
    schedule = { { at = REAL.from, capacity = 0 }, { at = REAL.to, capacity = 20 } } }
end

-- What the server has counted for each question: how many more than when it was asked last, which
-- came before `at`.
local function fill_sent(record, server, at)
  for question, n in pairs(server:counts().questions or {}) do
    local i = number_of(question)
    if i then
      local list = record.sent[i] or {}
      for k = #list + 1, n do list[k] = { at = at } end
      record.sent[i] = list
    end
  end
end

local function meet_real(contestants, servers)
  local records = {}
  unbusy.run(function()
    local verbs = tasks.enter(function(loop) return loop end)
    local loop = setmetatable({ enter = tasks.enter }, { __index = verbs })
    for i, server in ipairs(servers) do
      local record = { at = arrivals(REAL.rate, REAL.till), ends = {}, sent = {} }
      records[i] = record
      begin(server)
      local contestant = assert(setup.contestant(contestants[i],
        { targets = { { name = "up", url = server.url .. "/v1", key = "k" } } },
        { loop = loop, seed = 1, deadline = PATIENCE, kind = "chat" }))
      loop.spawn(ask_all, loop, contestant, record)
    end
    unbusy.sleep(REAL.to - BEFORE)
    for i, record in ipairs(records) do fill_sent(record, servers[i], REAL.to - BEFORE) end
  end)
  for i, record in ipairs(records) do fill_sent(record, servers[i], math.huge) end
  return records
end

local function real()
  print(("a black-out of %d s, over HTTP (%s)"):format(REAL.to - REAL.from,
    jit and jit.version or _VERSION)) -- luacheck: ignore 113
  local servers = {}
  for i in ipairs(CONTESTANTS) do servers[i] = busyd.start { workers = 1 } end
  local ok, records = pcall(meet_real, CONTESTANTS, servers)
  for _, server in ipairs(servers) do server:stop() end
  if not ok then error(records, 0) end
  local meanwhile, seconds
  for i, c in ipairs(CONTESTANTS) do
    local m, s = show(c, records[i], REAL.from, REAL.to, REAL.till)
    if i == 1 then meanwhile, seconds = m, s end
  end
  judge(meanwhile, seconds)
end

-- }========================================================================

simulated()
if not os.getenv "UNBUSY_BENCH_SIMULATED" then real() end
