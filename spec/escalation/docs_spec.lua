-- docs/edge.md stays true: its examples run against an edge and a centre, each in a process of its
-- own, and print what it says; its tables name what the code has.
local busyd = require "spec.support.busyd"
local checks = require "unbusy.escalation.checks"
local pages = require "spec.support.pages"
local readme = require "spec.support.readme"
local schema = require "unbusy.escalation.options".schema

local PATH = "docs/edge.md"

describe("the examples of docs/edge.md", function()
  local edge, centre
  setup(function()
    edge, centre = busyd.start { workers = 1 }, busyd.start { workers = 1 }
  end)
  teardown(function()
    edge:stop()
    centre:stop()
  end)

  local count, blocks = pages.examples(PATH, it, function(text, programme)
    programme.edge.reset, programme.centre.reset = true, true
    edge:programme(programme.edge)
    centre:programme(programme.centre)
    return pages.output_of(pages.at(text, { ["https://api.deepseek.com"] = centre.url,
      ["http://127.0.0.1:8081/v1"] = edge.url .. "/v1" }))
  end)

  it("are four", function() assert.equal(4, count) end)

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
        local copy, copies = text:gsub("local function own%(.-\nend\n",
          function() return block.text end)
        assert.equal(1, copies)
        local report = inspect.text(copy, "copy.lua")
        assert.same({}, report.problems)
      end
    end
  end)
end)
