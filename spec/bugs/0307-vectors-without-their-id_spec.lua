-- Of an answer to several embeddings in one request each caller had `object`, `data` and `model`,
-- and what else its server says of an answer was lost, as vLLM's `id` and `created`.
local json = require "unbusy.json"
local world = require "spec.support.world"

describe("an embedding that came with others", function()
  it("has all that the server says of an answer", function()
    local w = world.new { script = { a = { { status = 200, body = json.encode { id = "embd-1",
      object = "list", created = 5, model = "m", more = { 1 }, data = {
        { object = "embedding", index = 0, embedding = { 1 } },
        { object = "embedding", index = 1, embedding = { 2 } } },
      usage = { prompt_tokens = 4, total_tokens = 4 } } } } },
      options = { batch = { rule = "embeddings", window = 0.02 } } }
    local list = w.client:batch { { input = "x", model = "m" }, { input = "y", model = "m" } }
    for i = 1, 2 do
      local body = list[i].body
      assert.same({ "batch", "embd-1", "list", 5, "m", { 1 }, 2 }, { list[i].source, body.id,
        body.object, body.created, body.model, body.more, body.usage.prompt_tokens })
      assert.same({ { object = "embedding", index = 0, embedding = { i } } }, body.data)
    end
    assert.equal(1, #w.log)
    w:assert_clean()
  end)
end)
