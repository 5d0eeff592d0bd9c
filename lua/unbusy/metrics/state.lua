--- What is looked up when somebody asks: see the families without a `kind`.
local version = require "unbusy.version"

local state = {}

-- Which Lua runs it.
local LUA = rawget(_G, "jit") and jit.version or _VERSION -- luacheck: ignore 113

--- The samples by family: { { value, label, … }, … } each.
---@param client table
---@return table<string, table[]>
function state.of(client) -- luacheck: ignore
  return { unbusy_build_info = { { 1, version, LUA } } }
end

return state
