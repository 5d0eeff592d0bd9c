-- A second signal while `unbusy serve` read its configuration anew (HUP and then USR1, as a change
-- of logs and configuration sends them, or HUP twice) had the shell take the first signal's status
-- for that of the command that had just ended: the reload did not happen, and "not reloaded" gave
-- no reason.
local busyd = require "spec.support.busyd"
local direct = require "spec.support.direct"
local served = require "spec.support.served"

describe("a reload of unbusy serve", function()
  local up, place, server

  setup(function()
    up = busyd.start { workers = 1 }
    place = served.place()
  end)
  teardown(function()
    if place then place:remove() end
    if up then up:stop() end
  end)

  local function configure(name)
    return place:write("gw.lua", ("return { targets = { { name = %q, url = %q } } }")
      :format(name, up.url))
  end

  local function serves(name)
    return server:ask "/status.json":find(name, 1, true)
  end

  -- For as long as a reload takes, and longer.
  local function bother(name)
    for _ = 1, 40 do
      server:signal(name)
      direct.pause(0.025)
    end
  end

  it("is made whatever other signals come meanwhile", function()
    server = served.start(place, { configure "first" })
    configure "second"
    server:signal "HUP"
    bother "USR1"
    served.wait(function() return serves "second" end, "the second configuration")
    server:signal "HUP"
    configure "third"
    bother "HUP"
    served.wait(function() return serves "third" end, "the third configuration")
    assert.is_nil(server:said():find("not reloaded", 1, true), server:said())
    server:signal "HUP"
    server:signal "TERM"
    assert.equal(0, server:ended())
    assert.equal("0", place:folders())
  end)
end)
