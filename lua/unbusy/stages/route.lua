--- Puts the targets in the order in which this try wants them: see `unbusy.routing.router`.
--
-- A policy may choose otherwise, among those that the call has not ruled out. A call that may wait
-- for its pool waits for a place there alone at first, and then for one anywhere.
local facts = require "unbusy.policy.facts"

local function named(targets, name)
  for _, t in ipairs(targets) do
    if t.name == name then return { t } end
  end
end

-- Without those that this call has ruled out (a refused key, say).
local function not_ruled_out(call, targets)
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

-- The order, and whether nobody but the router has made it.
local function candidates(router, call)
  local name, own = call.options.target, false
  if name then return named(call.client.targets, name), false end
  local targets = call:targets()
  if call.ruled_out then targets, own = not_ruled_out(call, targets), true end
  if #targets == 1 then return targets, false end
  local wanted = call.policy and chosen(call, targets)
  if wanted then
    call.moving = false
    return wanted, false
  end
  return router:order(call, targets, own), not own
end

local ours = { open = true, full = true }

-- Waits for a place at home alone; then asks everybody.
local function from_home(call, next, order, home, seconds)
  call.patience = seconds
  local tries = #call.tries
  local reply, message, code, detail = next(call, home)
  call.patience = false
  if reply or #call.tries > tries or call.stopped or not ours[code] then
    return reply, message, code, detail
  end
  return next(call, order)
end

---@param next function the rest of the call's way
---@param client table
---@return fun(call: table): table?, string?, string?, table?
return function(next, client)
  local router = client.router
  return function(call)
    local order, by_router = candidates(router, call)
    if by_router and router.waits_at_home then
      local home, seconds = router:home(call, order)
      if home then return from_home(call, next, order, home, seconds) end
    end
    return next(call, order)
  end
end
