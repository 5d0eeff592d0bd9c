--- The report as data: what `--json` prints and the page of `--html` holds.
local figures = require "unbusy.simulate.figures"
local json = require "unbusy.json"
local ordered = require "unbusy.simulate.ordered"

local report = {}

-- {== Values ==============================================================

-- A number to the millionth; null for none, or for what has no limit.
local function number(value)
  if not value or value == math.huge then return json.null end
  return math.floor(value * 1e6 + 0.5) / 1e6
end

local function list(count, f)
  local out = json.array()
  for k = 1, count do
    local value = f(k)
    if value == nil then value = json.null end
    out[k] = value
  end
  return out
end

local function quantiles(q)
  return { p50 = number(q.p50), p99 = number(q.p99) }
end

local function with_zeros(counts, names)
  local out = {}
  for _, name in ipairs(names) do out[name] = counts[name] or 0 end
  for name, n in pairs(counts) do out[name] = n end
  return out
end

-- }========================================================================

-- {== A client ============================================================

local function targets_of(c)
  local out = json.array()
  for i, up in ipairs(c.targets) do
    out[i] = { name = up.name, calls = up.received, answered = up.answered, refused = up.refused,
      faulted = up.faulted, cost = number(up.cost) }
  end
  return out
end

-- The names of all sources of a client's answers.
local function source_names(c)
  local names = {}
  for name in pairs(c.sources) do names[#names + 1] = name end
  table.sort(names)
  return names
end

local function states_of(c, name, count)
  local samples = c.record.samples
  return list(count, function(k)
    return samples[k] and samples[k].states[name] or nil
  end)
end

-- Sums over the targets of what was sampled.
local function sampled(c, count, field)
  return list(count, function(k)
    local s, sum = c.record.samples[k], 0
    if not s then return nil end
    for _, n in ipairs(s[field]) do sum = sum + n end
    return sum
  end)
end

local function over_time(self, c)
  local count, columns = self.count, c.columns
  local out = { answered = list(count, function(k) return columns[k].answered end),
    p50 = list(count, function(k) return number(figures.quantile(columns[k].totals, 0.5)) end),
    p99 = list(count, function(k) return number(figures.quantile(columns[k].totals, 0.99)) end),
    in_flight = sampled(c, count, "in_service"), in_their_line = sampled(c, count, "in_line"),
    in_our_line = list(count, function(k)
      return c.record.samples[k] and c.record.samples[k].waiting or nil
    end), sources = {}, breakers = {} }
  for _, name in ipairs(source_names(c)) do
    out.sources[name] = list(count, function(k) return columns[k].by_source[name] or 0 end)
  end
  for _, name in ipairs(self.targets) do
    if c.kind == "policy" then out.breakers[name] = states_of(c, name, count) end
  end
  return out
end

local function spread_of(c)
  if not c.spread then return nil end
  local out = {}
  for name, s in pairs(c.spread) do
    out[name] = { least = number(s.least), middle = number(s.middle), most = number(s.most) }
  end
  return out
end

local function second_tries_of(c)
  local h = c.record.hedge
  return { begun = h.begun, won = h.won, lost = h.lost, failed = h.failed, switched = h.switched }
end

local function client(self, c)
  return { name = c.name, kind = c.kind, calls = c.calls, answered = c.answered,
    availability = number(c.availability),
    sources = with_zeros(c.sources, { "upstream", "failed" }),
    failures = c.failures, total = quantiles(c.total), first = quantiles(c.first),
    upstream_calls = c.upstream_calls, calls_each = number(c.calls_each), refused = c.refused,
    faulted = c.faulted, cost = number(c.cost), cost_per_1000 = number(c.cost_per_1000),
    recovery = number(c.recovery), policy_faults = c.policy_faults, last_fault = c.last_fault,
    escalate = c.escalate, second_tries = second_tries_of(c), targets = targets_of(c),
    spread = spread_of(c),
    over_time = over_time(self, c) }
end

-- }========================================================================

--- The report as plain tables.
---@param self table of `simulate.compare`
function report.data(self)
  local t, trouble = self.trace, self.trouble
  local capacity, clients = {}, json.array()
  for name, values in pairs(self.capacity) do
    capacity[name] = list(self.count, function(k) return number(values[k]) end)
  end
  for i, c in ipairs(self.clients) do clients[i] = client(self, c) end
  return {
    trace = { path = t.path, rows = t.rows, calls = self.calls.n, seconds = number(self.span),
      targets = json.array(self.targets), deadline = t.calls.deadline },
    seed = self.seed, seeds = self.seeds, clients = clients,
    trouble = trouble and { from = number(trouble.from), to = number(trouble.to),
      open = trouble.open } or json.null,
    over_time = { step = number(self.width), capacity = capacity,
      calls = list(self.count, function(k) return self.clients[1].columns[k].calls end) },
  }
end

local NAMES = { "trace", "seed", "trouble", "clients", "name", "kind", "calls", "answered",
  "availability", "path", "rows", "seconds" }

--- The report as one line of JSON: the same bytes for the same report.
---@return string
function report.json(self)
  return ordered.encode(report.data(self), NAMES)
end

return report
