-- How many calls came in a second was counted over those pieces of a log in which there was one. Of
-- a quiet time in which a call came every four seconds that made one a second, four times as many:
-- a burst of just so many was no burst any more, but "less room on their side than usual".
local diagnose_log = require "unbusy.diagnose.log"
local judge = require "unbusy.diagnose.judge"
local period = require "unbusy.diagnose.period"

local GOOD = '"source":"upstream","tries":1,"queued":0,"start":0.1,"seconds":0.1'
local BUSY = '"code":"busy","tries":1,"seconds":0.1'

-- The facts of a log; `calls`: the seconds at which they ended -> how.
local function facts_of(calls)
  local path = os.tmpname()
  local file = assert(io.open(path, "wb"))
  for _, call in ipairs(calls) do
    file:write(('{"time":"2026-01-31T12:%02d:%02d+00:00","kind":"chat","target":"a",%s}\n'):format(
      math.floor(call[1] / 60), call[1] % 60, call[2]))
  end
  file:close()
  local facts = assert(diagnose_log.read(path))
  os.remove(path)
  return facts
end

local function add(calls, from, to, step, how)
  for second = from, to, step do calls[#calls + 1] = { second, how } end
end

describe("seconds in which nobody called", function()
  it("count where it is told how many calls came in one", function()
    local calls = {}
    add(calls, 0, 76, 4, GOOD)
    add(calls, 80, 99, 1, BUSY)
    local f = facts_of(calls)
    assert.same({ 20, 20 }, { f.quiet.calls, f.trouble.calls })
    assert.near(0.25, period.rate(f.quiet), 0.02)
    assert.near(1, period.rate(f.trouble), 0.1)
    assert.equal("burst", judge.of(f)[1].cause)
  end)

  it("are of the trouble in the midst of it", function()
    local calls = {}
    add(calls, 0, 39, 1, GOOD)
    add(calls, 40, 60, 4, BUSY) -- one of four
    add(calls, 64, 99, 1, GOOD)
    local f = facts_of(calls)
    assert.near(1, period.rate(f.quiet), 0.1)
    assert.near(0.25, period.rate(f.trouble), 0.1)
    assert.equal("capacity", judge.of(f)[1].cause)
  end)
end)
