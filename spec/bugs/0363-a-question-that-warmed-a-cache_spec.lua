-- `unbusy chat` with the configuration of a gateway whose cache keeps itself warm was a client like
-- any other: with its one question it began to ask all those of the list, too. It did not end until
-- they were answered, and what they cost was for a cache that went with it.
local busyd = require "spec.support.busyd"
local served = require "spec.support.served"

local CONFIG = [[return {
  targets = { { name = "up", url = "%s/v1", models = { default = "m" } } },
  cache = { warm = { questions = { "one", "two", "three" }, model = "m" } },
}]]

describe("a question with the configuration of a gateway", function()
  local up, place
  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() up:stop() end)
  before_each(function() place = served.place() end)
  after_each(function() place:remove() end)

  it("is the only one that is asked", function()
    up:programme {}
    up:reset()
    local path = place:write("gw.lua", CONFIG:format(up.url))
    for _, how in ipairs { "--quiet", "--no-stream", "--json" } do
      local r = place:run { "chat", "--config", path, how, "hi" }
      assert.same({ "", 0 }, { r.err, r.rc })
    end
    assert.equal(3, up:counts().received)
  end)
end)
