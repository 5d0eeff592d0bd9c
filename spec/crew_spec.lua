local crew = require "unbusy.crew"
local guard = require "spec.support.leak_guard"
local virtual = require "unbusy.loops.virtual"

describe("a crew", function()
  guard.watch(before_each, after_each)
  local loop, left, seen

  local function work()
    while left > 0 do
      left = left - 1
      seen = seen + 1
      loop.sleep(1)
    end
  end

  local function stop() left = 0 end

  before_each(function() loop, left, seen = virtual.new(), 10, 0 end)

  it("does its job side by side, and is gone", function()
    loop.run(function()
      crew.run(loop, 4, work, stop)
      assert.same({ 10, 3 }, { seen, loop.now() })
      crew.run(loop, 0, work, stop)
    end)
  end)

  -- As nginx does: a thread runs at once, perhaps to its end.
  it("is waited for where each begins at once, or has ended when the next begins", function()
    local spawn = loop.spawn
    function loop.spawn(f)
      return spawn(f):join() or {}
    end
    local function cancel() end
    loop.cancel = cancel
    loop.run(function() crew.run(loop, 4, work, stop) end)
    assert.equal(10, seen)
    loop = virtual.new()
    left, seen = 10, 0
    function loop.spawn(f)
      f()
      return {}
    end
    loop.cancel, loop.sleep = cancel, cancel
    loop.run(function() crew.run(loop, 4, work, stop) end)
    assert.equal(10, seen)
  end)

  it("raises what one of them raises; the others stop", function()
    local workers, ok, message = 0, nil, nil
    loop.run(function()
      ok, message = pcall(crew.run, loop, 3, function()
        workers = workers + 1
        if workers < 3 then return work() end
        loop.sleep(1.5)
        error("oh", 0)
      end, stop)
    end)
    assert.same({ false, "oh", 4, 2 }, { ok, message, seen, loop.now() })
  end)

  it("ends with whoever waits for it", function()
    loop.run(function()
      local task = loop.spawn(function() crew.run(loop, 3, work, stop) end)
      loop.sleep(1.5)
      loop.cancel(task)
    end)
    assert.equal(6, seen)
    assert.equal(1.5, loop.now())
  end)

  it("does with fewer where there is no room for more", function()
    local spawn, room = loop.spawn, 2
    function loop.spawn(f)
      room = room - 1
      if room < 0 then error("no room", 0) end
      return spawn(f)
    end
    loop.run(function() crew.run(loop, 4, work, stop) end)
    assert.same({ 10, 5 }, { seen, loop.now() })
    loop.spawn = spawn
    local ok, message
    loop.run(function()
      loop.spawn = function() error("no room", 0) end
      ok, message = pcall(crew.run, loop, 4, work, stop)
      loop.spawn = spawn
    end)
    assert.same({ false, "no room" }, { ok, message })
  end)
end)
