--- Why it is busy: causes with the numbers that speak for them, the likeliest first.
--
-- | cause | it is that where |
-- |---|---|
-- | `burst` | they refuse, and half as many more calls come as before (or more) |
-- | `capacity` | they refuse, though no more calls come and answers take no longer |
-- | `slow` | answers take 1.8 times as long or more, or clocks run out |
-- | `account` | they refuse with a limit of the account (429) |
-- | `pool` | we refuse, or let wait, and they would have answered |
-- | `dead` | a target answers nothing any more |
-- | `network` | connections fail, but not all of them; or those to all targets |
-- | `money` | the key or the account is refused: waiting does not help |
--
-- A cause has a weight from 0 to 1: mostly a half, and half the share of what went wrong that it
-- explains. What follows from another cause weighs less: a line of ours is long where answers are
-- slow, and a limit of ours is low where they have refused.
local period = require "unbusy.diagnose.period"

local judge = {}

local count, rate = period.count, period.rate
local min, max = math.min, math.max

local MORE, LONGER, LATER = 1.5, 1.8, 0.05 -- times as many calls, as long; seconds
local SOME = 0.3                           -- share of what went wrong that a cause must explain

-- {== Saying numbers ======================================================

local function percent(share)
  if share > 0 and share < 0.1 then return ("%.1f %%"):format(100 * share) end
  return ("%.0f %%"):format(100 * share)
end

local function seconds(s)
  if s < 0.1 then return ("%.0f ms"):format(1000 * s) end
  return s < 10 and ("%.2f s"):format(s) or ("%.0f s"):format(s)
end

local function amount(n)
  return n < 10 and n ~= math.floor(n) and ("%.1f"):format(n) or ("%.0f"):format(n)
end

judge.percent, judge.seconds, judge.amount = percent, seconds, amount

-- }========================================================================

-- {== What is compared ====================================================

-- How many times as many calls come; nil where it is not known.
local function growth(f)
  local now, before = rate(f.trouble), rate(f.quiet)
  return now and before and before > 0 and now / before or nil
end

-- How many times as long answers take; nil where it is not known.
local function delay(f)
  local now, before = f.trouble.took, f.quiet and f.quiet.took
  if not now or not before or now - before < LATER then return now and before and 1 or nil end
  return now / max(before, 1e-3)
end

local function share_of(f, ...)
  return f.trouble.bad > 0 and count(f.trouble, ...) / f.trouble.bad or 0
end

local function tries_with(p, word)
  local n = 0
  for _, t in pairs(p.targets) do n = n + (t.codes[word] or 0) end
  return n
end

-- Is a refusal of theirs behind those of ours? Where they refuse, our limit falls, and calls wait
-- in our line or end there as `full`. Gives the word they mostly use.
local function refused_as(f)
  local p = f.trouble
  if p.refused + p.retried <= 0.1 * p.tries then return nil end
  return tries_with(p, "limited") > tries_with(p, "busy") and "limited" or "busy"
end

-- The share of what went wrong that comes of their refusals in that word.
local function refusal_share(f, word)
  local share = share_of(f, word)
  if refused_as(f) == word then share = share + share_of(f, "full", "budget") end
  return share
end

local function answered_a_second(p)
  return p.span and p.span > 0 and (p.calls - p.bad - p.gone) / p.span or nil
end

-- Calls at the targets at once, by Little's law: answers a second times their seconds.
local function at_once(p)
  local pace, whole = answered_a_second(p), p.whole or p.took
  return pace and whole and pace * whole or nil
end

local function say_rates(list, f)
  local now, before = rate(f.trouble), rate(f.quiet)
  local pace = answered_a_second(f.trouble)
  if now and before then
    list[#list + 1] = ("%s calls came a second, %s before: %s of it"):format(amount(now),
      amount(before), percent(now / before))
  end
  if pace then list[#list + 1] = ("%s a second were answered"):format(amount(pace)) end
end

local function say_took(list, f)
  local now, before = f.trouble.took, f.quiet and f.quiet.took
  if now and before then
    list[#list + 1] = ("an answer began after %s, %s before"):format(seconds(now), seconds(before))
  elseif now then
    list[#list + 1] = ("an answer began after %s"):format(seconds(now))
  end
end

local function say_refused(list, f)
  local p = f.trouble
  if p.tries == 0 then return end
  list[#list + 1] = ("the targets refused %s of %s tries"):format(amount(p.refused),
    amount(p.tries))
  if p.retried > 0 then
    list[#list] = ("%s, and %s more were made again"):format(list[#list], amount(p.retried))
  end
end

local function say_codes(list, f, ...)
  local n, words = count(f.trouble, ...), {}
  for i = 1, select("#", ...) do
    local word = select(i, ...)
    if f.trouble.codes[word] then words[#words + 1] = word end
  end
  list[#list + 1] = ("%s of %s failures: %s"):format(amount(n), amount(f.trouble.bad),
    table.concat(words, ", "))
end

-- }========================================================================

-- {== Causes ==============================================================

local causes = {}

-- They refuse for want of room: whose fault is it?
function causes.refusals(f)
  local share = refusal_share(f, "busy")
  if share < SOME then return end
  local more, longer, list = growth(f), delay(f), {}
  say_codes(list, f, "busy", "full", "budget")
  say_refused(list, f)
  say_rates(list, f)
  say_took(list, f)
  local weight = 0.5 + share / 2
  if more and more >= MORE then return "burst", weight, list end
  if longer and longer >= LONGER then return "slow", weight, list end
  if more then return "capacity", weight, list end
  list[#list + 1] = (f.quiet and "how many calls came a second is not known"
    or "there is no quiet time to compare with") .. ": a burst, or less room than usual"
  return "burst", weight / 2, list
end

function causes.account(f)
  local share = refusal_share(f, "limited")
  if share < SOME then return end
  local list, held = {}, at_once(f.trouble)
  say_codes(list, f, "limited", "full", "budget")
  say_refused(list, f)
  say_rates(list, f)
  if held then
    list[#list + 1] = ("about %s calls were answered at once: so many, or so many a minute, the "
      .. "account has"):format(amount(max(held, 1)))
  end
  return "account", 0.5 + share / 2, list
end

function causes.slow(f)
  local longer, late = delay(f), share_of(f, "timeout")
  if refusal_share(f, "busy") >= SOME then return end -- see above
  local by_time = longer and longer >= LONGER and min(0.95, 0.6 + (longer - LONGER) / 5) or 0
  local by_clock = late >= SOME and 0.5 + late / 2 or 0
  local by_line = f.line and (f.trouble.took or 0) > f.line and 0.6 or 0
  if max(by_time, by_clock, by_line) == 0 then return end
  local list = {}
  say_took(list, f)
  if by_line > 0 then list[1] = ("%s: more than %s"):format(list[1], seconds(f.line)) end
  if late > 0 then say_codes(list, f, "timeout") end
  say_rates(list, f)
  return "slow", max(by_time, by_clock, by_line), list
end

local function say_pool(list, f)
  local t = f.trouble
  if t.queued > 0 then
    list[#list + 1] = ("calls waited %s in our line on average%s"):format(seconds(t.queued),
      f.quiet and (", %s before"):format(seconds(f.quiet.queued)) or "")
  end
  say_refused(list, f)
  if t.limit and t.in_flight then
    list[#list + 1] = ("%s calls are under way now, our limits allow %s"):format(
      amount(t.in_flight), amount(t.limit))
  end
end

function causes.pool(f)
  local t, share = f.trouble, share_of(f, "full")
  local before = f.quiet and f.quiet.queued or 0
  local waits = t.queued > max(t.took or 0, 0.5) and t.queued > 2 * before
  if share < SOME and not waits then return end
  local list, weight = {}, share >= SOME and 0.5 + share / 2 or 0.5
  if share > 0 then say_codes(list, f, "full") end
  say_pool(list, f)
  say_took(list, f)
  say_rates(list, f)
  local longer = delay(f)
  if longer and longer >= LONGER then weight = weight - 0.4 end
  if refused_as(f) then weight = weight - 0.4 end
  return "pool", max(weight, 0.1), list
end

-- }========================================================================

-- {== Targets =============================================================

local unreachable = { "network", "tls" }
local broken = { "network", "tls", "timeout", "cut", "empty", "upstream" }

local function sum(codes, names)
  local n = 0
  for _, name in ipairs(names) do n = n + (codes[name] or 0) end
  return n
end

local LEAST_TRIES = 3

-- Names of the targets that answered nothing, in order, and whether all of them did so without a
-- connection; and how many targets there were.
local function dead_targets(f)
  local names, all, unconnected = {}, 0, true
  for name, t in pairs(f.trouble.targets) do
    local failed = sum(t.codes, broken)
    all = all + 1
    if t.answered == 0 and failed >= LEAST_TRIES and failed >= 0.9 * t.tries
      and failed > (t.codes.timeout or 0) then
      names[#names + 1] = name
      unconnected = unconnected and sum(t.codes, unreachable) >= 0.9 * failed
    end
  end
  table.sort(names)
  return names, unconnected, all
end

local function say_target(list, f, name)
  local t, words = f.trouble.targets[name], {}
  for word, n in pairs(t.codes) do words[#words + 1] = ("%s %s"):format(amount(n), word) end
  table.sort(words)
  list[#list + 1] = ("%s: %s of %s tries were answered (%s)"):format(name, amount(t.answered),
    amount(t.tries), table.concat(words, ", "))
end

function causes.dead(f)
  local names, unconnected, all = dead_targets(f)
  if #names == 0 then return end
  local list = {}
  for _, name in ipairs(names) do say_target(list, f, name) end
  if #names > 1 and #names == all and unconnected then
    list[#list + 1] = "no target at all could be connected to"
    return "network", 0.95, list
  end
  local others = share_of(f, "busy", "limited", "full", "quota", "auth")
  if count(f.trouble, "open") > 0 then say_codes(list, f, "open") end
  return "dead", 1 - others / 2, list
end

function causes.network(f)
  local share = share_of(f, "network", "tls", "cut", "empty")
  if share < SOME or #dead_targets(f) > 0 then return end
  local list = {}
  say_codes(list, f, "network", "tls", "cut", "empty")
  for name in pairs(f.trouble.targets) do say_target(list, f, name) end
  table.sort(list)
  return "network", 0.5 + share / 2, list
end

function causes.money(f)
  local share = share_of(f, "quota", "auth")
  if share < 0.1 then return end
  local list = {}
  say_codes(list, f, "quota", "auth")
  return "money", 0.6 + 0.4 * share, list
end

-- }========================================================================

local order = { "dead", "money", "account", "refusals", "slow", "network", "pool" }

--- Says why.
---@param f table facts { trouble = period, quiet = period or nil, line = seconds over which an
--- answer is slow, where there is nothing to compare with }, see `unbusy.diagnose.period`
---@return table[] causes { cause =, weight =, evidence = string[] }, the likeliest first
function judge.of(f)
  local out = {}
  for i, name in ipairs(order) do
    local cause, weight, evidence = causes[name](f)
    if cause then
      out[#out + 1] = { cause = cause, weight = weight, evidence = evidence, order = i }
    end
  end
  table.sort(out, function(a, b)
    if a.weight ~= b.weight then return a.weight > b.weight end
    return a.order < b.order
  end)
  return out
end

return judge
