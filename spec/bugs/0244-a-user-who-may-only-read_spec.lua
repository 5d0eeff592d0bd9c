-- A Redis user who may read and not write (ACL `+get`): each write was taken for trouble with all
-- of Redis, so that nothing was read for half a second after it either; and trouble and its end
-- were told again and again.
local levels = require "spec.support.redis_levels"
local redis_server = require "spec.support.redis_server"

describe("a Redis user who may only read", function()
  local server, writer, reader, key
  before_each(function()
    server = redis_server.start()
    server:cli "ACL SETUSER reader on '>secret' '~*' +get +auth +ping"
    writer, key = levels.client(server.path), levels.key()
    writer.cache:set(key, "an answer", { ttl = 1000 })
    assert.is_true(levels.settle(writer))
    reader = levels.client(server.path, { user = "reader", password = "secret" })
  end)
  after_each(function()
    writer:close()
    reader:close()
    server:stop()
  end)

  local function read()
    reader.cache.near:delete(key)
    return (levels.get(reader, key))
  end

  it("goes on reading, and is told once that it does not write", function()
    for _ = 1, 5 do
      reader.cache:set(levels.key(), "mine", { ttl = 100 })
      levels.settle(reader)
      assert.equal("an answer", read())
    end
    assert.same({ "fault auth" }, levels.events(reader))
    local stats = levels.stats(reader)
    assert.same({ "refuses", 0, "redis: NOPERM: it takes no writes" },
      { stats.state, stats.skipped, stats.fault.message })
  end)

  it("hears that nothing was taken out", function()
    reader.cache:delete(key)
    assert.same({ nil, "redis: removing an entry: NOPERM", "auth" }, { levels.settle(reader) })
    assert.equal("an answer", read())
  end)

  it("writes again when it may", function()
    reader.cache:set(levels.key(), "mine", { ttl = 100 })
    levels.settle(reader)
    server:cli "ACL SETUSER reader +@all"
    levels.forgive(reader)
    reader.cache:set(levels.key(), "mine", { ttl = 100 })
    assert.is_true(levels.settle(reader))
    assert.equal("up", levels.stats(reader).state)
    assert.same({ "fault auth", "well" }, levels.events(reader))
  end)

  it("is not let in where it may not read either", function()
    server:cli "ACL SETUSER reader -get"
    assert.is_nil(read())
    assert.same({ "down", "auth" },
      { levels.stats(reader).state, levels.stats(reader).fault.code })
  end)
end)
