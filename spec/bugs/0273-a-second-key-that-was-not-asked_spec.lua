-- "x-should-retry: false" stands beside a refused key with some providers. It is said to who has
-- that key; but the target's other key was not asked, and the call failed.
local world = require "spec.support.world"

describe("a refused key with `x-should-retry: false`", function()
  local function new(keys)
    return world.new { targets = { a = { keys = keys } }, script = { a = {
      world.status(401, { ["x-should-retry"] = "false" }, '{"error":{"message":"bad key"}}'),
      world.good "yes" } } }
  end

  it("gives way to the next one in the same call", function()
    local w = new { "k1", "k2" }
    assert.equal("yes", assert(w:chat()).text)
    assert.equal(2, #w.log)
    w:assert_clean()
  end)

  it("is the end where there is no other one", function()
    local w = new { "k1" }
    assert.equal("auth", select(3, w:chat()))
    assert.equal(1, #w.log)
  end)
end)
