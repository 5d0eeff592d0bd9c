local leaks = require "spec.support.leaks"
local redis_options = require "unbusy.caching.redis_options"
local unbusy = require "unbusy"
local virtual = require "unbusy.loops.virtual"

local targets = { { name = "a", url = "http://a.test" } }

local function read(given)
  return redis_options.read(given)
end

describe("the option cache.redis", function()
  it("takes URLs and paths", function()
    for url, place in pairs {
      ["redis://cache.example"] = "cache.example:6379/0",
      ["redis://cache.example:7000/3"] = "cache.example:7000/3",
      ["redis://:pass@127.0.0.1/2"] = "127.0.0.1:6379/2",
      ["redis://ann:pa%3Ass@[::1]:7000"] = "[::1]:7000/0",
      ["redis://localhost/"] = "localhost:6379/0",
      ["/run/redis.sock"] = "unix:/run/redis.sock",
      ["unix:///run/redis.sock"] = "unix:/run/redis.sock",
      ["/run/redis?db=2"] = "unix:/run/redis?db=2",
    } do
      assert.equal(place, assert(read(url)).place)
      assert.equal(place, assert(read { url = url }).place)
    end
    assert.equal("h:6379/5", read { url = "redis://h", database = 5 }.place)
  end)

  it("has defaults", function()
    local o = read "redis://h"
    assert.same({ 0.02, 1048576, 8388608, "unbusy:" }, { o.clock, o.most, o.queue, o.prefix })
    assert.is_nil(o.ttl)
  end)

  it("says what is wrong", function()
    for message, given in pairs {
      ["cache.redis.url is missing"] = {},
      ["cache.redis.url: redis://host:port/database, or a path that starts with / expected"] =
        "http://h",
      ["cache.redis.url: TLS is not supported: use a tunnel, or a network of yours"] = "rediss://h",
      ["cache.redis.url: a host expected"] = "redis://",
      ["cache.redis.url: a port of 1 to 65535 expected"] = "redis://h:0",
      ["cache.redis.url: a number of a database expected behind the host"] = "redis://h/x",
      ["cache.redis.url: a ':' expected before the password"] = "redis://pass@h",
      ["cache.redis.url: no '?' or '#' expected behind a socket's path (see `database`)"]
        = "unix:///run/redis.sock?db=2", -- else it was a path that nobody has
      ["cache.redis.url: the database is said twice, in the URL and beside it"] =
        { url = "redis://h/1", database = 2 },
      ["cache.redis.url: who we are is said twice, in the URL and beside it"] =
        { url = "redis://:p@h/1", password = "q" },
      ["cache.redis.url: no control characters expected"] = "redis://h\n",
      ["cache.redis.url: a path of 107 bytes at most expected, as unix sockets have them"] =
        "/" .. ("x"):rep(107),
      ["cache.redis.password: missing, beside 'user'"] = { url = "/s", user = "ann" },
      ["cache.redis.password: a text expected"] = { url = "/s", password = "a\0b" },
      ["cache.redis.prefix: 128 characters at most expected, no blanks"] =
        { url = "/s", prefix = "a b" },
      ["cache.redis.clock: a number above 0 expected, got 0"] = { url = "/s", clock = 0 },
      ["unknown option 'cache.redis.cluck', did you mean 'clock'?"] = { url = "/s", cluck = 1 },
    } do
      local made, why = read(given)
      assert.is_nil(made)
      assert.truthy(why:find(message, 1, true), why)
    end
  end)

  it("raises at the line of whoever makes a client", function()
    local ok, message = pcall(function()
      local client = unbusy.new { targets = targets, cache = { redis = "http://h" } }
      return client
    end)
    assert.is_false(ok)
    assert.truthy(message:find("options_spec.lua:%d+: unbusy: cache%.redis%.url: "))
  end)

  it("names what is missing where the build is without it", function()
    local loaded, searchers = package.loaded["unbusy.core_redis"], package.preload
    package.loaded["unbusy.core_redis"] = nil
    searchers["unbusy.core_redis"] = function() error "no such library" end
    local made, message = read "redis://h"
    searchers["unbusy.core_redis"] = nil
    package.loaded["unbusy.core_redis"] = loaded
    assert.is_nil(made)
    assert.equal("cache.redis: this build is without it: install hiredis (Debian: libhiredis-dev) "
      .. "and build again", message)
  end)

  it("keeps the password where nobody sees it", function()
    local client = unbusy.new { targets = targets,
      cache = { redis = "redis://annabel:zq7%2Dxkjw93@127.0.0.1:1/0" } }
    leaks.none({ "zq7-xkjw93", "zq7%2Dxkjw93" }, client, client:status())
    client:close()
  end)

  it("is left out in simulated time", function()
    local client = unbusy.new { targets = targets, loop = virtual.new {},
      cache = { redis = "/nowhere" } }
    assert.is_nil(client.cache.far)
    assert.is_nil(client:status().cache.redis)
    client:close()
  end)

  it("opens nothing before it is used", function()
    local client = unbusy.new { targets = targets, cache = { redis = "/nowhere" } }
    assert.equal("up", client:status().cache.redis.state)
    assert.is_false(client.cache.far.link:owned())
    client:close()
  end)
end)
