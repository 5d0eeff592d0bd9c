-- Two gateways that a site gave one region (to share breakers and limits), each with as many client
-- keys as the other, but others, had one table for the counts of all: one with room for the keys of
-- one. Each key put another one's counts out, which then began anew, and no quota held any more.
local quotas = require "unbusy.gateway.quotas"
local region = require "unbusy.region"

local function keys_of(...)
  local keys = {}
  for i, name in ipairs { ... } do keys[i] = { name = name, calls = 2, tokens = 1000 } end
  return keys
end

describe("quotas of two gateways in one region", function()
  local shared
  before_each(function() shared = assert(region.new { bytes = 4 * 1024 * 1024 }) end)
  after_each(function() shared:close() end)

  local function open(keys)
    return assert(quotas.new(keys, shared, function() return 600 end))
  end

  -- How many calls each key was let in for, of fifty.
  local function let_in(gateways)
    local counts = {}
    for _ = 1, 50 do
      for _, g in ipairs(gateways) do
        for _, key in ipairs(g.keys) do
          if g.quotas:take(key) then counts[key.name] = (counts[key.name] or 0) + 1 end
        end
      end
    end
    return counts
  end

  it("hold for the keys of both", function()
    local one, two = keys_of("a", "b"), keys_of("c", "d")
    assert.same({ a = 2, b = 2, c = 2, d = 2 }, let_in { { keys = one, quotas = open(one) },
      { keys = two, quotas = open(two) } })
  end)

  it("hold for keys that nobody gave a name", function()
    local one, two = keys_of("key 1"), keys_of("key 1")
    one[1].key, two[1].key = "sk-one", "sk-two"
    assert.same({ ["key 1"] = 4 }, let_in { { keys = one, quotas = open(one) },
      { keys = two, quotas = open(two) } })
  end)

  it("are one for workers of the same gateway, and after a reload, in whatever order they stand",
    function()
      local one, again = keys_of("a", "b"), keys_of("b", "a")
      assert.same({ a = 2, b = 2 }, let_in { { keys = one, quotas = open(one) },
        { keys = again, quotas = open(again) } })
    end)
end)
