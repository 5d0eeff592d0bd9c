-- dashboard.lua: makes Grafana's dashboard out of the list of its panels, dashboard/panels.lua.
--   lua5.4 tools/dashboard.lua > deploy/grafana/dashboard.json
local panels = require "tools.dashboard.panels"
local pretty = require "tools.dashboard.pretty"

local WIDTH = 24 -- columns of Grafana's grid

local source = { type = "prometheus", uid = "${datasource}" }

local function color(name) return { mode = "fixed", fixedColor = name } end

-- {== What a panel of each type looks like ================================

local legend = { showLegend = true, displayMode = "list", placement = "bottom", calcs = {} }
local tooltip = { mode = "multi", sort = "desc" }
local last = { calcs = { "lastNotNull" }, fields = "", values = false }

local looks = {}

function looks.timeseries(given)
  return { legend = legend, tooltip = tooltip }, {
    drawStyle = "line", lineWidth = 1, fillOpacity = given.stack and 40 or 10, showPoints = "never",
    spanNulls = false, stacking = { mode = given.stack or "none", group = "A" },
    thresholdsStyle = { mode = given.lines and "dashed" or "off" },
  }
end

looks["state-timeline"] = function()
  return { legend = legend, tooltip = tooltip, mergeValues = true, rowHeight = 0.8,
    showValue = "auto", alignValue = "left" }, { fillOpacity = 80, lineWidth = 0 }
end

function looks.stat()
  return { reduceOptions = last, orientation = "auto", colorMode = "value", graphMode = "area",
    justifyMode = "auto", textMode = "auto", wideLayout = true, showPercentChange = false,
    percentChangeColorMode = "standard" }
end

function looks.piechart()
  return { reduceOptions = last, orientation = "auto", pieType = "donut", sort = "desc",
    displayLabels = { "percent" }, tooltip = tooltip,
    legend = { showLegend = true, displayMode = "table", placement = "right", calcs = {},
      values = { "value", "percent" } } }
end

function looks.heatmap()
  return { calculate = false, showValue = "never", cellGap = 1,
    color = { mode = "scheme", scheme = "Oranges", fill = "orange", exponent = 0.5, steps = 64,
      reverse = false, scale = "exponential" },
    exemplars = { color = "red" }, filterValues = { le = 1e-9 },
    legend = { show = true }, tooltip = { mode = "single", showColorScale = true },
    yAxis = { unit = "s", axisPlacement = "left" } }
end

function looks.table()
  return { showHeader = true, frameIndex = 0, cellHeight = "sm" }
end

-- }========================================================================

local function steps_of(given)
  local steps = { { color = given.lines and given.base or "green" } }
  steps[1].value = pretty.null
  for _, line in ipairs(given.lines or {}) do
    steps[#steps + 1] = { value = line[1], color = line[2] }
  end
  return { mode = "absolute", steps = steps }
end

local function mappings_of(given)
  if not given.states then return {} end
  local options = {}
  for i, state in ipairs(given.states) do
    options[tostring(state[1])] = { index = i - 1, text = state[2], color = state[3] }
  end
  return { { type = "value", options = options } }
end

-- A field of its own colour, by its name.
local function overrides_of(given)
  local out = {}
  for _, entry in ipairs(given.colors or {}) do
    out[#out + 1] = { matcher = { id = "byName", options = entry[1] },
      properties = { { id = "color", value = color(entry[2]) } } }
  end
  return out
end

local function targets_of(given)
  local out = {}
  for i, query in ipairs(given.queries) do
    out[i] = { refId = string.char(64 + i), datasource = source, expr = query[1],
      legendFormat = query[2] or "__auto", editorMode = "code", range = not given.instant,
      instant = given.instant or false,
      format = (given.type == "heatmap" or given.type == "table") and given.type or "time_series" }
  end
  return out
end

local function panel(given)
  local options, custom = looks[given.type](given)
  return { type = given.type, title = given.title, description = given.about, datasource = source,
    targets = targets_of(given), options = options, fieldConfig = {
      defaults = { unit = given.unit, decimals = given.decimals, min = given.min, max = given.max,
        noValue = given.none, color = { mode = given.states and "thresholds"
          or given.type == "stat" and "thresholds" or "palette-classic" },
        thresholds = steps_of(given), mappings = mappings_of(given), custom = custom },
      overrides = overrides_of(given) } }
end

-- Places them from left to right, row by row.
local function laid_out()
  local out, y = {}, 0
  local function put(what, x, w, h)
    what.id, what.gridPos = #out + 1, { x = x, y = y, w = w, h = h }
    out[#out + 1] = what
  end
  for _, row in ipairs(panels) do
    put({ type = "row", title = row.title, collapsed = false, panels = {} }, 0, WIDTH, 1)
    y = y + 1
    local x, height = 0, 0
    for _, given in ipairs(row) do
      if x + given.w > WIDTH then x, y = 0, y + height end
      put(panel(given), x, given.w, row.height)
      x, height = x + given.w, row.height
    end
    y = y + height
  end
  return out
end

local function variable(name, label, query)
  return { type = "query", name = name, label = label, datasource = source, refresh = 2, sort = 1,
    multi = true, includeAll = true, allValue = ".*",
    current = { selected = true, text = { "All" }, value = { "$__all" } },
    query = { qryType = 1, query = query, refId = name } }
end

print(pretty.encode {
  title = "unbusy", uid = "unbusy", tags = { "unbusy", "llm" }, schemaVersion = 39, version = 1,
  description = "What a gateway of unbusy does, and what its upstream does to it.",
  editable = true, graphTooltip = 1, refresh = "30s", timezone = "browser",
  time = { from = "now-3h", to = "now" }, panels = laid_out(),
  templating = { list = {
    { type = "datasource", name = "datasource", label = "Prometheus", query = "prometheus",
      refresh = 1 },
    variable("job", "Gateways", "label_values(unbusy_build_info, job)"),
    variable("target", "Targets", [[label_values(unbusy_tries_total{job=~"$job"}, target)]]),
  } },
  annotations = { list = { {
    name = "Alerts", enable = true, iconColor = "red", datasource = source,
    target = { refId = "Anno", interval = "30s",
      expr = [[ALERTS{alertname=~"Unbusy.+", alertstate="firing"}]] },
    titleFormat = "{{alertname}}", textFormat = "{{target}}{{account}}{{priority}}{{instance}}",
  } } },
})
