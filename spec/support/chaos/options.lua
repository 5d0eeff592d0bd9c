--- The options of a client in chaos, by chance.
local options = {}

--- Its targets: who answers, for which account.
options.SERVERS = {
  { name = "e1", account = "home" }, { name = "e2", account = "home" },
  { name = "c1", account = "c1" }, { name = "c2", account = "c2" },
  { name = "spare", account = "spare" },
}

local function targets(r)
  local more = {
    e1 = { pool = "edge", weight = 2, prefix = "flag", account = "home" },
    e2 = { pool = "edge", weight = 1, prefix = "continue", account = "home",
      priority = r:pick { 1, 2 } },
    c1 = { pool = "centre", prefix = "flag", price = { input = 1, output = 2 },
      limits = r:chance(0.5) and { requests_per_minute = r:pick { 600, 6000 } } or nil },
    c2 = { pool = "centre", prefix = "flag", price = { input = 1, output = 2 },
      limits = r:chance(0.3) and { tokens_per_minute = 1e6 } or nil },
    spare = { pool = "spare", reserve = true, prefix = "flag", price = { input = 1, output = 1 } },
  }
  local out = {}
  for i, server in ipairs(options.SERVERS) do
    out[i] = more[server.name]
    out[i].name, out[i].key = server.name, "key-of-" .. server.name
    out[i].url = ("http://%s.test/v1"):format(server.name)
  end
  return out
end

local function cache(r)
  if r:chance(0.2) then return false end
  local stale = r:pick { 0, 3, 30, 600 }
  return { ttl = r:pick { 0.5, 2, 5, 30 }, stale = stale,
    revalidate = r:pick { 0, math.min(2, stale), stale }, jitter = r:pick { 0, 0.1, 1 },
    coalesce = r:chance(0.7), entries = r:pick { 10, 1000 }, bytes = r:pick { 1e5, 4e6 },
    per = r:pick { false, "user" } or nil,
    replay = r:pick { true, false, 0.5 } }
end

-- Names of policies that are shipped, some more than once.
local policies = { false, false, "interactive", "edge", "frugal", "patient", "degrade",
  "deepseek" }

local function budget(r)
  if r:chance(0.1) then return false end
  return { tokens = r:pick { 10, 100, 500 }, ratio = r:pick { 0.05, 0.2, 1 },
    floor = r:pick { 0, 3 } }
end

--- Options of `unbusy.new`, but for `loop`, `region` and `on_event`.
---@param r table of `spec.support.random`
---@return table
function options.draw(r)
  local o = {
    targets = targets(r), seed = r:int(1e6), cache = cache(r), policy = r:pick(policies) or nil,
    route = { balance = r:pick { "p2c", "weighted" }, sticky = r:pick { "prefix", "user", false } },
    pools = { edge = { priority = 1, spill = { start = r:pick { 0.5, 5 }, hold = 1 } },
      centre = { priority = 2 } },
    hedge = r:pick { { after = 0.2, most = 1, price = "any" },
      { samples = 5, most = 0.1, price = "any" }, false },
    escalate = r:chance(0.5) and { hold = r:chance(0.5), most = r:pick { 0.2, 1 } } or nil,
    resume = r:pick { "prefix", "prompt", false }, upstream_stream = r:chance(0.2),
    limiter = { kind = r:pick { "gradient", "aimd", "aimd" }, initial = r:pick { 5, 50, 200 } },
    breaker = { min_calls = r:pick { 5, 20 }, open_for = r:pick { 1, 5 },
      permits = r:pick { 1, 3 }, window = r:pick { 2, 10 } },
    budget = budget(r),
    retry = { attempts = r:pick { 1, 2, 5 }, base = r:pick { 0.05, 0.5 } },
    queue = { size = r:pick { 0, 10, 10, 100 }, max_wait = r:pick { 1, 5 }, shed = r:chance(0.5) },
    batch = r:chance(0.6) and { { rule = "completions", max = 3 }, "embeddings" } or nil,
    fallback = r:pick { { { stale = true }, { pool = "spare" }, "Later, please." },
      { { pool = "spare" } }, "Later, please.", false } or nil,
    clocks = { start = 2, token = 1, headers = 3, total = 20 },
    metrics = r:chance(0.5),
  }
  if not o.cache then
    o.fallback = o.fallback and "Later, please."
  end
  if not o.budget then o.hedge = false end
  return o
end

return options
