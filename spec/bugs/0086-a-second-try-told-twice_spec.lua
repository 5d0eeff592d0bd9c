-- A task was cancelled while a second try ran beside its call's first one. The try was counted as
-- ended when the call left, and again when its own coroutine came to its end: the metrics had more
-- ends than tries, and fewer than none in flight for good.
local guard = require "spec.support.leak_guard"
local world = require "spec.support.world"

describe("a call that is killed between two tries", function()
  guard.watch(before_each, after_each)

  local function value(w, series)
    return tonumber(w.client:metrics():match("\n" .. series:gsub("%p", "%%%0") .. " (%S+)"))
  end

  it("counts each of them once", function()
    local w = world.new { script = { a = { world.good("x", 50) }, b = { world.good("x", 50) } },
      options = { hedge = { after = 0.1, most = 1, price = "any" }, metrics = true } }
    w.loop.run(function()
      for _ = 1, 3 do
        local task = w.loop.spawn(function() w:chat() end)
        w.loop.sleep(1)
        w.loop.cancel(task)
        w.loop.sleep(1)
      end
    end)
    assert.equal(6, #w.log)
    for _, name in ipairs { "a", "b" } do
      assert.equal(3, value(w, ('unbusy_tries_total{target="%s",account="%s",code="cancelled",'
        .. 'status="none"}'):format(name, name)))
      assert.equal(0, value(w, ('unbusy_target_in_flight{target="%s"}'):format(name)))
    end
    local seen
    w.loop.run(function()
      local task = w.loop.spawn(function() w.client:chat(world.question, { target = "b" }) end)
      w.loop.sleep(1)
      seen = value(w, 'unbusy_target_in_flight{target="b"}')
      w.loop.cancel(task)
    end)
    assert.equal(1, seen)
    w:assert_clean()
  end)
end)
