-- The second level of the cache: what it gives, and its bad days.
local core = require "unbusy.core"
local garbage = require "spec.support.garbage"
local guard = require "spec.support.leak_guard"
local levels = require "spec.support.redis_levels"
local process = require "spec.support.fork"
local redis_server = require "spec.support.redis_server"
local tasks = require "unbusy.loops.tasks"
local unbusy = require "unbusy"

local get, stats, events, settle = levels.get, levels.stats, levels.events, levels.settle

-- What is kept, and its state.
local function pair(client, key)
  local value, state = get(client, key)
  return { value, state }
end

local function closing(...)
  for _, client in ipairs { ... } do client:close() end
end

describe("a cache with a Redis server", function()
  guard.watch(before_each, after_each)
  local server
  setup(function() server = redis_server.start() end)
  teardown(function() server:stop() end)
  before_each(function() server:cli "FLUSHALL" end)

  it("gives what another client has kept, and keeps it near", function()
    local a, b, key = levels.client(server.path), levels.client(server.path), levels.key()
    a.cache:set(key, "an answer", { ttl = 100 })
    assert.is_true(settle(a))
    assert.equal(1, stats(a).stored)
    local value, state, age = get(b, key)
    assert.same({ "an answer", "fresh" }, { value, state })
    assert.is_true(age >= 0 and age < 60)
    assert.same({ "an answer", "fresh" }, pair(b, key))
    assert.equal(1, stats(b).hits)
    assert.equal(1, b.cache:stats().hits)
    closing(a, b)
  end)

  it("says nothing of what nobody has kept", function()
    local client = levels.client(server.path)
    assert.is_nil((get(client, levels.key())))
    assert.equal(1, stats(client).misses)
    assert.equal("up", stats(client).state)
    assert.same({}, events(client))
    closing(client)
  end)

  it("knows how old an answer is, and when it is stale or gone", function()
    local a = levels.client(server.path)
    local far, time = a.cache.far, 1e9
    far.wall = function() return time end
    local key = levels.key()
    far:set(key, "v", { ttl = 100 })
    assert.is_true(settle(a))
    local function look(seconds)
      time = 1e9 + seconds
      a.cache.near:delete(key)
      local value, state, age = get(a, key)
      return { value, state, age and math.floor(age + 0.5) }
    end
    assert.same({ "v", "fresh", 0 }, look(0))
    assert.same({ "v", "fresh", 99 }, look(99))
    assert.same({ "v", "stale", 100 }, look(100))
    assert.same({ "v", "stale", 86499 }, look(86499))
    assert.same({}, look(86501))
    assert.same({ "v", "fresh", 0 }, look(-4))  -- clocks of two machines
    assert.same({ "v", "stale", 0 }, look(-10)) -- a clock was wrong
    assert.same({ "v", "stale" }, pair(a, key)) -- and near too
    closing(a)
  end)

  it("prefers what is fresh far to what is stale near, and else what is younger", function()
    local a, b, key = levels.client(server.path), levels.client(server.path), levels.key()
    b.cache.near:set(key, "old", 0)
    assert.same({ "old", "stale" }, pair(b, key))
    a.cache:set(key, "new", { ttl = 100 })
    settle(a)
    assert.same({ "new", "fresh" }, pair(b, key))
    closing(a, b)
  end)

  it("takes entries out, one and all", function()
    local a, b, keys = levels.client(server.path), levels.client(server.path), {}
    server:cli "SET unbusy:foreign 1"
    server:cli "SET other 1"
    for i = 1, 1200 do
      keys[i] = levels.key()
      a.cache:set(keys[i], "v" .. i)
    end
    assert.is_true(settle(a))
    for _ = 1, 3 do a.cache:delete(keys[1]) end -- it is there once
    assert.is_true(settle(a))
    assert.equal(1, stats(a).removed)
    assert.is_nil((get(b, keys[1])))
    assert.equal("v2", (get(b, keys[2])))
    assert.equal("1201", server:cli "DBSIZE")
    a.cache:clear()
    assert.is_true(settle(a))
    assert.equal("2", server:cli "DBSIZE")
    assert.is_nil((get(a, keys[2])))
    assert.equal(1200, stats(a).removed)
    closing(a, b)
  end)

  it("takes out those with a tag, however many tags they have", function()
    local a, many = levels.client(server.path), {}
    local far = a.cache.far
    for i = 1, 15 do many[i] = ("%d"):format(i):rep(60) end
    many[16] = "x"
    for i = 1, 700 do
      far:set(levels.key(), "v", { tags = i % 7 == 0 and { "y", "x" } or { "y" } })
    end
    far:set(levels.key(), "v", { tags = many })
    far:set(levels.key(), "v")
    server:cli("SET unbusy:" .. ("0"):rep(32) .. " garbage")
    assert.is_true(settle(a))
    far:remove_all "x"
    assert.is_true(settle(a))
    assert.equal(101, stats(a).removed)
    assert.equal("602", server:cli "DBSIZE")
    closing(a)
  end)

  it("keeps prefixes apart, whatever is in them", function()
    local a, b = levels.client(server.path, { prefix = "a*" }),
      levels.client(server.path, { prefix = "ab[c]" })
    local key = levels.key()
    a.cache:set(key, "of a")
    b.cache:set(key, "of b")
    settle(a)
    settle(b)
    a.cache:clear()
    assert.is_true(settle(a))
    assert.is_nil((get(a, key)))
    b.cache.near:clear()
    assert.equal("of b", (get(b, key)))
    closing(a, b)
  end)

  it("does not send what is too long, nor what finds no room", function()
    local client = levels.client(server.path, { most = 1000, queue = 3000 })
    client.cache:set(levels.key(), ("x"):rep(1001))
    assert.equal(1, stats(client).large)
    server:freeze()
    for _ = 1, 10 do client.cache:set(levels.key(), ("x"):rep(900)) end
    server:thaw()
    settle(client)
    local s = stats(client)
    assert.is_true(s.stored == 2 or s.stored == 3) -- with what belongs to a command
    assert.equal(10, s.stored + s.dropped)
    assert.equal(11, client.cache:stats().entries)
    closing(client)
  end)

  it("does not wait for longer than its clock, nor the call's deadline", function()
    local client, key = levels.client(server.path, { clock = 0.02 }), levels.key()
    server:freeze()
    local value, _, _, call = get(client, key)
    assert.is_nil(value)
    assert.is_true(call.most <= 0.02)
    value, _, _, call = get(client, key, 0.005)
    assert.is_nil(value)
    assert.is_true(call.most <= 0.005)
    assert.is_nil((get(client, key, 0)))
    server:thaw()
    closing(client)
  end)

  it("is answered by the next level while Redis hangs, and tells it once", function()
    local client, key = levels.client(server.path, { clock = 0.01 }), levels.key()
    client.cache.near:set(key, "old", 0)
    server:freeze()
    for _ = 1, 20 do
      local value, state = get(client, key)
      assert.same({ "old", "stale" }, { value, state })
    end
    local s = stats(client)
    assert.equal("down", s.state)
    assert.equal("timeout", s.fault.code)
    assert.is_true(s.late >= 3 and s.skipped >= 1) -- most do not pay the clock
    assert.same({ "fault timeout" }, events(client))
    server:thaw()
    client.cache.far.clock = levels.CLOCK
    levels.forgive(client)
    get(client, levels.key())
    assert.equal("up", stats(client).state)
    assert.same({ "fault timeout", "well" }, events(client))
    closing(client)
  end)

  it("may be closed by whoever is told of it", function()
    for _, trouble in ipairs { "freeze", "kill" } do
      local client
      client = levels.client(server.path, { clock = 0.01 }, { on_event = function(event)
        if event.what == "fault" then client:close() end
      end })
      client.cache.far:set(levels.key(), "v")
      settle(client)
      server[trouble](server)
      for _ = 1, 10 do
        local ok, message = pcall(client.cache.far.set, client.cache.far, levels.key(), "v")
        assert.is_true(ok, message)
        if not client.closed then
          assert.is_nil((get(client, levels.key())))
        end
      end
      assert.is_true(client.closed)
      if trouble == "kill" then server:restart() else server:thaw() end
    end
  end)

  it("finds out by writing, too, that Redis hangs", function()
    local client = levels.client(server.path)
    client.cache:set(levels.key(), "v")
    settle(client)
    server:freeze()
    client.cache:set(levels.key(), "v")
    process.nap(1100000)
    client.cache:set(levels.key(), "v")
    assert.equal("down", stats(client).state)
    assert.same({ "fault timeout" }, events(client))
    server:thaw()
    closing(client)
  end)

  it("goes on when Redis is killed, and when it is there again", function()
    local client, key = levels.client(server.path), levels.key()
    client.cache:set(key, "v")
    settle(client)
    server:kill()
    for _ = 1, 3 do assert.is_nil((get(client, levels.key()))) end
    client.cache:set(levels.key(), "v")
    assert.equal("down", stats(client).state)
    assert.equal("v", (get(client, key)))
    assert.is_nil(settle(client))
    assert.same({ "fault network" }, events(client))
    server:restart()
    levels.forgive(client)
    assert.is_nil((get(client, levels.key())))
    assert.same({ "fault network", "well" }, events(client))
    client.cache:set(key, "v")
    assert.is_true(settle(client))
    assert.equal("1", server:cli "DBSIZE")
    closing(client)
  end)

  it("makes no fuss of a connection that Redis has ended, or a restart", function()
    local client, key = levels.client(server.path), levels.key()
    client.cache:set(key, "v")
    settle(client)
    server:cli "CLIENT KILL TYPE normal"
    get(client, levels.key())
    get(client, levels.key())
    server:kill()
    server:restart()
    get(client, levels.key())
    get(client, levels.key())
    assert.equal("up", stats(client).state)
    assert.same({}, events(client))
    assert.is_true(stats(client).lost <= 2)
    client.cache:set(key, "v")
    assert.is_true(settle(client))
    closing(client)
  end)

  it("goes on reading when Redis takes no writes", function()
    local client, key = levels.client(server.path), levels.key()
    client.cache:set(key, "v")
    settle(client)
    for kind, commands in pairs {
      OOM = { "CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0" },
      READONLY = { "REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE" },
    } do
      client.seen = {}
      client.cache.far.tell = function(event) client.seen[#client.seen + 1] = event end
      server:cli(commands[1])
      for _ = 1, 5 do
        client.cache:set(levels.key(), "v")
        settle(client)
        client.cache.near:delete(key)
        assert.equal("v", (get(client, key)), kind)
      end
      assert.equal("refuses", stats(client).state)
      assert.equal(1, #client.seen)
      assert.equal("full", client.seen[1].code)
      assert.truthy(client.seen[1].message:find(kind))
      server:cli(commands[2])
      levels.forgive(client)
      client.cache:set(key, "v")
      settle(client)
      assert.equal("up", stats(client).state)
    end
    closing(client)
  end)

  it("misses what Redis has evicted", function()
    local client, keys = levels.client(server.path), {}
    server:cli "CONFIG SET maxmemory 3mb"
    server:cli "CONFIG SET maxmemory-policy allkeys-lru"
    for i = 1, 200 do
      keys[i] = levels.key()
      client.cache:set(keys[i], ("x"):rep(50000))
      settle(client)
    end
    client.cache.near:clear()
    local found = 0
    for _, key in ipairs(keys) do
      if get(client, key) then found = found + 1 end
    end
    assert.is_true(found > 0 and found < 200)
    assert.equal(200 - found, stats(client).misses)
    assert.equal("up", stats(client).state)
    server:cli "CONFIG SET maxmemory 0"
    closing(client)
  end)

  it("does not lean on what somebody else has put in its place", function()
    local client, key = levels.client(server.path), levels.key()
    client.cache:set(key, "v")
    settle(client)
    local name = server:cli "KEYS '*'"
    client.cache.near:clear()
    server:cli("SET " .. name .. " x")
    assert.is_nil((get(client, key)))
    assert.same({ 1, "up" }, { stats(client).torn, stats(client).state })
    server:cli("DEL " .. name)
    server:cli("LPUSH " .. name .. " x")
    assert.is_nil((get(client, key)))
    closing(client)
  end)

  -- Asks, and meanwhile lets `f` run, while the server stands still.
  local function asking(client, key, f)
    local value
    server:freeze()
    unbusy.run(function()
      unbusy.spawn(function() value = get(client, key) end)
      tasks.enter(function(loop) loop.sleep(0.05) end)
      f()
      server:thaw()
    end)
    settle(client)
    return value
  end

  it("keeps nothing near that was on its way when it was taken out", function()
    for name, f in pairs {
      delete = function(cache, key) cache:delete(key) end,
      purge = function(cache) cache:purge "t" end,
      clear = function(cache) cache:clear() end,
    } do
      local client, key = levels.client(server.path), levels.key()
      client.cache.far:set(key, "old", { ttl = 100, tags = { "t" } })
      assert.is_true(settle(client))
      assert.equal("old", asking(client, key, function() f(client.cache, key) end), name)
      assert.is_nil((client.cache.near:get(key)), name)
      assert.is_nil((get(client, key)), name)
      closing(client)
    end
  end)

  it("keeps nothing near that is read while entries are being taken out", function()
    for name, f in pairs {
      purge = function(cache) cache:purge "t" end,
      clear = function(cache) cache:clear() end,
    } do
      local client, key = levels.client(server.path), levels.key()
      client.cache:set(key, "old", { ttl = 100, tags = { "t" } })
      assert.is_true(settle(client))
      f(client.cache)
      get(client, key) -- Redis has looked for names by now, and taken nothing out yet
      assert.is_true(settle(client))
      assert.is_nil((client.cache.near:get(key)), name)
      assert.is_nil((get(client, key)), name)
      closing(client)
    end
  end)

  it("answers many calls at once", function()
    local client, keys, right = levels.client(server.path), {}, 0
    for i = 1, 300 do
      keys[i] = levels.key()
      client.cache.far:set(keys[i], "v" .. i)
    end
    unbusy.run(function()
      for i = 1, 300 do
        unbusy.spawn(function()
          if get(client, keys[i]) == "v" .. i then right = right + 1 end
        end)
      end
    end)
    assert.equal(300, right)
    closing(client)
  end)

  it("gives up its reads when the client is closed", function()
    local client, answered = levels.client(server.path), {}
    server:freeze()
    unbusy.run(function()
      for i = 1, 3 do
        unbusy.spawn(function()
          get(client, levels.key())
          answered[#answered + 1] = i
        end)
      end
      tasks.enter(function(loop) loop.sleep(0.01) end)
      client:close()
    end)
    server:thaw()
    assert.equal(3, #answered)
    assert.is_nil(client.cache.far:get({}, "k"))
    client.cache.far:set("k", "v")
    client.cache.far:remove_all()
    assert.is_true(settle(client))
  end)

  it("is used by parent and child after a fork, with a read under way", function()
    local client, key = levels.client(server.path), levels.key()
    client.cache.far:set(key, "v")
    settle(client)
    local path, pid, value = os.tmpname(), nil, nil
    unbusy.run(function()
      unbusy.spawn(function()
        pid = process.fork()
        if pid > 0 then return end
        local ok, message = pcall(function()
          assert(get(client, key) == "v")
          client.cache.far:set(key, "of the child")
          assert(settle(client))
          assert(#events(client) == 0)
        end)
        local file = io.open(path, "wb")
        file:write(ok and "fine" or tostring(message))
        file:close()
        process.leave()
      end)
      value = get(client, key)
    end)
    assert.equal("v", value)
    process.wait(pid)
    local file = io.open(path, "rb")
    assert.equal("fine", file:read "*a")
    file:close()
    os.remove(path)
    client.cache.near:clear()
    assert.equal("of the child", (get(client, key)))
    assert.same({}, events(client))
    closing(client)
  end)

  it("leaves nothing when it is dropped without being closed", function()
    local client = levels.client(server.path)
    client.cache:set(levels.key(), "v")
    settle(client)
    client = nil -- luacheck: ignore
  end)

  it("leaves nothing of a call that is cancelled where it waits", function()
    local client = levels.client(server.path)
    local far = client.cache.far
    server:freeze()
    unbusy.run(function()
      local task = unbusy.spawn(function()
        tasks.enter(function(loop)
          local call = levels.call(loop)
          function call.hold(_, thing) call.thing = thing end
          local ok = pcall(client.cache.get, client.cache, call, levels.key())
          assert.is_false(ok)
          call.thing:close()
        end)
      end)
      tasks.enter(function(loop)
        loop.sleep(0.01)
        loop.cancel(task)
      end)
    end)
    assert.is_nil(next(far.pending))
    server:thaw()
    closing(client)
  end)
end)

describe("a cache with what is no good Redis server", function()
  local server
  guard.watch(before_each, function(check) after_each(function()
    server:stop()
    check()
  end) end)

  it("answers all the same, and tells it once", function()
    server = garbage.start()
    for bytes, code in pairs { ["hello\r\n"] = "upstream", ["+OK\r\n"] = "upstream",
      ["-NOAUTH x\r\n"] = "auth", ["-MOVED 1 10.0.0.1:1\r\n"] = "upstream",
      ["-LOADING x\r\n"] = "upstream", ["$400000000\r\n"] = "timeout",
      ["-ERR max number of clients reached\r\n"] = "busy" } do
      server:says("k", bytes)
      local client = levels.client(server.path, { clock = code == "timeout" and 0.05 or nil })
      for _ = 1, 10 do
        assert.is_nil((get(client, levels.key())))
        client.cache:set(levels.key(), "v")
      end
      assert.equal("down", stats(client).state, bytes)
      assert.equal(code, stats(client).fault.code)
      assert.same({ "fault " .. code }, events(client))
      closing(client)
    end
  end)

  it("shows no password", function()
    server = redis_server.start { args = "--requirepass right-one" }
    local client = levels.client(server.path, { password = "wr0ng-0ne" })
    for _ = 1, 3 do get(client, levels.key()) end
    assert.equal("auth", stats(client).fault.code)
    for _, event in ipairs(client.seen) do assert.is_nil((event.message or ""):find "wr0ng") end
    closing(client)
    client = levels.client(server.path, { password = "right-one" })
    client.cache:set(levels.key(), "v")
    assert.is_true(settle(client))
    closing(client)
  end)
end)

describe("whole calls over a cache with a Redis server", function()
  local busyd = require "spec.support.busyd"
  guard.watch(before_each, after_each)
  local server, up
  setup(function()
    server = redis_server.start()
    up = busyd.start { workers = 1 }
  end)
  teardown(function()
    server:stop()
    up:stop()
  end)

  it("are answered by one client with what another one was answered", function()
    up:programme { reset = true }
    local options = { targets = { { name = "a", url = up.url .. "/v1" } } }
    local a, b = levels.client(server.path, nil, options), levels.client(server.path, nil, options)
    local question = { model = "m", messages = { { role = "user", content = "hi" } } }
    assert.equal("upstream", a:chat(question).source)
    assert.is_true(settle(a))
    local reply = b:chat(question)
    assert.same({ "cache", "echo: hi", "a" }, { reply.source, reply.text, reply.target })
    assert.equal(1, up:counts().received)
    assert.equal("cache", b:chat(question).source)
    assert.equal(1, b:status().cache.redis.hits)
    closing(a, b)
    assert.is_true(core.now() > 0)
  end)
end)
