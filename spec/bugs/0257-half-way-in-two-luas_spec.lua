-- "The same seed gives the same output, byte for byte", but not on the other Lua: of a number that
-- lies half-way, LuaJIT's `%.2f` shows the greater one and Lua 5.4's the even one. A latency of
-- 0.125 s was 0.13 s here and 0.12 s there, in reports, pages and the traces that are made.
local html = require "unbusy.simulate.html"
local shown = require "unbusy.simulate.shown"
local simulate = require "unbusy.simulate"
local text = require "unbusy.simulate.text"
local trace = require "unbusy.simulate.trace"

describe("a number that lies half-way", function()
  it("is the greater one, in a report and its page", function()
    local t = trace.new "spec"
    assert(not trace.declare(t, { target = "a", latency = 0.125 }))
    for i = 1, 4 do trace.add(t, i, 1, 1, false, 0) end
    local report = assert(simulate.compare(t, { { name = "none" } }))
    local lines = table.concat(text.lines(report, "ascii"), "\n")
    assert.matches("\n  none +100%.0 %%  0%.13 s  0%.13 s  0%.13 s ", lines)
    assert.is_truthy(html.page(report):find("<td>0.13 s</td>", 1, true))
  end)

  it("is so in a trace", function()
    local t = trace.new "spec"
    trace.add(t, 0.0625, trace.index(t, "a"), 1, 200, 0.1875)
    local out = {}
    trace.write(t, {}, function(part) out[#out + 1] = part end)
    assert.equal("0.063,a,1,200,0.188\n", out[#out])
  end)

  it("and others are the nearest", function()
    for value, words in pairs { [0] = "0.00", [0.1] = "0.10", [99.994] = "99.99",
      [12345678.9] = "12345678.90" } do
      assert.equal(words, shown.fixed(value, 2))
    end
    for value, words in pairs { [0] = "0", [1.0625] = "1.063", [0.00015] = "0.00015",
      [1000] = "1000", [99995.1] = "1e+05", [22 / 7] = "3.143", [math.huge] = "inf" } do
      assert.equal(words, shown.short(value, 4))
    end
  end)
end)
