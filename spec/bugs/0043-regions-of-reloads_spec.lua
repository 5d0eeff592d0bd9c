-- The name of the region that a gateway's workers share was made of all options of the cache. So a
-- reload with another `ttl` had breakers, limits and the counts of client keys begin anew. And it
-- left the old region in /dev/shm for ever where the master is root and its workers are not: they
-- are the last to use it, and may not remove it.
local busyd = require "spec.support.busyd"
local core = require "unbusy.core"
local files = require "spec.support.files"
local region = require "unbusy.region"
local regions = require "spec.support.regions"
local served = require "spec.support.served"
local workers = require "unbusy.gateway.workers"

local CONFIG = [[return { targets = { { name = "up-%d", url = "%s", key = "k" } }, cache = { %s },
  gateway = { keys = { { key = "a", calls = 2 } } } }]]

describe("the region of a gateway that is reloaded", function()
  local up, place, server
  local version = 0

  setup(function()
    up = busyd.start { workers = 1 }
    place = served.place()
  end)
  teardown(function()
    if place then place:remove() end
    if up then up:stop() end
  end)

  local function configure(cache)
    version = version + 1
    place:write("gw.lua", CONFIG:format(version, up.url, cache))
  end

  local function reload(cache)
    configure(cache)
    server:signal "HUP"
    served.wait(function()
      return server:ask "/status.json":find(("up-%d"):format(version), 1, true)
    end, "the new configuration")
  end

  -- How many regions of this place there are.
  local function count()
    local prefix = workers.region({}, place.dir .. "/gw.lua").name:match "^.*%-"
    return tonumber(files.trimmed(("ls /dev/shm | grep -c -- '-%s'"):format(prefix)))
  end

  local function ask(text) return select(2, server:chat(text, "-H 'authorization: Bearer a'")) end

  it("stays the same with other times, and is gone in the end, whatever its size was", function()
    configure "ttl = 300"
    server = served.start(place, { "gw.lua" })
    assert.same({ 200, 200, 429 }, { ask "one", ask "one", ask "one" })
    reload "ttl = 100, stale = 50, jitter = 0, temperature = 2, per = 'tenant'"
    assert.equal(429, ask "one")
    assert.equal(1, count())
    reload "entries = 100"
    served.wait(function() return ask "one" == 200 end, "the last of the old workers")
    assert.is_true(count() <= 2) -- the old workers may have one for a moment
    reload "entries = 200"
    reload "entries = 300"
    assert.is_nil(server:said():find("do not share", 1, true))
    server:signal "TERM"
    assert.equal(0, server:ended())
    assert.equal(0, count())
  end)

  it("is removed when nobody uses it and its last user was killed", function()
    local prefix = regions.name() .. "-"
    local used = assert(region.new { name = prefix .. "used", bytes = 2 ^ 20 })
    local child = regions.fork(function(say)
      local own = assert(region.new { name = prefix .. "killed", bytes = 2 ^ 20 })
      say "open"
      regions.wait_for(function() return not core.is_region(own) end)
    end)
    child:said "open"
    local sweeper = core.sweeper(prefix)
    assert.is_userdata(sweeper)
    assert.is_true(regions.exists(prefix .. "killed"))
    child:kill()
    assert.is_true(regions.exists(prefix .. "killed"))
    sweeper = nil -- luacheck: ignore 311
    regions.collect()
    assert.is_false(regions.exists(prefix .. "killed"))
    assert.is_true(regions.exists(prefix .. "used"))
    assert.has_error(function() core.sweeper "" end)
    used:close()
  end)
end)
