local world = require "spec.support.world"

local good, status = world.good, world.status

local function ask(w, times, options)
  for _ = 1, times do assert(w:chat(options)) end
  return w.sent
end

describe("the route stage", function()
  it("takes the targets in their order when none has a weight", function()
    local w = world.new { script = { a = { good() }, b = { good() } }, order = { "b", "a" } }
    assert.same({ b = 10 }, ask(w, 10))
  end)

  it("spreads by weight, smoothly", function()
    local w = world.new { script = { a = { good() }, b = { good() } },
      targets = { a = { weight = 90 }, b = { weight = 10 } } }
    assert.same({ a = 90, b = 10 }, ask(w, 100))
    local longest, run = 0, 0
    for _, entry in ipairs(w.log) do
      run = entry.host == "a" and run + 1 or 0
      longest = math.max(longest, run)
    end
    assert.is_true(longest <= 10, longest)
  end)

  it("counts a target without a weight as 1 beside others that have one", function()
    local w = world.new { script = { a = { good() }, b = { good() } },
      targets = { a = { weight = 3 } } }
    assert.same({ a = 6, b = 2 }, ask(w, 8))
  end)

  it("sends nothing by choice to weight 0, but goes there in need", function()
    local w = world.new { script = { a = { good() }, b = { good() } },
      targets = { a = { weight = 1 }, b = { weight = 0 } } }
    assert.same({ a = 10 }, ask(w, 10))
    w = world.new { script = { a = { status(503) }, b = { good() } },
      targets = { a = { weight = 1 }, b = { weight = 0 } } }
    assert.equal("b", w:chat().target)
  end)

  it("asks a lower priority first and a higher one when that fails", function()
    local w = world.new { script = { a = { good() }, b = { status(500) } },
      targets = { a = { priority = 2 }, b = { priority = 1 } } }
    assert.equal("a", w:chat().target)
    assert.same({ a = 1, b = 1 }, w.sent)
  end)

  it("retries elsewhere first, and comes back when all have been tried", function()
    local w = world.new { script = {
      a = { status(500) }, b = { status(500) }, c = { status(500) } } }
    w:chat()
    local order = {}
    for i, entry in ipairs(w.log) do order[i] = entry.host end
    assert.equal("a b c a b", table.concat(order, " "))
  end)

  it("keeps to the one target that a call names", function()
    local w = world.new { script = { a = { status(500) }, b = { good() } } }
    assert.equal("upstream", select(3, w:chat { target = "a" }))
    assert.same({ a = 5 }, w.sent)
    assert.has_error(function() w:chat { target = "nobody" } end)
  end)
end)
