--- `unbusy trace`: makes a trace, of what never was or of what a gateway's log tells.
local arguments = require "unbusy.cli.arguments"
local making = require "unbusy.simulate.generate_options"
local shell = require "unbusy.cli.shell"
local terminal = require "unbusy.cli.terminal"

local USAGE = 2 -- exit status

local trace = {
  name = "trace", usage = "[options] --kind KIND | --from-log FILE", most = 0,
  expects = "options only",
  summary = "makes a trace for unbusy simulate",
  about = [[Makes a trace, the CSV file that unbusy simulate reads, and prints it: of an outage
    that is made up (--kind), or of one that the log of a gateway tells of (--from-log).]],
}

trace.options = {
  { name = "from-log", value = "FILE", type = "string",
    doc = "the lines of a gateway's log, see docs/gateway.md" },
  { name = "out", value = "FILE", type = "string", doc = "write there, and print nothing" },
}
for _, option in ipairs(making) do trace.options[#trace.options + 1] = option end

--- What its help page says besides.
function trace.sections()
  return {
    { "Kinds:", arguments.columns {
      { "burst", "more arrives than the target can answer" },
      { "brownout", "it has 0.4 of its places, takes twice as long, and fails now and then" },
      { "blackout", "it has no place at all" },
      { "outage", "a brown-out, a black-out, and a slow return with those who come again" },
      { "day", "what arrives follows the hours of a working day" },
    } },
    { "Examples:", "  unbusy trace --kind outage --seed 7 --backup --out outage.csv\n"
      .. "  unbusy trace --from-log access.log > monday.csv" },
    { "Exit status:", arguments.columns {
      { "0", "made" }, { "1", "the file cannot be written, or a fault of unbusy itself" },
      { "2", "wrong arguments or log" },
    } },
  }
end

-- The command that makes the same again: the options that were given, in their order.
local function command_of(values)
  local words = { "unbusy trace" }
  for _, option in ipairs(making) do
    local value = values[option.name:gsub("-", "_")]
    if value ~= nil then
      words[#words + 1] = "--" .. option.name
      local text = type(value) == "number" and ("%.14g"):format(value) or tostring(value)
      if option.value then
        words[#words + 1] = text:find "^[%w_.-]+$" and text or shell.quote(text)
      end
    end
  end
  return table.concat(words, " ")
end

local function made_up(values)
  local made, header = require("unbusy.simulate.generate").new(values)
  if not made then return nil, header end
  made.remarks = { command_of(values) }
  return made, header
end

local function of_log(values)
  for _, option in ipairs(making) do
    local name = option.name:gsub("-", "_")
    if values[name] ~= nil and name ~= "deadline" and name ~= "seed" then
      return nil, ("--%s belongs to --kind, not to --from-log"):format(option.name)
    end
  end
  return require("unbusy.simulate.access_log").read(values.from_log, values)
end

-- Where the trace goes, and what is to be done at its end.
local function output(path)
  if not path then
    local parts = {}
    return function(text) parts[#parts + 1] = text end,
      function() terminal.write(table.concat(parts)) end
  end
  local file, message = io.open(path, "wb")
  if not file then error({ status = 1, message = "--out: " .. message }, 0) end
  local function must(ok, why)
    if not ok then error({ status = 1, message = "--out: " .. why }, 0) end
  end
  return function(text) must(file:write(text)) end, function() must(file:close()) end
end

--- Runs the command.
---@param values table see `arguments.parse`
---@return integer exit status
function trace.run(values)
  local made, header
  if values.kind and values.from_log then
    header = "--kind or --from-log, not both"
  elseif values.from_log then
    made, header = of_log(values)
  else
    made, header = made_up(values)
  end
  if not made then
    terminal.say(header)
    return USAGE
  end
  if made.damage then terminal.say(made.damage) end
  local write, done = output(values.out)
  require("unbusy.simulate.trace").write(made, header, write)
  done()
  return 0
end

return trace
