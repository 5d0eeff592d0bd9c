-- deploy/prometheus, judged by Prometheus' own tools (promtool, amtool): the rules and alerts can
-- be read, each alert fires where it should and nowhere else, and whoever has to hear of it does.
-- Run by `tools/test.sh third`.
local files = require "spec.support.files"
local served = require "spec.support.served"

local DIR = "deploy/prometheus"
local TESTS = DIR .. "/test/*.yml"

local quote, read = files.quote, files.text

-- What a command says, and whether it went well.
local function run(...)
  local out, status = files.trimmed(("%s 2>&1; echo $?"):format(table.concat({ ... }, " ")))
    :match "^(.-)\n?(%d+)$"
  return status == "0", out
end

local function assert_runs(...)
  local ok, out = run(...)
  assert.is_true(ok, out)
  return out
end

-- Each alert's lines, by its name.
local function alerts()
  local out, name = {}, nil
  for line in io.lines(DIR .. "/unbusy.alerts.yml") do
    name = line:match "^      %- alert: (%w+)$" or not line:find "^  %- name:" and name or nil
    if name then out[name] = (out[name] or "") .. line .. "\n" end
  end
  return out
end

-- How often the tests expect an alert to fire (`fires`), and not to (`quiet`), by its name.
local function expectations()
  local out, name = {}, nil
  for line in (files.trimmed("cat " .. TESTS) .. "\n"):gmatch "(.-)\n" do
    name = line:match "^        alertname: (%w+)$" or name
    local quiet = line:match "^        exp_alerts:(.*)$"
    if quiet then
      out[name] = out[name] or { fires = 0, quiet = 0 }
      local what = quiet == " []" and "quiet" or "fires"
      out[name][what] = out[name][what] + 1
    end
  end
  return out
end

-- The anchors of a page, as they are made of its headings.
local function anchors(path)
  local out = {}
  for heading in ("\n" .. read(path)):gmatch "\n#+ ([^\n]+)" do
    out[heading:lower():gsub("[^%w%- ]", ""):gsub(" ", "-")] = true
  end
  return out
end

describe("deploy/prometheus", function()
  it("can be read by Prometheus and Alertmanager", function()
    local rules = assert_runs("promtool check rules", DIR .. "/unbusy.rules.yml",
      DIR .. "/unbusy.alerts.yml")
    assert.is_truthy(rules:find("25 rules found", 1, true), rules)
    assert_runs("promtool check config", DIR .. "/prometheus.yml")
    assert_runs("amtool check-config", DIR .. "/alertmanager.yml")
  end)

  it("fires where it should, and nowhere else", function()
    assert_runs("promtool test rules", TESTS)
  end)

  it("tries each alert both ways", function()
    local expected, count = expectations(), 0
    for name in pairs(alerts()) do
      local of_it = expected[name] or {}
      assert.is_true((of_it.fires or 0) > 0, name .. " is never seen to fire")
      assert.is_true((of_it.quiet or 0) > 0, name .. " is never seen not to fire")
      count = count + 1
    end
    assert.equal(25, count)
  end)

  it("says of each alert how bad it is, and where the page has what to do", function()
    local there = anchors "docs/operations.md"
    for name, text in pairs(alerts()) do
      assert.is_truthy(text:find "severity: %l+\n", name)
      local anchor = text:match "runbook_url: docs/operations%.md#(%w+)\n"
      assert.equal(name:lower(), anchor)
      assert.is_true(there[anchor], name .. " has no part in docs/operations.md")
    end
  end)
end)

-- Lines that were drawn, and the same lines drawn elsewhere.
local LINES = {
  { "UnbusyLatencyHigh", "> 1.5\n", "> 2.5\n" },
  { "UnbusyNodeCpuHigh", "for: 3m\n", "for: 4m\n" },
  { "UnbusyTarget503High", "> 0.05\n", "> 0.07\n" },
  { "UnbusyGateway503High", "> 0.05\n", "> 0.03\n" },
  { "UnbusySuccessLow", "< 0.95\n", "< 0.93\n" },
}

-- These alerts alone, all of them moved.
local function moved_alerts()
  local original, out = alerts(), { "groups:\n  - name: unbusy_alerts_calls\n    rules:\n" }
  for _, line in ipairs(LINES) do
    local text, from, to = original[line[1]], line[2], line[3]
    local a, z = text:find(from, 1, true)
    assert.is_truthy(a, line[1] .. ": " .. from)
    out[#out + 1] = text:sub(1, a - 1) .. to .. text:sub(z + 1)
  end
  return table.concat(out)
end

describe("the tests of the alerts", function()
  local place
  setup(function() place = served.place() end)
  teardown(function() place:remove() end)

  it("notice when the four well-known lines are moved", function()
    assert_runs("cp -r", DIR .. "/.", quote(place.dir))
    place:write("unbusy.alerts.yml", moved_alerts())
    local dir = quote(place.dir)
    local ok, out = run("promtool test rules", dir .. "/test/alerts_calls_test.yml",
      dir .. "/test/alerts_node_test.yml")
    assert.is_false(ok)
    for _, line in ipairs(LINES) do
      assert.is_truthy(out:find("alertname: " .. line[1] .. ", time:", 1, true), line[1])
    end
  end)
end)

describe("deploy/prometheus/alertmanager.yml", function()
  local function assert_route(receiver, labels)
    local out = assert_runs("amtool config routes test --verify.receivers=" .. receiver,
      "--config.file=" .. DIR .. "/alertmanager.yml", labels)
    assert.is_truthy(out:find("\n" .. receiver .. "$"), out)
  end

  it("wakes somebody for what is critical, and tells of the rest where it can wait", function()
    local receivers, seen = { critical = "pager", warning = "chat", info = "journal" }, {}
    for name, text in pairs(alerts()) do
      seen[text:match "severity: (%l+)"] = name
    end
    for severity, receiver in pairs(receivers) do
      assert_route(receiver, ("alertname=%s severity=%s"):format(seen[severity], severity))
      seen[severity] = nil
    end
    assert.same({}, seen)
  end)

  it("loses no alert of others", function()
    assert_route("chat", "alertname=SomebodyElses")
    assert_route("chat", "alertname=SomebodyElses severity=page")
  end)
end)
