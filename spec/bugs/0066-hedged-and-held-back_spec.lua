-- A stream that was held back (escalate.hold) did not say that two tries were made for it, and one
-- that a flight was made for did not say what the other try may have cost: `hedged` and the other
-- target's price were not handed on from the answer that the stream was made of.
local json = require "unbusy.json"
local world = require "spec.support.world"

local USAGE = "data: " .. json.encode { id = "x", object = "chat.completion.chunk", model = "m",
  choices = json.array {}, usage = { prompt_tokens = 3, completion_tokens = 1, total_tokens = 4 },
} .. "\n\n"

-- What a hedged stream, at whose first target nothing comes for long, says at its end.
local function stream_of(options)
  options.pools = { edge = { priority = 1 }, centre = { priority = 2 } }
  options.hedge = { after = 0.5, most = 1, price = "any" }
  local w = world.new { order = { "slow", "quick", "c" }, script = {
      slow = { world.streamed { { 20, world.chunk { content = "slow" } } } },
      quick = { world.streamed { { 0.1, world.chunk { content = "a good answer" } },
        { 0, world.chunk({}, "stop") }, { 0, USAGE }, { 0, world.DONE } } },
      c = { world.words { "centre" } } },
    targets = { slow = { pool = "edge", price = { input = 2, output = 2 } },
      quick = { pool = "edge" }, c = { pool = "centre" } }, options = options }
  local stream, reply
  w.loop.run(function()
    stream = assert(w.client:stream { messages = world.question.messages, temperature = 0 })
    assert.is_true(stream.hedged and stream.hedged.won)
    reply = assert(stream:reply())
  end)
  w:assert_clean()
  return reply
end

describe("a hedged stream says so", function()
  for name, options in pairs {
    ["that goes through"] = { escalate = false },
    ["that is held back"] = { escalate = { hold = true } },
    ["that a flight is made for"] = { cache = true },
  } do
    it(name, function()
      local reply = stream_of(options)
      assert.equal("a good answer", reply.text)
      assert.same({ won = true, target = "slow", code = "cancelled", seconds = 0.5,
        cost = 2 * 3 / 1e6 }, reply.hedged)
    end)
  end
end)
