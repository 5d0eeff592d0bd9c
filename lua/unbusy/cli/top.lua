--- `unbusy top`: what goes on, live: targets, answers, failures, and what is asked most.
local arguments = require "unbusy.cli.arguments"
local drawing = require "unbusy.cli.drawing"
local json = require "unbusy.json"
local opened = require "unbusy.cli.opened"
local shell = require "unbusy.cli.shell"
local terminal = require "unbusy.cli.terminal"
local watched = require "unbusy.cli.watched"

local FAULT, USAGE = 1, 2 -- exit statuses

local top = {
  name = "top", usage = "[options]", most = 0, expects = "no words",
  summary = "shows what goes on, and which questions are asked most",
  about = [[Shows what the page of /status shows: the targets with the state of their breakers,
    their limits, how soon they answer and how often they fail; where the answers of the last hour
    have come from, and what has failed; and, with the option cache.top, which questions are asked
    most lately (counted less the longer ago it was), by a hash or, where the configuration allows
    it, in their own words. On a terminal it is drawn again and again until Ctrl-C.]],
}

top.options = {
  opened.option,
  { name = "url", value = "URL", type = "string",
    doc = "ask a gateway's /status instead; a token is taken from UNBUSY_TOKEN" },
  { name = "questions", doc = "the questions alone" },
  { name = "count", short = "n", value = "N", type = "whole", min = 1, max = 1000, default = 20,
    doc = "so many questions" },
  { name = "show", doc = "the questions themselves, where cache.top.show allows it" },
  { name = "once", doc = "print it once, also on a terminal" },
  { name = "every", value = "SECONDS", type = "number", min = 0.1, max = 86400, default = 2,
    doc = "between two drawings" },
  { name = "json", doc = "print one JSON object and nothing else" },
}

--- What its help page says besides.
function top.sections()
  return {
    { "Whose:", "  That of the processes that run with FILE just now: its `region`, or a gateway's"
      .. "\n  own (unbusy serve FILE); the same user has to ask." },
    { "Examples:", "  unbusy top --config gateway.lua\n"
      .. "  unbusy top --url http://127.0.0.1:8080 --once\n"
      .. "  unbusy top --config gateway.lua --questions -n 100\n"
      .. "  unbusy top --config gateway.lua --show --json | jq -c '.questions[]' > hot.jsonl" },
    { "Exit status:", arguments.columns {
      { "0", "printed" },
      { "1", "nobody runs with that configuration, or the gateway does not answer" },
      { "2", "wrong arguments or configuration, or the questions may not be shown" },
      { "130", "ended with Ctrl-C" },
    } },
  }
end

local function fail(status, message)
  error({ status = status, message = message }, 0)
end

-- {== Drawing =============================================================

local WIDE, HIGH = 100, 1000 -- of an output that does not say how large it is

-- Columns and lines of the terminal that standard output is: ours, for that of `stty` is a pipe.
local function size_of_output()
  local pipe = io.popen "stty size 2>/dev/null </proc/$PPID/fd/1"
  local lines, columns = (pipe and pipe:read "*a" or ""):match "^(%d+) (%d+)"
  if pipe then pipe:close() end
  lines, columns = tonumber(lines), tonumber(columns)
  return columns and columns > 0 and columns or WIDE, lines and lines > 0 and lines or HIGH
end

local function lines_of(told, values, columns)
  if values.questions then return drawing.questions(told, columns, true) end
  return drawing.lines(told, columns)
end

local HOME = "\27[H\27[J" -- to the first line, and all of it empty

-- What does not fit is left away at the bottom: the terminal would scroll, and show the end alone.
-- Where it is not of now, the reason stands above it.
local function draw(told, values, why)
  local columns, high = size_of_output()
  local lines = lines_of(told, values, columns)
  if why then table.insert(lines, 1, drawing.line("as it last was: " .. why, columns)) end
  for i = #lines, high, -1 do lines[i] = nil end
  terminal.write(HOME .. table.concat(lines, "\n") .. "\n")
end

-- A look; where nobody answers what the last one gave, and why. The first one has to succeed.
local function look_again(look, last)
  local ok, told = pcall(look)
  if ok then return told end
  if not last or type(told) ~= "table" or told.status ~= FAULT then error(told, 0) end
  return last, told.message
end

local function watch(look, values)
  local told, why
  while true do
    told, why = look_again(look, told)
    draw(told, values, why)
    if not shell.succeeds(("sleep %.3g"):format(values.every or 2)) then fail(130) end
  end
end

-- }========================================================================

--- Runs the command.
---@param values table see `arguments.parse`
---@return integer exit status
function top.run(values)
  if values.url and values.config then fail(USAGE, "--url or --config, not both") end
  local look, close = (values.url and watched.of_gateway or watched.of_region)(values)
  if values.json then
    terminal.write(assert(json.encode(look())) .. "\n")
  elseif values.once or not terminal.can_erase() or not terminal.is_terminal(1) then
    local columns = terminal.is_terminal(1) and size_of_output() or 1000
    terminal.write(table.concat(lines_of(look(), values, columns), "\n") .. "\n")
  else
    watch(look, values)
  end
  close()
  return 0
end

return top
