--- What a run comes to, in numbers; and how things went over time.
local chance = require "unbusy.simulate.chance"
local observed = require "unbusy.simulate.observed"

local figures = {}

local floor, ceil, max, min = math.floor, math.ceil, math.max, math.min

--- The sources of an answer that somebody gave to the question asked; a fallback is none.
figures.answers = { upstream = true, cache = true, stale = true, coalesced = true, batch = true }

--- The value that a share of a sorted list does not pass (nearest rank); nil of an empty one.
---@param sorted number[]
---@param share number
function figures.quantile(sorted, share)
  if #sorted == 0 then return nil end
  return sorted[max(1, ceil(share * #sorted))]
end

local quantile = figures.quantile

-- {== Sums ================================================================

local function add(t, name)
  t[name] = (t[name] or 0) + 1
end

-- By source and by code, and the times of those that were answered.
local function counted(record, n)
  local out = { sources = {}, failures = {}, totals = {}, firsts = {}, answered = 0 }
  for i = 1, n do
    local source = record.sources[i]
    add(out.sources, source)
    if figures.answers[source] then
      out.answered = out.answered + 1
      out.totals[out.answered], out.firsts[out.answered] = record.totals[i], record.firsts[i]
    elseif record.codes[i] then
      add(out.failures, record.codes[i])
    end
  end
  table.sort(out.totals)
  table.sort(out.firsts)
  return out
end

local function sums_of(ups)
  local out = { received = 0, refused = 0, faulted = 0, answered = 0 }
  for _, up in ipairs(ups) do
    for name in pairs(out) do
      if name ~= "cost" then out[name] = out[name] + up[name] end
    end
    if up.cost then out.cost = (out.cost or 0) + up.cost end
  end
  return out
end

-- The faults of a client's policies, by function; and what was said of the last one.
local function faults_of(policies)
  local counts, last = {}, nil
  for _, policy in ipairs(policies or {}) do
    for name, n in pairs(policy.faults) do counts[name] = (counts[name] or 0) + n end
    last = last or policy.last_fault
  end
  return counts, last
end

--- The figures of a run.
---@param record table of `run.meet`
---@param n integer calls
---@return table
function figures.of(record, n)
  local c, sums = counted(record, n), sums_of(record.ups)
  local faults, last = faults_of(record.policies)
  return { name = record.name, kind = record.kind, calls = n, answered = c.answered,
    availability = c.answered / n, sources = c.sources, failures = c.failures,
    total = { p50 = quantile(c.totals, 0.5), p99 = quantile(c.totals, 0.99) },
    first = { p50 = quantile(c.firsts, 0.5), p99 = quantile(c.firsts, 0.99) },
    upstream_calls = sums.received, calls_each = sums.received / n, refused = sums.refused,
    faulted = sums.faulted, cost = sums.cost,
    cost_per_1000 = sums.cost and c.answered > 0 and sums.cost * 1000 / c.answered or nil,
    targets = record.ups, policy_faults = faults, last_fault = last, escalate = record.escalate }
end

-- }========================================================================

-- {== Over time ===========================================================

local function new_column()
  return { calls = 0, answered = 0, by_source = {}, totals = {} }
end

--- What became of the calls that arrived in each `width` seconds: how many, by source, and the
--- sorted seconds of those answered.
---@param record table
---@param calls table of `run.calls`
---@param width number seconds
---@param count integer
---@return table[] columns { calls, answered, by_source, totals }
function figures.columns(record, calls, width, count)
  local list = {}
  for k = 1, count do list[k] = new_column() end
  for i = 1, calls.n do
    local column = list[min(count, floor(calls.at[i] / width) + 1)]
    local source = record.sources[i]
    column.calls = column.calls + 1
    add(column.by_source, source)
    if figures.answers[source] then
      column.answered = column.answered + 1
      column.totals[#column.totals + 1] = record.totals[i]
    end
  end
  for _, column in ipairs(list) do table.sort(column.totals) end
  return list
end

-- The phase that holds at a time.
local function phase_at(phases, at)
  local found = phases[1]
  for _, phase in ipairs(phases) do
    if phase.at <= at then found = phase end
  end
  return found
end

--- How many places a target has in each `width` seconds (math.huge: no limit).
function figures.capacity(phases, width, count)
  local out = {}
  for k = 1, count do
    out[k] = phase_at(phases, (k - 0.5) * width).capacity or math.huge
  end
  return out
end

-- }========================================================================

-- {== Trouble =============================================================

local WINDOWS = 120     -- that a trace is cut into, each of a second or more
local WORSE = 2 / 3     -- of what a target can usually answer a second: less is trouble
local GOOD = 0.95       -- share answered in a window that is well
local SLOW = 2          -- times the usual seconds: a window whose median is above is not well
local IN_A_ROW = 3      -- windows that are well, then it has recovered

local function mean_of(what)
  if type(what) == "number" then return what end
  local sample, sum = chance.sampler(what, chance.stream(1, "mean")), 0
  for _ = 1, 1000 do sum = sum + sample() end
  return sum / 1000
end

-- How many good answers a second a phase can give.
local function rate_of(phase)
  local share = 1
  for _, fault in ipairs(phase.faults) do share = share - fault.share end
  if not phase.capacity then return share > 0 and math.huge or 0 end
  return share * phase.capacity / max(mean_of(phase.latency) + mean_of(phase.writing), 1e-3)
end

-- What a target can answer a second in each window.
local function rates(phases, width, count)
  local by_phase, out = {}, {}
  for k = 1, count do
    local phase = phase_at(phases, (k - 0.5) * width)
    by_phase[phase] = by_phase[phase] or rate_of(phase)
    out[k] = by_phase[phase]
  end
  return out
end

-- What it usually can: what it reaches in a quarter of the windows, or in more.
local function usual(list)
  local sorted = {}
  for i, value in ipairs(list) do sorted[i] = value end
  table.sort(sorted)
  return sorted[ceil(0.75 * #sorted)]
end

-- Arrivals a second around each window: of five windows.
local function loads(calls, width, count)
  local own, out = {}, {}
  for k = 1, count do own[k] = 0 end
  for i = 1, calls.n do
    local k = min(count, floor(calls.at[i] / width) + 1)
    own[k] = own[k] + 1
  end
  for k = 1, count do
    local sum, windows = 0, 0
    for j = max(1, k - 2), min(count, k + 2) do sum, windows = sum + own[j], windows + 1 end
    out[k] = sum / (windows * width)
  end
  return out
end

-- Marks the windows in which a target can do less than usual. One window alone is no more than
-- chance, where the rows had to tell; but for one in which nobody was answered.
local function mark_worse(out, list)
  local least = WORSE * usual(list)
  local function is_worse(k) return list[k] ~= nil and list[k] < least end
  for k, rate in ipairs(list) do
    local alone = not is_worse(k - 1) and not is_worse(k + 1)
    if is_worse(k) and (rate == 0 or not alone) then out[k] = true end
  end
end

-- Which windows are trouble: a target can do less than usual, or more arrives than all can answer.
local function troubled(trace, calls, width, count, by_rows)
  local load, sums, out = loads(calls, width, count), {}, {}
  for i in ipairs(trace.targets) do
    local list = rates(observed.phases(trace, i, by_rows), width, count)
    mark_worse(out, list)
    for k, rate in ipairs(list) do sums[k] = (sums[k] or 0) + rate end
  end
  for k = 1, count do out[k] = out[k] or load[k] > sums[k] end
  return out
end

--- How long a trace lasts: to its last row or to the last change that its header tells of.
---@return number seconds at least 1
function figures.span(trace)
  local span = trace.times[trace.rows]
  for _, target in ipairs(trace.targets) do
    local last = target.phases[#target.phases]
    if last then span = max(span, last.at) end
  end
  return max(span, 1)
end

--- When the trouble of a trace begins and ends; nil where there is none. `open` is true when it
--- goes on to the end.
---@return table? trouble { from =, to =, open = }
function figures.trouble(trace, calls, by_rows)
  local span = figures.span(trace)
  local width = max(span / WINDOWS, 1)
  local count = ceil(span / width - 1e-9)
  local list, first, last = troubled(trace, calls, width, count, by_rows), nil, nil
  for k = 1, count do
    if list[k] then first, last = first or k, k end
  end
  if not first then return nil end
  return { from = (first - 1) * width, to = min(last * width, span), open = last == count }
end

-- The seconds that half of all calls need where nothing is wrong; of the slowest target.
local function usual_seconds(trace, by_rows)
  local most = 0
  for i in ipairs(trace.targets) do
    local phase = observed.phases(trace, i, by_rows)[1]
    most = max(most, chance.quantile(phase.latency, 0.5) + chance.quantile(phase.writing, 0.5))
  end
  return most
end

-- Are those who came in this window answered as usual? One of ten or more may go without.
local function is_well(column, slow)
  local calls, answered = column.calls, column.answered
  if calls == 0 then return true end
  local enough = answered >= GOOD * calls or calls >= 10 and answered >= calls - 1
  return enough and quantile(column.totals, 0.5) <= slow
end

--- Seconds from the end of the trouble to where calls are answered as usual: three windows in a row
--- in which 95 % of those that arrive are answered (or all but one of ten or more), half of them
--- in less than twice the usual time. Nil when that does not come before the trace ends, 0 when it
--- never was otherwise.
---@param record table
---@param calls table
---@param trace table
---@param trouble table? of `figures.trouble`
---@return number?
function figures.recovery(record, calls, trace, trouble, by_rows)
  if not trouble then return 0 end
  if trouble.open then return nil end
  local span = figures.span(trace)
  local width = max(span / WINDOWS, 1)
  local count = ceil(span / width - 1e-9)
  local columns = figures.columns(record, calls, width, count)
  local slow, row = SLOW * usual_seconds(trace, by_rows), 0
  for k = floor(trouble.to / width + 1e-9) + 1, count do
    row = is_well(columns[k], slow) and row + 1 or 0
    if row == IN_A_ROW then return max((k - IN_A_ROW) * width - trouble.to, 0) end
  end
end

-- }========================================================================

return figures
