local limiter = require "unbusy.limiter"
local random = require "spec.support.random"

describe("limiter", function()
  -- The rules once more, in the plainest way: lists of all tickets, rests and changes.
  describe("and a naive model", function()
    local function model(o, now)
      local m = { limit = o.initial, quiet = 0, good = 50, edge = o.initial, grown = 0,
        trip_at = now, out = {}, used = 0, rests = {}, drops = 0, refused = 0, missed = 0,
        changes = {}, credit = 100 }

      function m.trip()
        return math.floor(m.smooth and math.max(10000, math.min(1e7, m.smooth)) or 100000)
      end
      function m.in_force(at)
        if m.frozen or not m.restored then return m.limit end
        local step = math.max(0, math.floor(((at or m.now) - m.restored) / 2e6))
        return math.max(o.min, m.limit * (({ 0.1, 0.25, 0.5 })[step + 1] or 1))
      end
      function m.resting()
        while m.rests[1] and m.now - m.rests[1] >= m.trip() do table.remove(m.rests, 1) end
        return #m.rests
      end
      function m.held()
        if not o.throttle or m.frozen or m.credit >= 1 then return 0 end
        return math.max(0, (m.next_at or m.now) - m.now)
      end
      function m.room(at)
        local rests = 0
        for _, drop in ipairs(m.rests) do
          if at - drop < m.trip() then rests = rests + 1 end
        end
        return m.used + rests + 1 <= math.floor(m.in_force(at))
      end
      -- The first of the moments at which time changes something, where there is room.
      function m.retry_after()
        local best
        local function try(at)
          if at >= m.now and m.room(at) and not (best and best <= at) then best = at end
        end
        try(m.now)
        for _, drop in ipairs(m.rests) do try(drop + m.trip()) end
        for step = 1, 3 do try((m.restored or m.now) + step * 2e6) end
        return best and math.max(best - m.now, m.held())
      end
      function m.has_edge() return m.good < 50 and m.edge >= 1 end
      function m.slow() m.growth, m.quiet = math.min(1, m.limit / 2), -1 end
      function m.move(limit)
        m.limit = limit
        local at = m.changes[#m.changes] and math.max(m.changes[#m.changes].at, m.now) or m.now
        m.changes[#m.changes + 1] = { at = at, limit = limit }
      end
      function m.held_at(at)
        local limit = o.initial
        for _, change in ipairs(m.changes) do
          if change.at < at then limit = change.limit end
        end
        return limit
      end
      function m.ok(took)
        local sample = math.min(took, 1e7)
        m.smooth = m.smooth and m.smooth + (sample - m.smooth) / 8 or sample
        if m.frozen then return end
        m.good = m.good + 1
        m.credit = math.min(100, m.credit + (o.throttle or 0) - 1)
        if not o.throttle then m.credit = math.max(0, m.credit) end
        if o.gradient or 2 * m.used < m.limit then return end
        if m.now - m.trip_at >= m.trip() then
          m.trip_at, m.grown, m.quiet = m.now, 0, m.quiet + 1
          if m.quiet == 3 then m.quiet, m.growth = 0, math.min(2 * m.growth, m.limit / 2) end
        end
        local top = m.has_edge() and math.max(m.limit, m.edge) or o.max
        local more = math.max(0, math.min(m.growth / m.limit, m.growth - m.grown))
        more = math.min(more, top - m.limit)
        m.grown = m.grown + more
        m.move(m.limit + more)
      end
      function m.fail(issued)
        m.drops = m.drops + 1
        if m.frozen then return end
        m.credit = math.max(0, m.credit - 1)
        m.rests[#m.rests + 1] = math.max(m.now, m.rests[#m.rests] or m.now) -- one after the other
        m.edge = m.good < 50 and math.min(m.edge, m.used - 1) or m.used - 1
        if not m.cut_at or issued > m.cut_at and m.now - m.cut_at >= m.trip() then
          local low = m.limit * o.ratio
          local recent = m.cut_at and m.now - m.cut_at < 3 * m.trip()
          if m.has_edge() and m.missed > m.limit - low and recent then
            low = math.min(low, math.max(m.limit / 2, m.edge))
          end
          m.move(math.max(low, o.min))
          m.window, m.probe = {}, 0
          m.window.began = m.now
          m.cut_at, m.missed = m.now, 0
        else
          m.missed = m.missed + 1
        end
        m.good = 0
        m.slow()
      end
      function m.freeze(window)
        local from = math.floor((m.now - window) / 1e6) * 1e6
        m.kept = window <= 0 and m.limit or m.held_at(from)
        while m.changes[1] and m.changes[#m.changes].at >= from do table.remove(m.changes) end
        m.changes[#m.changes + 1] = { at = from - 1, limit = m.kept }
        m.frozen, m.rests, m.missed = true, {}, 0
      end
      function m.restore()
        m.frozen, m.limit, m.cut_at, m.restored = false, m.kept, m.now, m.now
        m.credit, m.window, m.probe = 100, { began = m.now }, 0
        m.slow()
      end
      -- Of a gradient: the means of all windows since the probe before the last one.
      m.window, m.probe, m.bases, m.windows = { began = now }, 0, {}, 0
      function m.started(took)
        if not o.gradient or m.frozen then return end
        local top = m.probe == 0 and m.has_edge() and math.max(m.limit, m.edge) or o.max
        local w = m.window
        w[#w + 1] = math.max(took, 0)
        local limit = m.limit
        if #w >= 10 and m.now - w.began >= m.trip() then
          local sum, in_use = 0, 2 * m.used >= m.limit
          for _, sample in ipairs(w) do sum = sum + sample end
          m.window = { began = m.now }
          m.bases[#m.bases + 1] = sum / #w
          if m.probe > 0 then
            m.probe = m.probe - 1
            if m.probe == 0 then limit = m.before end
          else
            m.windows = m.windows + 1
            if m.windows >= 50 then
              m.before, m.probe, m.windows, limit = limit, 2, 0, limit / 2
              local last = m.last or 0
              for i = last, 1, -1 do table.remove(m.bases, i) end
              m.last = #m.bases
            else
              local base = math.huge
              for _, mean in ipairs(m.bases) do base = math.min(base, mean) end
              local g = math.max(0.5, math.min(1, 1.5 * base / math.max(sum / #w, 1)))
              local next = limit + 0.4 * (limit * g + math.sqrt(limit) - limit)
              limit = in_use and next or math.min(next, limit)
            end
          end
        end
        m.move(math.max(o.min, math.min(top, limit)))
      end
      m.slow()
      m.quiet = 0
      return m
    end

    local function compare(seed, us, o, steps)
      local r = random.new(seed)
      local ever, flying, rough = {}, {}, false
      local l = limiter.new { initial = o.initial, min = o.min, max = o.max, ratio = o.ratio,
        throttle = o.throttle or false, kind = o.gradient and "gradient" or nil,
        clock = function() return us / 1e6 end }
      local m = model(o, us)
      local function allow()
        local may = m.used + m.resting() + 1 <= math.floor(m.in_force()) and m.held() == 0
        local ticket = l:allow()
        assert(may == (ticket ~= nil), "allow")
        if not may then m.refused = m.refused + 1 return end
        if m.credit < 1 then m.next_at = us + 1e6 end
        m.out[ticket], m.used, ever[#ever + 1] = us, m.used + 1, ticket
        flying[#flying + 1] = ticket
      end
      local function report(word)
        local ticket = ever[math.max(1, #ever + 1 - r:int(10))] -- perhaps reported before
        if flying[1] and r:int(10) > 1 then ticket = table.remove(flying, r:int(#flying)) end
        local issued = m.out[ticket or 0]
        local took = r:int(4) > 1 and r:int(300000) or nil
        assert(l:report(ticket or 1, word, took and took / 1e6) == (issued ~= nil), "report")
        if not issued then return end
        if word == "ok" then m.ok(took or math.max(0, us - issued)) end
        if word == "fail" then m.fail(issued) end
        m.out[ticket], m.used = nil, m.used - 1
      end
      local function ok() return report "ok" end
      local function fail()
        if not rough or o.calm or r:int(3) > 1 then return end
        for _ = 1, r:int(8) do report "fail" end
      end
      local begun = {}
      local function started()
        local ticket = r:pick(flying[1] and flying or { 7 })
        local took = r:int(20) == 1 and r:int(3000000) or 100000 + r:int(200000)
        local good = m.out[ticket] ~= nil and not begun[ticket]
        begun[ticket] = true
        assert(l:started(ticket, took / 1e6) == good, "started")
        if good then m.started(took) end
      end
      local function freeze_or_restore()
        if r:int(m.frozen and 2 or 30) > 1 then return end
        if m.frozen then
          assert(l:restore() and not l:restore(), "restore")
          m.restore()
        else
          local window = r:int(20) * 500000
          assert(l:freeze(window / 1e6) and not l:freeze(window / 1e6), "freeze")
          m.freeze(window)
        end
      end
      local moves = { allow, allow, allow, allow, allow, allow, ok, ok, ok, ok, ok, fail,
        freeze_or_restore, function() report "neutral" end, started, started, started,
        function() us = us + r:int(200000) end, function() us = us + r:int(20000) end,
        function() if r:chance(0.4) then us = us + r:leap() end end }
      local function same_wait()
        local got, expected = l:retry_after(), m.retry_after()
        return got == expected or got and expected and math.abs(got * 1e6 - expected) < 1.5
      end
      local least, most = math.huge, 0
      random.walk(r, steps, function(step)
        m.now, rough = us, step % 2000 > 1000
        r:pick(moves)()
        m.now = us
        local s = l:stats()
        if o.throttle and math.abs(s.credit - m.credit) > 1e-9 then error "credit" end
        if math.abs(s.limit - m.in_force()) > 1e-9 * m.in_force() or s.in_flight ~= m.used
          or s.resting ~= m.resting() or s.drops ~= m.drops or s.refused ~= m.refused
          or math.abs(s.round_trip * 1e6 - m.trip()) > 1.5 or not same_wait() then
          error(("limit %f and %f, in flight %d and %d, resting %d and %d, trip %f and %f"):format(
            s.limit, m.in_force(), s.in_flight, m.used, s.resting, m.resting(), s.round_trip,
            m.trip() / 1e6))
        end
        least, most = math.min(least, m.limit), math.max(most, m.limit)
      end, ("min %d, max %d"):format(o.min, o.max))
      return least, most
    end

    it("agree over 100,000 random steps in a time that stands, runs, leaps and slips", function()
      local least, most = compare(random.seed(1), 5e9,
        { initial = 20, min = 2, max = 40, ratio = 0.9 }, 50000)
      assert.is_true(least < 15 and most > 21, ("%f %f"):format(least, most))
      compare(random.seed(2), -3e9, { initial = 5, min = 1, max = 1000, ratio = 0.5 }, 40000)
      compare(random.seed(3), 0, { initial = 3, min = 3, max = 3, ratio = 0.9 }, 10000)
      compare(random.seed(4), 0, { initial = 20, min = 2, max = 40, ratio = 0.9, throttle = 2 },
        20000)
      compare(random.seed(5), 0, { initial = 5, min = 1, max = 50, ratio = 0.9, throttle = 1.1 },
        20000)
    end)

    it("agree for a gradient", function()
      local least = compare(random.seed(6), 5e9,
        { initial = 5, min = 2, max = 100, ratio = 0.9, gradient = true, throttle = 3 }, 20000)
      assert.is_true(least < 3, least)
      local most
      least, most = compare(random.seed(7), 5e9, { initial = 5, min = 1, max = 30, ratio = 0.9,
        gradient = true, calm = true }, 30000)
      assert.is_true(most > 8, ("%f %f"):format(least, most))
    end)
  end)
end)
