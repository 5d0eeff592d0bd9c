-- While a batch for a server's batch endpoint came together, another one's 404 set that endpoint
-- aside. Then nobody was left to ask, and an internal error was raised to the callers.
local guard = require "spec.support.leak_guard"
local world = require "spec.support.world"

describe("a batch whose endpoint is set aside before it is sent", function()
  guard.watch(before_each, after_each)

  for _, names in ipairs { { "a" }, { "a", "b" } } do
    it(("is asked call by call, with %d targets"):format(#names), function()
      local script, targets = {}, {}
      for _, name in ipairs(names) do
        script[name] = function(request)
          if request.url:find "/batch" then return world.status(404, nil, "no such page", 0.01) end
          return world.good "alone"
        end
        targets[name] = { batch = "/api/batch" }
      end
      local w = world.new { script = script, targets = targets,
        options = { batch = { rule = "endpoint", max = 3, window = 0.1 } } }
      local texts = {}
      w.loop.run(function()
        for i = 1, 5 do -- three are full at once; two wait for others
          w.loop.spawn(function()
            texts[i] = assert(w.client:chat { model = i <= 3 and "x" or "y",
              messages = { { role = "user", content = "q" .. i } } }).text
          end)
        end
      end)
      assert.same({ "alone", "alone", "alone", "alone", "alone" }, texts)
      w:assert_clean()
    end)
  end
end)
