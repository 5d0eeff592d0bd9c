--- The order of the stages, and nothing else.
--
-- A stage is `function(next, client, plain) -> function(call) -> reply | nil, message, code,
-- detail`: it is given the rest of the way, once for each client, and gives what a call goes
-- through; `next` itself where that client has no use for the stage. The last one has no next.
-- `route` hands its order of the targets on to `admit`, which stands right behind it.
-- (A plain `function(call, next)` would cost a call more at each stage, and through one shared
-- wrapper, which LuaJIT takes for a recursion and does not compile.)
--
-- Most calls are *plain*: no policy decides about them, they are no streams, and they ask for no
-- batch. They have a way of their own (`plain` is true when its stages are made), without those
-- stages that such a call would only pass. A stage that looks at none of this ignores it.
local flow = {}

--- The stages of every call, outermost first.
flow.order = { "fallback", "cache", "coalesce", "escalate", "batch", "resume", "retry", "hedge",
  "route", "admit", "send" }

--- Chains stages into one function of the call.
---@param stages function[]
---@param client table
---@param plain boolean? it is the way of plain calls alone
---@return fun(call: table): table?, string?, string?, table?
function flow.chain(stages, client, plain)
  local way
  for i = #stages, 1, -1 do way = stages[i](way, client, plain) end
  return way
end

--- The built-in stages in their order, for a client that is complete but for its flow.
function flow.default(client)
  local stages = {}
  for i, name in ipairs(flow.order) do stages[i] = require("unbusy.stages." .. name) end
  local whole, plain = flow.chain(stages, client), flow.chain(stages, client, true)
  return function(call)
    if call.policy or call.streaming or call.options.batch then return whole(call) end
    return plain(call)
  end
end

return flow
