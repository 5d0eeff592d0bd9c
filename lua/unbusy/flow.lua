--- The order of the stages, and nothing else.
--
-- A stage is `function(next) -> function(call) -> reply | nil, message, code, detail`: it is given
-- the rest of the way, once, and gives what a call goes through. The last one has no next.
-- (A plain `function(call, next)` would cost a call more at each stage, and through one shared
-- wrapper, which LuaJIT takes for a recursion and does not compile.)
local flow = {}

--- The stages of every call, outermost first.
flow.order = { "fallback", "cache", "retry", "route", "admit", "send" }

--- Chains stages into one function of the call.
---@param stages function[]
---@return fun(call: table): table?, string?, string?, table?
function flow.chain(stages)
  local way
  for i = #stages, 1, -1 do way = stages[i](way) end
  return way
end

--- The built-in stages in their order.
function flow.default()
  local stages = {}
  for i, name in ipairs(flow.order) do stages[i] = require("unbusy.stages." .. name) end
  return flow.chain(stages)
end

return flow
