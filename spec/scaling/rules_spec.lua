-- The rules of scaling: what they wish for.
local options = require "unbusy.scaling.options"
local rules = require "unbusy.scaling.rules"

local function of(more) return (assert(options.read(more or {}, "cpu"))) end

describe("the rule cpu", function()
  local function wish(n, cpu, whole, more)
    return rules.cpu({ replicas = n, cpu = cpu, cpu_whole = whole }, of(more))
  end

  it("adds three over 8000m of 10000m, and not at it", function()
    assert.equal(13, wish(10, 8001, 10000).wish)
    assert.equal(10, wish(10, 8000, 10000).wish)
    assert.matches("CPU 8001m of 10000m %(80 %%%): over 8000m", wish(10, 8001, 10000).why)
  end)

  it("goes by the share: 8001m of 20000m are no reason", function()
    assert.equal(10, wish(10, 10001, 20000).wish)
    assert.equal(23, wish(20, 16001, 20000).wish)
  end)

  it("goes by millicores where it is told to, whatever there is", function()
    assert.equal(13, wish(10, 8001, 20000, { millicores = 8000 }).wish)
    assert.equal(13, wish(10, 8001, nil, { millicores = 8000 }).wish)
    assert.equal(9, wish(10, 4999, 20000, { millicores = 8000 }).wish)
  end)

  it("takes one away under the lower line, and between the lines none", function()
    assert.equal(9, wish(10, 4999, 10000).wish)
    assert.equal(10, wish(10, 5001, 10000).wish)
  end)

  it("takes none away where the rest would be over the line", function()
    assert.equal(2, wish(2, 4900, 10000).wish) -- 98 % of one half
    assert.equal(1, wish(2, 3900, 10000).wish)
    assert.equal(1, wish(1, 0, 10000).wish)
  end)

  it("wishes nothing where a figure is missing, not a number or negative", function()
    for _, cpu in ipairs { 0 / 0, -1, math.huge, "8000" } do
      assert.equal("the nodes' CPU", wish(10, cpu, 10000).missing)
    end
    assert.equal("the nodes' CPU", wish(10, nil, 10000).missing)
    assert.equal("the nodes' size", wish(10, 100, 0).missing)
    assert.equal("node x", rules.cpu({ replicas = 3, lacks = "node x" }, of()).missing)
  end)
end)

describe("the rule load", function()
  local function vote(n, in_flight, waiting, wait, more)
    return rules.load({ replicas = n, in_flight = in_flight, waiting = waiting, wait = wait },
      of(more))
  end

  it("wishes for the places that those under way and waiting fill to nine tenths", function()
    assert.equal(10, vote(10, 72, 0).wish)
    assert.equal(11, vote(10, 73, 0).wish)
    assert.equal(20, vote(10, 80, 64).wish)
  end)

  it("wishes for fewer only where what is left would be filled to four fifths", function()
    assert.equal(10, vote(10, 58, 0).wish) -- 9 replicas: 0.806
    assert.equal(9, vote(10, 57, 0).wish)
    assert.equal(1, vote(10, 0, 0).wish)
  end)

  it("never wishes for more and for fewer at the same load", function()
    for n = 1, 30 do
      for demand = 0, 300 do
        local wish = vote(n, demand, 0).wish
        local again = vote(wish, demand, 0).wish
        assert.equal(wish, again, ("%d calls, %d replicas"):format(demand, n))
      end
    end
  end)

  it("adds a step where calls wait too long, even if there seem to be places", function()
    assert.equal(13, vote(10, 10, 1, 5.1).wish)
    assert.equal(2, vote(10, 10, 1, 5).wish)
    assert.equal(2, vote(10, 10, 0, 60).wish) -- of who waited once; nobody does now
    assert.equal(40, vote(10, 80, 208, 9).wish)
  end)

  it("wishes nothing where a figure is missing; how long they wait may be", function()
    assert.equal("calls under way", vote(10, nil, 0).missing)
    assert.equal("calls waiting", vote(10, 10, nil).missing)
    assert.equal("calls under way", vote(10, 0 / 0, 0).missing)
    assert.equal(9, vote(10, 57, 0, 0 / 0).wish)
  end)
end)

describe("the options of scaling", function()
  it("must fit each other", function()
    local function said(more) return (select(2, options.read(more, "cpu"))) end
    assert.equal("--most: at least as many as least expected", said { least = 5, most = 4 })
    assert.equal("--cpu-down: less than cpu expected", said { cpu = 0.5 })
    assert.equal("--full-down: less than full expected", said { full = 0.8 })
  end)

  it("cool down longer for cpu, whose wish grows by itself", function()
    assert.equal(180, select(2, options.read({}, "cpu")).cool_down)
    assert.equal(30, select(2, options.read({}, "load")).cool_down)
    assert.equal(7, select(2, options.read({ cool_down = 7 }, "load")).cool_down)
  end)

  it("are those that the command line has", function()
    local seen = {}
    for _, a in ipairs(options.arguments()) do seen[a.name:gsub("-", "_")] = a.default or true end
    for _, schema in ipairs { rules.schema, require("unbusy.scaling.governor").schema } do
      for name, field in pairs(schema) do assert.equal(field.default or true, seen[name], name) end
    end
  end)
end)
