-- A move to another account is free, once for each call. Where a policy had it wait, the other
-- account could be gone when the wait was over: the call then went back to the target that had
-- failed, and paid nothing for that. In an outage of all targets each call had one try more than
-- the budget allows.
local world = require "spec.support.world"

local function new(budget)
  return world.new { order = { "a", "b" }, script = { a = { world.status(503) },
    b = { world.status(503) } }, options = { budget = budget,
      policy = { retry = function(try) if try.number < 4 then return 5 end end } } }
end

-- Who was asked; `b` is out from the second second on, where that is said.
local function asked(w, goes)
  local message
  w.loop.run(function()
    w.loop.spawn(function()
      w.loop.sleep(2)
      if goes then w.client.targets[2].breaker:force("open", 20) end
    end)
    message = select(2, w:chat())
  end)
  local hosts = {}
  for i, entry in ipairs(w.log) do hosts[i] = entry.host end
  w:assert_clean()
  return table.concat(hosts, " "), message
end

describe("a free move that a policy has wait", function()
  it("is free where somebody is there to move to", function()
    local w = new { floor = 0, ratio = 0 }
    local hosts, message = asked(w, false)
    assert.equal("a b", hosts)
    assert.matches("the retry budget is spent", message, 1, true)
  end)

  it("is paid for where nobody is any more", function()
    local w = new { floor = 0, ratio = 0 }
    local hosts, message = asked(w, true)
    assert.equal("a", hosts)
    assert.matches("the retry budget is spent", message, 1, true)
    w = new {}
    assert.equal("a a a a", (asked(w, true)))
  end)
end)
