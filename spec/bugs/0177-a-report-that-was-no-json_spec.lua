-- A fault of a policy was cut within a character, and a file's name may be in another encoding: of
-- either `unbusy simulate --json` ended in a fault of unbusy itself, or printed what no reader of
-- JSON takes.
local guest = require "unbusy.policy.guest"
local json = require "unbusy.json"
local ordered = require "unbusy.simulate.ordered"
local report = require "unbusy.simulate.report"
local simulate = require "unbusy.simulate"
local source = require "unbusy.policy.source"
local trace = require "unbusy.simulate.trace"

local function fault_of(words)
  local g = guest.new("spec", "p.lua")
  local text = ("return { retry = function() error '%s' end }"):format(words)
  g:install(assert(source.of_text(text, "p.lua", g.world)), text)
  local _, _, message = g:decide(nil, "retry", {})
  return message
end

describe("what a report tells", function()
  it("has whole characters", function()
    for lead = 0, 3 do
      local message = fault_of(("x"):rep(lead) .. ("系统繁忙"):rep(30))
      assert.is_truthy(json.is_utf8(message))
      assert.is_true(#message > 197 and #message <= 200)
    end
    for lead = 0, 3 do
      local _, message = source.of_text(("error '%s%s'"):format(("x"):rep(lead),
        ("系统繁忙"):rep(90)), "p.lua", guest.new("p").world)
      assert.is_truthy(json.is_utf8(message))
      assert.is_true(#message > 497 and #message <= 500)
    end
    assert.equal(200, #fault_of(("x"):rep(300)))
  end)

  it("is JSON whatever the names are", function()
    for _, text in ipairs { "caf\233", "tr\233.csv", "\233", "\228\184" } do
      local shown = text:gsub("[\128-\255]", "?")
      assert.equal(('{"%s":["%s"]}'):format(shown, shown), ordered.encode { [text] = { text } })
    end
    local path = os.tmpname()
    finally(function() os.remove(path) end)
    local f = assert(io.open(path, "wb"))
    f:write '#: {"target":"a"}\ntime,target,arrival,status,latency\n0,a,1,,\n'
    f:close()
    local made = assert(trace.read(path))
    made.path = "tr\233.csv"
    local told = report.json(assert(simulate.compare(made, { { name = "caf\233" } })))
    assert.is_truthy(json.is_utf8(told))
    assert.equal("caf?", json.decode(told).clients[1].name)
  end)
end)
