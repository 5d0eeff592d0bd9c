-- The tokens of a request were foreseen by a function that followed its tables however deep they
-- were. On LuaJIT one that holds itself, or is very deep, raised "stack overflow" out of the call;
-- and where an answer's headers had told the limit, the tickets of breaker and limiter were out by
-- then, for good. On Lua 5.4 such a request, which is never sent, took tens of thousands of tokens.
local world = require "spec.support.world"

local function told(text)
  local answer = world.good(text)
  answer.headers = { ["content-type"] = "application/json",
    ["x-ratelimit-limit-tokens"] = "100000", ["x-ratelimit-remaining-tokens"] = "99000",
    ["x-ratelimit-reset-tokens"] = "1s" }
  return answer
end

local function looped()
  local m = { role = "user", content = "hi" }
  m.extra = m
  return m
end

local function deep()
  local m = { role = "user", content = "hi" }
  local t = m
  for _ = 1, 30000 do
    t.x = {}
    t = t.x
  end
  return m
end

describe("a request deeper than JSON goes", function()
  for name, make in pairs { ["that holds itself"] = looped, ["of many tables"] = deep } do
    it(name .. " is refused, where tokens are counted, too", function()
      for _, limits in ipairs { { tokens_per_minute = 10000 }, false } do
        local w = world.new { script = { a = { told "x" } },
          options = { limiter = { initial = 4 } }, targets = { a = { limits = limits or nil } } }
        w.loop.run(function()
          assert(w:chat())
          for _ = 1, 8 do
            local reply, message, code = w.client:chat { messages = { make() } }
            assert.same({ nil, "invalid" }, { reply, code })
            assert.matches("nested deeper than 128", message)
          end
          local s = w.client:status().targets[1]
          assert.same({ 0, 0 }, { s.limits[""].in_flight, s.breaker.outstanding })
          assert(w:chat())
        end)
        w:assert_clean()
      end
    end)
  end

  it("leaves no ticket out where it raises nevertheless", function()
    local w = world.new { script = { a = { told "x" } } }
    w.loop.run(function()
      assert(w:chat())
      local rates = w.client.targets[1]:scope(nil).rates
      rates.foreseen = function() error "boom" end
      assert.is_false(pcall(w.chat, w))
      rates.foreseen = nil
      local s = w.client:status().targets[1]
      assert.same({ 0, 0 }, { s.limits[""].in_flight, s.breaker.outstanding })
      assert(w:chat())
    end)
  end)
end)
