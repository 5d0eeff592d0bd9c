--- Busy upstreams for as long as something is measured at them.
local busyd = require "spec.support.busyd"

local servers = {}

--- Starts so many, calls `f(up, …)` and stops them, whatever happens.
---@param count integer
---@param f function
function servers.with(count, f)
  local ups = {}
  local ok, message = pcall(function()
    for i = 1, count do ups[i] = busyd.start { workers = 1 } end
    f((table.unpack or unpack)(ups)) -- luacheck: ignore 143 113
  end)
  for _, up in ipairs(ups) do up:stop() end
  if not ok then error(message, 0) end
end

return servers
