--- `unbusy diagnose`: why it is busy, by the numbers.
local arguments = require "unbusy.cli.arguments"
local json = require "unbusy.json"
local judge = require "unbusy.diagnose.judge"
local report = require "unbusy.diagnose.text"
local servers = require "unbusy.scaling.servers"
local settings = require "unbusy.cli.settings"
local shell = require "unbusy.cli.shell"
local terminal = require "unbusy.cli.terminal"

local FAULT, USAGE, TROUBLE, INTERRUPTED = 1, 2, 3, 130 -- exit statuses

local diagnose = {
  name = "diagnose", usage = "[options] --log FILE | --metrics FILE-OR-URL | --probe", most = 0,
  expects = "options only",
  summary = "says why it is busy: a burst, slow answers, the account, our own limits, …",
  about = [[Judges by numbers why calls fail or wait: a burst over capacity, less capacity than
    usual, slow inference, the limit of the account, our own pool or line, a dead target, the
    network, or a key that is refused; and says what to do. The numbers come from a gateway's log,
    from its metrics (a URL is asked twice), or from a live look at the targets.
    docs/diagnose.md says how it judges.]],
}

diagnose.options = {
  { name = "log", value = "FILE", type = "string",
    doc = "the lines of a gateway's log (docs/gateway.md); - is standard input" },
  { name = "metrics", value = "FILE-OR-URL", type = "string",
    doc = "what /metrics says; a token is taken from UNBUSY_TOKEN" },
  { name = "before", value = "FILE", type = "string",
    doc = "with --metrics FILE: an earlier one of the same gateway" },
  { name = "for", value = "SECONDS", type = "number", above = 0, max = 3600, default = 10,
    doc = "with --metrics: between the two" },
  { name = "probe", doc = "ask the targets a few small questions (they cost next to nothing)" },
  { name = "at-once", value = "N", type = "whole", min = 1, max = 1000,
    doc = "with --probe: then so many at a time, to see what there is room for" },
  { name = "config", value = "FILE", type = "string",
    doc = "with --probe: a Lua file that returns the options of unbusy.new" },
  { name = "url", value = "URL", type = "string",
    doc = "with --probe: this server; a key is taken from UNBUSY_KEY" },
  { name = "model", value = "NAME", type = "string", doc = "with --probe: the model to ask for" },
  { name = "json", doc = "print one JSON object and nothing else" },
}

--- What its help page says besides.
function diagnose.sections()
  return {
    { "Examples:", "  unbusy diagnose --log gateway.log\n"
      .. "  unbusy diagnose --metrics http://127.0.0.1:8080/metrics --for 30\n"
      .. "  unbusy diagnose --probe --config gateway.lua --at-once 32" },
    { "Exit status:", arguments.columns {
      { "0", "nothing is wrong in what was looked at" },
      { "1", "it cannot be read, or nobody answers" },
      { "2", "wrong arguments, log, metrics or configuration" },
      { "3", "something is wrong: see what was printed" },
      { "130", "ended with Ctrl-C" },
    } },
  }
end

local function fail(status, message)
  error({ status = status, message = message }, 0)
end

-- {== Metrics =============================================================

local MOST = 64 * 1024 * 1024 -- bytes of a file

local function read_file(path)
  local file, message = io.open(path, "rb")
  if not file then fail(FAULT, message) end
  local text
  text, message = file:read(MOST)
  file:close()
  return text or not message and "" or fail(FAULT, ("%s: %s"):format(path, message))
end

local function scrape(client, path)
  local body, message = servers.ask(client, { method = "GET", path = path,
    headers = { accept = "text/plain" } })
  return body or fail(FAULT, message)
end

-- Two scrapes, some seconds apart.
local function of_url(values)
  local base, path = values.metrics:match "^(https?://[^/?#]+)(.*)$"
  if not base then fail(USAGE, "--metrics: a file, or http:// or https:// and a host expected") end
  if path == "" or path == "/" then path = "/metrics" end
  local ok, client = pcall(servers.new, "gateway", base, os.getenv "UNBUSY_TOKEN")
  if not ok then fail(USAGE, (tostring(client):gsub("^.-targets%[1%]%.url", "--metrics"))) end
  local before, span = scrape(client, path), values["for"] or 10
  local began = client.now()
  if not shell.succeeds(("sleep %.3g"):format(span)) then fail(INTERRUPTED) end
  local after = scrape(client, path)
  span = client.now() - began
  client:close()
  return require("unbusy.diagnose.metrics").read(after, before, { span = span, at = os.time() })
end

local function of_metrics(values)
  if values.metrics:find "^%a+://" then
    if values.before then fail(USAGE, "--before: with --metrics FILE; a URL is asked twice") end
    return of_url(values)
  end
  return require("unbusy.diagnose.metrics").read(read_file(values.metrics),
    values.before and read_file(values.before), { span = values.before and values["for"] })
end

-- }========================================================================

-- {== A live look =========================================================

local function of_probe(values)
  local given, message = settings.find(values)
  if not given then fail(USAGE, message) end
  return require("unbusy.diagnose.probe").look(given,
    { model = values.model, at_once = values.at_once })
end

-- What each target has answered.
local function probe_lines(probes)
  local out = {}
  for i, p in ipairs(probes) do
    local took = p.took[math.ceil(#p.took / 2)]
    local line = ("%s: %s"):format(p.name, took and "answered after " .. judge.seconds(took)
      or "no answer")
    if p.asked then line = ("%s; %d of %d at once"):format(line, p.answered, p.asked) end
    if p.message then line = ("%s (%s)"):format(line, p.message) end
    out[i] = line
  end
  return out
end

-- }========================================================================

local function facts_of(values)
  local count = (values.log and 1 or 0) + (values.metrics and 1 or 0) + (values.probe and 1 or 0)
  if count ~= 1 then fail(USAGE, "one of --log, --metrics and --probe expected") end
  if values.probe then return of_probe(values) end
  for _, name in ipairs { "at_once", "config", "url", "model" } do
    if values[name] then fail(USAGE, ("--%s: with --probe"):format((name:gsub("_", "-")))) end
  end
  if values.metrics then return of_metrics(values) end
  local path = values.log == "-" and "/dev/stdin" or values.log
  return require("unbusy.diagnose.log").read(path)
end

--- Runs the command.
---@param values table see `arguments.parse`
---@return integer exit status
function diagnose.run(values)
  local facts, message, unreadable = facts_of(values)
  if not facts then fail(unreadable and FAULT or USAGE, message) end
  if not facts.trouble and not facts.quiet then fail(FAULT, "no call ended in that time") end
  if facts.damage then terminal.say(facts.damage) end
  local causes = facts.trouble and judge.of(facts) or {}
  if values.json then
    local out = report.table(facts, causes)
    out.probes = facts.probes and json.array(facts.probes)
    terminal.write(assert(json.encode(out)) .. "\n")
  else
    local lines = report.lines(facts, causes)
    for _, line in ipairs(facts.probes and probe_lines(facts.probes) or {}) do
      lines[#lines + 1] = line
    end
    for i, line in ipairs(lines) do lines[i] = terminal.clean(line):gsub("[\n\t]", " ") end
    terminal.write(table.concat(lines, "\n") .. "\n")
  end
  return facts.trouble and TROUBLE or 0
end

return diagnose
