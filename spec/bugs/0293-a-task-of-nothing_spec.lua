-- `unbusy.spawn(work(i))`, where `unbusy.spawn(work, i)` was meant, begins a task of what `work`
-- gave: of nothing. That was taken, and failed in whatever ran the tasks next, with "attempt to
-- call a nil value" and no line of anybody's.
local unbusy = require "unbusy"

describe("spawn and run", function()
  it("raise at the caller's line for what is no function", function()
    for what, given in pairs { ["nil"] = false, number = 1, string = "x", table = {} } do
      for _, name in ipairs { "spawn", "run" } do
        local ok, message = pcall(function() unbusy[name](given or nil) end)
        assert.is_false(ok)
        assert.matches("0293.*:%d+: " .. name .. ": a function expected, got a " .. what, message)
      end
    end
    assert.equal("fine", unbusy.run(function() return "fine" end))
  end)

  it("take whatever can be called", function()
    local f = setmetatable({}, { __call = function(_, n) return n + 1 end })
    assert.equal(2, unbusy.run(f, 1))
    assert.equal(3, unbusy.run(function() return unbusy.spawn(f, 2):join() end))
  end)
end)
