-- docs/admission.md stays true: its example runs and prints what it says, its options can be.
local busyd = require "spec.support.busyd"
local limiter = require "unbusy.limiter"
local pages = require "spec.support.pages"
local readme = require "spec.support.readme"
local turns = require "unbusy.turns"
local unbusy = require "unbusy"

local PATH = "docs/admission.md"

describe("docs/admission.md", function()
  local up
  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() up:stop() end)

  local count, blocks = pages.examples(PATH, it, function(text)
    return pages.output_of(pages.at(text, { ["https://api.deepseek.com"] = up.url }))
  end)

  it("has one example, and options that can be", function()
    local list = pages.options(blocks)
    for _, o in ipairs(list) do assert(unbusy.new(o)):close() end
    assert.same({ 1, 1 }, { count, #list })
  end)

  it("names what is there", function()
    local text = readme.text(PATH)
    for _, kind in ipairs(limiter.schema.kind.one_of) do
      assert.is_truthy(text:find("\n| `" .. kind .. "`", 1, true), kind)
    end
    assert.is_truthy(text:find(("16 go to interactive calls, 4 to normal ones and 1 to batch"), 1,
      true))
    assert.same({ 16, 4, 1 }, turns.shares)
    local throttle = ("`limiter.throttle` (%d)"):format(limiter.schema.throttle.default)
    assert.is_truthy(text:find(throttle, 1, true))
  end)
end)
