--- The three standard streams: what is a terminal, and writing so that failures are seen.
--
-- A failed write to standard output ends the command by raising `{ status =, message = }`, which
-- `unbusy.cli` turns into the exit status: there is nothing sensible left to do.
local shell = require "unbusy.cli.shell"

local terminal = {}

local SIGPIPE_STATUS = 141 -- as the shell shows a process that SIGPIPE ended

-- Written by `flush` alone: what the C library writes by itself at the end of a line, as to a
-- terminal, may fail without a word.
io.stdout:setvbuf "full"

--- Whether descriptor 0 or 1 is a terminal.
---@param descriptor integer
function terminal.is_terminal(descriptor)
  return shell.succeeds(("test -t %d"):format(descriptor))
end

--- Whether a terminal can go back to a line and erase it: all but those that say they are dumb.
function terminal.can_erase()
  return os.getenv "TERM" ~= "dumb"
end

--- The columns of the terminal that standard error is; nil when it is none, or one that cannot go
--- back to the start of a line and erase it.
---@return integer?
function terminal.columns()
  if not terminal.can_erase() then return nil end
  local pipe = io.popen "stty size <&2 2>/dev/null"
  local columns = pipe and (pipe:read "*a"):match "^%d+ (%d+)"
  if pipe then pipe:close() end
  columns = tonumber(columns)
  if columns == 0 then return 80 end -- a terminal that does not know
  return columns
end

--- A text without what a terminal would obey, line ends and tabs apart: an answer is not trusted.
---@param text string
---@return string
function terminal.clean(text)
  text = text:gsub("[%z\1-\8\11-\31\127]", "")
  return (text:gsub("\194+[\128-\159]+", "")) -- runs: what stands around one may be another
end

--- Writes to standard output at once.
---@param text string
function terminal.write(text)
  local ok, message = io.stdout:write(text)
  if ok then ok, message = io.stdout:flush() end
  if ok then return end
  if message:find "[Bb]roken pipe" then error({ status = SIGPIPE_STATUS }, 0) end
  error({ status = 1, message = "standard output: " .. message }, 0)
end

--- A message for the person: one line on standard error.
---@param message string
function terminal.say(message)
  io.stderr:write("unbusy: ", (terminal.clean(message):gsub("\n", " ")), "\n")
end

return terminal
