-- docs/single_flight.md stays true: its examples run, each in a process of its own, and print what
-- it says.
local busyd = require "spec.support.busyd"
local cjson = require "cjson"
local readme = require "spec.support.readme"

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

local function output_of(command)
  local pipe = assert(io.popen(command .. " 2>&1"))
  local out = pipe:read "*a"
  pipe:close()
  return out
end

describe("the examples of docs/single_flight.md", function()
  local up

  setup(function()
    up = busyd.start { workers = 1 }
  end)

  teardown(function()
    up:stop()
  end)

  local function run(text)
    local path = os.tmpname()
    text = text:gsub("https://api%.example%.com", (up.url:gsub("%%", "%%%%")))
    write(path, text)
    local out = output_of((os.getenv "UNBUSY_LUA" or "lua5.4") .. " " .. path)
    os.remove(path)
    return out
  end

  local blocks, ran = readme.blocks "docs/single_flight.md", 0
  for i, block in ipairs(blocks) do
    local programme = (block.comment or ""):match "^run (.*)$"
    if block.language == "lua" and programme then
      ran = ran + 1
      it(("line %d: prints what it says"):format(block.line), function()
        local script = cjson.decode(programme)
        script.reset = true
        up:programme(script)
        local out = run(block.text)
        assert.equal("text", blocks[i + 1].language)
        local expected, got = {}, {}
        for line in blocks[i + 1].text:gmatch "[^\n]+" do expected[#expected + 1] = line end
        for line in out:gmatch "[^\n]+" do got[#got + 1] = line end
        table.sort(expected) -- tasks end in any order
        table.sort(got)
        assert.same(expected, got)
      end)
    end
  end

  it("are two, and all Lua in it is run", function()
    assert.equal(2, ran)
    local lua = 0
    for _, block in ipairs(blocks) do
      if block.language == "lua" then lua = lua + 1 end
    end
    assert.equal(2, lua)
  end)
end)
