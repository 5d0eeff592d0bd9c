-- A call's `hedge = false` was lost in a batch: a second try was made all the same.
local guard = require "spec.support.leak_guard"
local json = require "unbusy.json"
local world = require "spec.support.world"

describe("calls that want no second try", function()
  guard.watch(before_each, after_each)

  local function server(seconds)
    return function(request)
      local list, data = json.decode(request.body).input, {}
      for i in ipairs(type(list) == "table" and list or { list }) do
        data[i] = { object = "embedding", index = i - 1, embedding = { i } }
      end
      return { status = 200, after = seconds, body = json.encode { object = "list", model = "m",
        data = data, usage = { prompt_tokens = 1, total_tokens = 1 } } }
    end
  end

  it("have none in a batch, and are in one with their like", function()
    local w = world.new { script = { a = server(5), b = server(0.1) }, options = {
      batch = "embeddings", hedge = { after = 0.5, most = 1, price = "any" } } }
    w.loop.run(function()
      for i = 1, 4 do
        w.loop.spawn(function()
          local reply = assert(w.client:embed({ model = "m", input = "text " .. i },
            i > 2 and { hedge = false } or nil))
          assert.same({ "batch", 2 }, { reply.source, reply.batch.size })
          assert.equal(i > 2 and "a" or "b", reply.target)
        end)
      end
    end)
    assert.equal(1, w.client:status().hedge.begun)
    w:assert_clean()
  end)
end)
