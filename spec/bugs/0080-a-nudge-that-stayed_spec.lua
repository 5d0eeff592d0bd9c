-- A keep-alive nudges whoever waits for the first byte, so that a policy may leave the server's
-- queue. Where the first piece of the answer came in the same packet the nudge stayed: the next
-- packet that completed no event passed for the end of the token clock, and a stream in good health
-- was cut with "nothing more for 30 s".
local guard = require "spec.support.leak_guard"
local world = require "spec.support.world"

describe("a keep-alive in one packet with the first piece", function()
  guard.watch(before_each, after_each)

  local torn = world.chunk { content = " world" }
  local steps = {
    { 3, world.KEEP_ALIVE }, { 3, world.KEEP_ALIVE .. world.chunk { content = "hello" } },
    { 0.1, torn:sub(1, 30) }, { 0.1, torn:sub(31) },
    { 0.1, world.chunk({}, "stop") .. world.DONE },
  }

  for _, policy in ipairs { "deepseek", "interactive", "patient" } do
    local function new()
      return world.new { script = { a = { world.streamed(steps) }, b = { world.streamed(steps) } },
        options = { policy = policy, retry = { attempts = 1 } } }
    end

    it("leaves a stream alone, by the policy " .. policy, function()
      local w = new()
      local text = {}
      w.loop.run(function()
        for piece in assert(w:stream()):pieces() do text[#text + 1] = piece.text end
      end)
      assert.equal("hello world", table.concat(text))
      w:assert_clean()
    end)

    it("and a whole answer that comes as one, by " .. policy, function()
      local w = new()
      w.loop.run(function()
        assert.equal("hello world", assert(w:chat { upstream_stream = true }).text)
      end)
      w:assert_clean()
    end)
  end
end)
