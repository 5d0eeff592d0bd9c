-- Batches, pools and what stands in.
local batching = require "spec.support.batching"
local guard = require "spec.support.leak_guard"
local json = require "unbusy.json"

local ask, sizes = batching.ask, batching.sizes

local function model_of(entry) return json.decode(entry.request.body).model end

describe("batches and pools", function()
  guard.watch(before_each, after_each)

  local function new(targets)
    return batching.world { batch = { { rule = "endpoint", max = 8 }, "completions" },
      script = { a = batching.server {}, b = batching.server {} }, targets = targets }
  end

  it("have members of one pool", function()
    local w = new { b = { pool = "cheap" } }
    local cheap = { pool = "cheap" }
    local out = ask(w, "complete", { { "x", cheap }, { "y", cheap }, "z", "u" })
    assert.same({ 2, 2 }, sizes(w))
    assert.same({ "b", "b" }, { out[1].reply.target, out[2].reply.target })
    assert.equal("echo: z", out[3].reply.text)
    w:assert_clean()
  end)

  it("go to the endpoint of a target that the call may ask, and to no other", function()
    local w = new { b = { pool = "extra", reserve = true, batch = "/api/v1/batch" } }
    local out = ask(w, "chat", { "x", "y" })
    assert.same({ "upstream", 0, "a" },
      { out[1].reply.source, out[1].reply.times.queued, out[1].reply.target })
    local extra = { pool = "extra" }
    out = ask(w, "chat", { { "x", extra }, { "y", extra } })
    assert.same({ "batch", "b" }, { out[1].reply.source, out[2].reply.target })
    w:assert_clean()
  end)
end)

describe("batches and what stands in", function()
  guard.watch(before_each, after_each)

  local function new(fallback, whole)
    return batching.world { batch = "completions", whole = whole,
      options = { fallback = fallback, retry = { attempts = 2, base = 0.1 }, breaker = false } }
  end

  it("are asked again for another model, together too", function()
    local w = new({ { model = "small" }, "later" }, function(_, _, request)
      if json.decode(request.body).model == "m" then return { status = 503, body = "" } end
    end)
    local out = ask(w, "complete", { "a", "b", "c" })
    for i, text in ipairs { "a", "b", "c" } do
      local reply = out[i].reply
      assert.same({ "batch", "echo: " .. text, "model", 3 },
        { reply.source, reply.text, reply.fallback.kind, reply.tries })
    end
    assert.same({ 3, 3, 3 }, sizes(w))
    assert.same({ "m", "m", "small" }, { model_of(w.log[1]), model_of(w.log[2]),
      model_of(w.log[3]) })
    w:assert_clean()
  end)

  it("give each member the text where nothing helps", function()
    local w = new({ { model = "small" }, "later" }, function()
      return { status = 503, body = "" }
    end)
    local out = ask(w, "complete", { "a", "b", "c" })
    for i = 1, 3 do
      assert.same({ "fallback", "later", "busy" },
        { out[i].reply.source, out[i].reply.text, out[i].reply.failure.code })
    end
    w:assert_clean()
  end)
end)
