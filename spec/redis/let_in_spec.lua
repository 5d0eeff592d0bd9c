-- The second level of the cache, and a server that asks who is there.
local guard = require "spec.support.leak_guard"
local levels = require "spec.support.redis_levels"
local redis_server = require "spec.support.redis_server"

local get, stats, settle = levels.get, levels.stats, levels.settle

describe("a cache that is not let in as it should be", function()
  guard.watch(before_each, after_each)

  it("asks nothing as somebody else, or of another database", function()
    local server = redis_server.start { port = true }
    server:cli "SET unbusy:mine 1"
    for code, url in pairs { invalid = "redis://127.0.0.1:%d/99",
      auth = "redis://nobody:wrong@127.0.0.1:%d/0" } do
      local client = levels.client(url:format(server.port))
      client.cache:set(levels.key(), "v", { ttl = 100 })
      client.cache:purge "t"
      client.cache:settle(10)
      assert.equal(code, stats(client).fault.code)
      client:close()
    end
    assert.equal("1", server:cli "DBSIZE")
    assert.is_nil(server:cli("INFO commandstats"):find "cmdstat_scan")
    server:stop()
  end)

  it("says what waited as soon as it is let in", function()
    local server = redis_server.start { port = true, args = "--requirepass secret" }
    local client = levels.client(("redis://:secret@127.0.0.1:%d/3"):format(server.port))
    local keys = {}
    for i = 1, 20 do
      keys[i] = levels.key()
      client.cache:set(keys[i], "v" .. i, { ttl = 100 })
    end
    assert.is_true(settle(client))
    client.cache.near:clear()
    for i = 1, 20 do assert.equal("v" .. i, (get(client, keys[i]))) end
    assert.equal(20, stats(client).stored)
    client:close()
    server:stop()
  end)

  it("hears the end of what is refused as it is sent", function()
    local server = redis_server.start { port = true }
    local client = levels.client(("redis://nobody:wrong@127.0.0.1:%d/0"):format(server.port))
    client.cache:set(levels.key(), "v", { ttl = 100 })
    client.cache:purge "t"
    local _, _, code = client.cache:settle(10)
    assert.equal("auth", code)
    assert.equal(0, client.cache.far.jobs)
    client:close()
    server:stop()
  end)
end)
