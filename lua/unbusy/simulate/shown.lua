--- Numbers as text, the same in every Lua: of two that are equally near, the greater one. (C's
-- `%.2f`, and so Lua 5.4's, takes the even one, LuaJIT's the greater one.)
local shown = {}

local floor, log = math.floor, math.log

--- A number with so many digits behind the point.
---@param value number
---@param digits integer
---@return string
function shown.fixed(value, digits)
  local power = 10 ^ digits
  return ("%." .. digits .. "f"):format(floor(value * power + 0.5) / power)
end

--- A number with so many digits in all, without zeros at its end.
---@param value number
---@param digits integer
---@return string
function shown.short(value, digits)
  local form = "%." .. digits .. "g"
  if value <= 0 or value - value ~= 0 then return form:format(value) end
  local power = 10 ^ (digits - 1 - floor(log(value) / log(10) + 1e-9))
  return form:format(floor(value * power + 0.5) / power)
end

return shown
