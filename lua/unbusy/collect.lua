--- A watcher on an object of ours that is collected without having been closed.
local collect = {}

--- Something to keep in a field of the watched object: `f()` runs when it is collected, unless
--- `:disarm()` came first. `f` must not refer to the object itself.
function collect.watch(f)
  local armed = true
  local function fire()
    if armed then
      armed = false
      f()
    end
  end
  local guard
  if newproxy then -- luacheck: ignore
    guard = newproxy(true) -- luacheck: ignore
    getmetatable(guard).__gc = fire
  else
    guard = setmetatable({}, { __gc = fire })
  end
  return { guard = guard, disarm = function() armed = false end }
end

return collect
