local backoff = require "unbusy.backoff"
local breaker = require "unbusy.breaker"
local clocked = require "unbusy.clocked"
local collect = require "unbusy.collect"
local guard = require "spec.support.leak_guard"
local limiter = require "unbusy.limiter"

-- An object whose methods give what they were called with.
local function recorder()
  local object = {}
  for _, name in ipairs { "zero", "one", "two", "three", "plain" } do
    object[name] = function(self, ...)
      assert(self == object, "called on something else")
      return { n = select("#", ...), ... }
    end
  end
  return object
end

local class = clocked.class({ zero = 0, one = 1, two = 2, three = 3 }, { "plain" })

describe("clocked", function()
  guard.watch(before_each, after_each)

  it("is the object itself without a clock", function()
    local object = recorder()
    assert.equal(object, clocked.wrap(class, object, nil))
  end)

  it("puts the clock's time behind the arguments of each method", function()
    local now = 0
    local o = clocked.wrap(class, recorder(), function() now = now + 1 return now end)
    assert.same({ n = 1, 1 }, o:zero())
    assert.same({ n = 2, "a", 2 }, o:one("a"))
    assert.same({ n = 3, "a", "b", 3 }, o:two("a", "b"))
    assert.same({ n = 4, "a", "b", "c", 4 }, o:three("a", "b", "c"))
    assert.equal(4, now)
  end)

  it("keeps the time's place when arguments are left out, nil or too many", function()
    local o = clocked.wrap(class, recorder(), function() return 9 end)
    assert.same({ n = 2, nil, 9 }, o:one())
    assert.same({ n = 3, nil, nil, 9 }, o:two())
    assert.same({ n = 3, nil, "b", 9 }, o:two(nil, "b"))
    assert.same({ n = 4, nil, nil, nil, 9 }, o:three(nil, nil, nil))
    assert.same({ n = 1, 9 }, o:zero("a")) -- what is too much is not taken for the time
    assert.same({ n = 2, "a", 9 }, o:one("a", 5))
    assert.same({ n = 3, "a", "b", 9 }, o:two("a", "b", 5, 6))
  end)

  it("passes plain methods through, and knows no others", function()
    local o = clocked.wrap(class, recorder(), function() error "not asked" end)
    assert.same({ n = 3, 1, nil, nil }, o:plain(1, nil, nil))
    assert.is_nil(o.unknown)
    assert.is_false(getmetatable(o))
  end)

  it("gives all results, and lets errors through", function()
    local c = clocked.class({ many = 1, fails = 1 }, {})
    local o = clocked.wrap(c, {
      many = function(_, a, now) return nil, a, nil, now end,
      fails = function() error("wrong", 0) end,
    }, function() return 4 end)
    assert.same({ n = 4, nil, "x", nil, 4 }, { n = select("#", o:many "x"), o:many "x" })
    local ok, message = pcall(o.fails, o)
    assert.is_false(ok)
    assert.equal("wrong", message)
  end)

  it("an error in the clock leaves the part as it was", function()
    local broken = false
    local l = limiter.new { kind = "fixed", initial = 2, clock = function()
      if broken then error("no time", 0) end
      return 1
    end }
    broken = true
    assert.is_false((pcall(l.allow, l)))
    broken = false
    assert.equal(0, l:in_flight())
    assert.is_truthy(l:allow())
  end)

  it("a part sees only its own clock: nothing happens while it stands still", function()
    local now = 1000
    local b = breaker.new { consecutive = 1, open_for = 5, open_jitter = 0, seed = 1,
      clock = function() return now end }
    b:report(b:allow(), "fail")
    assert.equal("open", b:state())
    now = 1004.999
    local ticket, _, code, detail = b:allow()
    assert.is_nil(ticket)
    assert.equal("open", code)
    assert.is_true(math.abs(detail.retry_after - 0.001) < 1e-6)
    now = 1005
    assert.is_truthy(b:allow())
  end)

  it("works whatever the clock says: backwards, far ahead, fractions", function()
    for _, times in ipairs { { 5, 4, 3 }, { 0, 1e9, 1e12 }, { -5, -4.5, 0.1 }, { 0, 0, 0 } } do
      local i = 0
      local function clock() i = i % #times + 1 return times[i] end
      local b = breaker.new { clock = clock }
      for _ = 1, 30 do
        local ticket = b:allow()
        if ticket then b:report(ticket, "ok", 0.1) end
      end
      assert.is_string(b:state())
    end
  end)

  it("a clock that gives no number raises, a clock that is no function too", function()
    for _, wrong in ipairs { "soon", 0 / 0, {}, false } do
      local now = 1
      local b = breaker.new { clock = function() return now end }
      now = wrong
      assert.has_error(function() b:allow() end)
      assert.has_error(function() breaker.new { clock = function() return wrong end } end)
    end
    assert.has_error(function() breaker.new { clock = 5 } end)
    assert.has_error(function() backoff.new { clock = os.time } end) -- it reads none
  end)
end)

describe("collect", function()
  guard.watch(before_each, after_each)

  local function run_gc()
    collectgarbage()
    collectgarbage()
  end

  it("runs the function once when the watched is collected", function()
    local ran = 0
    do
      local watched = { watch = collect.watch(function() ran = ran + 1 end) }
      run_gc()
      assert.equal(0, ran)
      assert.is_truthy(watched.watch)
      watched.watch = nil
    end
    run_gc()
    run_gc()
    assert.equal(1, ran)
  end)

  it("does not run it once disarmed", function()
    local ran = 0
    do
      local watch = collect.watch(function() ran = ran + 1 end)
      watch:disarm()
      watch:disarm()
    end
    run_gc()
    assert.equal(0, ran)
  end)

  it("does not keep what it watches", function()
    local weak = setmetatable({}, { __mode = "v" })
    do
      weak[1] = { watch = collect.watch(function() end) }
    end
    run_gc()
    assert.is_nil(weak[1])
  end)
end)
