-- One of three servers becomes ten times slower for a while: how long 99 % of the calls made then
-- take, by who chooses the server. In the simulator (virtual time, four minutes) and over real HTTP
-- (busy upstreams, a quarter of a minute), each time the same client with
--
--   round robin         equal weights, smoothly
--   least connections   a policy that sorts by calls in flight, as the breaker and limiter see them
--   p2c                 route = { balance = "p2c" }
local busyd = require "spec.support.busyd"
local measure = require "bench.support.measure"
local rate = require "bench.support.rate"
local simulate = require "unbusy.simulate"
local unbusy = require "unbusy"

local NAMES = { "round robin", "least connections", "p2c" }

-- The one with the fewest calls in flight first; among equal ones by chance.
local least = { route = [[
  local policy = {}
  function policy.route(_, targets)
    local chance, names = {}, {}
    for i, t in ipairs(targets) do chance[t.name], names[i] = math.random(), t.name end
    local flying = {}
    for _, t in ipairs(targets) do flying[t.name] = t.in_flight or 0 end
    table.sort(names, function(a, b)
      if flying[a] ~= flying[b] then return flying[a] < flying[b] end
      return chance[a] < chance[b]
    end)
    return names
  end
  return policy
]] }

-- {== Simulated ===========================================================

local SEEDS = 3
local FROM, TO, SECONDS, PER_SECOND = 60, 180, 240, 40

local function trace_file(seed)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(('#: {"trace":{"seed":%d}}\n'):format(seed))
  local latency = '{"kind":"lognormal","mean":%g,"sigma":0.5}'
  for i = 1, 3 do
    file:write(('#: {"target":"t%d","latency":%s}\n'):format(i, latency:format(0.5)))
  end
  file:write(('#: {"target":"t1","at":%d,"latency":%s}\n'):format(FROM, latency:format(5)))
  file:write(('#: {"target":"t1","at":%d,"latency":%s}\n'):format(TO, latency:format(0.5)))
  file:write "time,target,arrival,status,latency\n"
  for n = 0, SECONDS * PER_SECOND - 1 do
    file:write(("%.3f,,1,,\n"):format(n / PER_SECOND))
  end
  file:close()
  return path
end

local function config_of(name)
  local targets = {}
  for i = 1, 3 do targets[i] = { name = "t" .. i, weight = 1 } end
  return { targets = targets, route = name == "p2c" and { balance = "p2c" } or nil,
    limiter = { kind = "fixed", initial = 1000 }, cache = false }
end

local function quantile(list, share)
  table.sort(list)
  return list[math.max(1, math.ceil(#list * share))]
end

local function simulated(seed)
  local path, out = trace_file(seed), {}
  for _, name in ipairs(NAMES) do
    local trace = assert(simulate.read(path))
    local policy
    if name == "least connections" then policy = least.path end
    local report = assert(simulate.compare(trace, { { name = name, policy = policy } },
      { config = config_of(name), seed = seed, deadline = 60 }))
    local record, took = report.clients[1].record, {}
    for _, p in ipairs(record.policies or {}) do
      for what, n in pairs(p.faults or {}) do error(("%s: %s faults"):format(what, n)) end
    end
    for i = FROM * PER_SECOND + 1, TO * PER_SECOND do
      if record.sources[i] == "upstream" then took[#took + 1] = record.totals[i] end
    end
    out[name] = { p50 = quantile(took, 0.5), p99 = quantile(took, 0.99), n = #took,
      calls = (TO - FROM) * PER_SECOND }
  end
  os.remove(path)
  return out
end

-- }========================================================================

-- {== Over HTTP ===========================================================

local HTTP = { from = 4, to = 14, seconds = 16, per_second = 50, mean = 0.1 }

local function over_http()
  local ups, targets = {}, {}
  for i = 1, 3 do
    ups[i] = busyd.start { workers = 1 }
    targets[i] = { name = "t" .. i, url = ups[i].url, key = "k", weight = 1 }
  end
  local function latency(mean) return { kind = "lognormal", mean = mean, sigma = 0.5 } end
  local list = {}
  for i, name in ipairs(NAMES) do
    list[i] = { name = name, rate = HTTP.per_second, client = unbusy.new { targets = targets,
      route = name == "p2c" and { balance = "p2c" } or nil, seed = 1,
      policy = name == "least connections" and least.path or nil,
      limiter = { kind = "fixed", initial = 1000 } } }
  end
  for i, up in ipairs(ups) do
    up:programme { latency = latency(HTTP.mean), schedule = i == 1 and {
      { at = HTTP.from, latency = latency(10 * HTTP.mean) },
      { at = HTTP.to, latency = latency(HTTP.mean) } } or nil }
  end
  local calls, out = rate.run(list, HTTP.seconds), {}
  for _, name in ipairs(NAMES) do
    local then_ = rate.between(calls[name], HTTP.from, HTTP.to)
    out[name] = { p50 = rate.quantile(then_, 0.5), p99 = rate.quantile(then_, 0.99), n = #then_,
      calls = #then_ }
  end
  for _, up in ipairs(ups) do up:stop() end
  return out
end

-- }========================================================================

local function tell(title, out)
  print(title)
  for _, name in ipairs(NAMES) do
    local o = out[name]
    print(("  %-18s p50 %6.2f s   p99 %6.2f s   × %.2f   (%d of %d answered)"):format(name, o.p50,
      o.p99, o.p99 / out.p2c.p99, o.n, o.calls))
  end
end

local function goals(out)
  measure.goal("p2c's p99, of round robin's", out.p2c.p99 / out["round robin"].p99, 0.9, "times")
  measure.goal("p2c's p99, of least connections'",
    out.p2c.p99 / out["least connections"].p99, 1, "times")
end

least.path = os.tmpname()
local file = assert(io.open(least.path, "w"))
file:write(least.route)
file:close()
print(("brown-out of one of three, ten times slower (%s)"):format(
  rawget(_G, "jit") and rawget(_G, "jit").version or _VERSION))
for seed = 1, SEEDS do
  local out = simulated(seed)
  tell(("simulated, 0.5 s each, %d calls a second, seed %d"):format(PER_SECOND, seed), out)
  goals(out)
end
local out = over_http()
tell(("over HTTP, 0.1 s each, %d calls a second"):format(HTTP.per_second), out)
goals(out)
os.remove(least.path)
