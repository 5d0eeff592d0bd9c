-- A policy's memory was counted with its garbage, where a text grew: Lua takes the memory for that
-- without collecting first, and is in no hurry to collect in a program that keeps much. There a
-- policy that works on texts, and lets go of each, "took too much memory".
local guest = require "unbusy.policy.guest"
local source = require "unbusy.policy.source"

local TEXTS = [[
local p = {}
function p.retry(try)
  local s = ("x "):rep(1e6)
  for _ = 1, 8 do
    fold.text(s)
  end
  return "default"
end
return p]]

describe("a policy in a program that keeps much", function()
  local kept
  before_each(function()
    kept = {}
    for i = 1, 60 do kept[i] = ("k"):rep(5e6) .. i end
    collectgarbage()
  end)
  after_each(function()
    kept = nil
    collectgarbage()
  end)

  it("may be told that it ran too long, and not that it took too much memory", function()
    local g = guest.new("spec", "mine.lua")
    g:install(assert(source.of_text(TEXTS, "mine.lua", g.world)), TEXTS)
    local _, _, message = g:decide(nil, "retry", {})
    assert.is_nil((message or ""):find("memory", 1, true))
    assert.equal(60, #kept)
  end)
end)
