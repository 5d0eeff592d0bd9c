local cost = require "unbusy.cost"

local price = { input = 2, cached = 0.5, output = 10 }

describe("cost", function()
  it("prices input, cached input and output per million tokens", function()
    local usage = { prompt_tokens = 1000, cached_tokens = 400, completion_tokens = 100 }
    assert.near((600 * 2 + 400 * 0.5 + 100 * 10) / 1e6, cost.of(usage, price), 1e-15)
  end)

  it("prices cached tokens as input when they have no price of their own", function()
    local usage = { prompt_tokens = 1000, cached_tokens = 400, completion_tokens = 0 }
    assert.near(0.002, cost.of(usage, { input = 2, output = 1 }), 1e-15)
  end)

  it("costs nothing when nothing was used", function()
    assert.equal(0, cost.of({}, price))
    assert.equal(0, cost.of({ prompt_tokens = 0 }, {}))
  end)

  it("prices an embedding without a price for output", function()
    assert.near(0.002, cost.of({ prompt_tokens = 1000, completion_tokens = 0 }, { input = 2 }),
      1e-15)
  end)

  it("is unknown without usage, price or the price of what was used", function()
    assert.is_nil(cost.of(nil, price))
    assert.is_nil(cost.of({ prompt_tokens = 1 }, nil))
    assert.is_nil(cost.of({ prompt_tokens = 1 }, { output = 1 }))
    assert.is_nil(cost.of({ completion_tokens = 1 }, { input = 1 }))
    assert.is_nil(cost.of({ prompt_tokens = 2, cached_tokens = 2 }, { output = 1 }))
  end)

  it("never counts more cached tokens than there were, nor odd counts", function()
    assert.near(5e-6, cost.of({ prompt_tokens = 10, cached_tokens = 99 }, price), 1e-15)
    for _, odd in ipairs { -5, 0 / 0, math.huge, "7" } do
      assert.equal(0, cost.of({ prompt_tokens = odd, completion_tokens = odd }, price))
    end
  end)
end)
