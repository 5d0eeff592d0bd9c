-- The option `escalate`.
local unbusy = require "unbusy"

local function new(escalate, targets)
  return unbusy.new { escalate = escalate, targets = targets or {
    { name = "small", url = "http://a.test", pool = "edge" },
    { name = "large", url = "http://b.test", pool = "centre" } } }
end

local function fault(...)
  local ok, message = pcall(new, ...)
  assert.is_false(ok)
  return (message:gsub("^.-: unbusy: ", ""))
end

describe("the option escalate", function()
  it("is off by default, and true is the defaults", function()
    assert.is_false(new().escalate)
    assert.is_false(new(false).escalate)
    local o = new(true).escalate
    assert.same({ from = "edge", to = "centre", cut = true, short = 1, refusals = true,
      json = true, most = 0.2, floor = 10, hold = false }, o)
  end)

  it("wants pools that there are, and two of them", function()
    local others = { { name = "a", url = "http://a.test" }, { name = "b", url = "http://b.test",
      pool = "central" } }
    assert.matches("escalate.from: no pool is named 'edge'", fault(true, others))
    assert.matches("escalate.to: no pool is named 'centre', did you mean 'central'%?",
      fault({ from = "default" }, others))
    assert.matches("escalate: from and to: two pools expected",
      fault({ from = "default", to = "default" }, others))
    assert.is_table(new({ from = "default", to = "central" }, others))
  end)

  it("names what is wrong", function()
    for given, message in pairs {
      ["short = -1"] = "escalate.short: a number at least 0 expected, got %-1",
      ["short = 1.5"] = "escalate.short: whole expected, got 1.5",
      ["most = 2"] = "escalate.most: a number at most 1 expected, got 2",
      ["logprob = 1"] = "escalate.logprob: a number at most 0 expected, got 1",
      ["refusals = 'no'"] = "escalate.refusals: boolean or list expected, got a string",
      ["refusals = { '' }"] = "escalate.refusals%[1%]: 1 to 200 bytes expected",
      ["refusals = { 'x', 1 }"] = "escalate.refusals%[2%]: string expected, got 1",
      ["cuts = true"] = "unknown option 'escalate.cuts', did you mean 'cut'%?",
      ["hold = 1"] = "escalate.hold: boolean expected, got 1",
    } do
      local make = assert((loadstring or load)("return { " .. given .. " }")) -- luacheck: ignore
      assert.matches(message, fault(make()))
    end
    assert.matches("escalate: table or boolean expected, got a string", fault "yes")
    assert.matches("escalate.refusals%[1%]", fault { refusals = { ("x"):rep(201) } })
  end)
end)
