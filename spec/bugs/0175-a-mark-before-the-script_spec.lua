-- An editor's byte order mark was left out when a policy was loaded and read as a name by `unbusy
-- check`, which said that a policy that worked was wrong; of a first line for the shell LuaJIT took
-- what Lua 5.4 did not, and `check` found names in it.
local inspect = require "unbusy.policy.inspect"
local source = require "unbusy.policy.source"
local guest = require "unbusy.policy.guest"

local MARK = "\239\187\191"

describe("what stands before a script", function()
  local marks = { "", MARK, "#!/usr/bin/env lua\n", MARK .. "# remark\r\n", MARK .. "#" }

  for _, before in ipairs(marks) do
    it(("is no part of it: %q"):format(before), function()
      local text = before .. "\nreturn { retry = function() return nowhere end }"
      assert.is_truthy(source.of_text(text, "p.lua", guest.new("p").world))
      local report = inspect.text(text, "p.lua")
      assert.equal(1, #report.problems)
      assert.equal(select(2, text:gsub("\n", "")) + 1, report.problems[1].line)
      assert.equal("nothing is called 'nowhere' here", report.problems[1].message)
    end)
  end

  it("is no way to bytecode", function()
    for _, before in ipairs { "", MARK, "#!\n", MARK .. "#!\n", "#" } do
      local code = before .. string.dump(function() return {} end)
      assert.is_nil((source.of_text(code, "p.lua", guest.new("p").world)))
    end
  end)
end)
