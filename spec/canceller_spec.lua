local busyd = require "spec.support.busyd"
local canceller = require "unbusy.canceller"
local guard = require "spec.support.leak_guard"
local unbusy = require "unbusy"
local world = require "spec.support.world"

local BUSY = { status = 503, body = "" }

describe("a canceller", function()
  -- Runs `f` as a task and cancels after `seconds`; gives what f gave.
  local function cancelled_after(w, c, seconds, f)
    local out
    w.loop.run(function()
      local task = w.loop.spawn(function() return f() end)
      w.loop.sleep(seconds)
      c:cancel()
      out = { task:join() }
      out.at = w:now()
    end)
    return out
  end

  local function assert_cancelled(out, message)
    assert.is_nil(out[1])
    assert.equal("cancelled", out[3])
    if message then assert.equal(message, out[2]) end
  end

  it("ends a call in mid-transfer, and its transfer", function()
    local w, c = world.new { script = { a = { world.good("late", 100) } } }, unbusy.canceller()
    local out = cancelled_after(w, c, 2, function() return w:chat { cancel = c } end)
    assert_cancelled(out, "a: the call was cancelled")
    assert.equal(1, out[4].tries)
    assert.equal(2, out.at)
    assert.is_true(w.log[1].exchange.closed)
    assert.equal("cancelled", w:seen "failed"[1].code)
    assert.equal(20, w.client:status().targets[1].limits[""].limit) -- it says nothing of the target
    assert.is_nil(next(c.calls))
    w:assert_clean()
  end)

  it("ends a call that waits in line", function()
    local w = world.new { script = { a = { world.good("late", 100) } },
      options = { limiter = { kind = "fixed", initial = 1 } } }
    local c = unbusy.canceller()
    w.loop.run(function()
      local first = w.loop.spawn(function() return w:chat { deadline = 50 } end)
      w.loop.sleep(1)
      local second = w.loop.spawn(function() return w:chat { cancel = c } end)
      w.loop.sleep(1)
      assert.equal(1, w.client:status().waiting)
      c:cancel()
      local reply, message, code, detail = second:join()
      assert_cancelled { reply, message, code }
      assert.equal("the call was cancelled", message)
      assert.equal(0, detail.tries)
      assert.equal(2, w:now())
      assert.equal("timeout", select(3, first:join()))
    end)
    assert.equal(1, #w.log)
    w:assert_clean()
  end)

  it("gives back a place that was handed over at that moment", function()
    local w = world.new { script = { a = { world.good("x", 1) } },
      options = { limiter = { kind = "fixed", initial = 1 } } }
    local c = unbusy.canceller()
    w.loop.run(function()
      w.loop.spawn(function() w:chat() c:cancel() end)
      w.loop.sleep(0.5)
      assert_cancelled { w:chat { cancel = c } }
      assert.equal("x", w:chat().text)
    end)
    assert.equal(2, #w.log)
    w:assert_clean()
  end)

  it("ends a call that sleeps between two tries", function()
    local w, c = world.new { script = { a = { BUSY } } }, unbusy.canceller()
    local out = cancelled_after(w, c, 0.5, function() return w:chat { cancel = c } end)
    assert_cancelled(out, "the call was cancelled")
    assert.equal(0.5, out.at)
    assert.equal(1, #w.log)
    w:assert_clean()
  end)

  it("ends a call that waits for a permit", function()
    local w = world.new { script = { a = { BUSY, BUSY, world.good("x", 20) } },
      options = { retry = { base = 0.1, jitter = 0 }, budget = { floor = 1 } } }
    local c = unbusy.canceller()
    w.loop.run(function()
      local first = w.loop.spawn(function() return w:chat() end)
      local second = w.loop.spawn(function() return w:chat { cancel = c } end)
      w.loop.sleep(5)
      c:cancel()
      assert_cancelled { second:join() }
      assert.equal(5, w:now())
      assert.equal("x", first:join().text)
    end)
    w:assert_clean()
  end)

  it("ends a stream's read", function()
    local w = world.new { script = { a = { world.words({ "one", "two" }, 10) } } }
    local c = unbusy.canceller()
    w.loop.run(function()
      local s = assert(w:stream { cancel = c })
      assert.is_nil(s:read().text)
      assert.equal("one", s:read().text)
      local task = w.loop.spawn(function() return s:read() end)
      w.loop.sleep(1)
      c:cancel()
      local piece, message, code, detail = task:join()
      assert_cancelled({ piece, message, code }, "a: body: the call was cancelled")
      assert.equal(1, detail.tries)
      assert.equal(11.1, w:now())
      assert_cancelled { s:read() }
      assert_cancelled { s:reply() }
      s:close()
    end)
    assert.is_true(w.log[1].exchange.closed)
    assert.equal(1, #w:seen "cut")
    w:assert_clean()
  end)

  it("gives back what a stream holds that nobody reads", function()
    local w = world.new { script = { a = { world.words({ "one", "two" }, 10) } } }
    local c = unbusy.canceller()
    w.loop.run(function()
      local s = assert(w:stream { cancel = c })
      c:cancel()
      w:assert_clean()
      assert_cancelled { s:read() } -- though there are pieces that came before
      assert.has_error(function() s:pieces()() end, "a: body: the call was cancelled")
    end)
  end)

  it("ends a stream before its start", function()
    local w = world.new { script = { a = { world.streamed { { 0, world.KEEP_ALIVE },
      { 50, world.chunk { content = "x" } } } } } }
    local c = unbusy.canceller()
    local out = cancelled_after(w, c, 3, function() return w:stream { cancel = c } end)
    assert_cancelled(out)
    assert.equal(3, out.at)
    w:assert_clean()
  end)

  it("ends all calls that it was given to, of any client, and no other", function()
    local a = world.new { script = { a = { world.good("x", 10) } } }
    local b = unbusy.new { loop = a.loop, targets = { { name = "b", url = "http://a.test" } } }
    local c, other = unbusy.canceller(), unbusy.canceller()
    a.loop.run(function()
      local tasks = {}
      for i, client in ipairs { a.client, b, a.client } do
        tasks[i] = a.loop.spawn(function()
          return client:chat(world.question, { cancel = i == 3 and other or c })
        end)
      end
      a.loop.sleep(1)
      c:cancel()
      assert_cancelled { tasks[1]:join() }
      assert_cancelled { tasks[2]:join() }
      assert.equal("x", tasks[3]:join().text)
    end)
    assert.is_nil(next(other.calls))
    a:assert_clean()
  end)

  it("may be used twice, and for calls that have ended", function()
    local w, c = world.new { script = { a = { world.good "x" } } }, unbusy.canceller()
    assert.equal("x", w:chat({ cancel = c }).text)
    assert.equal("x", w:stream({ cancel = c }):reply().text)
    assert.is_nil(next(c.calls))
    c:cancel()
    c:cancel()
    local reply, message, code, detail = w:chat { cancel = c }
    assert_cancelled({ reply, message, code }, "the call was cancelled")
    assert.equal(0, detail.tries)
    assert_cancelled { w:stream { cancel = c } }
    assert.equal(2, #w.log)
    w:assert_clean()
  end)

  it("goes before the cache, a stale answer and the fallback", function()
    local w = world.new { script = { a = { world.good "x", BUSY } },
      options = { fallback = "sorry", cache = { ttl = 1 } } }
    local c = unbusy.canceller()
    assert.equal("x", w:chat().text)
    assert.equal("cache", w:chat().source)
    w.loop.run(function() w.loop.sleep(10) end)
    local out = cancelled_after(w, c, 0.5, function() return w:chat { cancel = c } end)
    assert_cancelled(out)
    assert_cancelled { w:chat { cancel = c } }
    w:assert_clean()
  end)

  it("may be used inside of on_event", function()
    local reached = {}
    for _, kind in ipairs { "try", "failed", "retry", "keep_alive", "queued" } do
      local c, w = unbusy.canceller(), nil
      local blanks = { status = 200, steps = { { 1, " " }, { 9, "" } } }
      local script = kind == "keep_alive" and { blanks } or { BUSY, world.good("x", 5) }
      w = world.new { script = { a = script }, options = {
        limiter = { kind = "fixed", initial = 1 },
        on_event = function(e)
          if e.type == kind then
            reached[kind] = true
            c:cancel()
          end
        end } }
      w.loop.run(function()
        if kind == "queued" then w.loop.spawn(function() w:chat { deadline = 3 } end) end
        w.loop.sleep(0.01)
        assert_cancelled { w:chat { cancel = c } }
      end)
      assert.is_true(reached[kind], kind)
      w:assert_clean()
    end
  end)

  it("does not outlive its stream, nor keep it", function()
    local w, c = world.new { script = { a = { world.words({ "one" }, 10) } } }, unbusy.canceller()
    w.loop.run(function()
      assert(w:stream { cancel = c })
      collectgarbage()
      collectgarbage()
      w.loop.sleep(0.1)
    end)
    assert.is_nil(next(c.calls))
    w:assert_clean()
  end)

  it("ends all of them, though what hears of an end may raise", function()
    local w = world.new { script = { a = { world.words({ "one" }, 10) } } }
    local c = unbusy.canceller()
    local streams = {} -- one that nobody has is ended by the collector
    w.loop.run(function()
      for i = 1, 3 do
        streams[i] = assert(w:stream { cancel = c })
        streams[i].answer:on_end(function() error "raised" end)
      end
      assert.error_matches(function() c:cancel() end, "raised")
    end)
    w:assert_clean()
    w.loop.run(function()
      for i = 1, 3 do
        streams[i] = assert(w:stream())
        streams[i].answer:on_end(function() error "raised" end)
      end
      assert.error_matches(function() w.client:close() end, "raised")
    end)
    w:assert_clean()
    w.client:close()
  end)

  it("must be one", function()
    local w = world.new { script = { a = { world.good "x" } } }
    assert.has_error(function() w:chat { cancel = {} } end,
      "chat: cancel: what unbusy.canceller() gives expected")
    assert.error_matches(function() w:chat { cancel = true } end, "cancel: table expected")
    assert.is_false(canceller.is(nil))
  end)

  describe("over real HTTP", function()
    guard.watch(before_each, after_each)
    local up
    setup(function() up = busyd.start() end)
    teardown(function() up:stop() end)

    -- The server notices by itself that nobody is there any more.
    local function await(name, count)
      for _ = 1, 500 do
        if up:counts()[name] >= count then return end
        unbusy.sleep(0.02)
      end
      error(name .. " has never come to " .. count)
    end

    it("ends transfers that the server then sees closed", function()
      up:programme { reset = true, latency = 30 }
      local client = unbusy.new { targets = { { name = "a", url = up.url, key = "k" } } }
      local c = unbusy.canceller()
      unbusy.run(function()
        local tasks = {}
        for i = 1, 3 do
          tasks[i] = unbusy.spawn(function()
            local call = i == 3 and client.stream or client.chat
            return call(client, world.question, { cancel = c })
          end)
        end
        await("received", 3)
        c:cancel()
        for i = 1, 3 do assert_cancelled { tasks[i]:join() } end
        await("aborted_by_client", 3)
      end)
      assert.equal(0, client:status().active)
    end)
  end)
end)
