-- docs/lua_openai.md stays true: its examples run, under lua-openai where that is installed, and
-- else under what stands in for it (spec/support/lua_openai).
local busyd = require "spec.support.busyd"
local pages = require "spec.support.pages"

describe("the examples of docs/lua_openai.md", function()
  local up
  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() up:stop() end)

  local count = pages.examples("docs/lua_openai.md", it, function(text, programme)
    up:programme(programme)
    up:reset()
    local stand_in = 'package.path = package.path .. ";./spec/support/lua_openai/?.lua"\n'
    return pages.output_of(stand_in .. pages.at(text, { ["https://api.deepseek.com"] = up.url }))
  end)

  it("are two", function() assert.equal(2, count) end)
end)
