-- docs/admission.md stays true: its example runs and prints what it says, its options can be.
local busyd = require "spec.support.busyd"
local limiter = require "unbusy.limiter"
local readme = require "spec.support.readme"
local turns = require "unbusy.turns"
local unbusy = require "unbusy"

local PATH = "docs/admission.md"

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

describe("docs/admission.md", function()
  local up
  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() up:stop() end)

  local blocks = readme.blocks(PATH)

  it("has an example that prints what it says, and options that can be", function()
    local ran, others = 0, 0
    for i, block in ipairs(blocks) do
      if block.language == "lua" and (block.comment or ""):find "^run " then
        ran = ran + 1
        local out = output_of((block.text:gsub("https://api%.deepseek%.com",
          (up.url:gsub("%%", "%%%%")))))
        assert.equal(blocks[i + 1].text, out)
      elseif block.language == "lua" then
        others = others + 1
        local read = loadstring or load -- luacheck: ignore
        local o = assert(read("return {" .. block.text .. "}"))()
        assert.is_table(unbusy.new(o))
      end
    end
    assert.same({ 1, 1 }, { ran, others })
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
    for target, anchor in text:gmatch "%]%(([^)#]*)#([^)]+)%)" do
      local headings = "\n" .. (target == "" and text or readme.text()):lower()
      local found = false
      for heading in headings:gmatch "\n#+ ([^\n]+)" do
        found = found or heading:gsub("[^%w%- ]", ""):gsub(" ", "-") == anchor
      end
      assert.is_true(found, target .. "#" .. anchor)
    end
  end)
end)
