local quotas = require "unbusy.gateway.quotas"
local region = require "unbusy.region"

describe("quotas", function()
  local now, q

  local function new(keys)
    return assert(quotas.new(keys, nil, function() return now end))
  end

  before_each(function() now = 600 end)

  it("let everything through where there are none", function()
    for _, keys in ipairs { { { name = "a" } }, {} } do
      q = new(keys)
      for _ = 1, 1000 do assert.is_true(q:take { name = "a" }) end
    end
    q:spend({ name = "a" }, 1e9)
    assert.is_true(q:take { name = "a" })
  end)

  it("count a key's calls for a minute, whatever minute it is", function()
    local key = { name = "a", calls = 10 }
    q = new { key }
    now = 659
    for _ = 1, 10 do assert.is_true(q:take(key)) end
    now = 661 -- 59 of the last 60 seconds had ten
    local ok, message, seconds = q:take(key)
    assert.is_nil(ok)
    assert.equal("this key may have 10 calls a minute", message)
    now = now + seconds + 0.001
    assert.is_true(q:take(key))
    now = 1000 -- nothing for two windows
    for _ = 1, 10 do assert.is_true(q:take(key)) end
    assert.is_nil((q:take(key)))
  end)

  it("find room for many keys, though the clients' region has none", function()
    local small, keys = assert(region.new { bytes = 1024 * 1024 }), {}
    for i = 1, 10000 do keys[i] = { name = "k" .. i, calls = 1 } end
    q = assert(quotas.new(keys, small, function() return now end))
    for i = 1, 10000 do assert.is_true(q:take(keys[i])) end
    for i = 1, 10000 do assert.is_nil((q:take(keys[i]))) end
    small:close()
  end)

  it("say when there is room again", function()
    for _, started in ipairs { 600, 615, 630, 659.5 } do
      for _, most in ipairs { 1, 3, 100 } do
        now = started + 600 * most
        local key = { name = tostring(started) .. most, calls = most }
        q = new { key }
        for _ = 1, most do assert.is_true(q:take(key)) end
        local _, _, seconds = q:take(key)
        assert.is_true(seconds > 0 and seconds <= 120)
        now = now + seconds * 0.98
        assert.is_nil((q:take(key)))
        now = now + seconds * 0.02 + 0.001
        assert.is_true(q:take(key))
      end
    end
  end)

  it("count tokens once they are spent, and each key's apart", function()
    local key, other = { name = "a", tokens = 100 }, { name = "b", tokens = 100 }
    q = new { key, other }
    assert.is_true(q:take(key))
    q:spend(key, 250)
    local ok, message, seconds = q:take(key)
    assert.is_nil(ok)
    assert.equal("this key may have 100 tokens a minute", message)
    assert.is_true(q:take(other))
    now = now + seconds + 0.001
    assert.is_true(q:take(key))
  end)

  it("never let more through than in a minute and its part", function()
    local key, taken = { name = "a", calls = 60 }, {}
    q = new { key }
    for i = 1, 3000 do
      now = 600 + i * 0.1
      if q:take(key) then taken[#taken + 1] = now end
    end
    for i, at in ipairs(taken) do
      local within = 0
      for j = i, #taken do
        if taken[j] < at + 60 then within = within + 1 end
      end
      assert.is_true(within <= 75)
    end
    assert.is_true(#taken >= 280)
  end)
end)
