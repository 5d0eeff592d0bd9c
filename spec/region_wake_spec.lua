-- How the processes of a region wake each other.
local breaker = require "unbusy.breaker"
local core = require "unbusy.core"
local files = require "spec.support.files"
local guard = require "spec.support.leak_guard"
local process = require "spec.support.fork"
local region = require "unbusy.region"
local regions = require "spec.support.regions"

describe("a region's wake-up", function()
  local r, children

  after_each(function()
    for _, child in pairs(children) do child:kill() end
    r:close()
    regions.collect()
  end)
  guard.watch(before_each, after_each) -- looks before what follows, and after what stands above
  before_each(function()
    children = {}
    r = assert(region.new { bytes = 256 * 1024 })
  end)

  -- A process with so many waiters for so long, that says each time it was woken.
  local function waiter(count, since, priority)
    local child = regions.fork(function(say)
      local fd = assert(r:wake_fd())
      r:waiting(count, since, priority)
      say "waits"
      for n = 1, 1000 do
        assert(process.readable(fd, 60))
        assert(r:drain())
        say("woken " .. n)
      end
    end)
    children[#children + 1] = child
    child:said "waits"
    return child
  end

  local function woken(child)
    return select(2, files.read(child.path):gsub("woken", ""))
  end

  it("goes to nobody when nobody waits", function()
    assert.is_false(r:wake())
    local fd = assert(r:wake_fd())
    assert.is_false(r:wake())
    assert.is_false(r:drain())
    assert.is_false(process.readable(fd, 0))
    r:waiting(5)
    assert.is_false(r:wake()) -- only we wait ourselves
    assert.equal(5, r:stats().waiting)
    r:waiting(0)
    assert.equal(0, r:stats().waiting)
    assert.is_false(process.readable(fd, 0))
  end)

  it("goes to the process whose oldest waiter waits longest", function()
    local now = core.now()
    local young, old, middle = waiter(1, now - 1), waiter(1, now - 60), waiter(1, now - 30)
    assert.is_true(r:wake())
    old:said "woken 1"
    assert.is_true(r:wake()) -- it has not said anything else: the oldest is the oldest
    old:said "woken 2"
    assert.equal(0, woken(young) + woken(middle))
  end)

  it("goes first to the most urgent, and by its share to who is not", function()
    local now = core.now()
    local batch, urgent = waiter(1000, now - 60, 3), waiter(1000, now - 1, 1)
    local fd = assert(r:wake_fd())
    for _ = 1, 16 do
      assert.is_true(r:wake())
      r:take(1) -- it had its turn
    end
    urgent:said "woken 1"
    assert.equal(0, woken(batch))
    assert.is_true(r:wake())
    batch:said "woken 1"
    r:take(3)
    -- Of ours, whoever waits: the older one of a priority goes first, and an urgent one before it.
    r:waiting(1, now, 1)
    assert.is_true(r:yields())
    r:waiting(1, now - 2, 1)
    assert.is_false(r:yields())
    r:waiting(0, nil, 1)
    r:waiting(1, now - 100, 3)
    assert.is_true(r:yields())
    assert.is_false(process.readable(fd, 0))
  end)

  it("goes to no process more often than it has waiters", function()
    local now = core.now()
    local order = { waiter(2, now - 60), waiter(1, now - 30), waiter(3, now - 10) }
    for _, child in ipairs(order) do process.kill(child.pid, 19) end -- none reads meanwhile
    for _ = 1, 6 do assert.is_true(r:wake()) end
    assert.is_false(r:wake())
    for _, child in ipairs(order) do process.kill(child.pid, 18) end
    for _, child in ipairs(order) do child:said "woken 1" end -- several may be read as one
    regions.wait_for(function() return r:wake() end, "a waiter that has read its wake-ups")
  end)

  it("is read as one when several came, and not lost when too many do", function()
    local child = waiter(1000, core.now())
    process.kill(child.pid, 19)
    for _ = 1, 1000 do assert.is_true(r:wake()) end -- a socket holds far fewer datagrams
    assert.is_false(r:wake())
    process.kill(child.pid, 18)
    child:said "woken 1"
  end)

  it("passes those who are gone", function()
    local now = core.now()
    local gone, there = waiter(1, now - 60), waiter(1, now - 30)
    gone:kill()
    children[1] = nil
    assert.is_true(r:wake())
    there:said "woken 1"
    there:kill()
    children[2] = nil
    assert.is_false(r:wake())
  end)

  it("passes those who say that nobody waits any more", function()
    local now = core.now()
    local child = regions.fork(function(say, told)
      local fd = r:wake_fd()
      r:waiting(1, now - 60)
      r:waiting(0)
      say "does not wait"
      told "end"
      return process.readable(fd, 0)
    end)
    child:said "does not wait"
    local other = waiter(1, now - 30)
    assert.is_true(r:wake())
    other:said "woken 1"
    child:tell "end"
    assert.equal("false", child:wait())
  end)

  it("comes to all when a process dies that held something", function()
    local b = assert(breaker.new { region = r, name = "b" })
    local fd = r:wake_fd()
    r:waiting(1)
    local one, two = waiter(1, core.now()), waiter(1, core.now())
    local holder = regions.fork(function(say)
      b:allow()
      say "holds"
      while true do process.nap(1e6) end
    end)
    holder:said "holds"
    holder:kill()
    regions.wait_for(function()
      b:report(b:allow(), "ok")
      return process.readable(fd, 0)
    end, "the wake-up")
    one:said "woken 1"
    two:said "woken 1"
    assert.is_true(r:drain())
  end)

  it("has a socket of its own in each process", function()
    local fd = r:wake_fd()
    assert.equal(fd, r:wake_fd())
    local now = core.now()
    r:waiting(1, now - 60)
    local said = regions.child(function()
      local own = r:wake_fd()
      assert(r:process() ~= 1)
      assert(r:wake()) -- the parent
      return tostring(process.readable(own, 0)) .. tostring(r:drain())
    end)
    assert.equal("falsefalse", said)
    assert.is_true(process.readable(fd, 10))
    assert.is_true(r:drain())
    assert.is_false(r:drain())
  end)

  it("fails, and tells so, without a descriptor", function()
    local said = regions.child(function()
      local open = {}
      repeat
        local file = io.open("/dev/null")
        open[#open + 1] = file
      until not file
      local fd, message, code = r:wake_fd()
      assert(not r:drain() and not r:wake())
      table.remove(open):close()
      local later = r:wake_fd()
      for _, file in ipairs(open) do file:close() end
      return ("%s %s %s %s"):format(tostring(fd), message, code, type(later))
    end)
    assert.equal("nil region: not enough memory nomem number", said)
  end)
end)
