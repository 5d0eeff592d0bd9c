--- `unbusy check`: what is wrong with a policy, before a call meets it.
local arguments = require "unbusy.cli.arguments"
local json = require "unbusy.json"
local settings = require "unbusy.cli.settings"
local terminal = require "unbusy.cli.terminal"

local FAULTY, USAGE = 1, 2 -- exit statuses

local check = {
  name = "check", usage = "[options] POLICY…", most = 1000, expects = "at most 1000 policies",
  summary = "says what is wrong with a policy or a batching rule",
  about = [[Looks at scripts without any call: syntax, names of functions, use of anything that
    scripts do not have (in all branches); and then asks each function about samples of every code
    and every kind of call, within the limits that hold for calls: errors, loops without end,
    decisions of a wrong type. POLICY is a shipped policy's name or a file. docs/policies.md says
    what a policy may do.]],
}

check.options = {
  { name = "config", value = "FILE", type = "string",
    doc = "a Lua file that returns the options of unbusy.new: only its targets, pools and models "
      .. "may be named" },
  { name = "json", doc = "print one JSON object and nothing else" },
}

--- What its help page says besides.
function check.sections()
  return {
    { "Examples:", "  unbusy check policies/*.lua\n"
      .. "  unbusy check --config gateway.lua --json ./mine.lua" },
    { "Exit status:", arguments.columns {
      { "0", "nothing is wrong" },
      { "1", "something is, or a file cannot be read" },
      { "2", "wrong arguments or configuration" },
    } },
  }
end

-- {== What may be named ===================================================

local function usage(message)
  error({ status = USAGE, message = message }, 0)
end

-- The targets and pools of a configuration.
local function known_of(path)
  if not path then return nil end
  local given, message = settings.read(path)
  if not given then usage(message) end
  given.policy, given.region, given.batch = nil, nil, nil
  local ok, o = pcall(require("unbusy.config").read, given)
  if not ok then usage(("%s: %s"):format(path, (tostring(o):gsub("^.-unbusy: ", "")))) end
  return { targets = o.targets, pools = require("unbusy.pools").of(o.targets) }
end

-- }========================================================================

-- {== Saying it ===========================================================

local function line_of(file, one, prefix)
  local place = one.line and ("%s:%d"):format(file, one.line) or file
  local about = one.sample and (" (asked about: %s)"):format(one.sample) or ""
  local text = ("%s: %s%s%s"):format(place, prefix, one.message, about)
  return (terminal.clean(text):gsub("\n", " "))
end

local function add_lines(lines, report)
  for _, one in ipairs(report.problems) do lines[#lines + 1] = line_of(report.file, one, "") end
  for _, one in ipairs(report.notes) do lines[#lines + 1] = line_of(report.file, one, "note: ") end
  if report.ok then
    local words = report.functions[1] and " (" .. table.concat(report.functions, ", ") .. ")" or ""
    lines[#lines + 1] = line_of(report.file, { message = "ok" .. words }, "")
  end
end

local function plain(text)
  return json.is_utf8(text) and text or (text:gsub("[\128-\255]", "?"))
end

local function json_list(list)
  local out = json.array()
  for i, one in ipairs(list) do
    out[i] = { line = one.line, message = plain(one.message), decision = one.decision,
      sample = one.sample }
  end
  return out
end

local function json_of(reports, ok)
  local files = json.array()
  for i, report in ipairs(reports) do
    files[i] = { file = plain(report.file), ok = report.ok,
      functions = json.array(report.functions), problems = json_list(report.problems),
      notes = json_list(report.notes) }
  end
  return assert(json.encode { ok = ok, files = files })
end

-- }========================================================================

--- Runs the command.
---@param values table see `arguments.parse`
---@return integer exit status
function check.run(values)
  if not values[1] then usage "a policy expected (unbusy check --help)" end
  local inspect, known = require "unbusy.policy.inspect", known_of(values.config)
  local reports, lines, ok = {}, {}, true
  for i, what in ipairs(values) do
    reports[i] = inspect.file(what, known)
    ok = ok and reports[i].ok
    add_lines(lines, reports[i])
  end
  terminal.write((values.json and json_of(reports, ok) or table.concat(lines, "\n")) .. "\n")
  return ok and 0 or FAULTY
end

return check
