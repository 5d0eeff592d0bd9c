-- `nohup unbusy serve gw.lua &` said that HUP reloads, and heard none: nohup has HUP ignored, and a
-- shell cannot trap what was ignored when it began. A reload did nothing, without a word.
local busyd = require "spec.support.busyd"
local served = require "spec.support.served"

describe("unbusy serve under nohup", function()
  local up, place

  setup(function()
    up = busyd.start { workers = 1 }
    place = served.place()
  end)
  teardown(function()
    if place then place:remove() end
    if up then up:stop() end
  end)

  it("reloads when it is told to", function()
    local function configure(name)
      return place:write("gw.lua", ("return { targets = { { name = %q, url = %q } } }")
        :format(name, up.url))
    end
    local server = served.start(place, { configure "first" },
      { before = "env --ignore-signal=HUP" })
    configure "second"
    server:signal "HUP"
    server:hears "reloaded;"
    served.wait(function() return server:ask "/status.json":find("second", 1, true) end, "it")
    server:signal "TERM"
    assert.equal(0, server:ended())
  end)
end)
