-- Where no target may be asked, the runbook says to ask one by hand: `unbusy chat --target NAME`.
-- But with a cache that others fill too (`cache.path`, a region, Redis) that gave what was kept,
-- without a word of it: a server that had been dead for an hour seemed to answer.
local busyd = require "spec.support.busyd"
local codes = require "unbusy.codes"
local served = require "spec.support.served"

local CONFIG = [[return {
  targets = { { name = "up", url = "%s/v1", models = { default = "m" } } },
  cache = { path = "%s", entries = 100, bytes = 1000000 }, retry = false,
}]]

describe("a target that is asked by hand", function()
  local up, place
  setup(function()
    up = busyd.start { workers = 1 }
    place = served.place()
  end)
  teardown(function()
    up:stop()
    place:remove()
  end)

  it("is asked, whatever the cache has", function()
    up:programme {}
    up:reset()
    local path = place:write("gw.lua", CONFIG:format(up.url, place.dir .. "/answers"))
    local function ask(...) return place:run { "chat", "--config", path, "--quiet", ... } end
    assert.same({ "echo: hi\n", 0 }, { ask("hi").out, ask("hi").rc })
    assert.equal(1, up:counts().received) -- without --target it is a question like any other
    assert.equal("echo: hi\n", ask("--target", "up", "hi").out)
    assert.equal(2, up:counts().received)
    up:programme { faults = { { share = 1, answer = { preset = "busy_503" } } } }
    for _, how in ipairs { "--no-stream", "--json", "--quiet" } do
      assert.equal(codes.busy.exit, ask("--target", "up", how, "hi").rc)
    end
  end)
end)
