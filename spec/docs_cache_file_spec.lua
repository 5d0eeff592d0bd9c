-- docs/cache_file.md stays true: its example runs and prints what it says.
local busyd = require "spec.support.busyd"
local pages = require "spec.support.pages"
local readme = require "spec.support.readme"

local PATH = "docs/cache_file.md"

describe(PATH, function()
  local up
  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() up:stop() end)

  local count, blocks = pages.examples(PATH, it, function(text)
    up:programme { reset = true }
    return pages.output_of(pages.at(text, { ["https://api.deepseek.com"] = up.url }))
  end)

  it("has one example, and no other Lua", function()
    local lua = 0
    for _, block in ipairs(blocks) do lua = lua + (block.language == "lua" and 1 or 0) end
    assert.same({ 1, 1 }, { count, lua })
  end)

  it("names what is there", function()
    for option in readme.text(PATH):match "## Options(.-)\n## ":gmatch "`([%w_]+)`" do
      if option ~= "cache" then
        assert.is_truthy(require("unbusy.cache").schema[option] or option == "region", option)
      end
    end
  end)
end)
