-- Whatever raises while the line is served (a lack of memory, say) left the waiter in the line, and
-- the line in the belief that it was being served: later calls were never let in. Now the waiter
-- leaves with its call, and the next one finds the line as it should be.
local world = require "spec.support.world"

describe("an error while the waiting line is served", function()
  it("ends that call alone", function()
    local w = world.new { script = { a = { world.good("hello", 1) } },
      options = { limiter = { kind = "fixed", initial = 1 } } }
    local target = w.client.targets[1]
    local admit, raising = target.admit, false
    target.admit = function(...)
      if raising then error("not enough memory", 0) end
      return admit(...)
    end
    local results = {}
    w.loop.run(function()
      for i = 1, 2 do w.loop.spawn(function() results[i] = w:chat().text end) end
      w.loop.spawn(function()
        w.loop.sleep(0.5)
        raising = true
        results[3] = select(2, pcall(w.chat, w)) -- the line is not empty: it is served at once
        raising = false
      end)
    end)
    assert.same({ "hello", "hello", "not enough memory" }, results)
    assert.equal("hello", w:chat().text)
    w:assert_clean()
  end)
end)
