--- What happened in a time: calls, how they ended, how long they took; of each target the tries.
--
-- Both the access log and the metrics are brought into this form, and the judge knows no other:
--
--     span       seconds, or nil               calls      that ended
--     bad        calls with a code              codes      word -> calls that ended with it
--     took       seconds to the first of an answer, without our own line; nil where there was none
--     whole      seconds to all of it
--     queued     seconds in our own line, on average of those calls that might have come there
--     tries      at all targets                 refused    of these: busy or limited
--     retried    of these, in vain, nobody knows why (a log tells of the last try only)
--     targets    name -> { tries, answered, codes }
--     limit, in_flight   of our own limiters, where it is known
--
-- A call whose caller went away is no bad one, and neither is one that was wrong itself: they say
-- nothing of us. They are `gone`.
local period = {}

local function add(t, name, n)
  t[name] = (t[name] or 0) + n
end

--- A period in which nothing has happened yet.
function period.new()
  return { span = nil, calls = 0, bad = 0, gone = 0, codes = {}, took = nil, queued = 0, tries = 0,
    refused = 0, retried = 0, targets = {} }
end

--- Where answers come from to calls that never come to our line.
period.elsewhere = { cache = true, coalesced = true }

--- The codes of calls that say nothing of us.
period.callers = { cancelled = true, invalid = true }

--- Adds `n` calls that ended with `code`; nil: they were answered.
---@param p table
---@param n number
---@param code string?
function period.add_calls(p, n, code)
  p.calls = p.calls + n
  if not code then return end
  local place = period.callers[code] and "gone" or "bad"
  p[place] = p[place] + n
  if code ~= "cancelled" then add(p.codes, code, n) end
end

local is_refusal = { busy = true, limited = true }

--- Adds `n` tries at a target that ended with `code`; nil: it answered.
---@param p table
---@param target string
---@param n number
---@param code string?
function period.add_tries(p, target, n, code)
  local t = p.targets[target] or { tries = 0, answered = 0, codes = {} }
  p.targets[target] = t
  t.tries, p.tries = t.tries + n, p.tries + n
  if not code then t.answered = t.answered + n return end
  add(t.codes, code, n)
  if is_refusal[code] then p.refused = p.refused + n end
end

--- The share of its calls that went wrong; 0 where there were none.
---@param p table
---@return number
function period.share(p)
  local counted = p.calls - p.gone
  return counted > 0 and p.bad / counted or 0
end

local LEAST_SHARE, TIMES_SHARE, MOST_SHARE = 0.02, 3, 0.2
local TIMES_TOOK, LEAST_LATER, LEAST_QUEUED = 2, 0.2, 0.5

--- Whether so much goes wrong that it is no time to compare another with: a fifth.
---@param share number
---@return boolean
function period.is_bad(share)
  return share > MOST_SHARE
end

--- Whether so much goes wrong, or so slowly, that something is wrong: three times as much as usual
--- (2 % or more), or a fifth, whatever is usual; answers that take twice as long; or a line of ours
--- longer than an answer.
---@param now table { share =, took = or nil, queued = }
---@param usual table { share =, took = or nil }
---@return boolean
function period.is_trouble(now, usual)
  if now.share > math.max(LEAST_SHARE, TIMES_SHARE * usual.share) or period.is_bad(now.share) then
    return true
  end
  local took = usual.took
  if took and now.took and now.took > math.max(TIMES_TOOK * took, took + LEAST_LATER) then
    return true
  end
  return now.queued > math.max(LEAST_QUEUED, took or 0)
end

--- Calls in a second; nil where the span is not known.
---@param p table?
---@return number?
function period.rate(p)
  return p and p.span and p.span > 0 and p.calls / p.span or nil
end

--- How many calls ended with one of the codes.
---@param p table
---@param ... string
---@return number
function period.count(p, ...)
  local sum = 0
  for i = 1, select("#", ...) do sum = sum + (p.codes[(select(i, ...))] or 0) end
  return sum
end

return period
