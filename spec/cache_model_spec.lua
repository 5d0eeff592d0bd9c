local cache = require "unbusy.cache"
local random = require "spec.support.random"

-- The rules once more, in the plainest way: two queues as lists, the newest in front, and ghosts by
-- their keys (csrc/parts/cache_queues.c has the names).
local ALL, LOOKS = 65536, 128

describe("cache and a naive model", function()
  local function model(o)
    local m = { s = {}, m = {}, hits = 0, stale = 0, misses = 0, stored = 0, refused = 0,
      evicted = 0, expired = 0, purged = 0 }
    local ghosts, count, share

    local function forget() ghosts, count, share = {}, 0, math.floor(ALL / 10) end
    forget()

    local function size(e) return #e.key + #e.value + e.tag_bytes end
    local function bytes(queue)
      local sum = 0
      for _, e in ipairs(queue) do sum = sum + size(e) end
      return sum
    end
    function m.bytes() return bytes(m.s) + bytes(m.m) end
    function m.entries() return #m.s + #m.m end
    local function is_gone(e) return m.now >= e.stored + e.ttl + o.stale end
    local function take(e)
      for i, other in ipairs(e.queue) do
        if other == e then return table.remove(e.queue, i) end
      end
    end
    local function put(queue, e)
      e.queue = queue
      table.insert(queue, 1, e)
    end
    local function find(key)
      for _, queue in ipairs { m.s, m.m } do
        for _, e in ipairs(queue) do
          if e.key == key then
            if not is_gone(e) then return e end
            take(e)
            m.expired = m.expired + 1
            return nil
          end
        end
      end
    end

    local function longer(for_bytes)
      if #m.s == 0 or #m.m == 0 then return #m.s == 0 and m.m or m.s end
      local have, rest = #m.s, #m.m
      if for_bytes then have, rest = bytes(m.s), bytes(m.m) end
      return have * ALL >= (have + rest) * share and m.s or m.m
    end
    local function spared(e)
      if e.queue == m.s and e.hits > 1 then
        e.hits = 0
      elseif e.queue == m.m and e.hits > 0 then
        e.hits = e.hits - 1
      else
        return false
      end
      put(m.m, take(e))
      return true
    end
    local function evict(for_bytes)
      local looks = 0
      while true do
        local queue = longer(for_bytes)
        local e = queue[#queue]
        if is_gone(e) then
          m.expired = m.expired + 1
          return take(e)
        end
        looks = looks + 1
        if looks > LOOKS or not spared(e) then
          ghosts[e.key] = { number = count, queue = queue }
          count = count + 1
          m.evicted = m.evicted + 1
          return take(e)
        end
      end
    end
    local function queue_for(key)
      local ghost = ghosts[key]
      ghosts[key] = nil
      local age = ghost and count - 1 - ghost.number
      if not ghost or age >= m.entries() or age >= o.entries then return m.s end
      local by = ghost.queue == m.s and 2 or -16
      local step = math.floor(ALL / (m.entries() + 1)) + 1
      share = math.max(math.floor(ALL / 100), math.min(math.floor(ALL / 10) * 9, share + by * step))
      return m.m
    end

    function m.get(key)
      local e = find(key)
      if not e then
        m.misses = m.misses + 1
        return nil
      end
      e.hits = math.min(3, e.hits + 1)
      local state = m.now < e.stored + e.ttl and "fresh" or "stale"
      local word = state == "fresh" and "hits" or "stale"
      m[word] = m[word] + 1
      return e.value, state, math.max(0, m.now - e.stored)
    end
    function m.set(key, value, ttl, tags)
      local e = { key = key, value = value, ttl = ttl, stored = m.now, hits = 0, tags = tags or {},
        tag_bytes = 0 }
      for _, tag in ipairs(e.tags) do e.tag_bytes = e.tag_bytes + #tag + 1 end
      if size(e) > o.bytes then
        m.refused = m.refused + 1
        return nil
      end
      local old, queue = (find(key))
      if old then
        take(old)
        queue, e.hits = old.queue, old.hits
      else
        queue = queue_for(key)
        if m.entries() == o.entries then evict(false) end
      end
      while m.bytes() + size(e) > o.bytes do evict(true) end
      put(queue, e)
      m.stored = m.stored + 1
      return true
    end
    function m.delete(key)
      local e = find(key)
      if e then take(e) end
      return e ~= nil
    end
    function m.purge(tag)
      local purged = 0
      for _, queue in ipairs { m.s, m.m } do
        for i = #queue, 1, -1 do
          local e, has = queue[i], false
          for _, own in ipairs(e.tags) do has = has or own == tag end
          if has then
            if is_gone(e) then m.expired = m.expired + 1 else purged = purged + 1 end
            table.remove(queue, i)
          end
        end
      end
      m.purged = m.purged + purged
      return purged
    end
    function m.all()
      local out = {}
      for _, queue in ipairs { m.s, m.m } do
        for _, e in ipairs(queue) do
          if not is_gone(e) then out["s" .. e.key] = e end
        end
      end
      return out
    end
    function m.clear()
      m.s, m.m = {}, {}
      forget()
    end
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

  local COUNTS = { "hits", "stale", "misses", "stored", "refused", "evicted", "expired", "purged" }
  local TAGS = { nil, {}, { "a" }, { "b", "a" }, { "b", ("c"):rep(200) } }

  -- Goes through all, and compares it with the model's.
  local function same_contents(c, m)
    local all = m.all()
    local cursor, key, value, about = c:next()
    while cursor do
      local e = all[key]
      if not e or e.value ~= value or table.concat(e.tags, ",") ~= table.concat(about.tags, ",")
          or about.state ~= (m.now < e.stored + e.ttl and "fresh" or "stale") then
        return false
      end
      all[key] = nil
      cursor, key, value, about = c:next(cursor)
    end
    return next(all) == nil
  end

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
        local tags = TAGS[w.random(#TAGS)]
        if c:set(key, value, ttl and ttl / 1e6, tags) ~= m.set(key, value, ttl or o.ttl, tags) then
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
      purge = function(step)
        local tag = w.random(2) == 1 and "a" or ("c"):rep(200)
        if c:purge(tag) ~= m.purge(tag) then wrong(step, "purge") end
      end,
    }
    for step = 1, steps do
      w.pass()
      m.now = w.us
      local dice = w.random(1000)
      acts[dice > 550 and "get" or dice > 50 and "set" or dice > 10 and "delete"
        or dice > 2 and "purge" or "clear"](step)
      local s = c:stats()
      if s.entries ~= m.entries() or s.bytes ~= m.bytes() then
        wrong(step, ("%d entries of %d bytes, %d of %d"):format(s.entries, s.bytes, m.entries(),
          m.bytes()))
      end
      if step % 50 == 0 and not same_contents(c, m) then wrong(step, "what is in it") end
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
