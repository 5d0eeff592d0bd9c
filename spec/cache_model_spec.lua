local cache = require "unbusy.cache"
local random = require "spec.support.random"

-- The rules once more, in the plainest way: a list of entries, the one used last in front.
describe("cache and a naive model", function()
  local function model(o)
    local m = { list = {}, hits = 0, stale = 0, misses = 0, stored = 0, refused = 0, evicted = 0,
      expired = 0 }

    local function size(e) return #e.key + #e.value end
    function m.bytes()
      local sum = 0
      for _, e in ipairs(m.list) do sum = sum + size(e) end
      return sum
    end
    local function is_gone(e) return m.now >= e.stored + e.ttl + o.stale end
    local function find(key)
      for i, e in ipairs(m.list) do
        if e.key == key then
          if not is_gone(e) then return i, e end
          table.remove(m.list, i)
          m.expired = m.expired + 1
          return nil
        end
      end
    end
    local function evict()
      local word = is_gone(m.list[#m.list]) and "expired" or "evicted"
      m[word] = m[word] + 1
      table.remove(m.list)
    end

    function m.get(key)
      local i, e = find(key)
      if not i then
        m.misses = m.misses + 1
        return nil
      end
      table.insert(m.list, 1, table.remove(m.list, i))
      local state = m.now < e.stored + e.ttl and "fresh" or "stale"
      local count = state == "fresh" and "hits" or "stale"
      m[count] = m[count] + 1
      return e.value, state, math.max(0, m.now - e.stored)
    end
    function m.set(key, value, ttl)
      local e = { key = key, value = value, ttl = ttl, stored = m.now }
      if size(e) > o.bytes then
        m.refused = m.refused + 1
        return nil
      end
      local i = find(key)
      if i then table.remove(m.list, i) end
      while #m.list >= o.entries do evict() end
      while m.bytes() + size(e) > o.bytes do evict() end
      table.insert(m.list, 1, e)
      m.stored = m.stored + 1
      return true
    end
    function m.delete(key)
      local i = find(key)
      if i then table.remove(m.list, i) end
      return i ~= nil
    end
    function m.clear() m.list = {} end
    return m
  end

  -- A few of few: so that they are replaced, evicted and found again all the time.
  local function world(seed)
    local w, r = { us = 0 }, random.new(seed)
    function w.random(n) return r:int(n) end
    function w.key()
      local n = w.random(12)
      return n % 3 == 0 and ("%d"):format(n):rep(400) or n % 4 == 0 and "" or "key " .. n
    end
    function w.value()
      local length = w.random(w.random(20) == 1 and 5000 or w.random(3) == 1 and 1500 or 40) - 1
      return string.char(w.random(256) - 1):rep(length)
    end
    function w.pass() -- time stands still, passes, jumps, slips back, runs for years
      local dice = w.random(1000)
      if dice > 700 then w.us = w.us + w.random(2000000) end
      if dice <= 20 then w.us = w.us + w.random(20) * 1000000 end
      if dice <= 12 then w.us = w.us - w.random(30) * 1000000 end
      if dice == 1 then w.us = w.us + w.random(20) * 1e13 end
    end
    return w
  end

  local COUNTS = { "hits", "stale", "misses", "stored", "refused", "evicted", "expired" }

  local function compare(seed, steps, o)
    local w, m = world(seed), model(o)
    local c = cache.new { entries = o.entries, bytes = o.bytes, ttl = o.ttl / 1e6,
      stale = o.stale / 1e6, clock = function() return w.us / 1e6 end, seed = seed }
    local function wrong(step, what)
      error(("UNBUSY_SEED=%d, step %d: %s"):format(seed, step, what), 0)
    end
    local acts = {
      get = function(step)
        local key = w.key()
        local value, state, age = c:get(key)
        local value_m, state_m, age_m = m.get(key)
        if value ~= value_m or state ~= state_m then
          wrong(step, ("%s and %s"):format(tostring(state), tostring(state_m)))
        end
        if value and (age < 0 or math.abs(age - age_m / 1e6) > 1e-5) then
          wrong(step, ("an age of %f and %f"):format(age, age_m / 1e6))
        end
      end,
      set = function(step)
        local key, value = w.key(), w.value()
        local ttl = w.random(3) == 1 and w.random(12) * 500000 or nil
        if c:set(key, value, ttl and ttl / 1e6) ~= m.set(key, value, ttl or o.ttl) then
          wrong(step, "set")
        end
      end,
      delete = function(step)
        local key = w.key()
        if c:delete(key) ~= m.delete(key) then wrong(step, "delete") end
      end,
      clear = function()
        c:clear()
        m.clear()
      end,
    }
    for step = 1, steps do
      w.pass()
      m.now = w.us
      local dice = w.random(1000)
      acts[dice > 550 and "get" or dice > 50 and "set" or dice > 2 and "delete" or "clear"](step)
      local s = c:stats()
      if s.entries ~= #m.list or s.bytes ~= m.bytes() then
        wrong(step, ("%d entries of %d bytes, %d of %d"):format(s.entries, s.bytes, #m.list,
          m.bytes()))
      end
      for _, name in ipairs(COUNTS) do
        if s[name] ~= m[name] then wrong(step, ("%s: %d and %d"):format(name, s[name], m[name])) end
      end
    end
    c:close()
    return m
  end

  local seed = random.seed(1)

  it("agree over 100,000 random steps", function()
    local tight = compare(seed, 40000, { entries = 5, bytes = 3000, ttl = 3e6, stale = 4e6 })
    for _, name in ipairs(COUNTS) do
      assert.is_true(tight[name] > 100, ("UNBUSY_SEED=%d, %s: %d"):format(seed, name, tight[name]))
    end
    compare(seed + 1, 30000, { entries = 100, bytes = 4000, ttl = 1e6, stale = 0 })
    compare(seed + 2, 20000, { entries = 1, bytes = 100000, ttl = 2e6, stale = 2e6 })
    compare(seed + 3, 10000, { entries = 50, bytes = 1, ttl = 0, stale = 5e6 })
  end)
end)
