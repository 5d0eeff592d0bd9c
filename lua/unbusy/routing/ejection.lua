--- How many targets may be out at once.
--
-- An open breaker takes its target out. Where many fail in part at the same time (a provider's bad
-- hour, a model that half of the calls cannot use), each breaker is right and all of them together
-- are wrong: nobody would be asked, though half of the calls would be answered. So a breaker that
-- is about to open stays closed, and begins to count anew, where
--
-- - more than half of the targets of its calls would be out (of one target: the one), and
-- - its target has answered some of the calls in the breaker's window.
--
-- A target that answers nothing may be out beyond that, and all of them at once: to keep it in
-- would send it calls of which none can succeed, each followed by a retry. It is asked again by the
-- probes of its half-open breaker, which is why there is always one that is tried.
local ejection = {}

local out = { open = true, forced_open = true }

--- May it stay out, with the breaker that has just opened?
---@param target table with `peers`: the targets that its calls may go to, itself among them
---@return boolean
function ejection.allows(target)
  local peers, count = target.peers, 0
  for _, t in ipairs(peers) do
    if t.breaker and out[t.breaker:state()] then count = count + 1 end
  end
  if count <= math.max(1, math.floor(#peers / 2)) then return true end
  return target.breaker:stats().successes == 0
end

return ejection
