-- A power cut within half a minute of a region's first run left its file in its whole size, and
-- with nothing in it: the size is written at once, what is in it later. From then on it was "no
-- region of unbusy" to every process, until somebody removed it; a client's cache never had its
-- file again. Now what comes first is on the disk before the file has its size, and a file in which
-- nothing was ever written is taken for a new one.
local cache = require "unbusy.cache"
local files = require "spec.support.files"
local guard = require "spec.support.leak_guard"
local region = require "unbusy.region"
local regions = require "spec.support.regions"

describe("a file in which nothing was ever written", function()
  local path, remove

  after_each(function()
    regions.collect()
    remove()
  end)
  guard.watch(before_each, after_each)
  before_each(function() path, remove = regions.path() end)

  -- As a power cut leaves one.
  local function leave(bytes)
    assert(os.execute(("truncate -s %d '%s' && chmod 600 '%s'"):format(bytes, path, path)))
  end

  it("becomes a region", function()
    leave(2 ^ 20)
    local r = assert(region.new { path = path, bytes = 2 ^ 19 })
    assert.equal(2 ^ 19, r:stats().bytes)
    assert.equal("unbusy_1", files.read(path):sub(1, 8))
    r:close()
  end)

  it("becomes a cache's", function()
    local c = assert(cache.new { path = path, entries = 10, bytes = 2 ^ 16 })
    c:close()
    local size = #files.read(path)
    assert(os.remove(path))
    leave(size)
    c = assert(cache.new { path = path, entries = 10, bytes = 2 ^ 16 })
    assert.is_true(c:set("k", "v"))
    c:close()
  end)

  it("is no other's that has anything in it", function()
    leave(2 ^ 20)
    local file = assert(io.open(path, "r+b"))
    file:seek("set", 900000)
    file:write "x"
    file:close()
    local before = files.read(path)
    assert.same({ "region: the file is no region of unbusy", "invalid" },
      { select(2, region.new { path = path, bytes = 2 ^ 20 }) })
    assert.equal(before, files.read(path))
  end)
end)
