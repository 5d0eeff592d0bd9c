local random = require "spec.support.random"
local rate = require "unbusy.rate"

describe("rate", function()
  -- The rules once more, in the plainest way: each bucket by itself, in floating seconds.
  describe("and a naive model", function()
    local function bucket(most, per_second)
      local b = { most = most, level = most, per_second = per_second }
      function b.refill(from, to)
        if to <= from then return end
        if b.full_at and to >= b.full_at then
          b.level, b.per_second = b.most, b.later
          from, b.full_at = math.max(from, b.full_at), nil
        end
        b.level = math.min(b.most, b.level + b.per_second * (to - from))
      end
      return b
    end

    local function model(o)
      local m = { now = 0, taken = { requests = 0, tokens = 0 }, told = {}, own = {}, limit = {} }
      for kind, first in pairs { requests = 1, tokens = 0 } do
        local most = o[kind] and math.max(o[kind] / 10, 1)
        m.limit[kind] = o[kind]
        m.own[kind] = most and bucket(most, (o[kind] + first - most) / 60)
      end
      local function all(f)
        for _, kind in ipairs { "requests", "tokens" } do
          if m.own[kind] then f(m.own[kind], kind, m.limit[kind]) end
          if m.told[kind] then f(m.told[kind], kind, m.told[kind].most) end
        end
      end
      function m.go_to(now)
        all(function(b) b.refill(m.now, now) end)
        m.now = math.max(m.now, now)
      end
      function m.wait(tokens)
        local longest = 0
        all(function(b, kind)
          local need = math.min(kind == "requests" and 1 or tokens, b.most)
          if b.level < need * (1 - 1e-9) then
            local seconds = b.per_second > 0 and (need - b.level) / b.per_second or 86400
            if b.full_at then seconds = math.min(seconds, b.full_at - m.now) end
            longest = math.max(longest, math.min(seconds, 86400))
          end
        end)
        return longest
      end
      function m.take(tokens)
        all(function(b, kind, limit)
          b.level = b.level - math.min(kind == "requests" and 1 or tokens, limit)
        end)
        m.taken.requests, m.taken.tokens = m.taken.requests + 1, m.taken.tokens + tokens
      end
      function m.correct(foreseen, used)
        local b, limit = m.own.tokens, m.limit.tokens
        if not b then return end
        b.level = math.min(b.most, b.level + math.min(foreseen, limit) - math.min(used, limit))
      end
      function m.tell(kind, limit, left, reset, window, mark)
        local since, b = math.max(m.taken[kind] - mark, 0), m.told[kind]
        if not b and not limit then return end
        if not b then
          b = bucket(limit, 0)
          m.told[kind] = b
          b.level = limit - since
        end
        b.most = limit or b.most
        b.level = math.min(b.level, b.most)
        if left then b.level = math.min(left, b.most) - since end
        b.full_at, b.later = nil, b.most / 60
        if not (reset and left) then
          if b.per_second <= 0 then b.per_second = b.most / 60 end
        elseif window then
          b.per_second, b.full_at = 0, m.now + reset
        elseif left < b.most then
          b.per_second = (b.most - left) / math.max(reset, 1e-6)
        elseif b.per_second <= 0 then
          b.per_second = b.most / 60
        end
      end
      return m
    end

    local function near(a, b)
      return math.abs(a - b) <= 1e-6 * math.max(1, math.abs(a), math.abs(b)) + 2e-6
    end

    -- A window that ends right now ends in both.
    local function compare(seed, o, steps)
      local r, us = random.new(seed), 0
      local meter = rate.new { requests = o.requests, tokens = o.tokens,
        clock = function() return us / 1e6 end }
      local m, marks = model(o), { { requests = 0, tokens = 0 } }
      local function take()
        local tokens = r:int(3) == 1 and r:int(100000) or r:int(300)
        local wait = m.wait(tokens)
        assert(near(meter:retry_after(tokens), wait), "wait")
        if wait > 0 and wait < 3e-6 then return end -- a rounding apart
        local a, b = meter:take(tokens)
        assert((a ~= nil) == (wait == 0), "take")
        if not a then return end
        m.take(tokens)
        assert(a == m.taken.requests and b == m.taken.tokens, "marks")
        marks[#marks + 1] = { requests = a, tokens = b }
      end
      local function tell()
        local kind = r:pick { "requests", "tokens" }
        local limit, left, reset
        if r:int(4) > 1 then limit = r:int(1000) end
        if r:int(4) > 1 then left = r:int(1000) - 1 end
        if r:int(4) > 1 then reset = r:int(100000) / 1000 end
        local window, mark = r:int(2) == 1, marks[math.max(1, #marks + 1 - r:int(5))][kind]
        meter:tell(kind, limit, left, reset, window, mark)
        m.tell(kind, limit, left, reset, window, mark)
      end
      local function correct()
        local foreseen, used = r:int(500), r:int(500)
        meter:correct(foreseen, used)
        m.correct(foreseen, used)
      end
      local moves = { take, take, take, take, tell, correct,
        function() us = us + r:int(3000000) end, function() us = us + r:int(20000) end,
        function() if r:chance(0.02) then us = us + r:int(2e8) end end }
      random.walk(r, steps, function()
        m.go_to(us / 1e6)
        r:pick(moves)()
        m.go_to(us / 1e6)
        for _, kind in ipairs { "requests", "tokens" } do
          local own, told = m.own[kind], m.told[kind]
          local expected = own
          if told and not (own and own.level <= told.level) then expected = told end
          local left, most = meter:left(kind)
          assert((left == nil) == (expected == nil), kind)
          if left and not near(left, expected.level) then
            error(("%s: %.9g and %.9g of %g"):format(kind, left, expected.level, most))
          end
        end
      end, "requests " .. tostring(o.requests))
    end

    it("agree over 60,000 random steps", function()
      compare(random.seed(1), { requests = 60, tokens = 5000 }, 20000)
      compare(random.seed(2), { tokens = 1 }, 20000)
      compare(random.seed(3), {}, 20000)
    end)
  end)
end)
