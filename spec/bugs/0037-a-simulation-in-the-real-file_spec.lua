-- `unbusy simulate --config` makes clients of the configuration as it runs. Where its cache has a
-- file, the simulated answers went there, with simulated times, and put real ones out for room.
local regions = require "spec.support.regions"
local world = require "spec.support.world"

describe("a client in simulated time", function()
  it("has its cache in memory, though the real one has it in a file", function()
    local path, remove = regions.path()
    local w = world.new { script = { a = { world.good "hello" } },
      options = { cache = { path = path, entries = 10, bytes = 2 ^ 20 } } }
    assert.equal("upstream", w:chat().source)
    assert.equal("cache", w:chat().source)
    assert.is_nil(w.client:status().cache.file_fault)
    assert.is_nil(io.open(path, "rb"))
    w.client:close()
    remove()
  end)
end)
