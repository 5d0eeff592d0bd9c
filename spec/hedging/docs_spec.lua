-- docs/hedging.md stays true: its examples run, each in a process of its own, and print what it
-- says; its table of options is what the schema has.
local busyd = require "spec.support.busyd"
local hedges = require "unbusy.hedges"
local pages = require "spec.support.pages"
local readme = require "spec.support.readme"
local world = require "spec.support.world"

local PATH = "docs/hedging.md"

describe("the examples of docs/hedging.md", function()
  local main, backup
  setup(function() main, backup = busyd.start { workers = 1 }, busyd.start { workers = 1 } end)
  teardown(function()
    main:stop()
    backup:stop()
  end)

  local count, blocks = pages.examples(PATH, it, function(text, programme)
    programme.main.reset, programme.backup.reset = true, true
    main:programme(programme.main)
    backup:programme(programme.backup)
    return pages.output_of(pages.at(text, { ["https://api.deepseek.com"] = main.url,
      ["https://backup.example.com"] = backup.url }))
  end)

  it("are three, and all there are", function()
    assert.equal(3, count)
    for _, block in ipairs(blocks) do
      assert.is_true(block.language == "text" or (block.comment or ""):find "^run " ~= nil)
    end
  end)
end)

describe("docs/hedging.md", function()
  local text = readme.text(PATH)

  it("names every option with its default", function()
    local seen = 0
    for name, default in text:gmatch "\n| `(%l+)` | ([^|]-) | " do
      local field = hedges.schema[name]
      if field then
        seen = seen + 1
        local expected = field.default or "lower"
        if type(expected) == "string" then expected = ('`"%s"`'):format(expected) end
        assert.equal(tostring(expected), default, name)
      end
    end
    assert.equal(4, seen)
  end)

  it("names all that is reported", function()
    local w = world.new { script = { a = { world.good("a", 9) }, b = { world.good "b" } },
      options = { hedge = { after = 1, most = 1 } },
      targets = { a = { priority = 1, price = { input = 1, output = 1 } }, b = { priority = 2 } } }
    local hedged, status = w:chat().hedged, w.client:status().hedge
    for _, names in ipairs { hedged, status, status.refused, w:seen("hedge")[1] } do
      for name in pairs(names) do
        local known = { type = true, call = true, at = true, beside = true, number = true }
        assert.is_truthy(known[name] or text:find(name, 1, true), name)
      end
    end
    world.end_all()
  end)

  it("leads where something is", function()
    for anchor in text:gmatch "%]%(#([%w-]+)%)" do
      local found = false
      for title in text:gmatch "\n##+ ([^\n]*)" do
        found = found or title:lower():gsub("[^%w -]", ""):gsub(" ", "-") == anchor
      end
      assert.is_true(found, anchor)
    end
  end)
end)
