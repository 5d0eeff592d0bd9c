--- The order of the stages, and nothing else.
--
-- A stage is `function(next, client) -> function(call) -> reply | nil, message, code, detail`: it
-- is given the rest of the way, once for each client, and gives what a call goes through; `next`
-- itself where that client has no use for the stage. The last one has no next.
-- (A plain `function(call, next)` would cost a call more at each stage, and through one shared
-- wrapper, which LuaJIT takes for a recursion and does not compile.)
local flow = {}

--- The stages of every call, outermost first.
flow.order = { "fallback", "cache", "coalesce", "escalate", "batch", "resume", "retry", "hedge",
  "route", "admit", "send" }

--- Chains stages into one function of the call.
---@param stages function[]
---@param client table
---@return fun(call: table): table?, string?, string?, table?
function flow.chain(stages, client)
  local way
  for i = #stages, 1, -1 do way = stages[i](way, client) end
  return way
end

--- The built-in stages in their order, for a client that is complete but for its flow.
function flow.default(client)
  local stages = {}
  for i, name in ipairs(flow.order) do stages[i] = require("unbusy.stages." .. name) end
  return flow.chain(stages, client)
end

return flow
