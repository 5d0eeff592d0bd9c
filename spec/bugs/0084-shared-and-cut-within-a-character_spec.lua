-- An answer whose text was cut within a character (for its length) can be no JSON. Where several
-- had asked for it at once, each but the first had a reply that raised when it was looked into.
local guard = require "spec.support.leak_guard"
local world = require "spec.support.world"

describe("an answer that was cut within a character", function()
  guard.watch(before_each, after_each)

  local function chunk(text, finish)
    return ('data: {"id":"x","object":"chat.completion.chunk","model":"m","choices":[{"index":0,'
      .. '"delta":{"content":"%s"},"finish_reason":%s}]}\n\n'):format(text, finish or "null")
  end

  it("is the same for all who have asked", function()
    local w = world.new { options = { cache = {}, upstream_stream = true },
      script = { a = { world.streamed { { 0.1, chunk "\228\189\160" },
        { 0.1, chunk("\229\165", '"length"') .. world.DONE } } } } }
    local replies = {}
    w.loop.run(function()
      for i = 1, 3 do
        w.loop.spawn(function()
          replies[i] = assert(w.client:chat { temperature = 0,
            messages = { { role = "user", content = "q" } } })
        end)
      end
    end)
    assert.equal(1, #w.log)
    for i = 1, 3 do
      assert.equal(i == 1 and "upstream" or "coalesced", replies[i].source)
      assert.equal("\228\189\160\229\165", replies[i].text)
      assert.equal("length", replies[i].body.choices[1].finish_reason)
    end
    assert.not_equal(replies[1].body, replies[2].body)
    assert.not_equal(replies[2].body, replies[3].body)
    w:assert_clean()
  end)
end)
