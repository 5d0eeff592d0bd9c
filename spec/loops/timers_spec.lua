local guard = require "spec.support.leak_guard"
local timers = require "unbusy.loops.timers"

-- Random numbers of our own: the same on every Lua.
local function generator(seed)
  return function(n)
    seed = (seed * 1103515245 + 12345) % 2147483648
    return math.floor(seed / 65536) % n + 1
  end
end

-- {== The model: a list kept in order =====================================

local model = {}
model.__index = model

local function new_model()
  return setmetatable({ order = 0 }, model)
end

function model:add(at, task)
  local i = #self
  while i > 0 and self[i].at > at do i = i - 1 end
  local entry = { at = at, task = task }
  table.insert(self, i + 1, entry)
  return entry
end

function model:cancel(entry)
  for i = 1, #self do
    if self[i] == entry then return table.remove(self, i) end
  end
end

function model:next()
  return self[1] and self[1].at
end

function model:due(now)
  if self[1] and self[1].at <= now then return table.remove(self, 1).task end
end

-- }========================================================================

-- Both machines get the same random calls; `spread` says how far apart the deadlines lie.
local function compare(seed, steps, spread)
  local random, heap, list = generator(seed), timers.new(), new_model()
  local handles, now, name = {}, 0, 0
  local function remove_handle(task)
    for i = 1, #handles do
      if handles[i].task == task then return table.remove(handles, i) end
    end
  end
  for step = 1, steps do
    local what = random(10)
    if what <= 5 then
      name = name + 1
      local at = now + random(spread)
      handles[#handles + 1] = { task = name, a = heap:add(at, name), b = list:add(at, name) }
    elseif what <= 8 and #handles > 0 then
      local handle = table.remove(handles, random(#handles))
      heap:cancel(handle.a)
      list:cancel(handle.b)
    else
      now = now + random(spread) / 8
      repeat
        local got, expected = heap:due(now), list:due(now)
        assert(got == expected, ("step %d: %s, not %s"):format(step, tostring(got),
          tostring(expected)))
        if got then remove_handle(got) end
      until not got
    end
    assert(heap:next() == list:next(), ("step %d: the next deadline"):format(step))
  end
  assert.is_true(name > steps / 3)
end

describe("timers", function()
  guard.watch(before_each, after_each)

  it("agree with a sorted list over 20,000 random calls", function()
    compare(1, 8000, 1000)
    compare(2, 8000, 5) -- many equal deadlines
    compare(3, 4000, 100000)
  end)

  it("give equal deadlines in the order in which they were added", function()
    local t = timers.new()
    for i = 1, 500 do t:add(i % 3, i) end
    local last = {}
    for _ = 1, 500 do
      local i = t:due(3)
      assert.is_true(i > (last[i % 3] or 0))
      last[i % 3] = i
    end
    assert.is_nil(t:due(3))
  end)

  it("keep that order through cancels and rebuilding", function()
    local t, handles = timers.new(), {}
    for i = 1, 2000 do handles[i] = t:add(7, i) end
    for i = 1, 2000 do
      if i % 10 ~= 0 then t:cancel(handles[i]) end
    end
    for i = 10, 2000, 10 do assert.equal(i, t:due(7)) end
    assert.is_nil(t:due(7))
    assert.is_nil(t:next())
  end)

  it("are due at their deadline, not before", function()
    local t = timers.new()
    t:add(5, "a")
    assert.is_nil(t:due(4.999))
    assert.equal(5, t:next())
    assert.equal("a", t:due(5))
    assert.is_nil(t:next())
    assert.is_nil(t:due(1e9))
  end)

  it("take deadlines in the past, at infinity and below zero", function()
    local t = timers.new()
    t:add(math.huge, "never")
    t:add(-math.huge, "first")
    t:add(-3, "second")
    assert.equal("first", t:due(-1e300))
    assert.equal("second", t:due(0))
    assert.is_nil(t:due(1e308))
    assert.equal("never", t:due(math.huge))
  end)

  it("keep as few entries as are wanted, and forget the tasks of the others", function()
    local t = timers.new()
    t:add(1e9, "far")
    for i = 1, 100000 do
      t:cancel(t:add(1e6 + i % 7, i))
      assert.is_true(t.count <= 200, t.count)
    end
    assert.equal(1e9, t:next())
    local kept, weak = {}, setmetatable({}, { __mode = "k" })
    for i = 1, 100 do
      local task = {}
      weak[task], kept[i] = true, t:add(i, task)
    end
    for _, entry in ipairs(kept) do t:cancel(entry) end
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(weak))
  end)

  it("are not upset by a cancel that comes twice or late", function()
    local t, late = timers.new(), {}
    for i = 1, 300 do late[i] = t:add(i, i) end
    for i = 1, 200 do assert.equal(i, t:due(200)) end
    for i = 1, 300 do
      t:cancel(late[i])
      t:cancel(late[i])
    end
    assert.is_nil(t:next())
    for i = 1, 300 do t:add(1000 - i, i) end
    for i = 300, 1, -1 do assert.equal(i, t:due(1000)) end
    assert.is_nil(t:due(1000))
  end)
end)
