--- Which loop a call runs in: picked at each call, by where it is made.
--
--   nginx      in nginx
--   cqueues    in a coroutine that a controller of cqueues resumes itself
--   luv        in Neovim, outside of our own tasks; elsewhere only by name
--   tasks      anywhere else
--
-- A client may be used in several of them, also in one thread. Its line of those who wait, its
-- limits and its breakers are then one for all: a place that comes back in one loop goes to whoever
-- is first, in any loop. But a loop that nobody runs stands still with what it holds: its calls
-- keep their places until it goes on.
local cqueues = require "unbusy.loops.cqueues"
local luv = require "unbusy.loops.luv"
local nginx = require "unbusy.loops.nginx"
local scheduler = require "unbusy.loops.scheduler"
local tasks = require "unbusy.loops.tasks"

local loops = {}

local verbs = { "enter", "now", "sleep", "wait", "event", "spawn", "cancel", "open" }

local named = { tasks = tasks, cqueues = cqueues, luv = luv, nginx = nginx }

local loaded = package.loaded

-- The loop of the place where the caller is. Plain Lua pays for it at each call: one look at what
-- is loaded.
local function here()
  if nginx.present then return nginx end
  if loaded.cqueues and cqueues.is_here() then return cqueues end
  if luv.in_neovim and not scheduler.current() then return luv end
  return tasks
end

--- Runs `f(loop, value)` in the loop of whoever calls, and gives what it gives.
---@param chosen table? a loop that was set by hand; nil: found out
function loops.enter(chosen, f, value)
  return (chosen or here()).enter(f, value)
end

-- Raises at the line of whoever called a function of ours, where that was not given one: later it
-- would be nobody's line.
local function check_function(f, what)
  local meta = type(f) ~= "function" and getmetatable(f)
  if type(f) == "function" or type(meta) == "table" and meta.__call then return end
  error(("%s: a function expected, got a %s"):format(what, type(f)), 3)
end

--- Begins a task that runs `f(...)` beside whoever calls, in the loop of that place.
---@return table task
function loops.spawn(f, ...)
  check_function(f, "spawn")
  return here().spawn(f, ...)
end

--- Runs `f(...)` and gives what it gives. In a loop of somebody else's, and in a task, it is a
--- plain call; elsewhere our own loop runs until `f` and all it spawns have ended.
function loops.run(f, ...)
  check_function(f, "run")
  local place = here()
  if place == tasks or place == luv and not luv.is_here() then return tasks.run(f, ...) end
  return f(...)
end

--- The loop of that name, or a table of verbs; nil where each call finds its own. Or nil and what
--- is wrong.
---@param given string|table|nil
---@return table? loop, string? message
function loops.of(given)
  if given == nil then return nil end
  if type(given) == "string" then
    local loop = named[given]
    local ok, message = true, nil
    if loop.load then ok, message = loop.load() end
    if not ok then return nil, "loop: " .. message end
    return loop
  end
  for _, verb in ipairs(verbs) do
    if type(given[verb]) ~= "function" then return nil, ("loop: no '%s'"):format(verb) end
  end
  return given
end

return loops
