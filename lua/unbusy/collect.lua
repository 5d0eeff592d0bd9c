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

-- The watched object was collected; `armed` is where its function stands.
local function fire(armed)
  local f = armed.f
  if not f then return end
  armed.f = nil
  if working > 0 then noted[#noted + 1] = f else f() end
end

local newproxy = newproxy -- luacheck: ignore 113
local watch = {}
watch.__index = watch
watch.__gc = fire

-- LuaJIT collects no tables this way: its watch is a userdata, with a metatable of its own.
local function fire_proxy(proxy) fire(getmetatable(proxy)) end

--- Something to keep in a field of the watched object: `f()` runs after it was collected, unless
--- `watch:disarm()` came first. `f` must not refer to the object itself.
---@param f function
---@return table|userdata watch
function collect.watch(f)
  if not newproxy then return setmetatable({ f = f }, watch) end
  local proxy = newproxy(true)
  local armed = getmetatable(proxy)
  armed.f, armed.__index, armed.__gc = f, watch, fire_proxy
  return proxy
end

--- The watched object was closed: nothing is left to do.
function watch:disarm()
  local armed = newproxy and getmetatable(self) or self
  armed.f = nil
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
