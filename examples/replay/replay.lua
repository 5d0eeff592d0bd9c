--- How far the simulator is from real calls: a piece of a trace, simulated, and then made over HTTP
--- to busy upstreams, each time with the same client. Minutes pass in seconds.
--
--     lua5.4 examples/replay/replay.lua --from 60 --to 240 --speed 10
local arguments = require "unbusy.cli.arguments"
local both = require "examples.replay.both"
local simulate = require "unbusy.simulate"

local command = { name = "replay", usage = "[options]", most = 0, expects = "options only",
  about = "Plays a piece of a trace in the simulator and over real HTTP, and compares the two.",
  sections = function() return {} end }

command.options = {
  { name = "trace", value = "FILE", type = "string", default = "examples/traces/outage.csv",
    doc = "one whose header says what its targets do" },
  { name = "from", value = "S", type = "number", default = 60, min = 0, doc = "the piece begins" },
  { name = "to", value = "S", type = "number", default = 240, above = 0, doc = "the piece ends" },
  { name = "speed", value = "N", type = "number", default = 10, min = 1, max = 20,
    doc = "so many times as fast" },
  { name = "every", value = "N", type = "whole", default = 1, min = 1, max = 1000,
    doc = "of so many calls one is made" },
  { name = "only", value = "NAME", type = "string", doc = "the only target there is" },
  { name = "policy", value = "POLICY", type = "string",
    doc = "of the client; the built-in decisions" },
}

local function list_of(counts)
  local names = {}
  for name, n in pairs(counts) do names[#names + 1] = ("%s %d"):format(name, n) end
  table.sort(names)
  return names[1] and table.concat(names, ", ") or "-"
end

local function tell(r)
  print(("%s: %d calls"):format(r.path, r.calls))
  print(("  %-12s %9s  %10s  %s"):format("", "answered", "calls each", "not answered"))
  for _, row in ipairs { { "simulated", r.simulated }, { "over HTTP", r.real } } do
    print(("  %-12s %7.1f %%  %10.3f  %s"):format(row[1], row[2].availability * 100,
      row[2].calls_each, list_of(row[2].failures)))
  end
  print(("  apart by %.1f %% and %.1f %% (at most %.0f %%: %s); no call was made more than %.0f ms "
    .. "late"):format(r.off.availability * 100, r.off.calls_each * 100, both.BOUND * 100,
    r.agrees and "met" or "MISSED", r.real.late * 1000))
end

local function main(argv)
  local values, message = arguments.parse(command, argv, 1)
  if values and values.help then
    io.write(arguments.manual(command))
    return 0
  end
  local o = {}
  for _, option in ipairs(command.options) do
    o[option.name] = values and values[option.name] or option.default
  end
  local t
  if values then t, message = simulate.read(o.trace) end
  if not t then
    io.stderr:write("replay: ", message, "\n")
    return 2
  end
  local r = both.play(t, o)
  tell(r)
  return r.agrees and 0 or 1
end

os.exit(main(arg), true)
