-- An entry in Redis that was cut within its tags said that there is more of it, and there was not:
-- to purge a tag it was read again and again, as fast as the server answers, for ever.
local files = require "spec.support.files"
local guard = require "spec.support.leak_guard"
local levels = require "spec.support.redis_levels"
local redis_server = require "spec.support.redis_server"

-- The head of an entry with 4000 bytes of tags: see csrc/redis/frame.h.
local TAGS = 4000
local HEAD = "ubc\1" .. ("\0"):rep(28) .. "\3\0\0\0" .. "\160\15\0\0"

describe("an entry that ends within its tags", function()
  guard.watch(before_each, after_each)
  local server
  setup(function() server = redis_server.start() end)
  teardown(function() server:stop() end)

  it("is read twice at most, and the others are purged", function()
    local client = levels.client(server.path)
    local far, key = client.cache.far, levels.key()
    for i, length in ipairs { 0, 100, 255, 256, 257, 300, TAGS - 1, TAGS } do
      files.write(server.dir .. "/value", HEAD .. ("x"):rep(length))
      server:cli(("SET '%s%032x' <%s/value"):format(far.prefix, i, server.dir), "-x")
    end
    far:set(key, "v", { ttl = 100, tags = { "t" } })
    assert.is_true(levels.settle(client))
    client.cache:purge "t"
    assert.is_true(client.cache:settle(10))
    assert.equal("8", server:cli "DBSIZE")
    local reads = tonumber(server:cli "INFO commandstats":match "cmdstat_getrange:calls=(%d+)")
    assert.is_true(reads > 9 and reads <= 2 * 9, reads)
    client:close()
  end)
end)
