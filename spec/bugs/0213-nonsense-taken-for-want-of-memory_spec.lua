-- A server in Redis' place that began a list of more items than any of ours, or said a number or a
-- truth of a later protocol, was reported as "not enough memory" (`nomem`): whoever read that
-- looked for what was wrong at home.
local garbage = require "spec.support.garbage"
local levels = require "spec.support.redis_levels"

describe("what is no answer of Redis'", function()
  local server
  setup(function() server = garbage.start() end)
  teardown(function() server:stop() end)

  it("is told as such", function()
    for _, bytes in ipairs { "*1000000000\r\n", "*65537\r\n", ",1.5\r\n", "#t\r\n",
      "*1\r\n#t\r\n" } do
      server:says("k", bytes)
      local client = levels.client(server.path)
      assert.is_nil((levels.get(client, levels.key())))
      assert.same({ code = "upstream", message = "redis: what has come makes no sense" },
        levels.stats(client).fault, bytes)
      client:close()
    end
  end)
end)
