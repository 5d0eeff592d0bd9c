-- `unbusy simulate --config` makes clients of the configuration as it runs. Where its cache has a
-- file, the simulated answers went there, with simulated times, and put real ones out for room.
local setup = require "unbusy.simulate.setup"
local trace = require "unbusy.simulate.trace"

it("a simulation has its cache in memory, though the real one is in a file", function()
  local t = trace.new "t"
  assert.is_nil(trace.declare(t, { target = "a" }))
  local given = { targets = { { name = "a", url = "http://a.test" } },
    cache = { path = "/var/cache/answers", redis = "redis://127.0.0.1", ttl = 5 } }
  local options = assert(setup.options(t, given))
  assert.same({ ttl = 5 }, options.cache)
  assert.equal("/var/cache/answers", given.cache.path)
  given.cache = true
  assert.is_true(setup.options(t, given).cache)
end)
