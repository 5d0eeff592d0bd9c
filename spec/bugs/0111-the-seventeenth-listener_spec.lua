-- An engine watched 16 descriptors of its host's, and nobody looked whether it took another one. So
-- of many clients that each have a Redis server, or a region of their own, the seventeenth and all
-- others were never heard: each of their questions waited for its whole clock.
local core = require "unbusy.core"
local guard = require "spec.support.leak_guard"
local levels = require "spec.support.redis_levels"
local redis_server = require "spec.support.redis_server"
local wire = require "unbusy.loops.wire"

local MANY = 40

-- Something with a descriptor: an engine, which is readable as soon as it has a request.
local function source()
  local engine = assert(core.engine())
  local made = { engine = engine, told = 0 }
  function made.descriptor() return engine:fd() end
  function made.heard() made.told = made.told + 1 end
  function made.stir()
    engine:submit { method = "GET", url = "http://127.0.0.1:1/", headers = {} }
  end
  return made
end

describe("of many listeners", function()
  guard.watch(before_each, after_each)

  it("an engine hears each", function()
    local engine, sources = core.engine(), {}
    for i = 1, MANY do
      sources[i] = source()
      assert(engine:listen(sources[i]:descriptor()))
    end
    for i = 1, MANY do
      sources[i].stir()
      engine:wait(5)
      engine:step()
      assert.is_true(engine:heard(), "number " .. i)
      engine:ignore(sources[i]:descriptor())
      sources[i].engine:close()
      engine:step()
      assert.is_false(engine:heard())
    end
    engine:close()
  end)

  it("all clients' Redis servers are heard at once", function()
    local server, clients, slow = redis_server.start(), {}, 0
    for i = 1, MANY / 2 do clients[i] = levels.client(server.path, { clock = 2 }) end
    for _, client in ipairs(clients) do
      local key = levels.key()
      client.cache.far:set(key, "v", { ttl = 100 })
      local settled, began = client.cache:settle(2), core.now()
      if not settled or levels.get(client, key) ~= "v" or core.now() - began > 1 then
        slow = slow + 1
      end
    end
    for _, client in ipairs(clients) do client:close() end
    server:stop()
    assert.equal(0, slow)
  end)

  it("one that could not be watched is tried again", function()
    wire.idle(0.001) -- there is an engine
    local sources = {}
    for i = 1, MANY do
      sources[i] = source()
      core.fail_alloc(1)
      wire.listen(sources[i])
      core.fail_alloc(0)
    end
    wire.step()
    for _, s in ipairs(sources) do
      s.told = 0
      s.stir()
      wire.idle(5)
      assert.is_true(s.told > 0)
      wire.ignore(s)
      s.engine:close()
    end
  end)
end)
