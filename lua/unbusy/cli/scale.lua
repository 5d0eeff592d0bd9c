--- `unbusy scale`: more replicas when there is more to do, and fewer when there is less.
local arguments = require "unbusy.cli.arguments"
local cluster = require "unbusy.scaling.cluster"
local governor = require "unbusy.scaling.governor"
local json = require "unbusy.json"
local monotonic = require "unbusy.clock"
local notice = require "unbusy.scaling.notice"
local prometheus = require "unbusy.scaling.prometheus"
local rules = require "unbusy.scaling.rules"
local scaling = require "unbusy.scaling.options"
local servers = require "unbusy.scaling.servers"
local shell = require "unbusy.cli.shell"
local terminal = require "unbusy.cli.terminal"
local turn = require "unbusy.scaling.turn"

local FAULT, USAGE, INTERRUPTED = 1, 2, 130 -- exit statuses

local scale = {
  name = "scale", usage = "[options] DEPLOYMENT", most = 1, expects = "one Deployment",
  summary = "scales a Deployment of Kubernetes by CPU or by what goes on in the gateway",
  about = [[Looks every few seconds how much there is to do, and changes the number of replicas of
    DEPLOYMENT with kubectl. The rule cpu goes by the CPU in use on the nodes; the rule load by the
    calls under way and waiting in the gateways, which a Prometheus server knows. What is not known
    is not taken for zero: then nothing is changed. With --trace nothing is asked and nothing
    changed: the rule meets a day in the simulator. docs/autoscale.md says more.]],
}

scale.options = {
  { name = "rule", value = "NAME", type = "string", one_of = { "cpu", "load" }, default = "cpu",
    doc = "cpu or load" },
  { name = "namespace", short = "n", value = "NAME", type = "string", default = "default",
    doc = "of DEPLOYMENT" },
  { name = "selector", value = "LABELS", type = "string",
    doc = "with cpu: only nodes with these labels, as node-pool=gpu" },
  { name = "prometheus", value = "URL", type = "string",
    doc = "with load: the server; a token is taken from UNBUSY_PROMETHEUS_TOKEN" },
  { name = "job", value = "NAME", type = "string", default = "unbusy",
    doc = "with load: the gateways' job there" },
  { name = "target", value = "NAME", type = "string",
    doc = "with load: count only what is under way at this target (and all that waits)" },
  { name = "query", value = "NAME=PROMQL", type = "string", many = true,
    doc = "with load: another query for down, in_flight, waiting or wait" },
  { name = "alertmanager", value = "URL", type = "string",
    doc = "told of each change; a token is taken from UNBUSY_ALERTMANAGER_TOKEN" },
  { name = "every", value = "SECONDS", type = "number", min = 1, max = 3600, default = 30,
    doc = "between two looks" },
  { name = "once", doc = "look once and end; needs --state, or --dry-run" },
  { name = "state", value = "FILE", type = "string",
    doc = "where changes, wishes and what is still to be told are kept, for the next start" },
  { name = "dry-run", doc = "change nothing and tell nobody, only say what would be done" },
  { name = "trace", value = "FILE", type = "string",
    doc = "no cluster: let the rules meet this trace in the simulator (see unbusy trace)" },
  { name = "pods", value = "N", type = "whole", min = 1, max = 10000, default = 10,
    doc = "with --trace: the fixed number that the rules are compared with" },
  { name = "starts", value = "SECONDS", type = "number", min = 0, max = 3600, default = 120,
    doc = "with --trace: from asking for a replica until it serves" },
  { name = "kubectl", value = "PROGRAM", type = "string", default = "kubectl",
    doc = "which kubectl; its own configuration says which cluster" },
  { name = "context", value = "NAME", type = "string", doc = "of kubectl's configuration" },
  { name = "json", doc = "print JSON, one object a line" },
}
for _, option in ipairs(scaling.arguments()) do scale.options[#scale.options + 1] = option end

--- What its help page says besides.
function scale.sections()
  return {
    { "Examples:", "  unbusy scale deepseek-service --dry-run\n"
      .. "  unbusy scale deepseek-service --rule load --prometheus http://prometheus:9090 \\\n"
      .. "    --places 16 --most 20 --alertmanager http://alertmanager:9093\n"
      .. "  unbusy trace --kind day --out day.csv && unbusy scale --trace day.csv" },
    { "Exit status:", arguments.columns {
      { "0", "looked, and done what there was to do" },
      { "1", "with --once: something is not known, or the change was refused" },
      { "2", "wrong arguments, or somebody else scales DEPLOYMENT" },
      { "130", "ended with Ctrl-C" },
    } },
  }
end

local function fail(status, message)
  error({ status = status, message = message }, 0)
end

-- {== Commands of others ==================================================

local LONGEST = 60 -- seconds that a kubectl may take in all, its log-in included

-- What went wrong, out of what it said: one line.
local function complaint(text, status)
  local line = terminal.clean(text):gsub("[\t\n]+", " "):match "^%s*(.-)%s*$"
  if line == "" then line = ("kubectl ended with status %s"):format(status or "?") end
  return line:sub(1, 300)
end

-- What stands in a file, which is removed; "" where there is none.
local function taken_out_of(path)
  local file = path and io.open(path, "rb")
  local said = file and file:read "*a" or ""
  if file then
    file:close()
    os.remove(path)
  end
  return said
end

-- Runs a command: its output, or nil and what it complained of; no words of that where there is no
-- room for a file of them.
local function run(words)
  local parts, has_room, err = {}, pcall(os.tmpname)
  if not has_room then err = nil end
  for i, word in ipairs(words) do parts[i] = shell.quote(word) end
  local pipe = io.popen(("timeout %d %s 2>%s </dev/null; printf '\n%%d' $?"):format(LONGEST,
    table.concat(parts, " "), shell.quote(err or "/dev/null")))
  local text = pipe and pipe:read "*a" or ""
  if pipe then pipe:close() end
  local said = taken_out_of(err)
  local out, status = text:match "^(.*)\n(%d+)$"
  if status == "0" then return out end
  if status == "124" then said = ("no answer from kubectl for %d s"):format(LONGEST) end
  return nil, complaint(said, status)
end

-- }========================================================================

-- {== What the arguments say ==============================================

-- Names of Kubernetes' objects (RFC 1123).
local function is_name(text)
  return #text <= 253 and text:find "^[a-z0-9][a-z0-9.-]*$" ~= nil and text:find "[a-z0-9]$" ~= nil
end

local function check_words(values)
  if not values[1] then fail(USAGE, "a Deployment expected (unbusy scale --help)") end
  if not is_name(values[1]) then fail(USAGE, "DEPLOYMENT: a name of Kubernetes expected") end
  if values.namespace and not is_name(values.namespace) then
    fail(USAGE, "--namespace: a name of Kubernetes expected")
  end
  if values.once and not values.state and not values.dry_run then
    fail(USAGE, "--once: without --state each run would forget those before it (or --dry-run)")
  end
  if values.rule == "load" and not values.prometheus then
    fail(USAGE, "--rule load: --prometheus URL expected")
  end
end

local function queries_of(values)
  local queries = prometheus.queries(values.job or "unbusy", values.target)
  for _, text in ipairs(values.query or {}) do
    local name, query = text:match "^([%w_]+)=(.+)$"
    if not name or not queries[name] then
      fail(USAGE, "--query: down=, in_flight=, waiting= or wait= and a query expected")
    end
    queries[name] = query
  end
  return queries
end

local function server(option, url, token)
  local ok, client = pcall(servers.new, option, url, os.getenv(token))
  if ok then return client end
  fail(USAGE, (tostring(client):gsub("^.-targets%[1%]%.url", "--" .. option)))
end

local function kubectl_of(values)
  local words = { values.kubectl or "kubectl" }
  if values.context then words[2] = "--context=" .. values.context end
  return words
end

-- }========================================================================

-- {== The state ===========================================================

-- What a file remembers, and how many seconds ago it was written; nil where it says nothing.
local function kept(path)
  local file = path and io.open(path, "rb")
  local state = file and json.decode(file:read(65536) or "")
  if file then file:close() end
  local at = type(state) == "table" and state.at
  if type(at) ~= "number" or at - at ~= 0 then return nil end
  return state, math.max(os.time() - at, 0)
end

local function keep(path, state)
  state.at = os.time()
  state.wishes, state.untold = json.array(state.wishes), json.array(state.untold)
  local new = path .. ".new"
  local file, message = io.open(new, "wb")
  local ok = file
  if file then
    ok, message = file:write(json.encode(state), "\n")
    if ok then ok, message = file:close() else file:close() end
  end
  if ok then ok, message = os.rename(new, path) end
  if not ok then terminal.say("--state: " .. message) end
end

-- }========================================================================

-- {== The turns ===========================================================

local function looker(values, c)
  if values.rule ~= "load" then return function() return c:cpu() end end
  local client = server("prometheus", values.prometheus, "UNBUSY_PROMETHEUS_TOKEN")
  local queries = queries_of(values)
  return function()
    return prometheus.look(function(path)
      return servers.ask(client, { method = "GET", path = path })
    end, queries)
  end
end

local function teller(values)
  if not values.alertmanager then return nil end
  local client = server("alertmanager", values.alertmanager, "UNBUSY_ALERTMANAGER_TOKEN")
  return function(event)
    event.deployment, event.namespace = values[1], values.namespace or "default"
    return servers.ask(client, { method = "POST", path = "/api/v2/alerts",
      headers = { ["content-type"] = "application/json" }, body = notice.body(event, os.time()) })
  end
end

local function check_rival(c)
  local name, message = c:rival()
  if name then
    fail(USAGE, ("the HorizontalPodAutoscaler '%s' scales it too: two undo each other")
      :format(name))
  elseif message then
    terminal.say("cannot see whether a HorizontalPodAutoscaler scales it too: " .. message)
  end
end

-- What others have said, as JSON may have it.
local function plain(text)
  return text and (json.is_utf8(text) and text or (text:gsub("[\128-\255]", "?")))
end

local function show(values, result)
  local name, time = values[1], os.date "!%Y-%m-%dT%H:%M:%SZ"
  if values.json then
    return terminal.write(json.encode { time = time, deployment = name, action = result.action,
      replicas = result.replicas, wished = result.wished, why = plain(result.why),
      fault = plain(result.fault), untold = plain(result.untold) } .. "\n")
  end
  local count = result.replicas and ("%d"):format(result.replicas) or "?"
  if result.wished and result.wished ~= result.replicas then
    count = ("%s -> %d"):format(count, result.wished)
  end
  terminal.write(terminal.clean(("%s %s %s %s: %s\n"):format(time, name, count, result.action,
    result.why)))
  if result.fault then terminal.say(result.fault) end
  if result.untold then terminal.say("Alertmanager was not told yet: " .. result.untold) end
end

local function new_turn(values)
  local rule = values.rule or "cpu"
  local rule_options, o = scaling.read(values, rule)
  if not rule_options then fail(USAGE, o) end
  local c = cluster.new { deployment = values[1], namespace = values.namespace or "default",
    selector = values.selector, kubectl = kubectl_of(values), run = run, wall = os.time,
    fresh = math.max(120, 3 * (values.every or 30)) }
  local look, tell, g = looker(values, c), teller(values), governor.new(o)
  check_rival(c)
  local t = turn.new { rule = rules[rule], rule_options = rule_options, dry = values.dry_run,
    governor = g, wall = os.time, replicas = function() return c:replicas() end, look = look,
    scale = function(from, to) return c:scale(from, to) end, tell = tell }
  local state, gap = kept(values.state)
  if state then
    g:remember(monotonic(), state, gap, o.calm)
    t:remember(monotonic(), state, gap)
  end
  return t, g
end

-- What both remember, in one table.
local function memory_of(t, g)
  local now = monotonic()
  local state = g:memory(now)
  for name, value in pairs(t:memory(now)) do state[name] = value end
  return state
end

local function turns(values)
  local t, g = new_turn(values)
  while true do
    local result = t:run(monotonic())
    show(values, result)
    if values.state and not values.dry_run then keep(values.state, memory_of(t, g)) end
    if values.once then
      return (result.action == "missing" or result.action == "failed") and FAULT or 0
    end
    if not shell.succeeds(("sleep %.3g"):format(values.every or 30)) then fail(INTERRUPTED) end
  end
end

-- }========================================================================

--- Runs the command.
---@param values table see `arguments.parse`
---@return integer exit status
function scale.run(values)
  if values.trace then return require("unbusy.cli.scale_trace").run(values) end
  check_words(values)
  return turns(values)
end

return scale
