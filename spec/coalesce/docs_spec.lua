-- docs/single_flight.md stays true: its examples run, each in a process of its own, and print what
-- it says.
local busyd = require "spec.support.busyd"
local pages = require "spec.support.pages"

local PATH = "docs/single_flight.md"

describe("the examples of docs/single_flight.md", function()
  local up

  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() up:stop() end)

  local count, blocks = pages.examples(PATH, it, function(text, programme)
    programme.reset = true
    up:programme(programme)
    return pages.output_of(pages.at(text, { ["https://api.example.com"] = up.url }))
  end, true)

  it("are two, and all Lua in it is run", function()
    assert.equal(2, count)
    local lua = 0
    for _, block in ipairs(blocks) do
      if block.language == "lua" then lua = lua + 1 end
    end
    assert.equal(2, lua)
  end)
end)
