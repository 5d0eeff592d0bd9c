--- Row 5.1: P99 > 1.5 s; CPU > 85 % for 3 min; 503 rate > 5 %; inference success < 95 %.
local shell = require "unbusy.cli.shell"

local DIR = "deploy/prometheus"
local TESTS = { "alerts_calls_test.yml", "alerts_node_test.yml" }

-- Each line of the source: the alert that has it, what it says, and the same line drawn elsewhere.
local LINES = {
  { "p99 > 1.5 s", "UnbusyLatencyHigh", "> 1.5\n", "> 2.5\n" },
  { "CPU > 85 % for 3 min", "UnbusyNodeCpuHigh", "for: 3m\n", "for: 4m\n" },
  { "503 rate > 5 %, of a target", "UnbusyTarget503High", "> 0.05\n", "> 0.07\n" },
  { "503 rate > 5 %, of the gateway", "UnbusyGateway503High", "> 0.05\n", "> 0.03\n" },
  { "success < 95 %", "UnbusySuccessLow", "< 0.95\n", "< 0.93\n" },
}

-- What promtool says to the tests of a folder, and whether all is as they expect.
local function promtool(dir)
  local files = {}
  for i, name in ipairs(TESTS) do files[i] = shell.quote(dir .. "/test/" .. name) end
  local words = table.concat(files, " ")
  local out = shell.output(("promtool test rules %s 2>&1; echo $?"):format(words))
  return out:match "(%d+)$" == "0", out
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

-- Draws one line elsewhere, in the part of the file that is its alert's.
local function moved(text, line)
  local at = assert(text:find("alert: " .. line[2] .. "\n", 1, true), line[2])
  local from, to = text:find(line[3], at, true)
  return text:sub(1, from - 1) .. line[4] .. text:sub(to + 1)
end

-- Whether the tests notice that a line stands elsewhere.
local function is_noticed(dir, text, line)
  local file = assert(io.open(dir .. "/unbusy.alerts.yml", "wb"))
  file:write(moved(text, line))
  file:close()
  local ok, out = promtool(dir)
  return not ok and out:find("alertname: " .. line[2] .. ", time:", 1, true) ~= nil
end

local function measure(sheet)
  if not shell.succeeds "command -v promtool >/dev/null" then error("promtool is missing", 0) end
  local ok, out = promtool(DIR)
  if not ok then sheet:say("promtool: " .. out:sub(1, 400)) end
  sheet:figure { what = "each fires just above its line, and not just below: tests that fail",
    claimed = "4 alerts", value = ok and 0 or 1, show = "%d", most = 0 }
  local dir = shell.output "mktemp -d"
  shell.succeeds(("cp -r %s/. %s"):format(DIR, shell.quote(dir)))
  local text, noticed, rows = read(DIR .. "/unbusy.alerts.yml"), 0, {}
  for i, line in ipairs(LINES) do
    local seen = is_noticed(dir, text, line)
    noticed = noticed + (seen and 1 or 0)
    rows[i] = { line[1], "`" .. line[2] .. "`", (line[3]:gsub("\n", "")),
      (line[4]:gsub("\n", "")), seen and "noticed" or "NOT NOTICED" }
  end
  shell.succeeds("rm -r " .. shell.quote(dir))
  sheet:figure { what = "lines that, drawn elsewhere, no longer pass the same tests",
    claimed = "all", value = noticed, show = "%d", least = #LINES }
  sheet:table("The source's lines", { "", "alert", "says", "moved to", "by the tests" }, rows)
  sheet:say("`make test` has the whole way besides: a gateway before a busy server, Prometheus, "
    .. "Alertmanager, and a webhook that is told.")
end

return {
  row = "5.1", title = "Monitoring", seconds = 120, measure = measure,
  how = "Prometheus' own judge, promtool, on time series just below and just above each line.",
}
