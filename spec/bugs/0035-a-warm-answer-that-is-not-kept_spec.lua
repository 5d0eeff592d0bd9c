-- A list that is kept warm was asked in each round where its answers cannot be kept (tool calls, a
-- temperature over the line): paid for once a minute, for ever.
local guard = require "spec.support.leak_guard"
local world = require "spec.support.world"

describe("a list that stays warm", function()
  guard.watch(before_each, after_each)

  it("asks a question whose answer is not kept at most twice in each ttl", function()
    for _, options in ipairs { { ttl = 100, temperature = 0.5 }, { ttl = 100, per = "tenant" } } do
      options.jitter = 0
      options.warm = { questions = { "one" }, keep = true, every = 10, before = 30 }
      local w = world.new { script = { a = { world.good "hello" } }, options = { cache = options } }
      w.loop.run(function()
        for _ = 1, 40 do
          w.client:chat({ temperature = 0, messages = { { role = "user", content = "touch" } } },
            { tenant = "t" })
          w.loop.sleep(10)
        end
      end)
      local asked = 0
      for _, entry in ipairs(w.log) do
        if entry.request.body:find '"one"' then asked = asked + 1 end
      end
      assert.is_true(asked >= 2 and asked <= 8, "asked " .. asked)
      w.client:close()
    end
  end)
end)
