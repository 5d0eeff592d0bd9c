local limiter = require "unbusy.limiter"

describe("limiter", function()
  -- An account that holds `capacity(now)` calls and refuses the next after 5 ms, under a load that
  -- never ends: whatever the limiter lets go, goes. Calls take `duration`, 30 % more or less.
  describe("under load without end", function()
    local function push(heap, at, f)
      local i = #heap + 1
      heap[i] = { at, f }
      while i > 1 do
        local up = math.floor(i / 2)
        if heap[up][1] <= heap[i][1] then break end
        heap[up], heap[i], i = heap[i], heap[up], up
      end
    end

    local function pop(heap)
      local top, i = heap[1], 1
      heap[1] = heap[#heap]
      heap[#heap] = nil
      while true do
        local least = i
        for child = 2 * i, 2 * i + 1 do
          if heap[child] and heap[child][1] < heap[least][1] then least = child end
        end
        if least == i then return top[1], top[2] end
        heap[least], heap[i], i = heap[i], heap[least], least
      end
    end

    -- One call: what becomes of it, and its report. Counts into `r`.
    local function call(r, ticket, duration)
      if r.held >= r.capacity(r.now) then
        return push(r.heap, r.now + 0.005, function()
          r.drops = r.drops + 1
          r.l:report(ticket, "fail")
        end)
      end
      r.held = r.held + 1
      push(r.heap, r.now + duration, function()
        r.held, r.ok = r.held - 1, r.ok + 1
        local second = math.floor(r.now)
        r.by_second[second] = (r.by_second[second] or 0) + 1
        r.l:report(ticket, "ok")
      end)
    end

    local function admit(r, o)
      while true do
        local ticket, _, _, detail = r.l:allow()
        if not ticket then
          local wake = detail.retry_after and r.now + detail.retry_after
          if wake and not (r.wake and r.wake > r.now and r.wake <= wake) then
            r.wake = wake
            push(r.heap, wake, function() end)
          end
          return
        end
        r.state = r.state * 16807 % 2147483647
        call(r, ticket, o.duration * (0.7 + 0.6 * r.state / 2147483647))
      end
    end

    local function run(o)
      local capacity = o.capacity
      if type(capacity) == "number" then capacity = function() return o.capacity end end
      local r = { now = 0, heap = {}, held = 0, ok = 0, drops = 0, by_second = {}, state = o.seed,
        capacity = capacity }
      r.l = limiter.new { initial = o.initial, clock = function() return r.now end }
      admit(r, o)
      while r.heap[1][1] < o.seconds do
        local f
        r.now, f = pop(r.heap)
        f()
        admit(r, o)
      end
      r.share = r.drops / (r.ok + r.drops)
      return r
    end

    -- Calls that went well in the seconds from … to, as a share of what the account could hold.
    local function use(r, from, to, capacity, duration)
      local ok = 0
      for second = from, to - 1 do ok = ok + (r.by_second[second] or 0) end
      return ok * duration / capacity / (to - from)
    end

    it("an account of 20 refuses 1 or 2 in 100 calls, and is used", function()
      for seed = 1, 3 do
        local r = run { capacity = 20, duration = 1, seconds = 200, seed = seed }
        assert.is_true(r.share < 0.02, r.share)
        assert.is_true(use(r, 10, 200, 20, 1) > 0.95)
      end
    end)

    it("so it is when calls take a minute", function()
      local r = run { capacity = 20, duration = 60, seconds = 6000, seed = 1 }
      assert.is_true(r.share < 0.025, r.share)
      assert.is_true(use(r, 100, 6000, 20, 60) > 0.95)
    end)

    it("small accounts refuse hardly more, once they are known", function()
      for capacity, most in pairs { 0.06, 0.04, 0.03, [5] = 0.03, [10] = 0.025 } do
        local r = run { capacity = capacity, initial = capacity, duration = 1, seconds = 600,
          seed = 1 }
        assert.is_true(r.share < most, ("%d: %f"):format(capacity, r.share))
        assert.is_true(use(r, 10, 600, capacity, 1) > 0.95)
      end
    end)

    it("an account of 1 has said so 50 refusals after a start at 20, within two seconds", function()
      local r = run { capacity = 1, duration = 1, seconds = 2, seed = 1 }
      assert.is_true(r.drops <= 50, r.drops)
      assert.is_true(r.l:limit() < 2)
    end)

    it("large accounts refuse next to nothing", function()
      local r = run { capacity = 500, duration = 1, seconds = 100, seed = 1 }
      assert.is_true(r.share < 0.005, r.share)
      assert.is_true(use(r, 40, 100, 500, 1) > 0.85)
    end)

    it("a limit that goes from 10 to 50 to 20 is followed within ten seconds", function()
      for seed = 1, 3 do
        local r = run { initial = 10, duration = 0.2, seconds = 30, seed = seed,
          capacity = function(now) return now < 10 and 10 or now < 20 and 50 or 20 end }
        assert.is_true(r.share < 0.03, r.share)
        assert.is_true(use(r, 2, 10, 10, 0.2) > 0.95)
        assert.is_true(use(r, 15, 20, 50, 0.2) > 0.9)
        assert.is_true(use(r, 22, 30, 20, 0.2) > 0.93)
        assert.is_true(r.l:limit() > 17 and r.l:limit() < 23)
      end
    end)

    it("a second in which everything is refused is forgotten within ten", function()
      local r = run { duration = 0.2, seconds = 40, seed = 1,
        capacity = function(now) return now >= 20 and now < 21 and 0 or 20 end }
      assert.is_true(use(r, 31, 40, 20, 0.2) > 0.93)
    end)
  end)
end)
