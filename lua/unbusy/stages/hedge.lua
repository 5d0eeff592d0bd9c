--- A second try beside a slow one, elsewhere; and one in its place, where a policy leaves a
--- server's queue.
--
-- The first try is the call's own. While `send` waits for its first byte of answer, its watch
-- (`unbusy.watch`) may start a second one (`unbusy.race`), or give the first one up for somebody
-- who is free at once. What has come of that is settled here; `retry`, above, sees one outcome.
local elsewhere = require "unbusy.elsewhere"

local attempt -- see below

-- Asks those who were free when the server's queue was left; anybody, where they are not any more.
local function go_on(call, next, targets)
  local before = call.ruled_out
  call.ruled_out, call.at_once = elsewhere.others(call, targets), true
  local tried = #call.tries
  local reply, message, code, detail = attempt(call, next)
  call.ruled_out, call.at_once = before, false
  if reply or #call.tries > tried or call.stopped then return reply, message, code, detail end
  return attempt(call, next)
end

-- The call has left a queue: it goes where it has found room.
local function go_elsewhere(call, next)
  local switch = call.switch
  local permit = switch.permit
  call.switch = false
  local reply, message, code, detail
  if call.stopped then
    reply, message, code, detail = call:refusal()
  else
    call.client.hedges:count_switched()
    reply, message, code, detail = go_on(call, next, switch.targets)
  end
  if permit then
    call:release(permit)
    permit.give(reply ~= nil)
  end
  return reply, message, code, detail
end

function attempt(call, next)
  local reply, message, code, detail = next(call)
  local race = call.race
  if race then reply, message, code, detail = race:settle(reply, message, code, detail) end
  if reply or not call.switch then return reply, message, code, detail end
  return go_elsewhere(call, next)
end

---@param next function the rest of the call's way
---@param client table
---@param plain boolean? see `unbusy.flow`
---@return fun(call: table): table?, string?, string?, table?
return function(next, client, plain)
  local hedges = client.hedges
  if not plain then hedges.way = next end -- it serves both
  if hedges.on then return function(call) return attempt(call, next) end end
  if plain then return next end
  return function(call)
    if not call.policy then return next(call) end
    return attempt(call, next)
  end
end
