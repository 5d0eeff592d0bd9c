-- Weak answers among those that came as one: each is judged for itself.
local batching = require "spec.support.batching"
local guard = require "spec.support.leak_guard"
local world = require "spec.support.world"

local ask, server = batching.ask, batching.server

local function new(more)
  local o = { escalate = true, batch = "completions" }
  for name, value in pairs(more or {}) do o[name] = value end
  return world.new { script = { edge = server {}, centre = server {} },
    order = { "edge", "centre" }, targets = { edge = { pool = "edge" },
      centre = { pool = "centre" } }, options = o }
end

-- The edge repeats what it is asked: so this is what it says, too.
local WEAK = "I don't know"

local function requests(w)
  local out = {}
  for i, entry in ipairs(w.log) do
    out[i] = ("%s %d"):format(entry.host, #batching.texts(entry.request))
  end
  return table.concat(out, ", ")
end

describe("a batch's members", function()
  guard.watch(before_each, after_each)

  it("are judged one by one, and only a weak one is asked elsewhere, alone", function()
    local w = new()
    local out = ask(w, "complete", { "one", WEAK, "three" })
    assert.equal("edge 3, centre 1", requests(w))
    for i, source in ipairs { "batch", "upstream", "batch" } do
      assert.equal(source, out[i].reply.source)
    end
    local second = out[2].reply
    assert.same({ "centre", "refused", "edge", 2 }, { second.target, second.escalated.reason,
      second.escalated.target, second.tries })
    assert.same({ nil, nil, 1 },
      { out[1].reply.weak, out[1].reply.escalated, out[1].reply.tries })
    local seen = w.client:status().escalate
    assert.same({ 3, 1, 3 }, { seen.judged, seen.replaced, seen.answers.edge })
    w:assert_clean()
  end)

  it("that were weak and nobody else was asked about are not kept in the cache", function()
    local w = new { cache = true, escalate = { most = 0, floor = 0 } }
    local function sources()
      local out = ask(w, "complete", { "one", WEAK, "three" })
      return { out[1].reply.source, out[2].reply.source, out[3].reply.source }
    end
    assert.same({ "batch", "batch", "batch" }, sources())
    assert.same({ "cache", "upstream", "cache" }, sources())
    assert.equal(2, w.client:status().escalate.kept.share)
  end)

  it("cost what both have cost", function()
    local w = new()
    w.client:close()
    w = world.new { script = { edge = server {}, centre = server {} }, order = { "edge", "centre" },
      targets = { edge = { pool = "edge", price = { input = 1e6, output = 1e6 } },
        centre = { pool = "centre", price = { input = 1e6, output = 1e6 } } },
      options = { escalate = true, batch = "completions" } }
    local out = ask(w, "complete", { "one", WEAK })
    local first, second = out[1].reply, out[2].reply
    assert.equal(#WEAK + 3, second.cost - second.escalated.cost)
    assert.equal(#"one" + #WEAK + 6, first.cost + second.escalated.cost)
  end)

  it("may be judged by the policy", function()
    local w = new { escalate = false, policy = { accept = function(request)
      return request.prompt ~= "two"
    end } }
    local out = ask(w, "complete", { "one", "two" })
    assert.same({ "batch", "policy" },
      { out[1].reply.source, out[2].reply.escalated.reason })
  end)
end)
