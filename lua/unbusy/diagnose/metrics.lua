--- The periods of a gateway's metrics: what was counted between two scrapes, and before them.
--
-- Counters only grow, unless the gateway has begun anew: then what it says now is the period. With
-- one scrape all that it has ever counted is the trouble, and there is no quiet time to compare.
local exposition = require "unbusy.diagnose.exposition"
local period = require "unbusy.diagnose.period"

local metrics = {}

local sum = exposition.sum

-- {== Differences =========================================================

-- The key of a series: its labels in order.
local function key_of(labels)
  local names = {}
  for name in pairs(labels) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do names[i] = ("%s=%q"):format(name, labels[name]) end
  return table.concat(names, ",")
end

local function values_of(list)
  local out = {}
  for _, series in ipairs(list or {}) do out[key_of(series.labels)] = series.value end
  return out
end

local function is_counter(name)
  return name:find "_total$" or name:find "_count$" or name:find "_sum$" or name:find "_bucket$"
end

-- Unix seconds when the counters began.
local function began_at(families)
  return sum(families, "unbusy_start_time_seconds")
end

-- Does it count since another time? Where it does not say: has anything grown smaller? (A target
-- that is taken out takes with it what is looked up of it.)
local function began_anew(before, after)
  local first, second = began_at(before), began_at(after)
  if first and second then return first ~= second end
  for name, list in pairs(before) do
    if name:find "_total$" then
      local now = values_of(after[name])
      for _, series in ipairs(list) do
        if (now[key_of(series.labels)] or 0) < series.value then return true end
      end
    end
  end
  return false
end

-- What was added; gauges are as they are now.
local function difference(before, after)
  if began_anew(before, after) then return after end
  local out = {}
  for name, list in pairs(after) do
    local old = is_counter(name) and values_of(before[name]) or {}
    out[name] = {}
    for i, series in ipairs(list) do
      out[name][i] = { name = name, labels = series.labels,
        value = math.max(series.value - (old[key_of(series.labels)] or 0), 0) }
    end
  end
  return out
end

-- }========================================================================

local function mean(families, name, wanted)
  local count = sum(families, name .. "_count", wanted)
  local all = sum(families, name .. "_sum", wanted)
  return count and all and count > 0 and all / count or nil
end

local function code_of(labels)
  local code = labels.code
  return code ~= "" and code or nil
end

-- {== Fallbacks ===========================================================

-- Adds `n` calls that went wrong, shared out as `weights`, code -> number, are.
local function share_out(p, n, weights)
  local all = 0
  for _, weight in pairs(weights) do all = all + weight end
  for code, weight in pairs(weights) do period.add_calls(p, n * weight / all, code) end
end

-- By code: whom the line has turned away, but for those who are told to have failed so.
local function turned_away(p, families)
  local out, sum_of = {}, 0
  for _, series in ipairs(families.unbusy_queue_refused_total or {}) do
    local code = code_of(series.labels)
    local rest = code and series.value - (p.codes[code] or 0) or 0
    if rest > 0 then out[code], sum_of = rest, sum_of + rest end
  end
  return out, sum_of
end

-- By code: the tries that have failed.
local function failed_tries(p)
  local out = {}
  for _, t in pairs(p.targets) do
    for code, n in pairs(t.codes) do
      if code ~= "cancelled" then out[code] = (out[code] or 0) + n end
    end
  end
  return out
end

-- Adds `n` calls that got a fallback: its text is no answer. What stood behind it is not told, but
-- what the line and the targets have said meanwhile is; of neither a word: nobody was to be asked.
local function add_fallbacks(p, families, n)
  local away, count = turned_away(p, families)
  local of_line = math.min(n, count)
  local failed = failed_tries(p)
  if of_line > 0 then share_out(p, of_line, away) end
  if n > of_line then share_out(p, n - of_line, next(failed) and failed or { open = 1 }) end
end

-- }========================================================================

-- Seconds to the first of a stream and to all of an answer, without our own line.
local function took_of(families, queued)
  local whole = mean(families, "unbusy_call_duration_seconds", { source = "upstream" })
  whole = whole and math.max(whole - queued, 0)
  return mean(families, "unbusy_first_token_seconds"), whole
end

-- A period out of what was added; nil where there were no calls.
local function period_of(families, span)
  local p, elsewhere = period.new(), 0
  for _, series in ipairs(families.unbusy_calls_total or {}) do
    if period.elsewhere[series.labels.source] then elsewhere = elsewhere + series.value end
    if series.labels.source ~= "fallback" then
      period.add_calls(p, series.value, code_of(series.labels))
    end
  end
  for _, series in ipairs(families.unbusy_tries_total or {}) do
    if series.value > 0 then
      period.add_tries(p, series.labels.target or "?", series.value, code_of(series.labels))
    end
  end
  add_fallbacks(p, families, sum(families, "unbusy_calls_total", { source = "fallback" }) or 0)
  if p.calls <= 0 then return nil end
  local waited = sum(families, "unbusy_queue_wait_seconds_sum") or 0
  p.span, p.queued = span, waited / math.max(p.calls - elsewhere, 1)
  p.first, p.whole = took_of(families, p.queued)
  p.took = p.first or p.whole
  p.limit, p.in_flight = sum(families, "unbusy_limit"), sum(families, "unbusy_in_flight")
  p.waiting = sum(families, "unbusy_queue_waiting")
  return p
end

-- Like is compared with like: first tokens where there were streams in both, whole answers where
-- there were none in either; otherwise how long answers took says nothing.
local function make_alike(p, before)
  if p.first and before.first then return end
  if p.first or before.first then before.took = nil end
end

-- The periods as facts: is the later one trouble? An earlier one that was so itself says nothing of
-- what is usual.
local function facts_of(p, before)
  if before and period.is_bad(period.share(before)) then before = nil end
  if p and before then make_alike(p, before) end
  local usual = before and { share = period.share(before), took = before.took } or { share = 0 }
  local is_trouble = p and period.is_trouble({ share = period.share(p), took = p.took,
    queued = p.queued }, usual)
  if is_trouble then return { trouble = p, quiet = before, calls = p.calls } end
  return { quiet = p, calls = p and p.calls or 0 }
end

--- The periods of one scrape or two.
---@param after string the text of the later one
---@param before string? the text of the earlier one
---@param o table? { span = seconds between them, at = Unix seconds of the later one }
---@return table? facts as of `log.read`, string? message
function metrics.read(after, before, o)
  o = o or {}
  local now, message = exposition.read(after)
  if not now then return nil, message end
  if not now.unbusy_calls_total then return nil, "no unbusy_calls_total: no metrics of unbusy" end
  if not before then
    local began = o.at and began_at(now)
    return facts_of(period_of(now, began and o.at > began and o.at - began or nil))
  end
  local old
  old, message = exposition.read(before)
  if not old then return nil, "the earlier one: " .. message end
  local began, first = began_at(old), o.at and o.span and o.at - o.span
  local trouble = period_of(difference(old, now), o.span)
  return facts_of(trouble,
    period_of(old, began and first and first > began and first - began or nil))
end

return metrics
