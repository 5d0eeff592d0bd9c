-- A forked child that came late, after its parent had gone, and whose room in the region others had
-- taken raised in each call, when it looked for what was not to be used; and where a policy was
-- asked for the route, when it looked at a limiter.
local codes = require "unbusy.codes"
local guard = require "spec.support.leak_guard"
local region = require "unbusy.region"
local regions = require "spec.support.regions"
local world = require "spec.support.world"

describe("a call in a child that has lost its room in the region", function()
  after_each(world.end_all)
  after_each(regions.collect)
  guard.watch(before_each, after_each)

  -- A child that will run f(w) with a world of this process's, which has nothing of it any more.
  local function child_with(name, given, f)
    local r = assert(region.new { name = name })
    given.options = { region = r }
    local w = world.new(given)
    for _, t in ipairs(w.client.targets) do t:limiter "" end -- there before the child is
    local child = regions.fork(function(_, told)
      told "go"
      assert(not w.client.targets[1]:limiter "":stats())
      f(w)
      w.client:close()
    end)
    w.client:close()
    r:close()
    world.end_all() -- it holds this one, too
    return child
  end

  -- Runs f(w) in a child without room.
  local function without_room(script, f)
    local name = regions.name()
    local r = assert(region.new { name = name, bytes = 8 * 1024 * 1024 }) -- it is there throughout
    local child = child_with(name, { script = script }, f)
    regions.collect()
    local parts = regions.filled(r)
    child:tell "go"
    child:wait()
    assert.is_true(#parts > 0)
    r:close()
  end

  it("fails, and does not raise", function()
    without_room({ a = { world.good() } }, function(w)
      local reply, _, code = w:chat { deadline = 1 }
      assert(not reply and codes[code])
    end)
  end)

  it("asks its policies", function()
    without_room({ a = { world.good() }, b = { world.good() } }, function(w)
      local asked
      local policy = { route = function(_, targets)
        asked = targets[1].round_trip == nil and #targets
        return { "b", "a" }
      end }
      local reply, _, code = w:chat { deadline = 1, policy = policy }
      assert(not reply and codes[code] and asked == 2)
    end)
  end)
end)
