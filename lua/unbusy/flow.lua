--- The order of the stages, and nothing else.
--
-- A stage is `function(call, next) -> reply | nil, message, code, detail`; the last one has no
-- next.
local flow = {}

--- The stages of every call, outermost first.
flow.order = { "fallback", "cache", "retry", "route", "admit", "send" }

--- Chains stages into one function of the call.
---@param stages function[]
---@return fun(call: table): table?, string?, string?, table?
function flow.chain(stages)
  local inner = function() error("the last stage has no next", 2) end
  for i = #stages, 1, -1 do
    local stage, next = stages[i], inner
    inner = function(call) return stage(call, next) end
  end
  return inner
end

--- The built-in stages in their order.
function flow.default()
  local stages = {}
  for i, name in ipairs(flow.order) do stages[i] = require("unbusy.stages." .. name) end
  return flow.chain(stages)
end

return flow
