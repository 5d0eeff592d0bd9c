--- How far it is: one line, written over again on a terminal, a line now and then elsewhere.
local terminal = require "unbusy.cli.terminal"

local progress = {}

local ERASE = "\r\27[K"

--- The line as it reads now.
---@param runs table[] see `run.new`
---@param seconds number since they began
function progress.line(runs, seconds)
  local total, answered = runs[1].plan.total, {}
  for i, r in ipairs(runs) do answered[i] = ("%s %d"):format(r.name, r.counts.answered) end
  local clock = seconds < total and ("%2d of %g s"):format(math.floor(seconds), total)
    or ("%2d s, the last ones"):format(math.floor(seconds))
  return ("%s  answered: %s"):format(clock, table.concat(answered, ", "))
end

--- Shows the line until `done` is set; to be run as a task.
---@param runs table[]
---@param done table an event of the loop
---@param loop table
function progress.show(runs, done, loop)
  local columns = terminal.columns()
  local began, every = loop.now(), columns and 0.2 or 5
  while not loop.wait({ done }, loop.now() + every) do
    local line = progress.line(runs, loop.now() - began)
    io.stderr:write(columns and ERASE .. line:sub(1, columns - 1) or line .. "\n")
    io.stderr:flush()
  end
  if columns then io.stderr:write(ERASE) end
end

return progress
