-- Redis as second level of the cache in the loops of others: cqueues and luv. nginx has a spec of
-- its own, plain Lua all the others here.
local cqueues = require "cqueues"
local guard = require "spec.support.leak_guard"
local levels = require "spec.support.redis_levels"
local loops = require "unbusy.loops"
local redis_server = require "spec.support.redis_server"
local uv = require "luv"

local hosts = {}

function hosts.cqueues()
  local cq = cqueues.new()
  return { go = function(f) cq:wrap(f) end, run = function() assert(cq:loop()) end }
end

function hosts.luv()
  local host = { loop = "luv" }
  function host.go(f)
    local ok, message = coroutine.resume(coroutine.create(f))
    if not ok then error(message, 0) end
  end
  function host.run() uv.run() end
  return host
end

for name, new in pairs(hosts) do
  describe("in " .. name .. ", a cache with a Redis server", function()
    guard.watch(before_each, after_each)
    local server
    setup(function() server = redis_server.start() end)
    teardown(function() server:stop() end)

    -- Asks within the host, as a call does.
    local function get(client, key)
      return loops.enter(client.loop, function(loop)
        return (client.cache:get(levels.call(loop), key))
      end)
    end

    it("answers many at once", function()
      local host = new()
      local client = levels.client(server.path, nil, { loop = host.loop })
      local keys, right, settled = {}, 0, nil
      for i = 1, 100 do
        keys[i] = levels.key()
        client.cache.far:set(keys[i], "v" .. i)
      end
      for i = 1, 100 do
        host.go(function()
          if get(client, keys[i]) == "v" .. i then right = right + 1 end
        end)
      end
      host.go(function() settled = client.cache:settle(levels.PATIENCE) end)
      host.run()
      assert.equal(100, right)
      assert.is_true(settled)
      client:close()
      client, host = nil, nil -- luacheck: ignore
    end)

    it("goes on without it when it hangs, and ends by itself", function()
      local host = new()
      local client = levels.client(server.path, { clock = 0.01 }, { loop = host.loop })
      local gone_on = 0
      client.cache.far:set(levels.key(), "v")
      server:freeze()
      for _ = 1, 20 do
        host.go(function()
          if get(client, levels.key()) == nil then gone_on = gone_on + 1 end
        end)
      end
      host.run()
      server:thaw()
      assert.equal(20, gone_on)
      assert.equal("down", levels.stats(client).state)
      client:close()
      client, host = nil, nil -- luacheck: ignore
    end)

    it("lets go of those who wait when the client is closed", function()
      local host = new()
      local client = levels.client(server.path, nil, { loop = host.loop })
      local answered = 0
      server:freeze()
      for _ = 1, 5 do
        host.go(function()
          get(client, levels.key())
          answered = answered + 1
        end)
      end
      host.go(function()
        loops.enter(client.loop, function(loop) loop.sleep(0.01) end)
        client:close()
      end)
      host.run()
      server:thaw()
      assert.equal(5, answered)
      client, host = nil, nil -- luacheck: ignore
    end)
  end)
end
