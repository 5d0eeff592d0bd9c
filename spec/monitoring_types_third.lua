-- deploy/grafana/dashboard.json, judged by the types that Grafana publishes for its dashboards; and
-- its panels lie side by side. Run by `tools/test.sh third`.
local files = require "spec.support.files"
local json = require "unbusy.json"
local served = require "spec.support.served"

local PATH = "deploy/grafana/dashboard.json"

-- What the types say of a dashboard: nothing, where it is one.
local function faults_of(path)
  return files.trimmed("sh spec/support/third_party.sh grafana " .. files.quote(path) .. " 2>&1")
end

describe("Grafana's types", function()
  local place
  setup(function() place = served.place() end)
  teardown(function() place:remove() end)

  it("find nothing wrong with the dashboard", function()
    assert.equal("", faults_of(PATH))
  end)

  it("find what is wrong with others", function()
    local text = files.text(PATH)
    local changes = {
      { '"drawStyle": "line"', '"drawStyle": "lines"', [["lines"' is not assignable]] },
      { '"schemaVersion": 39', '"schemaVersion": "39"', "'string' is not assignable to type" },
      { '"gridPos": { "h": 4', '"gridPos": { "height": 4, "h": 4', [['"height"' does not exist]] },
      { '"graphMode": "area"', '"graph": "area"', [['"graph"' does not exist]] },
    }
    for _, change in ipairs(changes) do
      local count
      text, count = text:gsub(change[1]:gsub("%p", "%%%0"), change[2], 1)
      assert.equal(1, count, change[1])
    end
    local faults = faults_of(place:write("wrong.json", text))
    for _, change in ipairs(changes) do
      assert.is_truthy(faults:find(change[3], 1, true), change[3] .. ": " .. faults)
    end
  end)
end)

describe("the dashboard's panels", function()
  local panels = json.decode(files.text(PATH)).panels

  it("lie side by side, each with a number of its own", function()
    local taken, ids = {}, {}
    for _, panel in ipairs(panels) do
      local at = panel.gridPos
      assert.is_nil(ids[panel.id])
      ids[panel.id] = true
      assert.is_true(at.x + at.w <= 24, panel.title)
      for x = at.x, at.x + at.w - 1 do
        for y = at.y, at.y + at.h - 1 do
          local place = x .. "," .. y
          assert.is_nil(taken[place], panel.title)
          taken[place] = panel.id
        end
      end
    end
  end)

  it("have a name and ask for something", function()
    for _, panel in ipairs(panels) do
      assert.is_truthy(panel.title and #panel.title > 0)
      assert.is_true(panel.type == "row" or #panel.targets > 0)
    end
  end)
end)
