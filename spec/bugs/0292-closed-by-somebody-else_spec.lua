-- A stream that one task closed while another one was reading it failed there with "closed", as it
-- must, but as a transfer of which nothing had come ("connect: the transfer is over"), and
-- `on_event` heard of a cut by that target, where there was none.
local world = require "spec.support.world"

describe("a stream that is closed while it is read", function()
  it("says so, and nobody hears of a cut", function()
    local w = world.new { script = { a = { world.streamed {
      { 0, world.chunk { content = "one" } }, { 5, world.chunk { content = "two" } },
      { 0, world.DONE } } } }, options = { retry = false } }
    local got
    w.loop.run(function()
      local stream = w.client:stream { model = "m",
        messages = { { role = "user", content = "x" } } }
      assert.equal("one", stream:read().text)
      w.loop.spawn(function()
        w.loop.sleep(1)
        stream:close()
      end)
      got = { stream:read() }
      assert.same(got, { stream:read() })
      assert.same(got, { stream:reply() })
    end)
    assert.same({ nil, "a: body: the stream was closed", "closed",
      { target = "a", phase = "body", tries = 1 } }, got)
    assert.same({}, w:seen "cut")
    w:assert_clean()
  end)
end)
