-- A whole answer that broke off and was gone on with says so (`reply.resumed`), to everybody who
-- has it: it was put together, and its usage may be an estimate. Of those who had asked the same at
-- the same time only the first one was told; the others had a 0 with the same answer. (Streams told
-- it to all their readers.)
local coalesced = require "spec.support.coalesced"
local resumed = require "spec.support.resumed"
local world = require "spec.support.world"

local function resumed_counts(kinds, options)
  local cut = world.streamed({ { 0, world.chunk { content = "one two " } } },
    { fail = "network", message = "gone", after = 0.5 })
  local o = { resume = "prefix", retry = resumed.QUICK }
  for name, value in pairs(options) do o[name] = value end
  local w = coalesced.world({ cut, world.words { "three" } }, o, { a = { prefix = "flag" } })
  local out, told = coalesced.ask(w, kinds), {}
  w:assert_clean()
  for i, one in ipairs(out) do
    assert.equal("one two three", one.reply.text)
    told[i] = one.reply.resumed
  end
  return told
end

describe("an answer that was gone on with", function()
  it("says so to all who have asked for it", function()
    assert.same({ 1, 1, 1 }, resumed_counts({ {}, {}, {} }, { upstream_stream = true }))
  end)

  it("says so to all who have it of a stream", function()
    assert.same({ 1, 1, 1 }, resumed_counts({ { kind = "stream" }, { kind = "stream" }, {} }, {}))
  end)
end)
