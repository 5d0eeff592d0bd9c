-- A forked child took its parent's waiting calls for its own: it told the others that they wait in
-- it, too, was woken for them, and had the turns that were theirs.
local guard = require "spec.support.leak_guard"
local region = require "unbusy.region"
local regions = require "spec.support.regions"
local shared = require "unbusy.shared"

describe("the parent's waiting calls in a forked child", function()
  local r
  after_each(function()
    r:close()
    r = nil
    regions.collect()
  end)
  guard.watch(before_each, after_each)
  before_each(function() r = assert(region.new { bytes = 8 * 1024 * 1024 }) end)

  it("are none of its own", function()
    local common, loop = assert(shared.open(r)), {}
    local handles = {}
    for i = 1, 3 do handles[i] = common:enter(loop, 2) end
    assert.equal("4 4 3", regions.child(function()
      local own = common:enter(loop, 2)
      local with = r:stats().waiting
      common:leave(handles[1]) -- a copy of the parent's call ends
      local still = r:stats().waiting
      common:leave(own)
      return ("%d %d %d"):format(with, still, r:stats().waiting)
    end))
    assert.equal(3, r:stats().waiting)
    for i = 1, 3 do common:leave(handles[i]) end
    assert.equal(0, r:stats().waiting)
    assert.is_false(r:yields())
  end)
end)
