-- The whole way, with the real programs: a gateway before a server that is made busy, Prometheus
-- that scrapes it and judges by deploy/prometheus, Alertmanager, and a webhook that has to hear of
-- the trouble and of its end. And the dashboard: while all of this goes on, each of its queries has
-- to give data. Run by `tools/test.sh third`.
local busyd = require "spec.support.busyd"
local direct = require "spec.support.direct"
local files = require "spec.support.files"
local json = require "unbusy.json"
local monitoring = require "spec.support.monitoring"
local served = require "spec.support.served"

local PATIENCE = 120 -- seconds that something may take to come about

local TOKEN = "made-up-for-prometheus"

-- Two accounts of two places each, a short line, retries, hedges, prices, a policy that fails; and
-- metrics that ask for a token, as from another machine.
local CONFIG = [[
local function target(name, account)
  return { name = name, account = account, key = "made-up-" .. name, url = "%s", proxy = false,
    price = { input = 1000, output = 4000 } }
end
return {
  targets = { target("deepseek", "main"), target("backup", "spare") },
  retry = { attempts = 3, base = 0.02, cap = 0.05 },
  breaker = { min_calls = 5, window = 10, open_for = 1 }, -- (a busy account is asked once a second)
  limiter = { kind = "fixed", initial = 2 },
  queue = { size = 4, max_wait = 0.5 },
  hedge = { after = 0.02, most = 1, price = "any" },
  cache = { ttl = 0.5, top = true },
  fallback = { by_code = { limited = "系统繁忙,请稍后再试" } },
  policy = "%s",
  gateway = { metrics = { token = "%s" } },
}
]]

local POLICY = "local policy = {}\nfunction policy.route() error 'a fault' end\nreturn policy\n"

local WELL = { latency = 0.03 }

local up, place, node, watch

setup(function()
  up, place = busyd.start { workers = 1, programme = WELL }, served.place()
  local policy = place:write("faulty.lua", POLICY)
  node = served.start(place, { place:write("gateway.lua", CONFIG:format(up.url, policy, TOKEN)) })
  watch = monitoring.start(node.address, TOKEN)
end)

teardown(function()
  if watch then watch:stop() end
  if place then place:remove() end
  if up then up:stop() end
end)

-- {== Asking ==============================================================

local PATH = "/v1/chat/completions"

local function question(text, stream)
  return json.encode { model = "m", stream = stream or false,
    messages = { { role = "user", content = text } } }
end

local function ask(text, stream)
  direct.ask("POST", node.url .. PATH, question(text, stream))
end

-- More than there are places, at once.
local CROWD = "curl -q -s -Z --noproxy '*' --max-time 30 -H 'content-type: application/json'"
  .. " -H 'x-unbusy-cache: no' --data-binary %s %s >/dev/null 2>&1"

local function crowd()
  os.execute(CROWD:format(files.quote(question("a crowd", true)),
    (files.quote(node.url .. PATH) .. " "):rep(10)))
end

local asked, crowded = 0, false

-- Some traffic: what everybody asks, what nobody has asked before, and, where it is crowded, now
-- and then more than there is room for.
local function traffic()
  asked = asked + 1
  ask "the hot one"
  ask("question " .. asked, true)
  if crowded and asked % 4 == 0 then crowd() end
end

-- Keeps asking until `f` gives something, and gives that; nil when that does not come about in so
-- many seconds. (Where all are turned away at once, a hundred rounds take no time.)
local function eventually(f, seconds)
  local limit = os.time() + seconds
  repeat
    local value = f()
    if value then return value end
    traffic()
  until os.time() > limit
end

local function until_true(f, what)
  return eventually(f, PATIENCE) or error("waited in vain for " .. what, 2)
end

-- }========================================================================

-- What the webhook was told of an alert.
local function told(name, status)
  for _, alert in ipairs(watch:told()) do
    if alert.name == name and alert.status == status then return alert end
  end
end

local function hears(name, status)
  return until_true(function() return told(name, status or "firing") end,
    name .. ", which is not told as " .. (status or "firing"))
end

local function value_of(expression)
  local series = watch:query(expression)[1]
  return series and series.value
end

describe("a gateway that is watched", function()
  it("gives its metrics to Prometheus, and nobody is told of anything while all is well", function()
    until_true(function()
      return value_of "job:unbusy_success:ratio_rate5m" == 1
        and value_of "job:unbusy_calls:rate5m" > 0.05
    end, "calls that succeed")
    assert.equal(1, value_of 'up{job="unbusy"}')
    assert.equal(401, select(2, direct.ask("GET", node.url .. "/metrics")))
    for _, name in ipairs { "UnbusySuccessLow", "UnbusyTarget503High", "UnbusyGateway503High",
      "UnbusyBreakerOpen", "UnbusyAllTargetsOpen" } do
      assert.is_nil(told(name, "firing"))
    end
  end)

  it("is told of when a server says 503 now and then, though calls succeed", function()
    crowded = true
    up:programme { latency = 0.03, faults = { { share = 0.3, answer = { preset = "busy_503" } } } }
    local alert = hears "UnbusyTarget503High"
    assert.same({ "chat", "unbusy", "warning", "docs/operations.md#unbusytarget503high" },
      { alert.receiver, alert.labels.job, alert.labels.severity, alert.annotations.runbook_url })
    assert.is_truthy(alert.labels.target == "deepseek" or alert.labels.target == "backup")
    assert.is_truthy(alert.annotations.description:find("answers %d[%d.]*%% of the tries with 503"))
  end)

  it("wakes somebody when nobody may be asked", function()
    up:programme { capacity = 0, when_full = { preset = "rate_limited" } }
    until_true(function() return value_of 'unbusy_calls_total{source="fallback"}' end, "a fallback")
    up:programme { capacity = 0 }
    for _, name in ipairs { "UnbusySuccessLow", "UnbusyAllTargetsOpen", "UnbusyGateway503High" } do
      local alert = hears(name)
      assert.same({ "pager", "critical" }, { alert.receiver, alert.labels.severity })
    end
  end)
end)

-- {== The dashboard =======================================================

local dashboard = json.decode(files.text "deploy/grafana/dashboard.json")

-- As Grafana fills them in when everything is chosen.
local function filled(expression)
  return (expression:gsub("%$__rate_interval", "5m"):gsub("%$__range", "5m"):gsub("%$job", ".*")
    :gsub("%$target", ".*"))
end

-- Some series with a number that is one.
local function has_data(expression)
  for _, series in ipairs(watch:query(filled(expression))) do
    if series.value - series.value == 0 then return true end
  end
end

-- Each panel's queries: { title =, expression = }.
local queries = {}
for _, panel in ipairs(dashboard.panels) do
  for _, target in ipairs(panel.targets or {}) do
    queries[#queries + 1] = { title = ("%s (%s)"):format(panel.title, target.legendFormat),
      expression = target.expr }
  end
end

local function all_have_data()
  for _, query in ipairs(queries) do
    query.answered = query.answered or has_data(query.expression)
    if not query.answered then return nil end
  end
  return true
end

-- What the rules and alerts read and record, as far as it is ours: { name =, expression = }, which
-- has a number where it had one at any time.
local function names_of_rules()
  local seen, out = {}, {}
  for _, file in ipairs { "unbusy.rules.yml", "unbusy.alerts.yml" } do
    local text = files.text("deploy/prometheus/" .. file):gsub("#[^\n]*", "")
      :gsub("\n  %- name: [^\n]+", ""):gsub("description: >%-.-runbook_url", "")
    for name in text:gmatch "%f[%w_:][%w_:]+" do
      local ours = name:find "^unbusy_" or name:find "^[%l_]+:[%l_]+" or name:find "^node_cpu_"
      if ours and not seen[name] then
        seen[name] = true
        out[#out + 1] = { name = name, expression = ("max_over_time(%s[10m])"):format(name) }
      end
    end
  end
  return out
end

describe("deploy/prometheus", function()
  it("reads and records what there is: no name is wrong", function()
    local names = names_of_rules()
    local function missing()
      local out = {}
      for _, entry in ipairs(names) do
        entry.found = entry.found or has_data(entry.expression)
        if not entry.found then out[#out + 1] = entry.name end
      end
      return out
    end
    eventually(function() return #missing() == 0 end, 20)
    assert.same({}, missing())
    assert.is_true(#names > 35)
  end)
end)

describe("deploy/grafana/dashboard.json", function()
  it("is what its list of panels makes", function()
    local lua = os.getenv "UNBUSY_LUA" or "lua5.4"
    assert.equal(files.text "deploy/grafana/dashboard.json":gsub("%s+$", ""),
      files.trimmed(lua .. " tools/dashboard.lua"))
  end)

  it("has data for each query of each panel", function()
    eventually(all_have_data, 20)
    local empty = {}
    for _, query in ipairs(queries) do
      if not has_data(query.expression) then empty[#empty + 1] = query.title end
    end
    assert.same({}, empty)
    assert.is_true(#queries > 40)
  end)

  it("has data for its variables and for its annotations", function()
    local seen = {}
    for _, variable in ipairs(dashboard.templating.list) do
      if variable.type == "query" then
        local selector, label = variable.query.query:match "^label_values%((.*), (%w+)%)$"
        seen[variable.name] = watch:values(label, filled(selector))
      end
    end
    assert.same({ job = { "unbusy" }, target = { "backup", "deepseek" } }, seen)
    for _, annotation in ipairs(dashboard.annotations.list) do
      assert.is_true(has_data(annotation.target.expr))
    end
  end)
end)

-- }========================================================================

describe("a gateway that is well again", function()
  it("says so: what was told is told to have ended", function()
    up:programme(WELL)
    for _, name in ipairs { "UnbusyAllTargetsOpen", "UnbusySuccessLow" } do
      assert.equal("pager", hears(name, "resolved").receiver)
    end
  end)
end)
