-- What went wrong in a piece of a log was divided by all calls that came in it, those that say
-- nothing of us too: requests that were wrong themselves, and callers who went away. Where a client
-- sent a hundred wrong requests a second, or where most callers no longer waited, each real call
-- could fail for half of the time, and it said "nothing is wrong in it".
local diagnosed = require "spec.support.diagnosed"
local judge = require "unbusy.diagnose.judge"
local text = require "unbusy.diagnose.text"

local GOOD, BUSY = diagnosed.GOOD, diagnosed.BUSY
local WRONG = '"target":"a","code":"invalid","tries":1,"seconds":0.1'
local GONE = '"target":"a","code":"cancelled","tries":1,"seconds":0.1'

-- The facts of a log of 100 s; `lines_of(second)` says how the calls of a second ended.
local function facts_of(lines_of)
  local calls = {}
  for second = 0, 99 do
    for _, how in ipairs(lines_of(second)) do calls[#calls + 1] = { second, how } end
  end
  return diagnosed.facts(calls)
end

-- `n` calls that say nothing of us, and one that does.
local function among(n, crowd, one)
  local out = { one }
  for i = 1, n do out[i + 1] = crowd end
  return out
end

describe("calls that say nothing of us", function()
  it("do not hide that all others fail", function()
    local f = facts_of(function(second) return among(60, WRONG, second < 50 and GOOD or BUSY) end)
    assert.truthy(f.trouble)
    assert.equal(50, f.trouble.bad)
    assert.is_nil(text.lines(f, judge.of(f))[1]:find "Nothing is wrong")
  end)

  it("do not hide when it was that they failed", function()
    local f = facts_of(function(second)
      return among(60, GONE, second >= 50 and second < 60 and BUSY or GOOD)
    end)
    assert.truthy(f.trouble)
    assert.equal(10, f.trouble.bad)
    assert.near(10, f.to - f.from, 1.1)
  end)

  it("are no trouble, where nobody else called", function()
    local f = facts_of(function(second)
      return second < 50 and { GOOD } or among(3, WRONG, GONE)
    end)
    assert.is_nil(f.trouble)
  end)
end)
