--- Which loop a call runs in: picked at each call, by where it is made.
local nginx = require "unbusy.loops.nginx"
local tasks = require "unbusy.loops.tasks"

local loops = {}

local verbs = { "enter", "now", "sleep", "wait", "event", "spawn", "cancel", "open" }

local own = nginx.present and nginx or tasks

--- Runs `f(loop, value)` in the loop of whoever calls, and gives what it gives.
---@param chosen table? a loop that was set by hand; nil: found out
function loops.enter(chosen, f, value)
  if chosen then return chosen.enter(f, value) end
  return own.enter(f, value)
end

--- The loop for the name "tasks" or a table of verbs; nil where each call finds its own. Or
--- nil and what the table lacks.
---@param given string|table|nil
---@return table? loop, string? message
function loops.of(given)
  if type(given) ~= "table" then return nil end
  for _, verb in ipairs(verbs) do
    if type(given[verb]) ~= "function" then return nil, ("loop: no '%s'"):format(verb) end
  end
  return given
end

return loops
