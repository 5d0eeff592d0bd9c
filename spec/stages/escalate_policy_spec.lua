-- A policy's `accept`: what it says, what it is told, and what comes of one that fails.
local world = require "spec.support.world"

local good, status = world.good, world.status

local function new(given)
  local options = { policy = given.policy, escalate = given.escalate }
  for name, value in pairs(given.options or {}) do options[name] = value end
  return world.new { script = given.script or { edge = { good "from the edge" },
    centre = { good "from the centre" } }, order = given.order or { "edge", "centre" },
    targets = given.targets or { edge = { pool = "edge" }, centre = { pool = "centre" } },
    options = options }
end

local function asked(w)
  local out = {}
  for i, entry in ipairs(w.log) do out[i] = entry.host end
  return table.concat(out, " ")
end

local function never() return false end

describe("a policy's accept", function()
  it("turns an answer down, and another target is asked", function()
    local w = new { policy = { accept = function(_, reply) return reply.target ~= "edge" end } }
    local reply = w:chat()
    assert.same({ "from the centre", "policy" }, { reply.text, reply.escalated.reason })
    assert.equal(1, w.client:status().escalate.weak.policy)
    w:assert_clean()
  end)

  it("goes before the built-in checks, in both directions", function()
    local script = { edge = { good "" }, centre = { good "from the centre" } }
    local w = new { script = script, escalate = true,
      policy = { accept = function() return true end } }
    assert.equal("edge", w:chat().target)
    w = new { escalate = true, policy = { accept = never } }
    assert.equal("policy", w:chat().escalated.reason)
    w = new { script = script, escalate = true, policy = { accept = function() return nil end } }
    assert.equal("short", w:chat().escalated.reason)
  end)

  it("is asked about the pool `from` alone, where there is one", function()
    local w = new { script = { edge = { status(500) }, centre = { good "x" } }, escalate = true,
      policy = { accept = never } }
    assert.equal("centre", w:chat().target)
    assert.equal("edge centre", asked(w))
    assert.equal(0, w.client:status().policy[1].asked)
  end)

  it("is told of the question and the answer, and can change nothing of them", function()
    local seen
    local w = new { policy = { accept = function(request, reply)
      seen = { request = request, reply = reply }
      request.messages, reply.text, reply.body.choices = nil, "mine", nil
      return true
    end } }
    local reply = w:chat { deadline = 30 }
    assert.same({ "from the edge", 1 }, { reply.text, #reply.body.choices })
    local told = seen.reply
    assert.same({ "edge", "edge", "chat", false, "stop", "m", 15 }, { told.target, told.pool,
      told.kind, told.stream, told.finish_reason, told.model, told.usage.total_tokens })
    assert.near(0.1, told.seconds, 1e-9)
    assert.near(29.9, told.remaining, 1e-9)
    assert.equal(1, #world.question.messages)
  end)

  it("may be the call's own", function()
    local w = new {}
    local own = { accept = never }
    assert.equal("centre", w:chat({ policy = own }).target)
    assert.equal("edge", w:chat().target)
    assert.equal("edge centre edge", asked(w))
  end)

  local faulty = {
    throws = function() error "no" end,
    loops = function() while true do end end,
    ["eats memory"] = function()
      local t = {}
      while true do t[#t + 1] = ("x"):rep(1000) .. #t end
    end,
    ["says a text"] = function() return "weak" end,
    ["says a number"] = function() return 0 end,
    ["says a table"] = function() return {} end,
    yields = function() return coroutine.yield() end,
  }
  for what, accept in pairs(faulty) do
    it("that " .. what .. " accepts, and its fault is counted", function()
      local w = new { policy = { accept = accept } }
      local reply = w:chat()
      assert.same({ "from the edge", nil, nil }, { reply.text, reply.weak, reply.escalated })
      assert.equal(1, w.client:status().policy[1].faults.accept)
      assert.equal(1, #w:seen "policy")
      w:assert_clean()
    end)
  end

  it("that fails leaves it to the checks, where there are some", function()
    local w = new { script = { edge = { good "" }, centre = { good "x" } }, escalate = true,
      policy = { accept = function() error "no" end } }
    assert.equal("short", w:chat().escalated.reason)
  end)

  it("is asked once: the second answer is believed", function()
    local asks = 0
    local w = new { policy = { accept = function() asks = asks + 1 return false end } }
    assert.equal("centre", w:chat().target)
    assert.equal(1, asks)
  end)

  it("is bounded as the checks are", function()
    local w = new { policy = { accept = never } }
    for _ = 1, 60 do w:chat { target = nil } end
    local seen = w.client:status().escalate
    assert.is_true(seen.asked >= 11 and seen.asked <= 13, seen.asked)
    assert.equal(60 - seen.asked, seen.kept.share)
  end)

  it("sends a call to another pool first, else to another target, else nowhere", function()
    local script = { a = { good "a" }, b = { good "b" }, c = { good "c" } }
    local function from(targets)
      local w = new { script = script, order = { "a", "b", "c" }, targets = targets,
        policy = { accept = never } }
      local reply = w:chat()
      return asked(w), reply.weak, w.client:status().escalate.kept
    end
    assert.equal("a c", (from { c = { pool = "other" } }))
    assert.equal("a b", (from {}))
    local w = new { script = { a = script.a }, order = { "a" }, targets = {},
      policy = { accept = never } }
    local reply = w:chat()
    assert.same({ "a", "policy" }, { reply.text, reply.weak })
    assert.same({ named = 1 }, w.client:status().escalate.kept)
  end)

  it("does not send a call to a reserve, nor to whom its key was refused", function()
    local w = new { script = { a = { good "a" }, b = { good "b" } }, order = { "a", "b" },
      targets = { b = { pool = "spare", reserve = true } }, policy = { accept = never } }
    assert.equal("policy", w:chat().weak)
    w = new { script = { a = { status(401) }, b = { good "b" } }, order = { "a", "b" },
      targets = {}, policy = { accept = never } }
    assert.same({ "b", "policy" }, { w:chat().text, w:chat().weak })
  end)

  it("takes its target's place among decisions: a target's own policy has no say", function()
    local w = new { targets = { edge = { pool = "edge", policy = { accept = never } },
      centre = { pool = "centre" } } }
    assert.equal("edge", w:chat().target)
  end)
end)
