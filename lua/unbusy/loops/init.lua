--- Which loop a call runs in: picked at each call, by where it is made.
local tasks = require "unbusy.loops.tasks"

local loops = {}

--- The loops that may be named; others are given as a table with the same verbs.
loops.names = { "tasks" }

--- Runs `f(loop, ...)` in the loop of whoever calls, and gives what it gives.
---@param chosen table? a loop that was set by hand; nil: found out
function loops.enter(chosen, f, ...)
  if chosen then return chosen.enter(f, ...) end
  return tasks.enter(f, ...)
end

--- The loop for a name or a table; nil for nil.
function loops.of(name)
  if name == nil or name == "tasks" then return nil end
  return name
end

return loops
