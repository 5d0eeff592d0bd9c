-- Random operations against the plainest counters there are, while time stands, leaps and slips.
local counters = require "unbusy.counters"
local random = require "spec.support.random"

local STEPS, ROOM, NAMES = 100000, 20, 30

describe("counters and a naive model", function()
  local r = random.new(random.seed(5))
  local time, latest = 1000, 1000
  local c = counters.new { counters = ROOM, clock = function() return time end }
  local model = {} -- name -> { kind =, window =, start =, now =, before =, used = }

  local function value_of(m)
    if m.kind == "sum" then return m.now end
    local passed = latest - m.start
    if m.kind == "peak" then return passed < m.window and m.now or 0 end
    local windows = math.floor(passed / m.window)
    local now, before = m.now, m.before
    if windows >= 1 then now, before = 0, windows == 1 and m.now or 0 end
    return now + before * (1 - (passed - windows * m.window) / m.window)
  end

  local function slide(m)
    local windows = math.floor((latest - m.start) / m.window)
    if windows < 1 then return end
    m.before, m.now = windows == 1 and m.now or 0, 0
    m.start = m.start + windows * m.window
  end

  local function count()
    local n = 0
    for _ in pairs(model) do n = n + 1 end
    return n
  end

  local uses = 0

  local function use(m)
    uses = uses + 1
    m.used = uses
  end

  -- The name not used for the longest goes.
  local function make_room()
    local oldest
    for name, m in pairs(model) do
      if not oldest or m.used < model[oldest].used then oldest = name end
    end
    assert.is_nil(c:list()[oldest])
    model[oldest] = nil
  end

  local function open(name, kind, window)
    local m = model[name]
    if not m then
      if count() == ROOM then make_room() end
      m = {}
      model[name] = m
    end
    if m.kind ~= kind or kind == "sliding" and m.window ~= window then
      m.kind, m.window, m.start, m.now, m.before = kind, window, latest, 0, 0
    end
    use(m)
    return m
  end

  local function close(a, b, what)
    assert(math.abs(a - b) <= 1e-6 * math.max(1, math.abs(a)), ("%s: %g and %g"):format(what, a, b))
  end

  local operations = {}

  function operations.add(name)
    local window, n = r:pick { false, 10, 60 } or nil, r:int(9) - 3
    local got = c:add(name, n, window)
    local m = open(name, window and "sliding" or "sum", window)
    if window then slide(m) end
    m.now = m.now + n
    close(value_of(m), got, "add")
  end

  function operations.peak(name)
    local value, seconds = r:int(100), r:int(100)
    local got = c:peak(name, value, seconds)
    local m = open(name, "peak", seconds)
    if value >= value_of(m) then m.now, m.window, m.start = value, seconds, latest end
    close(value_of(m), got, "peak")
  end

  function operations.get(name)
    local got, m = c:get(name), model[name]
    if m then use(m) end
    close(m and value_of(m) or 0, got, "get")
  end

  function operations.delete(name)
    assert.equal(model[name] ~= nil, c:delete(name))
    model[name] = nil
  end

  local function move_time()
    if r:chance(0.5) then return end
    time = r:chance(0.02) and time - r:int(100) or time + r:int(20) / 4
    if r:chance(0.001) then time = time + 1e6 end
  end

  it("agree at every step", function()
    random.walk(r, STEPS, function()
      move_time()
      local what = r:pick { "add", "add", "add", "peak", "get", "delete" }
      local name = "n" .. r:int(NAMES)
      -- A name that is not there tells the table no time.
      local looks = what == "delete" or what == "get" and not model[name]
      if not looks then latest = math.max(latest, time) end
      operations[what](name)
    end)
    assert.equal(count(), c:stats().used)
    for name, value in pairs(c:list()) do assert.is_truthy(model[name], name .. value) end
  end)
end)
