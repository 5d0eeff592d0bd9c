-- Lists that forget: what came a half-life ago counts half. And notes beside the keys.
local cache = require "unbusy.cache"
local core = require "unbusy.core"
local guard = require "spec.support.leak_guard"
local random = require "spec.support.random"
local region = require "unbusy.region"
local topk = require "unbusy.topk"

local HALF = 64 -- seconds: a step is one second

local now
local function list(given)
  now = 1000
  given.clock = given.clock or function() return now end
  return assert(topk.new(given))
end

local function near(expected, got, what)
  local most = math.max(math.abs(expected) * 1e-9, 1e-12)
  if math.abs(expected - got) <= most then return end
  error(("%s: %.17g expected, got %.17g"):format(what, expected, got), 2)
end

describe("a topk with a half-life", function()
  guard.watch(before_each, after_each)

  it("counts what came just now in full, and half of it a half-life later", function()
    local t = list { counters = 4, half_life = HALF }
    t:add("a", 8)
    assert.same({ { key = "a", count = 8, error = 0 } }, t:top())
    now = now + HALF
    t:add("b", 3)
    assert.same({ { key = "a", count = 4, error = 0 }, { key = "b", count = 3, error = 0 } },
      t:top())
    assert.equal(7, t:stats().total)
    now = now + 2 * HALF
    assert.same({ 1, 0.75 }, { t:top()[1].count, t:top()[2].count })
    assert.equal(1.75, t:stats().total)
  end)

  it("lets what comes now overtake what came often long ago", function()
    local t = list { counters = 4, half_life = HALF }
    t:add("old", 1000)
    now = now + 10 * HALF
    t:add "new"
    assert.equal("new", t:top()[1].key)
    near(1000 / 1024, t:top()[2].count, "old")
  end)

  it("keeps the error in step with the count", function()
    local t = list { counters = 1, half_life = HALF }
    t:add("a", 8)
    now = now + HALF
    t:add "b"
    assert.same({ { key = "b", count = 5, error = 4 } }, t:top())
    now = now + HALF
    assert.same({ { key = "b", count = 2.5, error = 2 } }, t:top())
    assert.equal(2.5, t:stats().least)
  end)

  it("takes no time back", function()
    local t = list { counters = 4, half_life = HALF }
    t:add("a", 4)
    now = now + HALF
    t:add "b"
    now = now - 100 * HALF
    t:add "b"
    assert.same({ { key = "a", count = 2, error = 0 }, { key = "b", count = 2, error = 0 } },
      t:top())
  end)

  it("stands ages in which nobody comes", function()
    local t = list { counters = 3, half_life = 0.001 }
    for _, seconds in ipairs { 1, 1e3, 1e6, 1e9 } do
      t:add("a", 2 ^ 53)
      t:add("b", 5)
      now = now + seconds
      t:add "c"
      local top = t:top()
      assert.equal("c", top[1].key)
      near(1, top[1].count, "c")
      assert.is_true(top[2].count >= 0 and top[2].count < 1e-3)
    end
    for i = 1, 10 do t:add("k" .. i) end -- and goes on as ever
    assert.equal(3, t:stats().used)
    near(11, t:stats().total, "total")
  end)

  it("ends its counts at 2^53", function()
    local t = list { counters = 2, half_life = HALF }
    t:add("a", 2 ^ 53)
    t:add("a", 2 ^ 53)
    assert.equal(2 ^ 53, t:top()[1].count)
    now = now + HALF
    assert.equal(2 ^ 52, t:top()[1].count)
    t:add("a", 2 ^ 53)
    assert.equal(2 ^ 53, t:top()[1].count)
  end)

  it("reads the monotonic clock by itself", function()
    local t = topk.new { counters = 2, half_life = 3600 }
    t:add "a"
    local count = t:top()[1].count
    assert.is_true(count > 0.9 and count <= 1, count)
  end)

  it("has its bounds", function()
    for _, wrong in ipairs { 0, -1, 0.0001, 1e300, "x", {} } do
      assert.has_error(function() topk.new { half_life = wrong } end)
    end
    assert.has_error(function() core.topk { counters = 1, key_bytes = 1, half_life = 1e-5 } end)
  end)
end)

-- {== A model =============================================================

-- Every key there is, with the times at which it came.
local function truth_of(came, key)
  local sum = 0
  for _, c in ipairs(came[key] or {}) do sum = sum + c[2] * 2 ^ ((c[1] - now) / HALF) end
  return sum
end

local STEPS = 20000

local function walk(counters, seed)
  local t = list { counters = counters, half_life = HALF }
  local r, came, total_came = random.new(seed), {}, {}
  for step = 1, STEPS do
    if r:chance(0.02) then now = now + r:int(r:chance(0.02) and 3000 or 20) end
    local key, n = "k" .. r:int(r:int(counters * 3)), r:chance(0.1) and r:int(20) or 1
    came[key] = came[key] or {}
    table.insert(came[key], { now, n })
    table.insert(total_came, { now, n })
    t:add(key, n)
    if step % 500 == 0 then
      local listed, total = {}, truth_of({ all = total_came }, "all")
      near(total, t:stats().total, "total")
      for _, e in ipairs(t:top()) do
        local truth, most = truth_of(came, e.key), 1e-9 * total
        listed[e.key] = true
        assert(truth <= e.count + most, ("%s came %.17g times, not %.17g"):format(e.key, truth,
          e.count))
        assert(truth >= e.count - e.error - most, e.key .. " came less often than is said")
      end
      for key_of in pairs(came) do
        local truth = truth_of(came, key_of)
        if not listed[key_of] then
          assert(truth <= t:stats().least + 1e-9 * total, key_of .. " should be listed")
          assert(truth <= total / counters * (1 + 1e-9))
        end
      end
    end
  end
  t:close()
end

describe("a topk with a half-life and a list of all that came", function()
  it("agree on every bound that is promised", function()
    local seed = random.seed(1)
    for i, counters in ipairs { 1, 3, 20, 100 } do walk(counters, seed + i) end
  end)
end)

-- }========================================================================

describe("a topk's notes", function()
  guard.watch(before_each, after_each)

  it("are wanted of a key that came twice, until there is one", function()
    local t = topk.new { counters = 4, note_bytes = 10 }
    assert.is_false(t:add "a")
    assert.is_true(t:add "a")
    assert.is_true(t:add "a")
    assert.is_true(t:note("a", "a note"))
    assert.is_false(t:add "a")
    assert.is_true(t:add("b", 2))
    assert.same({ { key = "a", hash = t:top(1, true)[1].hash, count = 4, error = 0,
      note = "a note" } }, t:top(1, true))
    assert.is_nil(t:top()[1].note)
    assert.is_nil(t:top()[1].hash)
    assert.is_nil(t:top(2, true)[2].note)
  end)

  it("are not wanted without room for them", function()
    local t = topk.new { counters = 4 }
    t:add("a", 5)
    assert.is_false(t:add "a")
    assert.is_false(t:note("a", "x"))
  end)

  it("are not wanted of what may have come once", function()
    local t = topk.new { counters = 1, note_bytes = 10 }
    t:add("a", 100)
    assert.is_false(t:add "b") -- its count is 101, of which 100 are another's
    assert.is_true(t:add "b")
  end)

  it("that are too long, or empty, are not wanted again as long as the key is listed", function()
    local t = topk.new { counters = 1, note_bytes = 10 }
    t:add("a", 2)
    assert.is_false(t:note("a", ("x"):rep(11)))
    assert.is_false(t:add "a")
    assert.is_nil(t:top(1, true)[1].note)
    assert.is_false(t:note("a", ""))
    assert.is_true(t:note("a", ("x"):rep(10)))
    t:add "b"
    assert.is_true(t:add "b")
  end)

  it("go with their key", function()
    local t = topk.new { counters = 1, note_bytes = 10 }
    t:add("a", 2)
    t:note("a", "of a")
    t:add "b"
    assert.is_nil(t:top(1, true)[1].note)
    assert.is_false(t:note("a", "of a"))
    t:add "a"
    assert.is_nil(t:top(1, true)[1].note)
    t:add("a", 5)
    t:note("a", "\0\255")
    assert.equal("\0\255", t:top(1, true)[1].note)
    t:clear()
    t:add "a"
    assert.is_nil(t:top(1, true)[1].note)
  end)

  it("that have gone with their key stand nowhere in the memory", function()
    local path = os.tmpname()
    local r = assert(region.new { path = path, bytes = 256 * 1024 })
    local t = assert(topk.new { counters = 1, note_bytes = 20, region = r, name = "t" })
    local function is_there(text)
      local file = assert(io.open(path, "rb"))
      local bytes = file:read "*a"
      file:close()
      return bytes:find(text, 1, true) ~= nil
    end
    t:add("a", 2)
    t:note("a", "only for A's eyes")
    assert.is_true(is_there "for A's eyes")
    t:add "b"
    assert.is_false(is_there "for A's eyes")
    t:add "b"
    t:note("b", "only for B's eyes")
    t:clear()
    assert.is_false(is_there "for B's eyes")
    t:close()
    r:close()
    os.remove(path)
  end)

  it("of many keys are told apart", function()
    local t = topk.new { counters = 100, note_bytes = 8, key_bytes = 1 }
    for i = 1, 300 do
      local key = cache.key("question", i % 150)
      if t:add(key, i) then t:note(key, ("n%d"):format(i % 150)) end
    end
    for _, e in ipairs(t:top(nil, true)) do
      local number = tonumber(e.note:match "^n(%d+)$")
      assert.matches(e.hash, tostring(cache.key("question", number)))
    end
  end)

  it("are texts of keys, or it raises", function()
    local t = topk.new { counters = 4, note_bytes = 10 }
    for _, wrong in ipairs { {}, { "a" }, { 5, "x" }, { "a", {} }, { {}, "x" }, { "a", print } } do
      assert.has_error(function() t:note(wrong[1], wrong[2]) end)
    end
    for _, wrong in ipairs { -1, 0.5, 2 ^ 20 + 1, "x" } do
      assert.has_error(function() topk.new { note_bytes = wrong } end)
    end
  end)
end)

describe("a topk's keys", function()
  guard.watch(before_each, after_each)

  it("may be made of pieces, and are others than strings of the same bytes", function()
    local t = topk.new { counters = 8 }
    t:add(cache.key("a", { b = 1, c = 2 }), 3)
    t:add(cache.key("a", { c = 2.0, b = 1 }), 2)
    t:add(cache.key "x")
    t:add "x"
    local top = t:top(nil, true)
    assert.equal(2, #top)
    assert.equal(5, top[1].count)
    assert.matches(top[1].hash, tostring(cache.key("a", { b = 1, c = 2 })), 1, true)
    assert.equal(2, top[2].count)
    local bytes = top[1].key -- those of the key's canonical form
    t:add(bytes)
    assert.equal(3, #t:top())
  end)
end)
