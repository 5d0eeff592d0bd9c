-- docs/warm_up.md stays true: its examples run, each in a process of its own, and print what it
-- says; its tables are what the code has.
local busyd = require "spec.support.busyd"
local caching_options = require "unbusy.caching.options"
local pages = require "spec.support.pages"
local readme = require "spec.support.readme"
local unbusy = require "unbusy"
local warm = require "unbusy.caching.warm"

local PATH = "docs/warm_up.md"

describe("the examples of docs/warm_up.md", function()
  local up
  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() up:stop() end)

  local count, blocks = pages.examples(PATH, it, function(text, programme)
    programme.reset = true
    up:programme(programme)
    return pages.output_of(pages.at(text, { ["https://api.deepseek.com"] = up.url }))
  end)

  it("are two", function() assert.equal(2, count) end)

  it("are options that can be, where they are no more than that", function()
    local list = pages.options(blocks)
    for _, o in ipairs(list) do
      o.targets = { { name = "a", url = "http://a.test" } }
      assert(unbusy.new(o)):close()
    end
    assert.equal(1, #list)
  end)
end)

describe("the tables of docs/warm_up.md", function()
  local text = readme.text(PATH)

  -- The rows behind a comment: name -> default.
  local function rows(name)
    local out = {}
    local table_ = text:match("<!%-%- options: " .. name .. " %-%->\n(.-)\n\n")
    for option, default in table_:gmatch "\n| `([%w_]+)` | ([^|]-) |" do out[option] = default end
    return out
  end

  local function said(field)
    local default = field.default
    if default == nil then return nil end
    return type(default) == "number" and ("%.0f"):format(default) or tostring(default)
  end

  for name, schema in pairs { warm = warm.schema, top = caching_options.schema.top.fields,
    keep = caching_options.schema.warm.fields } do
    it("have every option of " .. name .. ", with its default", function()
      local found = rows(name)
      for option, field in pairs(schema) do
        assert.is_string(found[option], option)
        local default = said(field)
        if default then assert.equal(default, (found[option]:gsub(" s$", "")), option) end
      end
      for option in pairs(found) do assert.is_table(schema[option], option) end
    end)
  end
end)
