local random = require "spec.support.random"
local starts = require "unbusy.starts"

describe("what is known of starts", function()
  it("is nothing before enough have been seen", function()
    local s = starts.new(5)
    assert.is_nil(s:quantile("a", "m", "chat", 0.95, 0))
    for i = 1, 5 do
      assert.is_nil(s:quantile("a", "m", "chat", 0.95, i))
      s:note("a", "m", "chat", 2, i)
    end
    assert.near(2, s:quantile("a", "m", "chat", 0.95, 6), 0.02)
    assert.is_nil(s:quantile("a", "m", "stream", 0.95, 6))
    assert.is_nil(s:quantile("a", nil, "chat", 0.95, 6))
    assert.is_nil(s:quantile("b", "m", "chat", 0.95, 6))
  end)

  it("follows in the number of answers, and in time", function()
    local s = starts.new(5)
    for i = 1, 100 do s:note("a", "m", "chat", 1, i / 1000) end
    for i = 1, 2000 do s:note("a", "m", "chat", 4, 1 + i / 1000) end
    assert.near(4, s:quantile("a", "m", "chat", 0.01, 10), 0.04) -- none of the first is left
    s = starts.new(5)
    for i = 1, 100 do s:note("a", "m", "chat", 1, i / 1000) end
    for i = 1, 51 do s:note("a", "m", "chat", 4, 61 + i) end
    assert.near(1, s:quantile("a", "m", "chat", 0.01, 100), 0.01)
    s:note("a", "m", "chat", 4, 130)
    assert.near(4, s:quantile("a", "m", "chat", 0.01, 130), 0.04)
  end)

  it("is forgotten when it is old", function()
    local s = starts.new(5)
    for _ = 1, 10 do s:note("a", "m", "chat", 1, 0) end
    assert.near(1, s:quantile("a", "m", "chat", 0.5, 599), 0.01)
    assert.near(1, s:quantile("a", "m", "chat", 0.5, 601), 0.01)
    assert.is_nil(s:quantile("a", "m", "chat", 0.5, 1202))
  end)

  it("agrees with the sorted list", function()
    local r, s, list = random.new(7), starts.new(1), {}
    for i = 1, 900 do
      list[i] = math.exp(2 * r:float() - 1)
      s:note("a", "m", "chat", list[i], 0)
    end
    table.sort(list)
    for _, q in ipairs { 0.5, 0.75, 0.9, 0.95, 0.99 } do
      local exact = list[math.ceil(q * 900)]
      assert.near(exact, s:quantile("a", "m", "chat", q, 0), exact / 100)
    end
  end)

  it("is bounded, however many models are named", function()
    local s = starts.new(1)
    for i = 1, 1000 do s:note("a", "m" .. i, "chat", i <= 15 and 1 or 3, 0) end
    assert.is_true(#s:list(0.95, 0) <= 17)
    assert.near(1, s:quantile("a", "m3", "chat", 0.95, 0), 0.01)
    assert.near(3, s:quantile("a", "m999", "chat", 0.95, 0), 0.03)
  end)
end)
