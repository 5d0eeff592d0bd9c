-- One tenant tries to get at another's answers, or to put answers of its own in their place. (By
-- chance, with users, streams, weak answers and batches: together_cache_spec.)
local coalesced = require "spec.support.coalesced"
local core = require "unbusy.core"
local world = require "spec.support.world"

local good, busy = world.good, world.status(503)

local PER_TENANT = { cache = { per = "tenant", ttl = 60, stale = 1000, top = { show = true } } }

describe("a tenant", function()
  local w
  after_each(function() coalesced.assert_idle(w) end)

  local function ask(name, more, given)
    given = given or {}
    given.tenant = name
    return w.client:chat(coalesced.request("x", more), given)
  end

  -- Answers that tell for whom they were made: the upstream's n-th call.
  local function numbered(n)
    local script = {}
    for i = 1, n do script[i] = good("answer " .. i, 1) end
    return script
  end

  it("shares no call that is under way with another", function()
    w = coalesced.world(numbered(4), PER_TENANT)
    local out = coalesced.ask(w, { { given = { tenant = "ann" } }, { given = { tenant = "bob" } },
      { given = { tenant = "ann" }, after = 0.5 }, { given = { tenant = "bob" }, kind = "stream" },
      {} })
    local texts = {}
    for i, o in ipairs(out) do texts[i] = assert(o.reply, o.message).text end
    assert.equal(texts[1], texts[3]) -- its own
    assert.is_true(texts[1] ~= texts[2] and texts[1] ~= texts[4] and texts[1] ~= texts[5])
    assert.is_true(texts[2] ~= texts[5])
  end)

  it("is given no stale answer of another, when nobody answers any more", function()
    w = coalesced.world({ good "for ann", busy, busy, busy }, PER_TENANT)
    w.loop.run(function()
      assert(ask "ann")
      w.loop.sleep(100)
      local reply, _, code = ask "bob"
      assert.is_nil(reply)
      assert.equal("busy", code)
      reply = ask "ann"
      assert.same({ "stale", "for ann" }, { reply.source, reply.text })
    end)
  end)

  it("cannot take another's name by one that looks like it", function()
    local names = { "ann", "ann\0", "\0ann", "ann ", "Ann", "ann\0user", "user ann", "name ann",
      "key " .. core.sip("ann", "unbusy tenants 1"), ("a"):rep(5000), ("a"):rep(5001) }
    w = coalesced.world(numbered(#names), PER_TENANT)
    local seen = {}
    for _, name in ipairs(names) do
      local ok, reply = pcall(ask, name)
      if ok and reply then -- else it is no name
        assert.equal("upstream", reply.source, name)
        assert.is_nil(seen[reply.text])
        seen[reply.text] = name
      end
    end
    assert.equal("cache", ask("ann").source)
  end)

  it("puts nothing in another's place by asking anew, keeping for long, or taking out", function()
    w = coalesced.world(numbered(6), PER_TENANT)
    local ann, bob = ask("ann").text, ask("bob").text
    for _, cache in ipairs { "refresh", 86400, false } do ask("bob", nil, { cache = cache }) end
    assert.same({ "cache", ann }, { ask("ann").source, ask("ann").text })
    assert.is_true(ask("bob").text ~= ann and bob ~= ann)
  end)

  it("is not told what another asks, nor asked for again", function()
    w = coalesced.world(numbered(3), PER_TENANT)
    for _ = 1, 3 do ask "ann" end
    for _, question in ipairs(w.client:top(20, { show = true })) do
      assert.is_nil(question.question)
      assert.is_nil(question.text)
    end
  end)
end)
