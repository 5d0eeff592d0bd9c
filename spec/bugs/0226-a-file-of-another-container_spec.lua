-- Two containers that share a directory, or /dev/shm, cannot have one region open at the same time.
-- The second one was told that another process used it "in another size or version", though both
-- were the same, and whoever looked there for the fault found none.
local cache = require "unbusy.cache"
local guard = require "spec.support.leak_guard"
local region = require "unbusy.region"
local regions = require "spec.support.regions"

local PIDS = 40 -- bytes of the file before the number of the pid namespace
local LEAST = 256 * 1024

describe("a region's file that another container has open", function()
  local path, remove, children, fork, finish

  after_each(function()
    children:end_all()
    regions.collect()
    remove()
  end)
  guard.watch(before_each, after_each)
  before_each(function()
    path, remove = regions.path()
    children, fork, finish = regions.family()
  end)

  -- As from there: the file says of itself that it is of another one.
  local function move()
    local file = assert(io.open(path, "r+b"))
    file:seek("set", PIDS)
    file:write "another!"
    file:close()
  end

  local function held(open)
    local one = fork(function(say, told)
      local kept = assert(open())
      say "open"
      told "go"
      kept:close()
    end)
    one:said "open"
    move()
    return function()
      one:tell "go"
      finish(one)
    end
  end

  it("is refused, and that is told; and begins anew when nobody has it", function()
    local function open() return region.new { path = path, bytes = LEAST } end
    local let_go = held(open)
    assert.same({ "region: another process uses it, in another container or machine", "invalid" },
      { select(2, open()) })
    local r, message = region.new { path = path, bytes = 2 * LEAST }
    assert.is_nil(r)
    assert.equal("region: another process uses it, in another size or version", message)
    let_go()
    open():close()
  end)

  it("of a cache, too, which is there when nobody has it", function()
    local function open()
      return cache.new { path = path, entries = 100, bytes = 2 ^ 18, ttl = 1000 }
    end
    local c = assert(open())
    c:set("k", "v")
    c:close()
    local let_go = held(open)
    assert.same({ "cache: its file: another process uses it, in another container or machine",
      "invalid" }, { select(2, open()) })
    let_go()
    c = assert(open())
    assert.equal("v", (c:get "k"))
    c:close()
  end)
end)
