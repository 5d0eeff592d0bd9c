-- A stream that came in place of a weak answer broke off. Who goes on with it was looked for among
-- the targets that the call might have asked at first, and not in the pool that had begun it: where
-- that was a reserve, "nobody can go on with it", though it could; and where it was none, the call
-- was counted as one that its own pool had sent on for want of room.
local resumed = require "spec.support.resumed"
local world = require "spec.support.world"

local function stream(centre, options)
  local o = { escalate = { hold = true }, resume = "prefix", retry = resumed.QUICK,
    pools = { edge = { priority = 1 }, centre = { priority = 2 } } }
  for name, value in pairs(options or {}) do o[name] = value end
  local cut = world.streamed({ { 0, world.chunk { content = "one two " } } },
    { fail = "network", message = "gone" })
  local w = world.new { order = { "edge", "centre" }, options = o,
    script = { edge = { world.words { "I don't ", "know." } },
      centre = { cut, world.words { "three" } } },
    targets = { edge = { pool = "edge" }, centre = centre } }
  return w:stream(), w
end

describe("a stream in place of a weak answer that breaks off", function()
  for _, reserve in ipairs { true, false } do
    it("is gone on with by its pool, a reserve: " .. tostring(reserve), function()
      local s, w = stream { pool = "centre", prefix = "flag", reserve = reserve }
      assert.same({ "one two three" }, { resumed.drain(s) })
      assert.same({ 1, "centre", "refused", 0 },
        { s:reply().resumed, s:reply().target, s:reply().escalated.reason, #w:seen "spill" })
      w:assert_clean()
    end)
  end

  it("is kept under the question as it was asked", function()
    local s, w = stream({ pool = "centre", prefix = "flag", reserve = true }, { cache = true })
    resumed.drain(s)
    assert.same({ "cache", "one two three" }, { w:chat().source, w:chat().text })
    w:assert_clean()
  end)
end)
