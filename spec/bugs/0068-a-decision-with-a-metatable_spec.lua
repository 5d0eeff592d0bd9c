-- A program's policy may say what it decides by a table with a metatable. Where a metamethod of its
-- raised, the error went out of the call: what is decided was looked at outside of the guard under
-- which the policy's own function runs. It is a fault of the policy's as any other one.
local world = require "spec.support.world"

local BAD = { __index = function() error "of mine" end, __len = function() error "of mine" end }

local function decides()
  return setmetatable({}, BAD)
end

describe("a policy's decision whose metamethods raise", function()
  for _, name in ipairs { "cache", "batch", "route", "fallback", "normalise", "merge", "split",
    "retry", "hedge", "queued", "accept", "classify", "resume" } do
    it("leaves the built-in one: " .. name, function()
      local w = world.new { script = { a = { world.status(503), world.good "hello" } }, options = {
        policy = { [name] = decides }, cache = true, retry = { attempts = 2, base = 0.1 },
        fallback = "later" } }
      w.loop.run(function()
        local reply = w.client:chat { messages = world.question.messages, temperature = 0 }
        assert.is_string(reply.text)
      end)
      w:assert_clean()
    end)
  end

  it("is counted and told once", function()
    local seen = {}
    local w = world.new { script = { a = { world.good "hello" } }, options = {
      policy = { cache = decides }, cache = true, on_event = function(e)
        if e.type == "policy" then seen[#seen + 1] = e.message end
      end } }
    w.loop.run(function()
      for _ = 1, 3 do assert.equal("hello", w:chat().text) end
    end)
    local status = w.client:status().policy[1]
    assert.same({ cache = 3 }, status.faults)
    assert.matches("^cache: .*it raised an error$", status.last_fault)
    assert.same({ status.last_fault:sub(#"cache: " + 1) }, seen)
  end)
end)
