local random = require "spec.support.random"
local region = require "unbusy.region"
local turns = require "unbusy.turns"

-- So many turns of those in `mask`; gives how many each priority had, and their order.
local function take(t, mask, n)
  local counts, order = { 0, 0, 0 }, {}
  for i = 1, n do
    local p = t:next(mask)
    t:take(p)
    counts[p], order[i] = counts[p] + 1, p
  end
  return counts, order
end

describe("turns", function()
  it("go to each priority by its share", function()
    local t = turns.new()
    for p = 1, 3 do t:join(p) end
    assert.same({ 1600, 400, 100 }, (take(t, 7, 2100)))
    assert.same({ 800, 200, 0 }, (take(t, 3, 1000)))
    t:join(3)
    assert.same({ 0, 80, 20 }, (take(t, 6, 100)))
  end)

  it("go all to one that waits alone", function()
    for p = 1, 3 do
      local t, counts = turns.new(), { 0, 0, 0 }
      counts[p] = 50
      t:join(p)
      assert.same(counts, (take(t, 2 ^ (p - 1), 50)))
    end
  end)

  it("begin with the most urgent, and come to the last after twenty others at most", function()
    local t = turns.new()
    for p = 1, 3 do t:join(p) end
    local _, order = take(t, 7, 500)
    assert.equal(1, order[1])
    local since = 0
    for _, p in ipairs(order) do
      since = p == 3 and 0 or since + 1
      assert.is_true(since <= 20)
    end
  end)

  it("give nobody a claim for the time in which he did not wait", function()
    local t = turns.new()
    t:join(1)
    take(t, 1, 1000)
    t:join(3)
    local _, order = take(t, 5, 17)
    assert.equal(3, order[17]) -- behind sixteen of the first, and not at once for long
    for i = 1, 16 do assert.equal(1, order[i]) end
    t:join(1)
    t:join(2)
    assert.equal(1, t:next(7))
  end)

  it("give one turn at once, and no more, to one that waited where others alone were let in",
  function()
    local t = turns.new()
    for p = 1, 3 do t:join(p) end
    take(t, 1, 10000)
    local _, order = take(t, 5, 18)
    assert.same({ 3, 1, 1 }, { order[1], order[2], order[17] })
    assert.equal(3, order[18])
  end)

  it("agree with a naive model", function()
    local r, t = random.new(random.seed(7)), turns.new()
    local length, tags, clock = { 1, 4, 16 }, { 0, 0, 0 }, 0
    for _ = 1, 20000 do
      local p = r:int(3)
      if r:int(5) == 1 then
        t:join(p)
        tags[p] = math.max(tags[p], clock)
      else
        local mask, best = r:int(7), nil
        for i = 1, 3 do
          local waits = math.floor(mask / 2 ^ (i - 1)) % 2 == 1
          tags[i] = math.max(tags[i], clock - length[i])
          if waits and not (best and tags[best] + length[best] <= tags[i] + length[i]) then
            best = i
          end
        end
        assert.equal(best, t:next(mask))
        t:take(best)
        tags[best] = tags[best] + length[best]
        clock = math.max(clock, tags[best])
      end
    end
  end)

  it("raise for what is no priority", function()
    local t = turns.new()
    for _, wrong in ipairs { 0, 4, -1, 1.5, 0 / 0, 1 / 0, "x", {} } do
      assert.has_error(function() t:take(wrong) end)
      assert.has_error(function() t:join(wrong) end)
    end
    for _, wrong in ipairs { 0, 8, -1, 1.5, 0 / 0, "x" } do
      assert.has_error(function() t:next(wrong) end)
    end
  end)

  it("are one account for all in a region", function()
    local r = assert(region.new { bytes = 256 * 1024 })
    for p = 1, 3 do r:waiting(1, 0, p) end
    assert.same({ 16, 4, 1 }, (take(r, 7, 21)))
    assert.is_false(r:yields()) -- nobody waits but ourselves
    r:close()
  end)
end)
