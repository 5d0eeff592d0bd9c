local health = require "unbusy.caching.health"

-- Pauses as they are.
local function even()
  return 0.5
end

describe("health", function()
  it("may always be asked while it is well", function()
    local h = health.new(even)
    for t = 1, 10 do assert.is_true(h:may_ask(t)) end
    assert.is_true(h:is_well())
    assert.equal(0, h:rest(5))
    assert.is_false(h:good())
  end)

  it("rests after trouble, and lets one ask then", function()
    local h = health.new(even)
    assert.is_true(h:bad(100))
    assert.is_false(h:is_well())
    assert.equal(0.5, h:rest(100))
    assert.is_false(h:may_ask(100.4))
    assert.is_true(h:may_ask(100.5))
    assert.is_false(h:may_ask(100.5)) -- another one, at the same time
    assert.is_true(h:good())
    assert.is_true(h:may_ask(100.6))
    assert.is_true(h:is_well())
  end)

  it("rests longer each time, to a limit", function()
    local h, time, rests = health.new(even), 0, {}
    h:bad(time)
    for i = 1, 9 do
      rests[i] = h:rest(time)
      time = time + rests[i]
      assert.is_true(h:may_ask(time))
      assert.is_false(h:bad(time)) -- no news
    end
    assert.same({ 0.5, 1, 2, 4, 8, 16, 30, 30, 30 }, rests)
    h:good()
    h:bad(time)
    assert.equal(0.5, h:rest(time))
  end)

  it("counts one trouble once, however many tell of it", function()
    local h = health.new(even)
    assert.is_true(h:bad(0))
    for _ = 1, 100 do assert.is_false(h:bad(0)) end
    assert.equal(0.5, h:rest(0))
  end)

  it("lets another one ask when nobody says how it went", function()
    local h = health.new(even)
    h:bad(0)
    assert.is_true(h:may_ask(0.5))
    assert.is_false(h:may_ask(0.9))
    assert.is_true(h:may_ask(1.0))
  end)

  it("takes three answers too late, one after the other, for trouble", function()
    local h = health.new(even)
    assert.is_false(h:late())
    assert.is_false(h:late())
    h:good()
    assert.is_false(h:late())
    assert.is_false(h:late())
    assert.is_true(h:late())
    h:bad(0)
    h:may_ask(0.5)
    assert.is_true(h:late()) -- while it is ill, one will do
  end)

  it("spreads its pauses by chance", function()
    local least, most = health.new(function() return 0 end), health.new(function() return 1 end)
    least:bad(0)
    most:bad(0)
    assert.equal(0.375, least:rest(0))
    assert.equal(0.625, most:rest(0))
  end)
end)
