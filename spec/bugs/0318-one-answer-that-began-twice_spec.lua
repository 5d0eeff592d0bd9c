-- Some servers answer a request for a stream with a whole answer. Its beginning was noted when its
-- first byte came, and again when it was there: each counted as two answers of its target for the
-- second tries (so they began after half as many as `hedge.samples` says), and what was told as the
-- time to its first byte was that to its last.
local world = require "spec.support.world"

-- Whole answers that begin after a second and take three.
local function slowly()
  local made = world.good "hello"
  local text = made.body
  made.body, made.after = nil, 1
  made.steps = { { 0, text:sub(1, 10) }, { 2, text:sub(11) } }
  return made
end

describe("a whole answer where a stream was wanted", function()
  for name, ask in pairs {
    ["for the caller"] = function(w) return assert(w:stream()):reply() end,
    ["of the server"] = function(w) return w:chat { upstream_stream = true } end,
  } do
    it("begins once, with its first byte: " .. name, function()
      local w = world.new { order = { "a", "b" }, script = { a = slowly, b = { world.good "b" } },
        targets = { a = { priority = 1 }, b = { priority = 2 } },
        options = { hedge = { after = "p95", samples = 20 }, metrics = true } }
      local reply
      for _ = 1, 3 do reply = assert(ask(w)) end
      assert.equal("hello", reply.text)
      assert.near(1, reply.times.start, 1e-6)
      local known = w.client:status().hedge.starts
      assert.same({ 1, "a", 3 }, { #known, known[1].target, known[1].answers })
      local text = w.client:metrics()
      assert.near(3, tonumber(text:match 'unbusy_first_token_seconds_sum{target="a"} (%S+)'), 1e-6)
      assert.near(9, tonumber(text:match 'unbusy_try_duration_seconds_sum{target="a"} (%S+)'), 1e-6)
      w:assert_clean()
    end)
  end
end)
