-- docs/diagnose.md and docs/autoscale.md name what there is: causes, options, queries, alerts.
local advice = require "unbusy.diagnose.advice"
local files = require "spec.support.files"
local notice = require "unbusy.scaling.notice"
local prometheus = require "unbusy.scaling.prometheus"

local function options_of(command)
  local out = { help = true }
  for _, option in ipairs(command.options) do out[option.name] = option end
  return out
end

describe("docs/diagnose.md", function()
  local text = files.read "docs/diagnose.md"

  it("has a row for each cause, and no other", function()
    local rows = {}
    for cause in text:gmatch "\n| `(%l+)` |" do rows[cause] = true end
    local causes = {}
    for cause in pairs(advice) do causes[cause] = cause ~= "none" or nil end
    assert.same(causes, rows)
  end)

  it("names options that there are", function()
    local known = options_of(require "unbusy.cli.diagnose")
    for name in text:gmatch "%-%-(%l[%l-]*)" do assert.is_truthy(known[name], name) end
  end)
end)

describe("docs/autoscale.md", function()
  local text = files.read "docs/autoscale.md"

  it("names options that there are, with their defaults", function()
    local known = options_of(require "unbusy.cli.scale")
    known["current-replicas"], known.kind, known["from-log"], known.out = true, true, true, true
    known.contrast = true -- of unbusy trace
    for name in text:gmatch "%-%-(%l[%l-]*)" do assert.is_truthy(known[name], name) end
    for name, default in text:gmatch "`%-%-(%l[%l-]*)`%s*%((%d+)[ )]" do
      assert.equal(tonumber(default), known[name].default, name)
    end
  end)

  it("has the queries as they are", function()
    for _, query in pairs(prometheus.queries "unbusy") do
      assert.is_truthy(text:find(query, 1, true), query)
    end
  end)

  it("has the alerts as they are", function()
    local json = require "unbusy.json"
    for _, kind in ipairs { "scaled", "ceiling", "blind", "failed" } do
      local body = json.decode(notice.body({ kind = kind, deployment = "d", namespace = "n",
        from = 1, to = 2, why = "", at = 0 }, 0))
      local labels = body[1].labels
      assert.is_truthy(text:find(("| `%s` | %s |"):format(labels.alertname, labels.severity), 1,
        true), kind)
    end
  end)

end)
