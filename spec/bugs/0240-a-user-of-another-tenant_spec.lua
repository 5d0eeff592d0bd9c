-- With `cache.per = "user"` a call's own `tenant` was not looked at: user 1 of one tenant was given
-- what user 1 of another one had been answered, fresh, stale and out of a call under way.
local coalesced = require "spec.support.coalesced"
local world = require "spec.support.world"

local good, status = world.good, world.status

describe("a user's answer, where the call says its tenant", function()
  local w
  after_each(function() coalesced.assert_idle(w) end)

  local function ask(tenant, user)
    return w.client:chat(coalesced.request("x", { user = user }), { tenant = tenant })
  end

  it("is none for the same user of another tenant, or of none", function()
    w = coalesced.world({ good "1", good "2", good "3", good "4" }, { cache = { per = "user" } })
    local seen = {}
    for _, tenant in ipairs { "ann", "bob", "user", false } do
      local reply = ask(tenant or nil, "1")
      assert.equal("upstream", reply.source)
      assert.equal(reply.text, ask(tenant or nil, "1").text)
      seen[#seen + 1] = reply.text
    end
    assert.equal("1 2 3 4", table.concat(seen, " "))
    assert.equal(4, #w.log)
  end)

  it("stands in for no failure of another tenant's", function()
    w = coalesced.world({ good "ann's", status(503) }, { cache = { per = "user", ttl = 1 } })
    assert.equal("upstream", ask("ann", "1").source)
    w.loop.run(function() w.loop.sleep(10) end)
    assert.equal("busy", (select(3, ask("bob", "1"))))
    assert.equal("stale", ask("ann", "1").source)
  end)

  it("is not waited for by another tenant", function()
    w = coalesced.world({ good("1", 1), good("2", 1) }, { cache = { per = "user" } })
    local out = coalesced.ask(w, {
      { more = { user = "1" }, given = { tenant = "ann" } },
      { more = { user = "1" }, given = { tenant = "bob" } },
      { more = { user = "1" }, given = { tenant = "ann" } } })
    assert.equal("coalesced: 1, upstream: 2", coalesced.told(out))
    assert.is_true(out[1].reply.text ~= out[2].reply.text)
  end)

  it("is kept for nobody where no user is named", function()
    w = coalesced.world({ good "x" }, { cache = { per = "user" } })
    for _ = 1, 2 do assert.equal("upstream", ask("ann").source) end
  end)
end)
