--- Watches over streams that are to be gone on with when they break off.
--
-- Above it a stream is one answer; below it, each of its tries ends at its own end. What is done
-- at a cut, says `unbusy.resume`.
local resume = require "unbusy.resume"

local function target_of(call, answer)
  for _, t in ipairs(call.client.targets) do
    if t.name == answer.target then return t end
  end
end

local function watched(call, answer, next)
  local target = target_of(call, answer)
  if target and resume.is_wanted(call, target) then return resume.watch(call, answer, next) end
  return answer
end

---@param next function the rest of the call's way
---@param plain boolean? see `unbusy.flow`
---@return fun(call: table): table?, string?, string?, table?
return function(next, _, plain)
  if plain then return next end
  return function(call)
    if not call.streaming then return next(call) end
    local answer, message, code, detail = next(call)
    if answer and answer.pieces then answer = watched(call, answer, next) end
    return answer, message, code, detail
  end
end
