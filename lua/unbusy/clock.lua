--- The monotonic clock in seconds, as `core.now`; compiled on LuaJIT where its FFI serves.
---@return number seconds
local core = require "unbusy.core"
local ffi = require "unbusy.ffi"

local call = ffi.calls("clock", { now = "double (*)(void)" })
if not call then return core.now end

local now = call.now

-- No tail call: LuaJIT compiles no function that ends with one into C, gives it up for good after a
-- few tries, and then also everything that calls it.
return function()
  local seconds = now()
  return seconds
end
