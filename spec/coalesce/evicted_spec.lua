-- Who has followed another process, and does not find what that one has kept: it was put out for
-- room since. It asks by itself, and hears all of what comes of that.
local claimed = require "spec.support.claimed"
local coalesced = require "spec.support.coalesced"
local guard = require "spec.support.leak_guard"
local region = require "unbusy.region"
local unbusy = require "unbusy"
local world = require "spec.support.world"

describe("a follower whose answer is gone already", function()
  guard.watch(before_each, after_each)

  it("fails as its own try fails: with a message and a code", function()
    local shared = assert(region.new { bytes = 8 * 1024 * 1024 })
    local w = coalesced.world({ world.good("hello", 1), world.status(400) },
      { region = shared, cache = { bytes = 100000 } })
    local other = assert(unbusy.new(w.given))
    local claims = claimed.new(w.loop, function() return 1 end)
    claimed.join(claims, w.client)
    claimed.join(claims, other)
    local set = w.client.cache.set
    function w.client.cache.set(self, ...)
      local kept = set(self, ...)
      self:clear()
      return kept
    end
    local reply, message, code
    w.loop.run(function()
      w.loop.spawn(function() reply = w:chat() end)
      w.loop.sleep(0.1)
      local _
      _, message, code = other:chat(world.question)
    end)
    assert.equal("hello", reply.text)
    assert.equal("invalid", code)
    assert.is_string(message)
    assert.equal(1, claims.followed)
    other:close()
    w.client:close()
    shared:close()
  end)
end)
