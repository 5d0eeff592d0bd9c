--- `unbusy simulate`: what a policy would make of an outage, before it meets one.
local arguments = require "unbusy.cli.arguments"
local chart = require "unbusy.simulate.chart"
local settings = require "unbusy.cli.settings"
local terminal = require "unbusy.cli.terminal"

local USAGE = 2 -- exit status: arguments, a policy, the trace or the configuration

local simulate = {
  name = "simulate", usage = "[options] POLICY… --trace FILE", most = 20,
  expects = "at most 20 policies",
  summary = "shows what policies make of an outage, in simulated time",
  about = [[Lets a client meet the calls and the outage of a trace, in simulated time: every stage
    and every part is the real one, only the servers are a model, which the trace describes. Beside
    it stand the same calls without unbusy (asked once; and in a loop that tries again), and other
    policies. POLICY is a shipped policy's name, a file, or none for the built-in decisions; where
    none is given it is the configuration's own. docs/simulator.md says what a trace is and what the
    figures mean.]],
}

simulate.options = {
  { name = "trace", value = "FILE", type = "string", doc = "the trace; see unbusy trace" },
  { name = "compare", value = "POLICY", type = "string", many = true,
    doc = "one more policy beside it; may be given again" },
  { name = "config", value = "FILE", type = "string",
    doc = "a Lua file that returns the options of unbusy.new; its targets stand in the trace" },
  { name = "seed", value = "N", type = "whole", min = 0, max = 2 ^ 31,
    doc = "other chance; the trace's own" },
  { name = "seeds", value = "N", type = "whole", min = 1, max = 100,
    doc = "run with so many seeds, and say how far chance moves the figures" },
  { name = "deadline", value = "SECONDS", type = "number", above = 0, max = 1e6,
    doc = "that a caller waits; the trace's own" },
  { name = "stream", value = "SHARE", type = "number", min = 0, max = 1,
    doc = "of the calls, asked as a stream; the trace's own" },
  { name = "observed", doc = "go by the rows of the trace alone, whatever its header says" },
  { name = "json", doc = "print one JSON object and nothing else" },
  { name = "html", value = "FILE", type = "string",
    doc = "also write a page with plots that needs nothing else" },
}

--- What its help page says besides.
function simulate.sections()
  return {
    { "Examples:", "  unbusy simulate default deepseek --trace examples/traces/outage.csv\n"
      .. "  unbusy simulate ./mine.lua --trace outage.csv --html outage.html" },
    { "Exit status:", arguments.columns {
      { "0", "simulated" },
      { "1", "the page cannot be written, or a fault of unbusy itself" },
      { "2", "wrong arguments, policy, trace or configuration" },
    } },
  }
end

-- {== What is compared ====================================================

local NONE = "none"

-- A policy's name as a column's head: of a path, the file's name.
local function short(word)
  if type(word) ~= "string" then return "configured" end -- a table of functions
  local base = word:match "([^/]+)%.lua$" or word:match "([^/]+)$" or word
  return terminal.clean(base:gsub("[\n\t]", " "))
end

-- A name that nobody has yet.
local function free_name(word, taken)
  local name, n = short(word), 1
  while taken[name] do
    n = n + 1
    name = ("%s (%d)"):format(short(word), n)
  end
  taken[name] = true
  return name
end

-- The policies of the command line, in order; where there are none, the configuration's own.
local function policies_of(values, config)
  local words, list, taken = {}, {}, {}
  for i, word in ipairs(values) do words[i] = word end
  for _, word in ipairs(values.compare or {}) do words[#words + 1] = word end
  if #words == 0 then words[1] = config and config.policy or NONE end
  for _, name in ipairs(require("unbusy.simulate").baselines) do taken[name] = true end
  for i, word in ipairs(words) do
    list[i] = { name = free_name(word, taken), policy = word ~= NONE and word or nil }
  end
  return list
end

local function config_of(values)
  if not values.config then return nil end
  local given, message = settings.read(values.config)
  if not given then error({ status = USAGE, message = message }, 0) end
  return given
end

-- }========================================================================

local function write_file(path, text)
  local file, message = io.open(path, "wb")
  local ok = file
  if file then
    ok, message = file:write(text)
    if ok then ok, message = file:close() else file:close() end
  end
  if not ok then error({ status = 1, message = ("--html: %s"):format(message) }, 0) end
end

local function compare(simulation, trace, values)
  local config = config_of(values)
  local given = { config = config, seed = values.seed, observed = values.observed,
    deadline = values.deadline, stream = values.stream, seeds = values.seeds }
  local report, message = simulation.compare(trace, policies_of(values, config), given)
  if not report then error({ status = USAGE, message = message }, 0) end
  return report
end

--- Runs the command.
---@param values table see `arguments.parse`
---@return integer exit status
function simulate.run(values)
  if not values.trace then
    terminal.say "--trace: a trace expected (unbusy simulate --help)"
    return USAGE
  end
  local simulation = require "unbusy.simulate"
  local trace, message = simulation.read(values.trace)
  if not trace then
    terminal.say(message)
    return USAGE
  end
  local report = compare(simulation, trace, values)
  if values.html then write_file(values.html, require("unbusy.simulate.html").page(report)) end
  if values.json then
    terminal.write(require("unbusy.simulate.report").json(report) .. "\n")
  else
    local lines = require("unbusy.simulate.text").lines(report, chart.style(os.getenv))
    terminal.write(terminal.clean(table.concat(lines, "\n")) .. "\n")
  end
  return 0
end

return simulate
