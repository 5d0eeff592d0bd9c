-- A script that gave `fold` what is no text, or kept it busy for too long, had its fault told at a
-- line of unbusy's own fold.lua: a file that its author has never seen.
local guest = require "unbusy.policy.guest"
local source = require "unbusy.policy.source"

local function fault_of(body, name)
  local g = guest.new("spec", name)
  local text = "local p = {}\nfunction p.retry(try)\n  " .. body .. "\nend\nreturn p"
  g:install(assert(source.of_text(text, name, g.world)), text)
  local decided, _, message = g:decide(nil, "retry", {})
  assert.is_false(decided)
  return message
end

describe("a fault in a function that a script has called", function()
  it("is told where the script's own function begins", function()
    for _, name in ipairs { "mine.lua", ("/long"):rep(30) .. "/mine.lua" } do
      local place = #name > 20 and "^%.%.%..*/long/mine%.lua:2: " or "^mine%.lua:2: "
      assert.matches(place .. "attempt to index .*a nil value", fault_of("fold.case(nil)", name))
      assert.matches(place .. "it ran too long$", fault_of(
        "local s = ('x '):rep(1e6) for i = 1, 1000 do fold.text(s) end", name))
    end
  end)

  it("is told at the script's line, where it is the script's own", function()
    assert.matches("^mine%.lua:3: attempt to ", fault_of("return nil + 1", "mine.lua"))
    assert.equal("mine.lua:3: it ran too long", fault_of("while true do end", "mine.lua"))
  end)

  it("is told where it is, in the program's own functions", function()
    local g = guest.new "spec"
    g:install(source.of_table { retry = function() while true do local _ = 1 end end })
    local _, _, message = g:decide(nil, "retry", {})
    assert.matches("0173.*_spec%.lua:%d+: it ran too long$", message)
  end)
end)
