-- Ten thousand keys, which the options allow, found no room in the region that workers share by
-- default, and nginx did not start. And a server that said it had used 1e308 tokens made the sum
-- infinite: the count raised when the answer was out, and a second answer was tried.
local quotas = require "unbusy.gateway.quotas"
local region = require "unbusy.region"

local function keys_of(n)
  local keys = {}
  for i = 1, n do keys[i] = { name = "key " .. i, calls = 2, tokens = 1000 } end
  return keys
end

describe("quotas", function()
  it("of more keys than their region has room for are counted in one of their own", function()
    local keys = keys_of(10000)
    local shared = assert(region.new { bytes = 8 * 1024 * 1024 })
    local q = assert(quotas.new(keys, shared, function() return 600 end))
    for _, key in ipairs { keys[1], keys[10000] } do
      for _ = 1, 2 do assert.is_true(q:take(key)) end
      assert.is_nil((q:take(key)))
    end
    shared:close()
  end)

  it("of tokens stay numbers, whatever a server says it has used", function()
    local now, key = 600, keys_of(1)[1]
    local q = assert(quotas.new({ key }, nil, function() return now end))
    for _ = 1, 3 do
      q:spend(key, 1e308)
      q:spend(key, math.huge)
    end
    local ok, _, seconds = q:take(key)
    assert.is_nil(ok)
    assert.is_true(seconds > 0 and seconds <= 120)
    now = now + 120
    assert.is_true(q:take(key))
  end)
end)
