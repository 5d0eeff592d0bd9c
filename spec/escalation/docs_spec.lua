-- docs/edge.md stays true: its examples run against an edge and a centre, each in a process of its
-- own, and print what it says; its tables name what the code has.
local busyd = require "spec.support.busyd"
local cjson = require "cjson"
local checks = require "unbusy.escalation.checks"
local readme = require "spec.support.readme"
local schema = require "unbusy.escalation.options".schema

local PATH = "docs/edge.md"

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

local function plain(url) return (url:gsub("%%", "%%%%")) end

describe("the examples of docs/edge.md", function()
  local edge, centre
  setup(function()
    edge, centre = busyd.start { workers = 1 }, busyd.start { workers = 1 }
  end)
  teardown(function()
    edge:stop()
    centre:stop()
  end)

  local blocks, ran = readme.blocks(PATH), 0
  for i, block in ipairs(blocks) do
    local programmes = block.language == "lua" and (block.comment or ""):match "^run (.*)$"
    if programmes then
      ran = ran + 1
      it(("line %d: prints what it says"):format(block.line), function()
        local both = cjson.decode(programmes)
        both.edge.reset, both.centre.reset = true, true
        edge:programme(both.edge)
        centre:programme(both.centre)
        local path = os.tmpname()
        write(path, (block.text:gsub("https://api%.deepseek%.com", plain(centre.url))
          :gsub("http://127%.0%.0%.1:8081/v1", plain(edge.url .. "/v1"))))
        local out = output_of(path)
        os.remove(path)
        assert.equal("text", blocks[i + 1].language)
        assert.equal(blocks[i + 1].text, out)
      end)
    end
  end

  it("are four", function() assert.equal(4, ran) end)

  it("name every reason and every way to keep a weak answer", function()
    local text, named = readme.text(PATH), {}
    local _, start = text:find("<!-- reasons -->\n", 1, true)
    for row in text:sub(start + 1):gmatch "([^\n]*)\n" do
      if not row:find "^|" then break end
      named[row:match "^| `(%l+)` |" or ""] = true
      local option = row:match "| `(%l+)` |$"
      if option then assert.is_table(schema[option], option) end
    end
    for _, reason in ipairs(checks.reasons) do assert.is_true(named[reason], reason) end
    for _, why in ipairs { "named", "full", "time", "share", "failed", "stream" } do
      assert.is_truthy(text:find("`" .. why .. "`", 1, true), why)
    end
  end)

  it("show a function that may stand in a copy of the policy", function()
    local policy = require "unbusy.policy"
    local inspect = require "unbusy.policy.inspect"
    local file = assert(io.open(policy.path "edge", "rb"))
    local text = file:read "*a"
    file:close()
    for _, block in ipairs(blocks) do
      if block.language == "lua" and not block.comment then
        local copy, count = text:gsub("local function own%(.-\nend\n",
          function() return block.text end)
        assert.equal(1, count)
        local report = inspect.text(copy, "copy.lua")
        assert.same({}, report.problems)
      end
    end
  end)
end)
