-- A script may do with what it is given whatever it likes. But what a `route` and a `split` said
-- was checked against the very lists that they had been given: a route that turned its list of
-- targets into names, and a split that took requests out of its list, made the calls themselves
-- fail, with an error of Lua's in the middle of the client.
local batching = require "spec.support.batching"
local world = require "spec.support.world"

describe("a script that changes the lists it is given", function()
  it("routes", function()
    local w = world.new { script = { a = { world.status(500) }, b = { world.good() } },
      options = { policy = { route = function(_, targets)
        for i, target in ipairs(targets) do targets[i] = target.name end
        table.sort(targets, function(a, b) return a > b end)
        return targets
      end } } }
    assert.equal("b", w:chat().target)
    assert.same({}, w.client:status().policy[1].faults)
  end)

  it("routes to nobody whom the client does not have", function()
    local w = world.new { script = { a = { world.good() }, b = { world.good() } },
      options = { policy = { route = function(_, targets)
        targets[1] = { name = "z" }
        return "z"
      end } } }
    assert.equal("a", w:chat().target)
    assert.same({ route = 1 }, w.client:status().policy[1].faults)
  end)

  local function all(body, requests)
    local out = {}
    for i in ipairs(requests) do out[i] = { data = { body.data[i] } } end
    return out
  end

  local function inputs(requests)
    local out = {}
    for i, request in ipairs(requests) do out[i] = request.input end
    return { input = out }
  end

  local function said(merge, split)
    local w = batching.world { options = { policy = { merge = merge, split = split,
      batch = function(request)
        return type(request.input) == "string" and { key = 1, max = 3 } or nil
      end } } }
    local out, words = batching.ask(w, "embed", { "a", "b", "c" }), {}
    for i, one in ipairs(out) do words[i] = batching.said(one.reply) end
    return words, #w.log
  end

  local good = { "echo: a", "echo: b", "echo: c" }

  it("splits into too few, too many or none: each goes alone", function()
    for _, change in ipairs {
      function(list) list[3] = nil end,
      function(list) list[4] = { input = "d" } end,
      function(list) for i = 3, 1, -1 do list[i] = nil end end,
    } do
      local words, sent = said(inputs, function(body, list)
        change(list)
        body.data[4] = body.data[1]
        return all(body, list)
      end)
      assert.same(good, words)
      assert.equal(4, sent)
    end
  end)

  it("merges, and takes the list apart behind it", function()
    local words, sent = said(function(requests)
      local merged = inputs(requests)
      requests[3] = nil
      return merged
    end, all)
    assert.same(good, words)
    assert.equal(1, sent)
  end)
end)
