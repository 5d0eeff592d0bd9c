--- Tries again while that can help, and never so often that it hurts.
--
-- A failure is followed by one of: a free move to another account that is well and has room (once
-- per call), a paid try (a permit of the budget, after a wait), or the end. What the server says
-- about when to come back is obeyed, with chance added on top and never below.
--
-- A policy's `retry` is asked wherever another try may be made at all: not where the call was
-- stopped, what was sent may have been carried out, the fault is the caller's, or no target or no
-- time is left. It says how long to wait, or that it is enough; the budget stays, and so does the
-- free move, which then waits as the policy says.
local codes = require "unbusy.codes"
local elsewhere = require "unbusy.elsewhere"
local facts = require "unbusy.policy.facts"

-- The targets that this call may still ask: those it has not ruled out.
local function open_targets(call)
  local only, left = call.options.target, {}
  for _, t in ipairs(only and call.client.targets or call:targets()) do
    if call:may_ask(t.name) and (not only or only == t.name) then left[#left + 1] = t end
  end
  return left
end

-- The targets that this call has tried, and the accounts.
local function tried_by(call)
  local names, accounts = {}, {}
  for _, try in ipairs(call.tries) do names[try.target] = true end
  for _, t in ipairs(call.client.targets) do
    if names[t.name] then accounts[t.account_name] = true end
  end
  return names, accounts
end

-- Only the accounts that have been tried are asked from now on.
local function keep_to_account(call)
  local _, accounts = tried_by(call)
  for _, t in ipairs(call.client.targets) do
    if not accounts[t.account_name] then call:rule_out(t.name) end
  end
end

-- Does another account stand ready that this call has not tried?
local function free_move(call, targets)
  if call.moved then return false end
  local _, accounts = tried_by(call)
  local now = call.loop.now()
  for _, t in ipairs(targets) do
    if not accounts[t.account_name] and t:is_free(t:model(call.model), now) then return true end
  end
  return false
end

-- Does a target stand ready that this call has not tried?
local function has_untried(call, targets)
  local tried, now = tried_by(call), call.loop.now()
  for _, t in ipairs(targets) do
    if not tried[t.name] and t:is_free(t:model(call.model), now) then return true end
  end
  return false
end

-- A key was refused: has its target another one?
local function has_other_key(call, code, detail)
  if code ~= "auth" or detail.about == "request" then return false end
  local failed = call:last_try()
  for _, t in ipairs(call.client.targets) do
    if t.name == failed.target then
      return #t.keys > 1 and t:key(call.loop.now(), failed.model or false) ~= nil
    end
  end
end

local NO_WAIT = 0.1 -- seconds; a server that asks for less has not asked for a wait

-- The wait that the server asks for, and something more.
local function server_wait(call, detail)
  local retry = call.client.retry
  return detail.retry_after * (1 + retry.jitter * retry.chance())
end

-- Seconds before the next try: what the server asks for, when nobody else can be asked, or our own.
local function pause(call, detail, targets)
  if #targets == 1 and (detail.retry_after or 0) >= NO_WAIT then
    return server_wait(call, detail)
  end
  call.pause = call.client.retry.backoff:delay(#call.tries, call.pause)
  return call.pause
end

-- May there be another try at all? Gives the targets that are left, or nil and why not.
local function allowed(call, code, detail)
  if detail.maybe_done then return nil, "it may have been carried out" end
  local kind = codes[code]
  local again = kind.retry and not detail.lasting
  if detail.should_retry ~= nil then again = detail.should_retry end
  again = again or has_other_key(call, code, detail) -- to whom nothing has been said
  if not again and not kind.elsewhere then return nil end
  if not again then call:rule_out(call:last_try().target) end
  if elsewhere.is_bound(call) then keep_to_account(call) end
  local targets = open_targets(call)
  if #targets == 0 or not call:can_wait(0) then return nil end
  return targets
end

-- Why this wait cannot be: the server asks for too long a one, or the deadline is before its end.
local function too_long(call, seconds, detail, targets)
  local asked, most = detail.retry_after or 0, call.client.retry.max_wait
  if #targets == 1 and asked > most then
    return ("the server asks for %.0f s, more than %.0f s"):format(asked, most)
  end
  return not call:can_wait(seconds) and "the deadline is too near to try again" or nil
end

local MOST_TRIES = 100 -- of one call, whatever its policy says

-- Asks the policy: true and the seconds to wait, or nil for no more; false where none decides.
local function asked(call, code, detail, targets)
  local try = call:last_try()
  local target = facts.target_of(call, try)
  if not call.policy:decides("retry", target) or #call.tries >= MOST_TRIES then return false end
  local told = facts.try(call, try, code, detail)
  told.targets = #targets
  told.untried = has_untried(call, targets) or has_other_key(call, code, detail) == true
  return call.policy:ask(call, "retry", target, told)
end

-- What the policy wants: as `decide`.
local function by_policy(call, seconds, detail, targets)
  if not seconds then return nil, "the policy wants no more tries" end
  if #targets == 1 and (detail.retry_after or 0) >= NO_WAIT then
    seconds = math.max(seconds, server_wait(call, detail))
  end
  local reason = too_long(call, seconds, detail, targets)
  if reason then return nil, reason end
  return free_move(call, targets) and "move" or "retry", seconds
end

-- What to do by ourselves: as `decide`.
local function by_default(call, code, detail, targets)
  local attempts = call.client.retry.attempts
  if #call.tries >= attempts then
    return nil, attempts > 1 and ("after %d tries"):format(#call.tries) or nil
  end
  if free_move(call, targets) then return "move", 0 end
  if has_untried(call, targets) or has_other_key(call, code, detail) then return "retry", 0 end
  local seconds = pause(call, detail, targets)
  local reason = too_long(call, seconds, detail, targets)
  if reason then return nil, reason end
  return "retry", seconds
end

-- What to do after a failure: "move" or "retry" and the seconds to wait, or nil and why not.
local function decide(call, code, detail)
  local targets, reason = allowed(call, code, detail)
  if not targets then return nil, reason end
  if call.policy then
    local decided, seconds = asked(call, code, detail, targets)
    if decided then return by_policy(call, seconds, detail, targets) end
  end
  return by_default(call, code, detail, targets)
end

-- Pays for a try with a permit of the budget; true when there is no budget.
local function pay(call, code)
  local permits = call.client.permits
  return not permits or permits:pay(call, codes[code].busy and "throttle" or "retry")
end

local function with_reason(message, reason)
  return reason and ("%s (%s)"):format(message, reason) or message
end

-- One failure is behind us: prepare the next try. Gives false and a reason when there is none.
local function prepare(call, code, detail)
  if call.stopped then return false end
  local what, seconds = decide(call, code, detail)
  if not what then return false, seconds end
  if what == "move" then
    call.moved, call.moving = true, true
  elseif not pay(call, code) then
    detail.budget = true
    return false, "the retry budget is spent"
  elseif not call:can_wait(seconds) then -- it has waited for its permit
    call:give_permit(true)
    return false, "the deadline is too near to try again"
  end
  call:emit("retry", { number = call:tries_made() + 1, attempts = call.client.retry.attempts,
    seconds = seconds, code = code, target = detail.target })
  if seconds > 0 then call:sleep(seconds) end
  return true
end

-- A failure is behind us: more tries, as long as they may help.
local function try_again(call, next, tried, message, code, detail)
  while #call.tries > tried do -- else it was refused by ourselves
    local again, reason = prepare(call, code, detail)
    if call.stopped then -- by who was told, or in its sleep
      if code == call.stopped then return nil, message, code, detail end
      return call:refusal()
    end
    if not again then return nil, with_reason(message, reason), code, detail end
    tried = #call.tries
    local reply, new_message, new_code, new_detail = next(call)
    call:give_permit(reply ~= nil)
    if reply then return reply end
    if #call.tries > tried or new_code ~= code then -- else the server has said more of the same
      message, code, detail = new_message, new_code, new_detail
    end
  end
  return nil, message, code, detail
end

-- Tries before (of a batch that the call was in) count. Where one of them has failed for this call
-- alone, it goes on from there.
local function attempt(call, next)
  local tried, failed = #call.tries, call.failed
  if failed then
    call.failed = false
    return try_again(call, next, tried - 1, failed.message, failed.code, failed.detail)
  end
  local reply, message, code, detail = next(call)
  if call.permit then -- of one that is asked again; a wrong request is no sign of trouble
    call:give_permit(reply ~= nil or code == "invalid")
  end
  if reply then return reply end
  return try_again(call, next, tried, message, code, detail)
end

---@param next function the rest of the call's way
---@return fun(call: table): table?, string?, string?, table?
return function(next)
  return function(call)
    if call.ahead then return call.ahead.pass(call, next) end -- see `unbusy.caching.warm`
    local budget = call.client.budget
    if not budget then return attempt(call, next) end
    budget:begin()
    call.counted = true
    local reply, message, code, detail = attempt(call, next)
    call.counted = false
    budget:finish(reply and call:tries_made() == 1 and "ok" or "fail")
    return reply, message, code, detail
  end
end
