-- docs/resume.md stays true: its examples run, each in a process of its own, and print what it
-- says; its options are options; its policy is one.
local busyd = require "spec.support.busyd"
local files = require "spec.support.files"
local pages = require "spec.support.pages"
local unbusy = require "unbusy"

local PATH = "docs/resume.md"

describe("the examples of docs/resume.md", function()
  local up
  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() up:stop() end)

  local count, blocks = pages.examples(PATH, it, function(text, programme)
    programme.reset = true
    up:programme(programme)
    return pages.output_of(pages.at(text, { ["https://other.example"] = up.url,
      -- The test server is no host of DeepSeek's, which would go on by itself.
      ['"https://api.deepseek.com"'] = ('"%s", prefix = "flag"'):format(up.url) }))
  end)

  it("are four", function() assert.equal(4, count) end)

  it("are options, and a policy, where they are no more than that", function()
    local options, told = pages.options(blocks), 0
    for _, o in ipairs(options) do
      o.resume = "prompt"
      assert(unbusy.new(o)):close()
    end
    for _, block in ipairs(blocks) do
      if (block.comment or ""):find "^file " then
        told = told + 1
        local path = os.tmpname()
        files.write(path, block.text)
        unbusy.new { targets = { { name = "a", url = "http://a.test" } }, policy = path }:close()
        os.remove(path)
      end
    end
    assert.same({ 1, 1 }, { #options, told })
  end)
end)
