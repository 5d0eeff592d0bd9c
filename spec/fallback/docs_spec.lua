-- docs/fallback.md stays true: its examples run, each in a process of its own, and print what it
-- says; its tables are what the code has.
local busyd = require "spec.support.busyd"
local pages = require "spec.support.pages"
local readme = require "spec.support.readme"
local template = require "unbusy.fallback.template"
local unbusy = require "unbusy"

local PATH = "docs/fallback.md"

describe("the examples of docs/fallback.md", function()
  local up
  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() up:stop() end)

  local count, blocks = pages.examples(PATH, it, function(text, programme)
    programme.reset = true
    up:programme(programme)
    return pages.output_of(pages.at(text, { ["https://api.deepseek.com"] = up.url }))
  end)

  it("are six", function() assert.equal(6, count) end)

  it("are options that can be, where they are no more than that", function()
    local list = pages.options(blocks)
    for _, o in ipairs(list) do
      o.targets = { { name = "a", url = "http://a.test" } }
      assert(unbusy.new(o)):close()
    end
    assert.equal(1, #list)
  end)
end)

describe("the table of placeholders", function()
  local text = readme.text(PATH)

  it("has all that there are, and what stands for those that are not known", function()
    local rows = 0
    for name, missing in text:gmatch "\n| `{([%w_]+)}` |[^|\n]*| ?`?([^|`\n]*)`? |" do
      rows = rows + 1
      local parts = assert(template.compile("{" .. name .. "}"))
      if missing:find "%S" then assert.equal(missing, template.render(parts, {})) end
    end
    assert.equal(#template.names, rows)
  end)
end)
