--- Puts the targets in the order in which this try wants them.
--
-- Fewer tries of this call first (a retry goes elsewhere), then the lower `priority`, then by
-- weight, smoothly, or in the order of the configuration where no target has a weight.
-- A policy may choose otherwise, among those that the call has not ruled out.
local facts = require "unbusy.policy.facts"

-- Smooth weighted round robin: every target gains its weight, the highest is taken and pays the
-- sum.
local function weighted_first(targets)
  local sum, best = 0, nil
  for _, t in ipairs(targets) do
    local weight = t.weight or 1
    t.credit = (t.credit or 0) + weight
    sum = sum + weight
    if weight > 0 and (not best or t.credit > best.credit) then best = t end
  end
  if best then best.credit = best.credit - sum end
  return best
end

local function has_weights(targets)
  for _, t in ipairs(targets) do
    if t.weight then return true end
  end
  return false
end

-- The targets whose rank (tries of this call, then priority) is lowest.
local function best_rank(targets, tried)
  local group, least, lowest = {}, math.huge, math.huge
  for _, t in ipairs(targets) do
    local n, p = tried[t.name] or 0, t.priority
    if n < least or n == least and p < lowest then group, least, lowest = {}, n, p end
    if n == least and p == lowest then group[#group + 1] = t end
  end
  return group
end

local function tries_by_target(call)
  local tried = {}
  for _, try in ipairs(call.tries) do tried[try.target] = (tried[try.target] or 0) + 1 end
  return tried
end

-- On a move to another account, the tries of an account count for each of its targets.
local function tries_by_account(call, targets)
  local by_target, of_account, tried = tries_by_target(call), {}, {}
  for _, t in ipairs(call.client.targets) do
    of_account[t.account_name] = (of_account[t.account_name] or 0) + (by_target[t.name] or 0)
  end
  for _, t in ipairs(targets) do tried[t.name] = of_account[t.account_name] end
  return tried
end

local function named(targets, name)
  for _, t in ipairs(targets) do
    if t.name == name then return { t } end
  end
end

-- `first` at the head; the others behind it, fewer tries and lower priority first.
local function in_order(targets, tried, first)
  local out, place = {}, {}
  for i, t in ipairs(targets) do out[i], place[t] = t, i end
  table.sort(out, function(a, b)
    if a == first or b == first then return a == first and b ~= first end
    local na, nb = tried[a.name] or 0, tried[b.name] or 0
    if na ~= nb then return na < nb end
    if a.priority ~= b.priority then return a.priority < b.priority end
    return place[a] < place[b]
  end)
  return out
end

-- Without those that this call has ruled out (a refused key, say).
local function not_ruled_out(call, targets)
  if not call.ruled_out then return targets end
  local left = {}
  for _, t in ipairs(targets) do
    if call:may_ask(t.name) then left[#left + 1] = t end
  end
  return left
end

-- The targets that a policy wants, in its order; nil where none decides.
local function chosen(call, targets)
  if not call.policy:decides "route" then return nil end
  local decided, names =
    call.policy:ask(call, "route", nil, call:shown_request(), facts.targets(call, targets))
  if not decided then return nil end
  local by_name, out = {}, {}
  for _, t in ipairs(targets) do by_name[t.name] = t end
  for _, name in ipairs(names) do out[#out + 1] = by_name[name] end
  return out[1] and out
end

local function candidates(call)
  if call.options.target then return named(call.client.targets, call.options.target) end
  local targets = not_ruled_out(call, call:targets())
  if #targets == 1 then return targets end
  local wanted = call.policy and chosen(call, targets)
  if wanted then
    call.moving = false
    return wanted
  end
  local tried = call.moving and tries_by_account(call, targets) or tries_by_target(call)
  call.moving = false
  local group = best_rank(targets, tried)
  local first = group[1]
  if #group > 1 and has_weights(group) then first = weighted_first(group) or first end
  return in_order(targets, tried, first)
end

---@param next function the rest of the call's way
---@return fun(call: table): table?, string?, string?, table?
return function(next)
  return function(call)
    call.candidates = candidates(call)
    return next(call)
  end
end
