--- Rules of scaling against a trace: what they would have cost, and when there was too little.
--
--     local report = scaling.compare(trace, { pods = 10, places = 8, starts = 120, … })
--     for _, c in ipairs(report) do print(c.name, c.hours, c.short, c.failed) end
--
-- The rules, the governor and the client are the real ones, on simulated time; the trace's first
-- server is the Deployment, whose places follow the replicas (`unbusy.simulate.fleet`). A minute is
-- *short* when at any look in it more calls were there than places: under way, in the server's
-- line, or in ours.
local fleet = require "unbusy.simulate.fleet"
local governor = require "unbusy.scaling.governor"
local rules = require "unbusy.scaling.rules"
local run = require "unbusy.simulate.run"
local setup = require "unbusy.simulate.setup"

local scaling = {}

local LOOK = 5        -- seconds between two looks at the fleet
local WINDOW = 60     -- seconds over which CPU and calls under way are averaged
local MINUTE = 60
local MOST_LIMIT = 65534 -- that a limiter can have

-- {== What is seen ========================================================

-- The mean of the last looks, as a metrics server or `avg_over_time` gives it.
local function average(list)
  local sum, n = 0, 0
  for i = math.max(1, #list - WINDOW / LOOK + 1), #list do sum, n = sum + list[i], n + 1 end
  return n > 0 and sum / n or 0
end

local function look(self, now)
  self.fleet:settle()
  local up, waiting = self.run.ups[1], self.run.client.queue.count
  waiting = waiting + up.waiting
  local cpu, whole = self.fleet:cpu()
  local n = #self.cpu + 1
  self.cpu[n], self.whole, self.in_flight[n], self.waiting[n] = cpu, whole, up.in_service, waiting
  self.asked[n] = self.fleet.asked
  if up.in_service + waiting > self.fleet:places() then
    self.short[math.floor(now / MINUTE)] = true
  end
end

-- Seconds in line, by Little's law: those who wait, by those who are let in a second.
local function seconds_in_line(self, waiting)
  local pace = self.run.ups[1].answered - self.answered_before
  self.answered_before = self.run.ups[1].answered
  if waiting == 0 then return 0 end
  return pace > 0 and waiting / (pace / self.every) or math.huge
end

local function seen(self)
  local waiting = average(self.waiting)
  local wait = seconds_in_line(self, self.waiting[#self.waiting])
  return { replicas = self.fleet.asked, cpu = average(self.cpu), cpu_whole = self.whole,
    in_flight = average(self.in_flight), waiting = waiting, wait = wait < 1e9 and wait or 1e9 }
end

-- }========================================================================

-- {== Who is compared =====================================================

-- Kubernetes' HorizontalPodAutoscaler on CPU: replicas times use by what is wanted, and nothing
-- within a tenth of it (Kubernetes, "Algorithm details"). Its own pace is the governor's: at once
-- upwards, the greatest wish of five minutes downwards.
local HPA, TOLERANCE = 0.7, 0.1

local function hpa(what)
  local share = what.cpu / (what.replicas * 1000) / HPA
  if math.abs(share - 1) <= TOLERANCE then return { wish = what.replicas, why = "" } end
  return { wish = math.max(1, math.ceil(what.replicas * share)), why = "" }
end

local function with(base, more)
  local out = {}
  for name, value in pairs(base) do out[name] = value end
  for name, value in pairs(more) do out[name] = value end
  return out
end

-- The shell script that everybody has: over 8 of 10 cores three more, and never fewer.
local function only_up(what, o)
  local vote = rules.cpu(what, o)
  return vote.wish >= what.replicas and vote or { wish = what.replicas, why = "" }
end

--- Those who are compared: the fixed number, the script that only adds, an HPA, and the two
--- rules with the given options.
---@param o table { pods =, every =, cpu = { rule options, governor options }, load = the same }
---@return table[] contestants
function scaling.contestants(o)
  local g = o.cpu[2]
  local pace = with(g, { cool_down = 0, down = 1000, down_every = 0 })
  return {
    { name = ("fixed %d"):format(o.pods), replicas = o.pods },
    { name = "cpu, only up", rule = only_up, every = 60, governor = with(g, { cool_down = 60 }),
      options = with(o.cpu[1], { millicores = 800 * o.pods }) },
    { name = "hpa, 70 % cpu", rule = hpa, every = 15, governor = pace },
    { name = "cpu", rule = rules.cpu, every = o.every, options = o.cpu[1], governor = g },
    { name = "load", rule = rules.load, every = o.every, options = o.load[1],
      governor = o.load[2] },
  }
end

-- }========================================================================

-- {== A run ===============================================================

local function decide(self, now)
  local what = self.what
  local vote = what.rule(seen(self), what.options)
  local decision = self.governor:decide(now, self.fleet.asked, vote)
  if decision.action == "up" or decision.action == "down" then
    self.fleet:scale(decision.replicas)
    self.governor:done(now, decision)
  end
end

-- Puts the looks and the decisions into the world, until the last call has ended.
local function watch(self, state)
  self.run, self.fleet = state, fleet.new(state.world, state.ups[1],
    { replicas = self.what.replicas or self.start, places = self.places, starts = self.starts })
  local function again(seconds, f)
    local thing = {}
    function thing.act(_, now)
      f(self, now)
      if state.arrived < state.calls.n or state.open > 0 then
        state.world:at(now + seconds, thing)
      end
    end
    state.world:at(state.world.now() + seconds, thing)
  end
  look(self, state.world.now())
  again(LOOK, look)
  if self.what.rule then again(self.every, decide) end
end

-- The looks in `COLUMNS` parts: the mean of each.
local COLUMNS = 60

local function columns_of(list)
  local out, n = {}, #list
  for i = 1, COLUMNS do
    local sum, from, to = 0, math.floor((i - 1) * n / COLUMNS) + 1, math.floor(i * n / COLUMNS)
    for k = from, to do sum = sum + list[k] end
    out[i] = to >= from and sum / (to - from + 1) or 0
  end
  return out
end

-- What there was to do at each look, in replicas.
local function demand_of(self)
  local out = {}
  for i, n in ipairs(self.in_flight) do out[i] = (n + self.waiting[i]) / self.places end
  return columns_of(out)
end

local function figures_of(self, record, calls)
  local short, failed, totals = 0, 0, {}
  for _ in pairs(self.short) do short = short + 1 end
  for i = 1, calls.n do
    if record.sources[i] == "failed" then failed = failed + 1
    else totals[#totals + 1] = record.totals[i] end
  end
  table.sort(totals)
  return { name = self.what.name, hours = self.fleet.paid / 3600, short = short, failed = failed,
    calls = calls.n, p99 = totals[math.max(1, math.ceil(0.99 * #totals))], least = self.fleet.least,
    most = self.fleet.most, changes = self.fleet.changes, took = record.took,
    over_time = { replicas = columns_of(self.asked), demand = demand_of(self) } }
end

--- Lets one of them meet a trace.
---@param t table trace
---@param what table of `scaling.contestants`
---@param o table { places = of a replica, starts = seconds, start = replicas at first, seed =,
--- calls = of `run.calls`, client = of `setup.contestant` }
---@return table? figures { name, hours (replica-hours), short (minutes), failed, calls, p99, least,
--- most, changes, took (seconds), over_time = { replicas, demand = in replicas: 60 means } }
---@return string? message
function scaling.meet(t, what, o)
  local self = { what = what, places = o.places, starts = o.starts, start = o.start, short = {},
    every = what.every or 60, cpu = {}, asked = {}, in_flight = {}, waiting = {},
    answered_before = 0, governor = what.governor and governor.new(what.governor) }
  local options, message = setup.options(t)
  if not options then return nil, message end
  options.limiter = { max = math.min(math.max(1000, math.ceil(o.places * 100)), MOST_LIMIT) }
  local record
  record, message = run.meet(t, o.client or { name = "unbusy" }, options, { seed = o.seed,
    calls = o.calls, beside = function(state) watch(self, state) end })
  if not record then return nil, message end
  self.fleet:pay(record.took)
  return figures_of(self, record, o.calls)
end

--- Lets all of them meet a trace, one after the other.
---@param t table trace
---@param o table { pods =, places =, starts =, every =, cpu =, load = see `contestants`, only = set
--- of names, or nil, client = see `meet` }
---@return table? list of figures, string? message
function scaling.compare(t, o)
  local out, calls = {}, run.calls(t, t.seed)
  for _, what in ipairs(scaling.contestants(o)) do
    if not o.only or o.only[what.name] then
      local figures, message = scaling.meet(t, what, { places = o.places, starts = o.starts,
        start = math.min(math.max(o.pods, o.cpu[2].least), o.cpu[2].most), seed = t.seed,
        calls = calls, client = o.client })
      if not figures then return nil, message end
      out[#out + 1] = figures
    end
  end
  return out
end

-- }========================================================================

return scaling
