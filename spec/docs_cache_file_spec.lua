-- docs/cache_file.md stays true: its example runs and prints what it says.
local busyd = require "spec.support.busyd"
local readme = require "spec.support.readme"

local PATH = "docs/cache_file.md"

local function output_of(text)
  local path = os.tmpname()
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  local pipe = assert(io.popen((os.getenv "UNBUSY_LUA" or "lua5.4") .. " " .. path .. " 2>&1"))
  local out = pipe:read "*a"
  pipe:close()
  os.remove(path)
  return out
end

describe(PATH, function()
  local up
  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() up:stop() end)

  it("has an example that prints what it says", function()
    local blocks, ran = readme.blocks(PATH), 0
    for i, block in ipairs(blocks) do
      if block.language == "lua" then
        assert.equal("run", (block.comment or ""):match "^%s*(%w+)")
        ran = ran + 1
        local out = output_of((block.text:gsub("https://api%.deepseek%.com",
          (up.url:gsub("%%", "%%%%")))))
        assert.equal(blocks[i + 1].text, out)
      end
    end
    assert.equal(1, ran)
  end)

  it("names what is there", function()
    for option in readme.text(PATH):match "## Options(.-)\n## ":gmatch "`([%w_]+)`" do
      if option ~= "cache" then
        assert.is_truthy(require("unbusy.cache").schema[option] or option == "region", option)
      end
    end
  end)
end)
