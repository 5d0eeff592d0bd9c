-- docs/fallback.md stays true: its examples run, each in a process of its own, and print what it
-- says; its tables are what the code has.
local busyd = require "spec.support.busyd"
local cjson = require "cjson"
local readme = require "spec.support.readme"
local template = require "unbusy.fallback.template"
local unbusy = require "unbusy"

local PATH = "docs/fallback.md"

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

local function output_of(path)
  local pipe = assert(io.popen((os.getenv "UNBUSY_LUA" or "lua5.4") .. " " .. path .. " 2>&1"))
  local out = pipe:read "*a"
  pipe:close()
  return out
end

describe("the examples of docs/fallback.md", function()
  local up
  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() up:stop() end)

  local blocks, ran = readme.blocks(PATH), 0
  for i, block in ipairs(blocks) do
    local programme = block.language == "lua" and (block.comment or ""):match "^run (.*)$"
    if programme then
      ran = ran + 1
      it(("line %d: prints what it says"):format(block.line), function()
        local script = cjson.decode(programme)
        script.reset = true
        up:programme(script)
        local path = os.tmpname()
        write(path, (block.text:gsub("https://api%.deepseek%.com", (up.url:gsub("%%", "%%%%")))))
        local out = output_of(path)
        os.remove(path)
        assert.equal("text", blocks[i + 1].language)
        assert.equal(blocks[i + 1].text, out)
      end)
    end
  end

  it("are six", function() assert.equal(6, ran) end)

  it("are options that can be, where they are no more than that", function()
    local others = 0
    for _, block in ipairs(blocks) do
      if block.language == "lua" and not (block.comment or ""):find "^run " then
        others = others + 1
        local text = "return {" .. block.text .. "}"
        local o = assert((loadstring or load)(text))() -- luacheck: ignore
        o.targets = { { name = "a", url = "http://a.test" } }
        assert.is_table(unbusy.new(o))
      end
    end
    assert.equal(1, others)
  end)
end)

describe("the table of placeholders", function()
  local text = readme.text(PATH)

  it("has all that there are, and what stands for those that are not known", function()
    local rows = 0
    for name, missing in text:gmatch "\n| `{([%w_]+)}` |[^|\n]*| ?`?([^|`\n]*)`? |" do
      rows = rows + 1
      local parts = assert(template.compile("{" .. name .. "}"))
      if missing:find "%S" then assert.equal(missing, template.render(parts, {})) end
    end
    assert.equal(#template.names, rows)
  end)
end)
