-- A stale answer is given at once, and the question asked anew behind it, as long as the client's
-- clocks let that. It was asked under the clocks of the call that had found it stale: where those
-- were shorter than the server takes, each call had the old answer, and each time it was asked anew
-- in vain, till the answer was too old for anybody.
local coalesced = require "spec.support.coalesced"
local world = require "spec.support.world"

-- What four calls with these clocks are given, ten seconds apart, where the server takes two.
local function ask(kind, clocks, script)
  local w = coalesced.world(script, { cache = { ttl = 1, revalidate = 1000, stale = 1000 } })
  local out = {}
  w.loop.run(function()
    w.client:chat(coalesced.request())
    for i = 1, 4 do
      w.loop.sleep(10)
      local reply = w.client[kind](w.client, coalesced.request(), { clocks = clocks })
      if kind == "stream" then reply = reply:reply() end
      out[i] = reply.text
    end
  end)
  w:assert_clean()
  return out
end

local function slow_after_the_first(_, n)
  return world.good("v" .. n, n > 1 and 2 or 0)
end

local function slow_streams(_, n)
  if n == 1 then return world.good "v1" end
  return world.streamed { { 2, world.chunk({ content = "v" .. n }, "stop") }, { 0, world.DONE } }
end

describe("a stale answer that is found by a call with little time", function()
  it("is renewed in the client's time", function()
    assert.same({ "v1", "v2", "v3", "v4" }, ask("chat", { total = 1 }, slow_after_the_first))
    assert.same({ "v1", "v2", "v3", "v4" }, ask("chat", { try = 1 }, slow_after_the_first))
    assert.same({ "v1", "v2", "v3", "v4" }, ask("stream", { start = 1 }, slow_streams))
  end)
end)
