-- The governor: floor, ceiling, cool-down, calm, and nothing on what is not known.
local governor = require "unbusy.scaling.governor"
local options = require "unbusy.scaling.options"

local g, n, now

local function new(more)
  g = governor.new((select(2, assert(options.read(more or {}, "cpu")))))
  n, now = 5, 1000
end

-- One turn after `seconds`, carried out.
local function turn(seconds, wish)
  now = now + seconds
  local d = g:decide(now, n, wish and { wish = wish, why = "w" } or { missing = "the CPU" })
  if d.action == "up" or d.action == "down" then
    g:done(now, d)
    n = d.replicas
  else
    assert.equal(n, d.replicas)
  end
  return d.action
end

describe("the governor of scaling", function()
  before_each(function() new() end)

  it("follows a wish for more at once, then cools down", function()
    assert.equal("up", turn(0, 8))
    assert.equal(8, n)
    assert.equal("cooling", turn(179, 11))
    assert.equal("up", turn(1, 11))
    assert.equal(11, n)
  end)

  it("stops at the ceiling, and says so", function()
    n = 14
    assert.equal("up", turn(0, 17))
    assert.equal(15, n)
    assert.equal("ceiling", turn(300, 18))
  end)

  it("shrinks only when fewer were enough all the while, one at a time", function()
    for _ = 1, 10 do assert.equal("calming", turn(30, 3)) end
    assert.equal("down", turn(30, 3))
    assert.equal(4, n)
    assert.equal("calming", turn(30, 3))
    assert.equal("down", turn(30, 3))
    assert.equal(3, n)
    assert.equal("hold", turn(60, 1)) -- the floor
    assert.equal(3, n)
  end)

  it("begins the calm anew after one wish for as many", function()
    for _ = 1, 9 do turn(30, 3) end
    turn(15, 5)
    for _ = 1, 10 do assert.equal("calming", turn(30, 3)) end
    assert.equal("down", turn(30, 3))
  end)

  it("does not shrink below the greatest wish of the while", function()
    new { down = 10 }
    n = 12
    for _ = 1, 4 do turn(60, 4) end
    turn(30, 7)
    assert.equal("down", turn(90, 4))
    assert.equal(7, n)
  end)

  it("does not shrink soon after it has grown", function()
    for _ = 1, 12 do turn(30, 5) end
    assert.equal("up", turn(0, 8))
    for _ = 1, 9 do assert.equal("calming", turn(30, 3)) end
  end)

  it("does nothing on what is not known, and forgets the calm", function()
    for _ = 1, 10 do turn(30, 3) end
    assert.equal("missing", turn(30, nil))
    for _ = 1, 10 do assert.equal("calming", turn(30, 3)) end
    assert.equal("down", turn(30, 3))
  end)

  it("leaves alone what somebody has switched off", function()
    n = 0
    assert.equal("off", turn(0, 10))
    assert.equal(0, n)
  end)

  it("goes back into its bounds where somebody has left them", function()
    n = 1
    assert.equal("up", turn(0, 1))
    assert.equal(3, n)
    n = 20
    for _ = 1, 11 do turn(30, 20) end
    assert.equal(19, n)
  end)

  it("tries again what was not carried out", function()
    local d = g:decide(now, n, { wish = 8, why = "w" })
    assert.equal("up", d.action)
    d = g:decide(now + 30, n, { wish = 8, why = "w" }) -- not done: there is nothing to cool down
    assert.equal("up", d.action)
  end)

  it("never leaves its bounds nor grows within the cool-down, whatever is wished", function()
    local seed = 7
    local function draw(most)
      seed = seed * 16807 % 2147483647
      return seed % most
    end
    local grown = -math.huge
    for _ = 1, 5000 do
      local before = n
      local wish = draw(20) > 0 and draw(30) or nil
      turn(1 + draw(60), wish)
      assert.is_true(n >= 3 and n <= 15)
      if n > before then
        assert.is_true(now - grown >= 180)
        grown = now
      end
      assert.is_true(n >= before - 1)
    end
  end)
end)

describe("a governor's memory", function()
  local json = require "unbusy.json"

  before_each(function() new() end)

  -- Another process: its clock begins elsewhere.
  local function restart(gap, text)
    local memory = text and json.decode(text) or json.decode(json.encode(g:memory(now)))
    new()
    g:remember(now, memory, gap, 300)
  end

  it("keeps the cool-down", function()
    turn(0, 8)
    restart(100)
    assert.equal("cooling", turn(79, 11))
    assert.equal("up", turn(1, 11))
  end)

  it("keeps the calm, so that one look at a time can shrink", function()
    for _ = 1, 10 do
      assert.equal("calming", turn(0, 3))
      restart(30)
    end
    assert.equal("down", turn(0, 3))
  end)

  it("forgets the calm where too long was not looked", function()
    for _ = 1, 10 do turn(30, 3) end
    restart(301)
    assert.equal("calming", turn(30, 3))
  end)

  it("does not believe what makes no sense", function()
    for _, text in ipairs { "{}", '{"up":-1,"since":1e999,"wishes":[[1,2]]}',
      '{"up":"x","since":400,"wishes":[[400,3],[300,9]]}', '{"since":400,"wishes":7}',
      '{"since":400,"wishes":[[1,3],[400,2]]}', '{"since":400,"wishes":[null]}',
      '{"since":400,"wishes":[]}', '{"since":400,"wishes":[[300,4.5]]}',
      '{"since":400,"wishes":[[300,1e300]]}' } do
      local ok, memory = pcall(json.decode, text)
      if ok and memory then
        restart(0, text)
        assert.equal("calming", turn(0, 3), text)
        assert.equal("up", turn(0, 8), text)
      end
    end
  end)
end)
