-- Secrets were masked in an answer's header before it was acted upon. With the key "stream" the
-- type text/event-stream became text/event-***, and the stream was taken for a whole answer.
local world = require "spec.support.world"

describe("a key that is a word of an answer's header", function()
  it("changes nothing of what the header means", function()
    local answer = world.words { "hel", "lo" }
    local w = world.new { script = { a = { answer } }, targets = { a = { key = "stream" } } }
    local stream = w:stream()
    assert.equal("hello", stream:reply().text)
    assert.equal("text/event-***", stream.headers["content-type"])
    w:assert_clean()
  end)

  it("nor when the server asks for a wait", function()
    local headers = { ["retry-after"] = "20", ["x-should-retry"] = "true" }
    local w = world.new { script = { a = { world.status(400, headers), world.good "hello" } },
      targets = { a = { key = "true" } } }
    assert.equal("hello", w:chat().text)
    assert.is_true(w:now() > 20)
    w:assert_clean()
  end)
end)
