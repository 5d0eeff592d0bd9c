-- docs/batching.md stays true: its examples run, each in a process of its own, and print what it
-- says.
local busyd = require "spec.support.busyd"
local files = require "spec.support.files"
local pages = require "spec.support.pages"
local readme = require "spec.support.readme"

local PATH = "docs/batching.md"

describe("the examples of docs/batching.md", function()
  local up, dir

  setup(function()
    up = busyd.start { workers = 1 }
    local pipe = assert(io.popen 'mktemp -d "${TMPDIR:-/tmp}/rules.XXXXXX"')
    dir = pipe:read "*l"
    pipe:close()
    for _, block in ipairs(readme.blocks(PATH)) do
      local name = (block.comment or ""):match "^file rules/(.*)$"
      if name then files.write(dir .. "/" .. name, block.text) end
    end
  end)

  teardown(function()
    up:stop()
    os.execute("rm -rf " .. dir)
  end)

  local count, blocks = pages.examples(PATH, it, function(text, programme)
    programme.reset = true
    up:programme(programme)
    return pages.output_of(pages.at(text, { ["https://api.example.com"] = up.url,
      ['"rules/'] = ('"%s/'):format(dir) }))
  end, true)

  it("are four, and all Lua in it is run", function()
    assert.equal(4, count)
    local lua = 0
    for _, block in ipairs(blocks) do
      if block.language == "lua" then lua = lua + 1 end
    end
    assert.equal(5, lua)
  end)
end)
