--- A diagnosis as lines of text, and as a table for JSON.
local advice = require "unbusy.diagnose.advice"
local judge = require "unbusy.diagnose.judge"
local json = require "unbusy.json"
local period = require "unbusy.diagnose.period"

local text = {}

local FEW = 0.3 -- a cause of less weight is not worth a word

local function clock(unix)
  return os.date("!%H:%M:%S", math.floor(unix))
end

-- Requests that were refused for what they are.
local function of_callers(p)
  local n = period.count(p, "invalid")
  if n == 0 then return "" end
  return ("; %s more %s wrong in %s"):format(judge.amount(n), n == 1 and "was" or "were",
    n == 1 and "itself" or "themselves")
end

local function head(f)
  local t = f.trouble
  local line = ("%s of %s calls went wrong"):format(judge.percent(period.share(t)),
    judge.amount(t.calls - t.gone))
  if f.from then
    line = ("%s from %s to %s (UTC)"):format(line, clock(f.from), clock(f.to))
  end
  if f.quiet then
    line = ("%s; %s of %s in the quiet time"):format(line, judge.percent(period.share(f.quiet)),
      judge.amount(f.quiet.calls - f.quiet.gone))
  end
  return line .. of_callers(t)
end

-- Those that are worth a word.
local function likely(causes)
  local out = {}
  for _, c in ipairs(causes) do
    if c.weight >= FEW then out[#out + 1] = c end
  end
  return out
end

local function add(lines, list)
  for _, line in ipairs(list) do lines[#lines + 1] = "  - " .. line end
end

--- The lines of a diagnosis.
---@param f table facts
---@param causes table[] of `judge.of`; none where there is no trouble
---@return string[]
function text.lines(f, causes)
  causes = likely(causes)
  local first = causes[1]
  local known = advice[first and first.cause or "none"]
  if not f.trouble then
    return { known[1]:upper():sub(1, 1) .. known[1]:sub(2),
      ("  %s of %s calls went wrong%s"):format(judge.percent(period.share(f.quiet)),
        judge.amount(f.quiet.calls - f.quiet.gone), of_callers(f.quiet)) }
  elseif not first then
    return { "It is not clear from this", "  " .. head(f) }
  end
  local lines = { "It is " .. known[1], "  " .. head(f) }
  add(lines, first.evidence)
  lines[#lines + 1] = "What to do"
  add(lines, known[2])
  for i = 2, #causes do
    lines[#lines + 1] = "It may also be " .. advice[causes[i].cause][1]
    add(lines, causes[i].evidence)
  end
  return lines
end

local function figures(p)
  if not p then return nil end
  return { calls = p.calls, bad = p.bad, share = period.share(p), codes = p.codes, took = p.took,
    queued = p.queued, span = p.span, tries = p.tries, refused = p.refused, targets = p.targets }
end

--- The diagnosis as a table.
---@param f table facts
---@param causes table[]
---@return table
function text.table(f, causes)
  local list = json.array()
  for i, c in ipairs(likely(causes)) do
    list[i] = { cause = c.cause, weight = c.weight, evidence = json.array(c.evidence),
      advice = json.array(advice[c.cause][2]) }
  end
  return { cause = list[1] and list[1].cause or f.trouble and "unclear" or "none", causes = list,
    trouble = figures(f.trouble) or json.null, quiet = figures(f.quiet) or json.null }
end

return text
