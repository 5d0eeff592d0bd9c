--- Is the gateway alive, and could it answer?
local answers = require "unbusy.gateway.answers"
local errors = require "unbusy.gateway.errors"

local health = {}

-- May some target be asked now? One that is full may be waited for.
local function is_ready(client)
  local now = client.now()
  for _, target in ipairs(client.targets) do
    if target:is_ready(now) then return true end
  end
  return false
end

--- Serves /healthz ("alive": this worker answers) and /readyz ("ready": some target may be asked).
---@param ctx table
---@param route table
---@return table? refusal
function health.serve(ctx, route)
  if route.kind == "ready" then
    if ctx.client.closed then return errors.of_closed() end
    if not is_ready(ctx.client) then
      return errors.of_call("no target may be asked now", "open", {}, false)
    end
  end
  answers.send(ctx, 200, '{"status":"ok"}\n')
end

return health
