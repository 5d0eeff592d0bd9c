-- What is to be done at a reply's end is a list of functions. One that raised left the others
-- undone, and with them a place that never came back.
local world = require "spec.support.world"

it("an error at a reply's end leaves no place behind", function()
  local w = world.new { script = { a = { world.words { "hel", "lo" } } } }
  local stream = w:stream()
  stream.answer:on_end(function() error("at the end", 0) end)
  local ok, message = pcall(stream.reply, stream)
  assert.is_false(ok)
  assert.equal("at the end", message)
  w:assert_clean()
end)
