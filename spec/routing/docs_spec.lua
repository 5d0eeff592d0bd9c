-- docs/routing.md stays true: its examples run, each in a process of its own, and print what it
-- says; what it links to is there.
local busyd = require "spec.support.busyd"
local pages = require "spec.support.pages"
local readme = require "spec.support.readme"
local unbusy = require "unbusy"

local PATH = "docs/routing.md"

local function exists(path)
  local file = io.open(path, "rb")
  if file then file:close() end
  return file ~= nil
end

describe("the examples of docs/routing.md", function()
  local near, far
  setup(function() near, far = busyd.start { workers = 1 }, busyd.start { workers = 1 } end)
  teardown(function()
    near:stop()
    far:stop()
  end)

  local count, blocks = pages.examples(PATH, it, function(text, programme)
    programme.near.reset, programme.far.reset = true, true
    near:programme(programme.near)
    far:programme(programme.far)
    return pages.output_of(pages.at(text, { ["https://near.example"] = near.url,
      ["https://far.example"] = far.url }))
  end)

  it("are four", function() assert.equal(4, count) end)

  it("are options that can be, where they are no more than that", function()
    local list = pages.options(blocks)
    for _, o in ipairs(list) do
      o.targets = { { name = "a", url = "http://a.test" } }
      assert(unbusy.new(o)):close()
    end
    assert.equal(1, #list)
  end)

  it("and what is said here of places in it is there", function()
    local text = readme.text(PATH)
    for place in text:gmatch "%]%(#([%w-]+)%)" do
      local title = place:gsub("%-", " ")
      local plain = text:lower():gsub("\n## ([^\n]*)", function(t)
        return "\n## " .. t:gsub("%-", " "):gsub("[^%w ]", "")
      end)
      assert.is_truthy(plain:find("\n##+ " .. title .. "\n"), place)
    end
    for page in text:gmatch "%]%(([%w_/.]+%.md)" do
      assert.is_true(exists("docs/" .. page), page)
    end
  end)
end)
