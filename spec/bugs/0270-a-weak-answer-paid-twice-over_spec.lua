-- What a stream costs that came in place of a weak answer is told with the weak one's share. That
-- was added before its try was counted: the second target's tokens, cost and limits per minute had
-- the first one's in them, whose own had been counted before. (Whole answers were counted right.)
local json = require "unbusy.json"
local world = require "spec.support.world"

local function answer(words, tokens)
  local made = world.words(words)
  table.insert(made.steps, #made.steps, { 0, "data: " .. json.encode { choices = json.array {},
    usage = { prompt_tokens = tokens, completion_tokens = 0, total_tokens = tokens } } .. "\n\n" })
  return made
end

local function asked_again(more)
  local options = { escalate = { hold = true }, metrics = true,
    pools = { edge = { priority = 1 }, centre = { priority = 2 } } }
  for name, value in pairs(more) do options[name] = value end
  return world.new { order = { "edge", "centre" }, script = {
    edge = { answer({ "I don't ", "know." }, 3000) }, centre = { answer({ "x" }, 5) } },
    targets = { edge = { pool = "edge", price = { input = 1e6, output = 1e6 } },
      centre = { pool = "centre", price = { input = 1e6, output = 1e6 },
        limits = { tokens_per_minute = 60000 } } },
    options = options }
end

describe("a stream in place of a weak answer", function()
  for name, more in pairs { ["and no more"] = {},
    ["where it may be resumed"] = { resume = "prompt" },
    ["where others may join"] = { cache = true } } do
    it("has its own share of tokens and cost counted, " .. name, function()
      local w = asked_again(more)
      local reply = w:stream():reply()
      assert.same({ 3005, 3005 }, { reply.usage.total_tokens, reply.cost })
      local pools, text = w.client:status().pools, w.client:metrics()
      assert.same({ 3000, 5 }, { pools.edge.cost, pools.centre.cost })
      for target, tokens in pairs { edge = 3000, centre = 5 } do
        local counted = 0
        for labels, n in text:gmatch "unbusy_tokens_total(%b{}) (%d+)" do
          if labels:find(('target="%s"'):format(target), 1, true) then
            counted = counted + tonumber(n)
          end
        end
        assert.equal(tokens, counted, target)
      end
      local left = w.client:status().targets[2].limits[""].per_minute.tokens
      assert.is_true(left.left > left.most - 100, ("%g of %g"):format(left.left, left.most))
      w:assert_clean()
    end)
  end
end)
