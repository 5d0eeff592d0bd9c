-- Whatever way a call ends while two tries run beside each other, nothing of either is left.
local unbusy = require "unbusy"
local guard = require "spec.support.leak_guard"
local scheduler = require "unbusy.loops.scheduler"
local world = require "spec.support.world"

local good = world.good

local function new(script, options)
  local o = { retry = false, hedge = { after = 1, most = 1 } }
  for k, v in pairs(options or {}) do o[k] = v end
  return world.new { script = script, options = o,
    targets = { a = { priority = 1 }, b = { priority = 2 } } }
end

local function slow(options)
  return new({ a = { good("a", 60) }, b = { good("b", 50) } }, options)
end

-- Ends a hedged call after `seconds` by `how(w)`: its code.
local function ended(w, how, seconds, given)
  local code
  w.loop.run(function()
    w.loop.spawn(function()
      w.loop.sleep(seconds or 2)
      how(w)
    end)
    code = select(3, w:chat(given))
  end)
  w:assert_clean()
  return code
end

describe("a hedged call", function()
  after_each(world.end_all)
  guard.watch(before_each, after_each)

  it("is cancelled", function()
    for _, seconds in ipairs { 1, 2, 1.5 } do
      local c = unbusy.canceller()
      local w = slow()
      assert.equal("cancelled", ended(w, function() c:cancel() end, seconds, { cancel = c }))
      assert.near(seconds, w:now(), 60)
    end
  end)

  it("is cancelled while the second try is what it waits for", function()
    local c = unbusy.canceller()
    local w = new { a = { world.status(500, nil, "", 2) }, b = { good("b", 50) } }
    assert.equal("cancelled", ended(w, function() c:cancel() end, 3, { cancel = c }))
  end)

  it("ends with its client", function()
    local w = slow()
    assert.equal("closed", ended(w, function() w.client:close() end))
  end)

  it("ends at its deadline", function()
    local w = slow()
    local _, message, code, detail = w:chat { deadline = 3 }
    assert.same({ "timeout", 2 }, { code, detail.tries })
    assert.equal("a: total: nothing for 3 s", message)
    assert.near(3, w:now(), 1e-9)
    w:assert_clean()
    w = new { a = { world.status(500, nil, "", 2) }, b = { good("b", 50) } }
    code = select(3, w:chat { deadline = 3 })
    assert.equal("upstream", code)
    assert.near(3, w:now(), 1e-9)
    w:assert_clean()
  end)

  it("ends with the task that makes it", function()
    for _, seconds in ipairs { 1, 2 } do
      local w, caught = slow(), nil
      w.loop.run(function()
        local task = w.loop.spawn(function()
          local ok, raised = pcall(w.chat, w)
          caught = not ok and raised
          error(raised, 0)
        end)
        w.loop.sleep(seconds)
        w.loop.cancel(task)
      end)
      assert.equal(scheduler.cancelled, caught)
      w:assert_clean()
    end
  end)

  it("ends with its task also where the first has failed, or the second was called off", function()
    local w = new { a = { world.status(500, nil, "", 2) }, b = { good("b", 50) } }
    w.loop.run(function()
      local task = w.loop.spawn(function() w:chat() end)
      w.loop.sleep(3)
      w.loop.cancel(task)
    end)
    w:assert_clean()
    -- The answer is there, and while the other try ends, so does the task.
    for _, streams in ipairs { true, false } do
      w = new { a = { streams and world.words { "x" } or good("x", 2) }, b = { good("b", 50) } }
      if streams then w.script.a[1].after = 2 end
      w.loop.run(function()
        local task
        task = w.loop.spawn(function()
          if streams then w:stream() else w:chat() end
        end)
        w.client.on_event = function(e)
          if e.type == "answer" then w.loop.cancel(task) end
        end
      end)
      w:assert_clean()
    end
  end)

  it("ends where a watcher cancels it, whatever is told", function()
    for _, kind in ipairs { "try", "hedge", "failed", "answer" } do
      local c, w = unbusy.canceller(), new { a = { good("a", 60) }, b = { good("b", 2) } }
      w.client.on_event = function(e)
        if e.type == kind and (kind ~= "try" or e.number == 2) then c:cancel() end
      end
      local reply, _, code = w:chat { cancel = c }
      assert.is_true(reply ~= nil or code == "cancelled", kind)
      assert.is_true(w:now() <= 3, kind)
      w:assert_clean()
      assert.is_true(kind == "answer" or reply == nil or kind == "failed", kind)
    end
  end)

  it("whose watcher raises", function()
    local w = new { a = { good("a", 60) }, b = { good("b", 2) } }
    w.client.on_event = function() error "no" end
    assert.equal("b", w:chat().text)
    w:assert_clean()
  end)

  it("has no second try where no task can be begun", function()
    local w = new { a = { good("a", 5) }, b = { good("b", 1) } }
    w.loop.run(function()
      local spawn = w.loop.spawn
      w.loop.spawn = function(f, ...)
        if select("#", ...) == 1 and type((...)) == "table" then error("no room", 0) end
        return spawn(f, ...)
      end
      assert.equal("a", w:chat().text)
      w.loop.spawn = spawn
    end)
    assert.equal(0, w.client:status().hedge.begun)
    assert.equal(1, #w.log)
    w:assert_clean()
  end)

  it("with a stream that a consumer breaks off, or that raises in it", function()
    local words = world.words({ "x", "y", "z" }, 1)
    local w = new { a = { good("a", 60) }, b = { words } }
    local stream = assert(w:stream())
    local ok = pcall(function()
      for _ in stream:pieces() do error "enough" end
    end)
    assert.is_false(ok)
    stream:close()
    w:assert_clean()
  end)

  it("in tasks beside each other, each with its own two tries", function()
    local w = new({ a = function(_, n) return good("a" .. n, n % 3 == 0 and 60 or 0.5) end,
      b = function(_, n) return good("b", n % 2 == 0 and 70 or 1) end },
      { limiter = { initial = 100, max = 100 }, budget = { floor = 100, tokens = 1e6 } })
    local answered = 0
    w.loop.run(function()
      for _ = 1, 60 do
        w.loop.spawn(function()
          if w:chat() then answered = answered + 1 end
        end)
      end
    end)
    assert.equal(60, answered)
    assert.equal(20, w.client:status().hedge.begun)
    assert.equal(80, #w.log)
    w:assert_clean()
  end)

  it("is outside of all tasks as well", function()
    local w = new { a = { good("a", 60) }, b = { good("b", 2) } }
    for _ = 1, 3 do assert.equal("b", w:chat().text) end
    w:assert_clean()
    local in_coroutine = coroutine.wrap(function() return w:chat().text end)
    assert.equal("b", in_coroutine())
    w:assert_clean()
  end)
end)
