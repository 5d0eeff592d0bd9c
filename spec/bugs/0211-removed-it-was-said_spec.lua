-- `client.cache:settle` said that all was done, though a server that takes no writes had refused to
-- take out the entry that `client.cache:delete` was to take out, or the connection was lost under
-- way: the answer was still given to everybody.
local levels = require "spec.support.redis_levels"
local redis_server = require "spec.support.redis_server"

describe("an entry that Redis does not take out", function()
  local server
  before_each(function() server = redis_server.start { port = true } end)
  after_each(function() server:stop() end)

  local function kept()
    local client, key = levels.client(server.path), levels.key()
    client.cache:set(key, "an answer", { ttl = 100 })
    assert.is_true(levels.settle(client))
    return client, key
  end

  it("is told of by settle, once", function()
    local client, key = kept()
    server:cli "REPLICAOF 127.0.0.1 1"
    client.cache:delete(key)
    assert.same({ nil, "redis: removing an entry: READONLY", "full" }, { levels.settle(client) })
    assert.is_true(levels.settle(client))
    assert.equal("an answer", (levels.get(client, key)))
    client:close()
  end)

  it("is told of where the connection was lost, and where it was not asked", function()
    local client, key = kept()
    server:freeze()
    client.cache:delete(key)
    server:kill()
    server:restart()
    assert.same({ nil, "redis: removing an entry: there is no connection, or it was lost",
      "network" }, { levels.settle(client) })
    server:kill()
    client.cache:delete(key)
    levels.settle(client)
    client.cache:delete(key)
    server:restart()
    levels.forgive(client)
    assert.is_nil((levels.get(client, levels.key())))
    assert.equal("network", (select(3, levels.settle(client))))
    assert.is_true(levels.settle(client))
    client:close()
  end)

  it("is nothing that is not there", function()
    local client = kept()
    client.cache:delete(levels.key())
    assert.is_true(levels.settle(client))
    client:close()
  end)
end)
