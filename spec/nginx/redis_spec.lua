-- Redis as second level of the cache inside nginx: a connection for each worker, and no worker that
-- waits.
local busyd = require "spec.support.busyd"
local core = require "unbusy.core"
local engines = require "spec.support.engines"
local redis_server = require "spec.support.redis_server"
local sites = require "spec.support.site"

describe("inside nginx, a cache with a Redis server", function()
  local up, server, site

  local function start(more)
    local options = { targets = { { name = "a", url = up.url .. "/v1" } },
      cache = { redis = { url = server.path, clock = 10 } },
      init = "rawset(_G, 'told', 0)", locations = [[
        location = /source { content_by_lua_block {
          local reply, message, code = client:chat(question(ngx.var.arg_q))
          ngx.print(reply and reply.source or code .. ": " .. message)
        } }
        location = /settle { content_by_lua_block {
          local ok, message = client.cache:settle(60)
          ngx.print(ok and "settled" or message)
        } }
        location = /pending { content_by_lua_block {
          local n = 0
          for _ in pairs(client.cache.far.pending) do n = n + 1 end
          ngx.print(n)
        } }
        location = /unforgiving { content_by_lua_block { client.cache.far.clock = 0.01 } }
      ]] }
    for name, value in pairs(more or {}) do options[name] = value end
    site = sites.start(options)
    return site
  end

  setup(function()
    up = busyd.start {}
    server = redis_server.start()
  end)
  teardown(function()
    up:stop()
    server:stop()
  end)
  before_each(function()
    up:programme { reset = true }
    server:cli "FLUSHALL"
  end)
  after_each(function()
    server:thaw()
    local faults = site:faults()
    site:stop()
    assert.equal("", faults)
  end)

  it("is asked by all workers, each by a connection of its own, made when it is needed", function()
    start { workers = 4 }
    assert.equal("0", server:cli "CLIENT LIST TYPE normal":match "^id=%d+.-\n(.*)$" or "0")
    assert.equal("upstream", (site:get "/source?q=one"))
    sites.await("it is kept", function() return server:cli "DBSIZE" == "1" end)
    local seen, workers = {}, 0
    sites.await("all workers have answered", function()
      assert.equal("cache", (site:get "/source?q=one"))
      local status = site:status()
      if status.cache.redis.hits > 0 and not seen[status.pid] then
        seen[status.pid], workers = true, workers + 1
      end
      return workers >= 2
    end)
    assert.equal(1, up:counts().received)
    local connections = select(2, server:cli "CLIENT LIST TYPE normal":gsub("id=", ""))
    assert.is_true(connections >= 3 and connections <= 5) -- with redis-cli's own
  end)

  it("outlives a reload, and does not hold up the old workers", function()
    start()
    site:get "/source?q=two"
    assert.equal("settled", (site:get "/settle"))
    local old = site:workers()[1]
    server:freeze()
    site:get "/unforgiving"
    site:get "/source?q=three" -- which is to be written, and never is
    site:signal "HUP"
    sites.await("the old worker has ended", function()
      for _, pid in ipairs(site:workers()) do
        if pid == old then return false end
      end
      return true
    end)
    server:thaw()
    assert.equal("cache", (site:get "/source?q=two"))
  end)

  it("answers while Redis hangs, and asks it again afterwards", function()
    start()
    site:get "/source?q=x"
    site:get "/unforgiving"
    server:freeze()
    local bodies = site:get_many(50, "/source?q=hang%d")
    for i = 1, 50 do assert.equal("upstream", bodies[i]) end
    assert.equal("down", site:status().cache.redis.state)
    server:thaw()
    sites.await("it is asked again", function()
      site:get "/source?q=x"
      site:get(("/source?q=y%d"):format(core.now() * 1000))
      return site:status().cache.redis.state == "up"
    end)
  end)

  it("answers many at once out of Redis", function()
    start()
    for i = 1, 20 do site:get("/source?q=many" .. i) end
    assert.equal("settled", (site:get "/settle"))
    site:stop()
    start()
    local bodies = site:get_many(400, "/source?q=many%d")
    local from_cache = 0
    for i = 1, 20 do
      if bodies[i] == "cache" then from_cache = from_cache + 1 end
    end
    assert.equal(20, from_cache)
    assert.equal(400, up:counts().received) -- 20 at first, and the other 380
  end)

  it("holds nothing for a client that leaves while Redis is asked", function()
    start()
    site:get "/source?q=x"
    assert.equal("settled", (site:get "/settle"))
    server:freeze()
    local e = core.engine()
    local ids = {}
    for i = 1, 5 do
      ids[i] = assert(e:submit { url = site.url .. "/source?q=left" .. i, method = "GET",
        headers = {} })
    end
    sites.await("they wait", function()
      engines.work(e, 2)
      return (site:get "/pending") == "5"
    end)
    for _, id in ipairs(ids) do e:cancel(id) end
    engines.work(e, 2)
    sites.await("nothing is held", function()
      return (site:get "/pending") == "0" and site:status().active == 0
    end)
    e:close()
    assert.equal(1, up:counts().received)
  end)

  it("is the second level behind a region", function()
    local name = "spec-redis-" .. server.path:match "(%w+)/socket"
    start { workers = 2, region = { name = name, bytes = 128 * 1024 * 1024 } }
    site:get "/source?q=one"
    sites.await("it is kept", function() return server:cli "DBSIZE" == "1" end)
    for _ = 1, 20 do assert.equal("cache", (site:get "/source?q=one")) end
    assert.equal(0, site:status().cache.redis.hits)
  end)
end)
