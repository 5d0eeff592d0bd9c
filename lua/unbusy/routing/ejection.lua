--- How many targets may be out at once.
--
-- An open breaker takes its target out. Where many fail in part at the same time (a provider's bad
-- hour, a model that half of the calls cannot use), each breaker is right and all of them together
-- are wrong: nobody would be asked, though half of the calls would be answered. So a breaker that
-- is about to open stays closed, and begins to count anew, where
--
-- - more than half of the targets that a call may ask would be out (of one target: the one), be it
--   a call that names the target's pool or one that names none, and
-- - its target has answered some of the calls in the breaker's window.
--
-- A target that answers nothing may be out beyond that, and all of them at once: to keep it in
-- would send it calls of which none can succeed, each followed by a retry. It is asked again by the
-- probes of its half-open breaker, which is why there is always one that is tried.
local ejection = {}

local out = { open = true, forced_open = true }

-- Are no more of these out than may be?
local function is_within(targets)
  local count = 0
  for _, t in ipairs(targets) do
    if t.breaker and out[t.breaker:state()] then count = count + 1 end
  end
  return count <= math.max(1, math.floor(#targets / 2))
end

--- May it stay out, with the breaker that has just opened?
---@param target table with `groups`: lists of targets that a call may go to, itself among them
---@return boolean
function ejection.allows(target)
  for _, targets in ipairs(target.groups) do
    if not is_within(targets) then return target.breaker:stats().successes == 0 end
  end
  return true
end

return ejection
