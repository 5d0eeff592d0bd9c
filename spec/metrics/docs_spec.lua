-- docs/metrics.md: its examples run, and it tells of every metric, and of no other.
local busyd = require "spec.support.busyd"
local families = require "unbusy.metrics.families"
local pages = require "spec.support.pages"

local unpack = table.unpack or unpack -- luacheck: ignore

local PATH = "docs/metrics.md"

describe(PATH, function()
  local up
  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() up:stop() end)

  pages.examples(PATH, it, function(text)
    return pages.output_of(pages.at(text, { ["https://api.deepseek.com"] = up.url }))
  end)

  it("has every metric, with its type and labels, and no other", function()
    local told = {}
    for line in io.lines(PATH) do
      local name, kind, labels = line:match "^| `([%w_]+)` | (%a+) |([^|]*)|"
      if name then
        assert.is_nil(told[name])
        told[name] = { kind }
        for label in labels:gmatch "`([%w_]+)`" do table.insert(told[name], label) end
      end
    end
    for _, family in ipairs(families.list) do
      assert.same({ family.type, unpack(family.labels) }, told[family.name], family.name)
      told[family.name] = nil
    end
    assert.is_nil(next(told))
  end)
end)
