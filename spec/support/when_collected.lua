--- Leaves garbage behind that calls `f` when it is collected, in the midst of whatever Lua makes.
---@param f function
return function(f)
  if newproxy then -- luacheck: ignore 113
    getmetatable(newproxy(true)).__gc = f -- luacheck: ignore 113
  else
    setmetatable({}, { __gc = f })
  end
end
