--- A watcher on an object of ours that is collected without having been closed.
--
-- A finalizer may run wherever memory is allocated, so also in the middle of a scheduler's own
-- bookkeeping. While a scheduler is at work, what is to be done is therefore only noted, and done
-- between two turns.
local collect = {}

local working = 0 -- schedulers that are at work
local noted = {}

local function run_noted()
  while noted[1] do
    local f = table.remove(noted)
    f()
  end
end

--- Something to keep in a field of the watched object: `f()` runs after it was collected, unless
--- `disarm()` came first. `f` must not refer to the object itself.
---@param f function
---@return table watch
function collect.watch(f)
  local armed = true
  local function act()
    if armed then
      armed = false
      f()
    end
  end
  local function fire()
    if not armed then return end -- or what `f` refers to would be held until the next pause
    if working > 0 then noted[#noted + 1] = act else act() end
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

--- A scheduler begins its work: finalizers only note what is to be done.
function collect.hold()
  working = working + 1
end

--- It has ended its work; what was noted is done now.
function collect.release()
  working = working - 1
  if working == 0 then run_noted() end
end

--- Between two turns: what was noted is done now.
collect.pause = run_noted

return collect
