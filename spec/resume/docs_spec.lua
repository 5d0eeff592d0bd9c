-- docs/resume.md stays true: its examples run, each in a process of its own, and print what it
-- says; its options are options; its policy is one.
local busyd = require "spec.support.busyd"
local cjson = require "cjson"
local readme = require "spec.support.readme"
local unbusy = require "unbusy"

local PATH = "docs/resume.md"

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

-- The test server is no host of DeepSeek's, which would go on by itself.
local function at_home(text, url)
  return (text:gsub('"https://api%.deepseek%.com"', ('"%s", prefix = "flag"'):format(url))
    :gsub("https://other%.example", url))
end

describe("the examples of docs/resume.md", function()
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
        write(path, at_home(block.text, up.url))
        local out = output_of(path)
        os.remove(path)
        assert.equal("text", blocks[i + 1].language)
        assert.equal(blocks[i + 1].text, out)
      end)
    end
  end

  it("are four", function() assert.equal(4, ran) end)

  it("are options, and a policy, where they are no more than that", function()
    local options, files = 0, 0
    for _, block in ipairs(blocks) do
      local comment = block.comment or ""
      if comment:find "^file " then
        files = files + 1
        local path = os.tmpname()
        write(path, block.text)
        unbusy.new { targets = { { name = "a", url = "http://a.test" } }, policy = path }:close()
        os.remove(path)
      elseif block.language == "lua" and not comment:find "^run " then
        options = options + 1
        local load = loadstring or load -- luacheck: ignore
        local o = assert(load("return {" .. block.text .. "}"))()
        o.resume = "prompt"
        unbusy.new(o):close()
      end
    end
    assert.same({ 1, 1 }, { options, files })
  end)
end)
