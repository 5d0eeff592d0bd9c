-- A task that yielded by itself was given up, and still known as a task: when the owner of what it
-- waited for resumed it, it ended a second time, and fewer than no tasks were alive. And a kept
-- coroutine that somebody had closed was handed to the next call.
local scheduler = require "unbusy.loops.scheduler"

local function new()
  local time = 0
  return scheduler.new { now = function() return time end, idle = function(seconds)
    if seconds then time = time + seconds end
    return seconds ~= nil
  end }
end

describe("a task", function()
  it("ends once, whoever resumes it later", function()
    local s, before, co = new(), scheduler.live(), nil
    pcall(s.run_all, s, function()
      co = coroutine.running()
      coroutine.yield()
    end)
    assert.equal(before, scheduler.live())
    coroutine.resume(co)
    assert.equal(before, scheduler.live())
  end)

  it("is not run by a coroutine that is dead", function()
    local s = new()
    local co = s:run_one(function() return (coroutine.running()) end)
    coroutine.resume(co) -- by somebody whose business it is not: it has no task, and dies
    for i = 1, 3 do assert.equal(i, s:run_one(function(x) return x end, i)) end
  end)
end)
