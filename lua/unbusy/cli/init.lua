--- The command line tool: its commands, help and version.
local arguments = require "unbusy.cli.arguments"
local options = require "unbusy.options"
local terminal = require "unbusy.cli.terminal"

local cli = {}

local USAGE, FAULT, INTERRUPTED = 2, 1, 130 -- exit statuses

-- require gives two values
local commands = { (require "unbusy.cli.chat"), (require "unbusy.cli.serve"),
  (require "unbusy.cli.check"), (require "unbusy.cli.simulate"), (require "unbusy.cli.trace"),
  (require "unbusy.cli.cache"), (require "unbusy.cli.warm"), (require "unbusy.cli.top"),
  (require "unbusy.cli.scale"), (require "unbusy.cli.diagnose") }

local function command_named(name)
  for _, command in ipairs(commands) do
    if command.name == name then return command end
  end
end

-- A screen of it: what commands there are.
local function overview()
  local rows = {}
  for i, command in ipairs(commands) do
    rows[i] = { "unbusy " .. command.name, command.summary }
  end
  rows[#rows + 1] = { "unbusy help COMMAND", "all about a command: its options, exit statuses" }
  rows[#rows + 1] = { "unbusy --version", "the version" }
  return arguments.page {
    { "unbusy gets an answer from an LLM API that says it is busy.\n", arguments.columns(rows) },
    { "Try:", '  DEEPSEEK_API_KEY=sk-… unbusy chat --model deepseek-flash "天气如何?"' },
  }
end

local function wrong(message)
  terminal.say(message .. " (unbusy --help)")
  return USAGE
end

local function unknown(word)
  if not arguments.is_showable(word) then
    return wrong 'a command expected first: unbusy chat "…"'
  end
  local names = { "help" }
  for _, command in ipairs(commands) do names[#names + 1] = command.name end
  local near = options.nearest(word, names)
  return wrong(("unknown command '%s'%s"):format(word,
    near and (", did you mean '%s'?"):format(near) or ""))
end

local function help(name)
  if not name then
    terminal.write(overview())
    return 0
  end
  local command = command_named(name)
  if not command then return unknown(name) end
  terminal.write(arguments.manual(command))
  return 0
end

local function version()
  terminal.write(("unbusy %s\n"):format(require("unbusy").version))
  return 0
end

local function run(argv)
  local name = argv[1]
  if not name then return wrong "a command expected" end
  if name == "--version" then return version() end
  if name == "--help" or name == "-h" then return help() end
  if name == "help" then return help(argv[2]) end
  local command = command_named(name)
  if not command then return unknown(name) end
  local values, message = arguments.parse(command, argv, 2)
  if not values then
    terminal.say(("%s (unbusy %s --help)"):format(message, name))
    return USAGE
  end
  if values.help then return help(name) end
  return command.run(values, argv)
end

local cures = {
  ["unbusy.core"] = "it is built by: make lua5.4",
  cjson = "Debian has it as lua-cjson, LuaRocks as lua-cjson",
}

-- What ended a command before its time: a status of its own, Ctrl-C, or a fault.
local function status_of(raised, trace)
  if type(raised) == "table" and raised.status then
    if raised.message then terminal.say(raised.message) end
    return raised.status
  end
  local text = tostring(raised)
  if text:find "interrupted!$" then return INTERRUPTED end
  local module = text:match "^[^\n]-module '([^'\n]+)' not found"
  if module then
    local cure = cures[module] or "install unbusy again"
    terminal.say(("the Lua module %s is missing; %s"):format(module, cure))
  else
    io.stderr:write("unbusy: a fault of unbusy itself: ", text, "\n", trace, "\n")
  end
  return FAULT
end

--- Runs the tool with the arguments of a Lua program's `arg`; gives the exit status. After
--- Ctrl-C the line on the terminal has been erased.
---@param argv string[]
---@return integer
function cli.main(argv)
  local trace
  local ok, status = xpcall(function() return run(argv) end, function(raised)
    trace = debug.traceback("", 2)
    return raised
  end)
  if ok then return status end
  return status_of(status, trace)
end

return cli
