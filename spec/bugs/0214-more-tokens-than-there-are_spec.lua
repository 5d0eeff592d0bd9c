-- A usage with numbers beyond all tokens (1e308, say, of a server that is out of its mind) was
-- believed: the call's cost was infinite, which is no JSON either, and the counters of a region
-- stayed at such a sum for as long as it lives.
local answers = require "unbusy.providers.answers"
local json = require "unbusy.json"
local world = require "spec.support.world"

describe("tokens that no answer has", function()
  it("are none", function()
    for _, n in ipairs { 1e308, 2 ^ 53, 1e18, -1, 0.5, 0 / 0, 1 / 0 } do
      local usage = answers.usage { prompt_tokens = n, completion_tokens = n, total_tokens = n,
        prompt_tokens_details = { cached_tokens = n } }
      for name, count in pairs(usage) do assert.equal(0, count, name) end
    end
    assert.equal(2 ^ 53 - 1, answers.usage({ prompt_tokens = 2 ^ 53 - 1 }).prompt_tokens)
  end)

  it("cost nothing", function()
    local spec = world.good "hello"
    local body = json.decode(spec.body)
    body.usage = { prompt_tokens = 1e308, completion_tokens = 1e308, total_tokens = 1 }
    spec.body = json.encode(body)
    local w = world.new { script = { a = { spec } },
      targets = { a = { price = { input = 1, output = 2 } } } }
    assert.equal(0, w:chat().cost)
  end)
end)
