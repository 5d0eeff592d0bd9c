-- The answer to a call that names its pool was kept under the pool's name alone. In a cache that
-- outlives a configuration (a file, a region, a Redis server) it was given to those who named that
-- pool when it had other targets by then: the answer of a target that was not to be asked.
local coalesced = require "spec.support.coalesced"
local world = require "spec.support.world"

describe("an answer of a pool, and the pool when it has other targets", function()
  local path
  before_each(function()
    path = os.tmpname()
    os.remove(path)
  end)
  after_each(function() os.remove(path) end)

  local function client(a, b)
    return world.new { script = { a = { world.good "from a" }, b = { world.good "from b" } },
      options = { cache = { path = path, entries = 50, bytes = 100000 } },
      targets = { a = { pool = a }, b = { pool = b } } }
  end

  local function ask(w, options)
    local reply = assert(w.client:chat(coalesced.request "x", options))
    return reply.text .. ", " .. reply.source
  end

  it("is not given", function()
    local w = client("cheap", "dear")
    assert.equal("from a, upstream", ask(w, { pool = "cheap" }))
    assert.equal("from a, cache", ask(w, { pool = "cheap" }))
    w.client:close()
    w = client("dear", "cheap")
    assert.equal("from b, upstream", ask(w, { pool = "cheap" }))
    assert.equal("from a, upstream", ask(w, { pool = "dear" }))
    w.client:close()
    w = client("cheap", "dear")
    assert.equal("from a, cache", ask(w, { pool = "cheap" }))
    w.client:close()
  end)

  it("is not given where a fallback has asked that pool for it", function()
    local function failing(a, b)
      return world.new { order = { "m", "a", "b" },
        script = { m = { world.status(503) }, a = { world.good "from a" },
          b = { world.good "from b" } },
        options = { retry = false, breaker = false, fallback = { { pool = "cheap" } },
          cache = { path = path, entries = 50, bytes = 100000 } },
        targets = { a = { pool = a, reserve = true }, b = { pool = b, reserve = true } } }
    end
    local w = failing("cheap", "dear")
    assert.equal("from a, upstream", ask(w))
    assert.equal("from a, cache", ask(w))
    w.client:close()
    w = failing("dear", "cheap")
    assert.equal("from b, upstream", ask(w))
    w.client:close()
  end)

  it("is given to who names no pool, whatever pools there are", function()
    local w = client("cheap", "dear")
    local text = ask(w):match "^[^,]+"
    w.client:close()
    w = client("dear", "cheap")
    assert.equal(text .. ", cache", ask(w))
    w.client:close()
  end)
end)
