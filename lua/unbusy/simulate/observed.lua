--- What a target was able to do, as far as the rows of a trace show it.
--
-- The trace is cut into windows of a second or more. In each:
--
-- * places: where calls were refused (429, 503, 529), as many as were in service when that
--   happened, on average; none, where nothing came but status 0; elsewhere as many as a while ago,
--   or as were in service now; and where it has refused nobody for long, as many as it was ever
--   seen to serve;
-- * what refusals look like: the status that came most often, after its usual time;
-- * seconds of service: one of those of the answers of this window (of the last twenty, where there
--   are fewer), by chance;
-- * other failures: their share of all that was let in. Status 0 (nothing came) is one of them
--   where it came sooner than answers did; where a caller has waited for longer, it says nothing.
--
-- A window without rows is as the one before. A target that is described in the header does what
-- the header says, and nothing of this.
local observed = {}

local WINDOWS, LEAST, FEW = 200, 1, 20
local WHILE = 30 -- seconds for which what refusals have shown is held to be true
local USUAL_MOST = 0.99 -- share of the moments: a log's times are rounded, and overlap by chance

local busy_status = { [429] = true, [503] = true, [529] = true }

local function is_good(status)
  return status >= 200 and status < 300
end

-- {== In service ==========================================================

-- The good answers of a target as steps: times, and by how much the number in service changes.
local function steps_of(trace, index)
  local steps = {}
  for i = 1, trace.rows do
    local status = trace.statuses[i]
    if trace.of[i] == index and status and is_good(status) then
      local from = trace.times[i]
      steps[#steps + 1] = { at = from, by = 1, order = #steps }
      steps[#steps + 1] = { at = from + trace.latencies[i], by = -1, order = #steps }
    end
  end
  table.sort(steps, function(a, b)
    if a.at ~= b.at then return a.at < b.at end
    if a.by ~= b.by then return a.by < b.by end -- who leaves makes room first
    return a.order < b.order
  end)
  return steps
end

-- As many as there ever were, but for a moment here and there.
local function most_of(steps)
  local seen, n = {}, 0
  for i, step in ipairs(steps) do
    n = n + step.by
    seen[i] = n
  end
  table.sort(seen)
  return seen[math.max(1, math.ceil(USUAL_MOST * #seen))] or 0
end

-- A function that says how many are in service at a time; asked in the order of time.
local function counter(steps)
  local i, now = 1, 0
  return function(at)
    while steps[i] and steps[i].at <= at do
      now = now + steps[i].by
      i = i + 1
    end
    return now
  end
end

-- }========================================================================

-- {== Windows =============================================================

local function new_window(at)
  return { at = at, good = {}, refused = 0, in_service = 0, most = 0, slowest = 0,
    by_status = {} }
end

local function note_failure(window, status, latency)
  window.failures = window.failures or {}
  table.insert(window.failures, { status = status, latency = latency })
end

local function count_failure(window, status, latency)
  local seen = window.by_status[status]
  if not seen then
    seen = { status = status, count = 0, seconds = 0 }
    window.by_status[status] = seen
  end
  seen.count, seen.seconds = seen.count + 1, seen.seconds + latency
end

local function note_row(window, status, latency, in_service)
  window.most = math.max(window.most, in_service)
  if is_good(status) then
    window.good[#window.good + 1] = latency
    window.slowest = math.max(window.slowest, latency)
    return
  end
  note_failure(window, status, latency)
  if busy_status[status] then
    window.refused, window.in_service = window.refused + 1, window.in_service + in_service
  end
end

-- The rows of a target by windows of `width` seconds; those without rows are left out.
local function windows_of(trace, index, width, in_service)
  local list, window = {}, nil
  for i = 1, trace.rows do
    local status = trace.statuses[i]
    if trace.of[i] == index and status then
      local at = math.floor(trace.times[i] / width) * width
      if not window or window.at ~= at then
        window = new_window(at)
        list[#list + 1] = window
      end
      note_row(window, status, trace.latencies[i], in_service(trace.times[i]))
    end
  end
  return list
end

-- }========================================================================

-- {== Phases ==============================================================

-- The failures of a window, the most frequent first; of equal ones the lower status.
local function failures_of(window)
  local list = {}
  for _, f in ipairs(window.failures or {}) do
    local is_patience = f.status == 0 and #window.good > 0 and f.latency > window.slowest
    if not is_patience then count_failure(window, f.status, f.latency) end
  end
  window.failures = nil
  for _, seen in pairs(window.by_status) do list[#list + 1] = seen end
  table.sort(list, function(a, b)
    if a.count ~= b.count then return a.count > b.count end
    return a.status < b.status
  end)
  return list
end

local function as_failure(seen, share)
  return { status = seen.status, latency = seen.seconds / seen.count, share = share }
end

-- No connection is a fault of some where others are answered, else there is no place for anybody.
local function means_full(window, seen)
  return busy_status[seen.status] or seen.status == 0 and #window.good == 0
end

-- What refusals look like, the faults of those let in, and whether nothing came at all.
local function judged(window)
  local refusal, faults, let_in, is_dead = nil, {}, #window.good, false
  local failures = failures_of(window)
  for _, seen in ipairs(failures) do
    if not means_full(window, seen) then let_in = let_in + seen.count end
  end
  for _, seen in ipairs(failures) do
    if means_full(window, seen) then
      refusal = refusal or as_failure(seen)
      is_dead = is_dead or seen.status == 0
    else
      faults[#faults + 1] = as_failure(seen, seen.count / let_in)
    end
  end
  return refusal, faults, is_dead
end

-- How many places; `known` is what refusals have shown last: { at =, places = }.
local function places_of(window, most, known, is_dead)
  if window.refused > 0 then return math.floor(window.in_service / window.refused + 0.5), true end
  if is_dead then return 0, true end
  if known.at and window.at - known.at <= WHILE then return math.max(window.most, known.places) end
  return math.max(window.most, most)
end

-- The last `FEW` answers up to and with this window, or all of its own where those are more.
local function recent(window, before)
  local good = window.good
  if #good >= FEW then return good end
  local out = {}
  for i = math.max(1, #before - (FEW - #good) + 1), #before do out[#out + 1] = before[i] end
  for _, seconds in ipairs(good) do out[#out + 1] = seconds end
  return out
end

local function phase_of(window, most, values, known)
  local refusal, faults, is_dead = judged(window)
  local capacity, is_shown = places_of(window, most, known, is_dead)
  if is_shown then known.at, known.places = window.at, capacity end
  refusal = refusal or known.refusal
  known.refusal = refusal
  return { at = window.at, capacity = capacity, queue = 0, queue_sign = "silent",
    keepalive_every = 1, when_full = refusal, faults = faults, writing = 0,
    latency = #values > 0 and { kind = "sampled", values = values } or 1 }
end

local function estimate(trace, index)
  local span = trace.times[trace.rows]
  local steps = steps_of(trace, index)
  local most = math.max(most_of(steps), 1)
  local list = windows_of(trace, index, math.max(LEAST, span / WINDOWS), counter(steps))
  local phases, values = {}, {}
  local known = { refusal = { status = 503, latency = 0 } }
  for i, window in ipairs(list) do
    values = recent(window, values)
    phases[i] = phase_of(window, most, values, known)
  end
  if phases[1] then phases[1].at = 0 end
  return phases
end

--- The phases of a target: those of the header, or what its rows show.
---@param trace table
---@param index integer of the target
---@param by_rows boolean? go by the rows, whatever the header says
---@return table[] phases
function observed.phases(trace, index, by_rows)
  local target = trace.targets[index]
  if target.declared and not by_rows then return target.phases end
  target.seen = target.seen or estimate(trace, index)
  if target.seen[1] then return target.seen end
  return target.phases
end

-- }========================================================================

return observed
