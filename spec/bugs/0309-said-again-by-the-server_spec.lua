-- vLLM repeats the last message where a chat asks for that (`echo`) and the answer is of the same
-- role: it means nothing where the user has spoken last. When the answer broke off and was gone on
-- with, the last message was the text so far, and the reader had it twice.
local exact = require "spec.support.exact"
local resumed = require "spec.support.resumed"
local world = require "spec.support.world"

-- A server that goes on, and repeats what it was given where it is told to.
local function echoing(cut)
  local s = exact.new { text = resumed.TEXT, cuts = { cut } }
  local rest = s.rest
  function s:rest(body)
    local last = body.messages[#body.messages]
    local again = body.echo and last.role == "assistant" and last.content or ""
    return again .. rest(self, body)
  end
  return s
end

describe("an answer to a chat that wants an echo", function()
  it("is not gone on with", function()
    for echo, expected in pairs { [true] = { "cut", 1 }, [false] = { "whole", 2 } } do
      local s = echoing(resumed.DONE)
      local w = world.new { script = { a = s.script }, targets = { a = { prefix = "continue" } },
        options = { resume = "prefix", retry = resumed.QUICK } }
      local text, _, code = resumed.drain(assert(w.client:stream(resumed.question { echo = echo })))
      assert.equal(resumed.TEXT:sub(1, #text), text)
      assert.same(expected, { code or text == resumed.TEXT and "whole", #w.log })
      resumed.finish(w)
    end
  end)
end)
