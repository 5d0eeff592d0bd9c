-- The waiting line: turns of the priorities, who is turned away, and what he is told.
local guard = require "spec.support.leak_guard"
local world = require "spec.support.world"

local good = world.good

local function new(o, script)
  return world.new { script = script or { a = { good("x", 1) } }, options = o }
end

local function fixed(n, more)
  local o = { limiter = { kind = "fixed", initial = n } }
  for name, value in pairs(more or {}) do o[name] = value end
  return o
end

-- Calls that come `every` seconds until `till`; gives what became of each, in a list.
local function stream(w, o)
  local ends = {}
  w.loop.spawn(function()
    while w:now() < o.till do
      w.loop.spawn(function()
        local began = w:now()
        local reply, message, code, detail = w:chat(o.options)
        ends[#ends + 1] = { reply = reply, message = message, code = code, detail = detail,
          began = began, took = w:now() - began }
      end)
      w.loop.sleep(o.every)
    end
  end)
  return ends
end

local function answered(ends)
  local n = 0
  for _, e in ipairs(ends) do n = n + (e.reply and 1 or 0) end
  return n
end

describe("the waiting line", function()
  guard.watch(before_each, after_each)

  describe("of three priorities", function()
    it("lets nobody wait for ever under a stream of the most urgent without end", function()
      local w = new(fixed(10, { clocks = { total = 1000 }, queue = { max_wait = 1000 } }))
      local ends, took = nil, {}
      w.loop.run(function()
        -- 20 a second for ten places a second, and one call of each other kind
        ends = stream(w, { every = 0.05, till = 60, options = { priority = "interactive" } })
        w.loop.sleep(10)
        for _, p in ipairs { "batch", "normal" } do
          w.loop.spawn(function()
            local began = w:now()
            assert(w:chat { priority = p })
            took[p] = w:now() - began
          end)
        end
      end)
      assert.is_true(took.batch <= 1 + 2.2, took.batch) -- 16 + 4 + itself, at 10 a second
      assert.is_true(took.normal <= 1 + 0.7, took.normal)
      assert.equal(#ends, answered(ends))
      w:assert_clean()
    end)

    it("gives each its share where all of them are too many", function()
      local w = new(fixed(21, { queue = { size = 1e5 } }))
      local ends = {}
      w.loop.run(function()
        for _, p in ipairs { "interactive", "normal", "batch" } do
          ends[p] = stream(w, { every = 0.02, till = 100, options = { priority = p,
            deadline = 20 } })
        end
      end)
      local all = answered(ends.interactive) + answered(ends.normal) + answered(ends.batch)
      local function share(p) return answered(ends[p]) / all * 21 end
      assert.near(16, share "interactive", 0.5)
      assert.near(4, share "normal", 0.3)
      assert.near(1, share "batch", 0.2)
      w:assert_clean()
    end)

    it("leaves the urgent what they need, and the others the rest", function()
      local w = new(fixed(10))
      local urgent, batch
      w.loop.run(function()
        urgent = stream(w, { every = 1 / 6, till = 60, options = { priority = "interactive" } })
        batch = stream(w, { every = 0.1, till = 60, options = { priority = "batch",
          deadline = 30 } })
      end)
      assert.equal(#urgent, answered(urgent))
      for _, e in ipairs(urgent) do assert.is_true(e.took < 1.6, e.took) end
      assert.is_true(answered(batch) >= 230, answered(batch)) -- four a second are left
    end)

    it("makes room in a full line for those who are more urgent", function()
      local w = new(fixed(1, { queue = { size = 3 } }))
      local codes, order = {}, {}
      w.loop.run(function()
        for i, p in ipairs { "normal", "batch", "normal", "batch", "interactive", "batch",
            "normal" } do
          w.loop.spawn(function()
            local reply, message, code, detail = w:chat { priority = p }
            if reply then order[#order + 1] = i else codes[i] = { code, message, detail.phase } end
          end)
        end
      end)
      assert.same({ 1, 5, 3, 7 }, order)
      local gone = { "full", "a: others took its place in the full line", "queue" }
      assert.same({ [2] = gone, [4] = gone,
        [6] = { "full", "a: the waiting line is full (3)", "queue" } }, codes)
      assert.equal(3, w.client:status().queue.shed)
      w:assert_clean()
    end)
  end)

  describe("that is too long", function()
    -- Ten places a second, and `rate` calls a second with this deadline, for a while.
    local function crowd(rate, deadline, seconds, more)
      local w = new(fixed(10, more))
      local ends
      w.loop.run(function()
        w:chat() -- so much is known of the target
        ends = stream(w, { every = 1 / rate, till = seconds, options = { deadline = deadline } })
      end)
      w:assert_clean()
      return ends, w
    end

    it("turns those away at once who would wait in vain", function()
      local ends, w = crowd(20, 10, 100)
      local late, soon = 0, 0
      for _, e in ipairs(ends) do
        if not e.reply and e.took > 0.001 then late = late + 1 end
        if not e.reply and e.took <= 0.001 then soon = soon + 1 end
      end
      assert.is_true(answered(ends) >= 960, answered(ends)) -- no place is lost by it
      assert.is_true(soon >= 750 and late <= 150, soon .. " at once, " .. late .. " later")
      assert.is_true(w.client:status().queue.shed >= 750)
    end)

    it("turns nobody away where that is not wanted", function()
      local ends, w = crowd(20, 10, 30, { queue = { shed = false } })
      for _, e in ipairs(ends) do assert.is_true(e.reply ~= nil or e.took >= 9.9) end
      assert.equal(0, w.client:status().queue.shed)
    end)

    it("tells when there would be room, and it is true", function()
      local w = new(fixed(10, { clocks = { total = 1000 }, queue = { max_wait = 1000 } }))
      local code, message, detail, again
      w.loop.run(function()
        for _ = 1, 300 do w.loop.spawn(function() w:chat() end) end -- the last: after 30 s
        w.loop.sleep(5.5)
        local began = w:now()
        local _
        _, message, code, detail = w:chat { deadline = 10 }
        assert.equal(began, w:now())
        w.loop.sleep(detail.retry_after + 0.2)
        again = w:chat { deadline = 10 }
      end)
      assert.equal("full", code)
      assert.matches("^a: a place would take 2%d[%d.]* s to come free$", message)
      assert.near(30 - 5.5 - 9, detail.retry_after, 2)
      assert.is_truthy(again)
      assert.equal("queue", detail.phase)
    end)

    it("tells so too when it was waited for in vain, or the line was full", function()
      local w = new(fixed(10, { clocks = { total = 1000 }, queue = { max_wait = 1000,
        size = 100 } }))
      local detail, code
      w.loop.run(function()
        for _ = 1, 110 do w.loop.spawn(function() w:chat() end) end
        w.loop.sleep(2.5)
        for _ = 1, 20 do w.loop.spawn(function() w:chat() end) end
        w.loop.sleep(0.01)
        code, detail = select(3, w:chat())
      end)
      assert.equal("full", code)
      assert.near(0.1, detail.retry_after, 0.05) -- the next place
    end)

    it("is none for those who ask for another target", function()
      local w = new(fixed(1), { a = { good("x", 1) }, b = { good("x", 1) } })
      local ended
      w.loop.run(function()
        for _ = 1, 25 do w.loop.spawn(function() w:chat { target = "a" } end) end
        w.loop.spawn(function() w:chat { target = "b" } end)
        w.loop.sleep(8.5)
        w.loop.spawn(function() w:chat { target = "b" } end)
        ended = w:chat { target = "b", deadline = 5 } -- 16 wait for a, and nobody for b
      end)
      assert.is_truthy(ended)
    end)

    it("counts of those who have other targets too only their share", function()
      local w = new({ clocks = { total = 1000 }, limiter = { kind = "fixed", initial = 9 },
        queue = { max_wait = 1000 } }, { a = { good("x", 1) }, b = { good("x", 9) } })
      local codes = {}
      w.loop.run(function()
        for _ = 1, 200 do w.loop.spawn(function() w:chat() end) end -- 9 a second go by a, 1 by b
        w.loop.sleep(9.5)
        w.loop.spawn(function() codes.one = select(3, w:chat { target = "b", deadline = 30 }) end)
        w.loop.spawn(function() codes.two = select(3, w:chat { target = "b", deadline = 12 }) end)
      end)
      assert.is_nil(codes.one)
      assert.equal("full", codes.two)
    end)

    it("does not turn a call away that comes back to its turn", function()
      local n = 0
      local w = new(fixed(1, { retry = { base = 2, jitter = 0 }, clocks = { total = 1000 },
        queue = { max_wait = 1000 } }), { a = function()
          n = n + 1
          return n == 8 and world.status(500) or good("x", 1)
        end })
      local replies, first = 0, nil
      w.loop.run(function()
        for i = 1, 60 do
          w.loop.spawn(function()
            local reply = w:chat(i == 8 and { deadline = 14 } or nil)
            if i == 8 then first = reply end
            replies = replies + (reply and 1 or 0)
          end)
        end
      end)
      assert.is_truthy(first)
      assert.equal(60, replies)
    end)
  end)
end)
