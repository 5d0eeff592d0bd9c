-- A stream that several may read is kept on a tape, up to a limit; who is further behind than that
-- is cut off. A single piece longer than the limit cut off everybody, though nobody was slow. And
-- each stream had that much for itself, however many there were.
local coalesced = require "spec.support.coalesced"
local guard = require "spec.support.leak_guard"
local tape = require "unbusy.caching.tape"
local world = require "spec.support.world"

local ask, words = coalesced.ask, world.words

local function with(limits, f)
  local before = {}
  for name, value in pairs(limits) do
    before[name], tape[name] = tape[name], value
  end
  local ok, raised = pcall(f)
  for name, value in pairs(before) do tape[name] = value end
  if not ok then error(raised, 0) end
end

describe("the tape of a stream", function()
  guard.watch(before_each, after_each)

  it("cuts nobody off who reads a piece that is longer than all it keeps", function()
    with({ MOST = 20000 }, function()
      local long = ("x"):rep(15000)
      local w = coalesced.world { words({ "a", long, "b" }, 0.1) }
      local out = ask(w, { { kind = "stream" }, { kind = "stream" }, {} })
      for i = 1, 3 do assert.equal("a" .. long .. "b", out[i].reply and out[i].reply.text) end
      assert.equal(1, #w.log)
      coalesced.assert_idle(w)
    end)
  end)

  it("keeps nothing for who comes late where all tapes have enough", function()
    with({ ALL = 20000, STEP = 1000 }, function()
      local list, most, kept = {}, 0, 0
      for i = 1, 100 do list[i] = ("%3d"):format(i):rep(100) end
      local w = coalesced.world(function() return words(list, 0.1) end)
      local streams = {}
      for i = 1, 5 do
        streams[i] = { kind = "stream", text = "q" .. i, read = function(s)
          for _ = 1, 90 do s:read() end
          local sum = 0
          for _, place in pairs(w.client.flights.open[w.loop]) do
            local t = place[1].tape
            sum = sum + t.bytes
            most, kept = math.max(most, t.bytes), kept + (t.first == 1 and 1 or 0)
          end
          assert.is_true(sum < 5 * 20000)
          return s:reply()
        end }
      end
      local out = ask(w, streams)
      for i = 1, 5 do assert.equal(table.concat(list), out[i].reply and out[i].reply.text) end
      assert.is_true(most < 20000, "kept " .. most)
      assert.equal(0, kept)
      coalesced.assert_idle(w)
    end)
  end)
end)
