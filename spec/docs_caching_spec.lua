-- docs/caching.md stays true: its examples run, each in a process of its own, and print what it
-- says; its table of options has those that there are, with their defaults.
local busyd = require "spec.support.busyd"
local caching_options = require "unbusy.caching.options"
local config = require "unbusy.config"
local fold = require "unbusy.fold"
local pages = require "spec.support.pages"
local readme = require "spec.support.readme"
local unbusy = require "unbusy"

local PATH = "docs/caching.md"

describe("the examples of docs/caching.md", function()
  local up
  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() up:stop() end)

  local count, blocks = pages.examples(PATH, it, function(text, programme)
    programme.reset = true
    up:programme(programme)
    return pages.output_of(pages.at(text, { ["https://api.deepseek.com"] = up.url }))
  end)

  it("are seven", function() assert.equal(7, count) end)

  it("are options that can be, where they are no more than that", function()
    local list = pages.options(blocks)
    for _, o in ipairs(list) do
      o.targets = { { name = "a", url = "http://a.test" } }
      assert(unbusy.new(o)):close()
    end
    assert.equal(1, #list)
  end)
end)

describe("the tables of docs/caching.md", function()
  local text = readme.text(PATH)

  it("have options of a client that there are, with their defaults", function()
    local schema, seen = caching_options.schema, 0
    for names, default in text:match("\n## Options\n(.-)\n## "):gmatch "\n| (`[^|]*) | ([^|]*) |" do
      local defaults = {}
      for value in default:gmatch "[^,]+" do defaults[#defaults + 1] = value:match "^%s*(%S+)" end
      local i = 0
      for name in names:gmatch "`([%w_]+)`" do
        i, seen = i + 1, seen + 1
        local field = assert(schema[name], name)
        if name ~= "bytes" and field.default ~= nil then
          assert.equal(tostring(field.default), defaults[i], name)
        end
      end
    end
    assert.is_true(seen >= 9)
  end)

  it("have options of a call that there are", function()
    local seen = 0
    for row in text:match("\n## What a call may say\n(.-)\n<!"):gmatch "\n| (`[^|]*) |" do
      for name in row:gmatch "`([%w_]+)[ `]" do
        if name ~= "true" then
          seen = seen + 1
          assert.is_table(config.call[name], name)
        end
      end
    end
    assert.equal(10, seen)
  end)

  it("have all ways to fold", function()
    local seen = 0
    for name in text:gmatch "\n| `fold%.(%w+)%(" do
      seen = seen + 1
      assert.is_function(fold[name])
    end
    for _ in pairs(fold) do seen = seen - 1 end
    assert.equal(0, seen)
  end)
end)
