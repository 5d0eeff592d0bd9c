-- Who waited for Redis put what it was given into the near level, whatever had been kept there
-- meanwhile. Behind a slow server an answer that was asked for anew (`cache = "refresh"`) gave way
-- to the one it had replaced, which then was the answer near for the rest of its time.
local cache = require "unbusy.cache"
local levels = require "spec.support.redis_levels"
local redis_server = require "spec.support.redis_server"
local region = require "unbusy.region"
local unbusy = require "unbusy"

describe("an answer that was on its way out of Redis", function()
  local server
  setup(function() server = redis_server.start() end)
  teardown(function() server:stop() end)
  before_each(function() server:cli "FLUSHALL" end)

  local function overtaken(options)
    local a, b, key = levels.client(server.path), levels.client(server.path, nil, options),
      levels.key()
    a.cache:set(key, "old", { ttl = 100 })
    assert.is_true(levels.settle(a))
    unbusy.sleep(0.01)
    server:freeze()
    unbusy.run(function()
      local task = unbusy.spawn(function() return (levels.get(b, key)) end)
      unbusy.sleep(0.05)
      b.cache:set(key, "new", { ttl = 100 })
      server:thaw()
      task:join()
    end)
    assert.is_true(levels.settle(b))
    assert.equal("new", (levels.get(b, key)))
    a:close()
    b:close()
  end

  it("does not take the place of one that was kept meanwhile", function() overtaken() end)

  it("does not in a region either", function() overtaken { region = {} } end)
end)

describe("a value that is brought from elsewhere", function()
  local function each(test)
    local time = 1000
    local function make(more)
      local o = { ttl = 10, stale = 90, entries = 10, bytes = 1e4 }
      o.clock = function() return time end
      for k, v in pairs(more) do o[k] = v end
      return assert(cache.new(o))
    end
    local function at(t) time = t end
    test(make {}, at)
    at(1000)
    test(make { region = assert(region.new { bytes = 2 ^ 22 }), name = "c" }, at)
  end

  it("leaves one alone that was kept later", function()
    each(function(c, at)
      c:set("k", "here")
      at(1002)
      assert.is_true((c:set("k", "elsewhere", nil, nil, nil, 3)))
      assert.same({ "here", "fresh", 2 }, { c:get "k" })
      at(1020)
      c:set("k", "elsewhere", nil, nil, nil, 30)
      assert.same({ "here", "stale", 20 }, { c:get "k" })
    end)
  end)

  it("takes the place of one that was kept before, and of a stale one where it is fresh", function()
    each(function(c, at)
      c:set("k", "here")
      at(1005)
      c:set("k", "elsewhere", nil, nil, nil, 3)
      assert.same({ "elsewhere", "fresh", 3 }, { c:get "k" })
      at(1020)
      c:set("k", "longer", 50, nil, nil, 30)
      assert.same({ "longer", "fresh", 30 }, { c:get "k" })
    end)
  end)

  it("takes the place of one from the future", function()
    each(function(c, at)
      at(2000)
      c:set("k", "future")
      at(1000)
      c:set("k", "elsewhere", nil, nil, nil, 3)
      assert.same({ "elsewhere", "fresh", 3 }, { c:get "k" })
    end)
  end)
end)
