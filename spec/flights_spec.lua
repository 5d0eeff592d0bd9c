-- Who leads which question: one process, several, and one that dies.
local cache = require "unbusy.cache"
local flights = require "unbusy.flights"
local guard = require "spec.support.leak_guard"
local region = require "unbusy.region"
local regions = require "spec.support.regions"

local key, other = cache.key("a", 1), cache.key("b", 2)

describe("flights of one process", function()
  local now, f
  before_each(function()
    now = 100
    f = assert(flights.new { clock = function() return now end })
  end)

  it("are led once, and not followed by their own process", function()
    local part, ticket, kept = f:claim(key, 2, 10)
    assert.same({ "lead", false }, { part, kept })
    assert.equal("alone", (f:claim(key, 2, 10)))
    assert.equal("lead", (f:claim(other, 2, 10)))
    assert.equal("led", f:look(ticket))
    assert.same({ 2, 2, 0, 1, 0 }, { f:stats().open, f:stats().led, f:stats().followed,
      f:stats().refused, f:stats().orphaned })
    assert.is_true(f:finish(ticket, "kept"))
    assert.is_false(f:finish(ticket, "kept"))
    assert.equal("kept", f:look(ticket))
  end)

  it("say that an answer was kept just now, for a while", function()
    for _, outcome in ipairs { "kept", "failed", "apart" } do
      f = flights.new { clock = function() return now end }
      local _, ticket = f:claim(key, 2, 10)
      f:finish(ticket, outcome)
      assert.equal(outcome, f:look(ticket))
      now = now + 1.9
      local part, mine, kept = f:claim(key, 2, 10)
      assert.same({ "lead", outcome == "kept" }, { part, kept })
      assert.equal("gone", f:look(ticket))
      f:finish(mine, outcome)
      now = now + 2.1
      assert.is_false(select(3, f:claim(key, 2, 10)))
    end
  end)

  it("end when their time is up", function()
    local _, ticket = f:claim(key, 2, 10)
    now = now + 9.9
    assert.equal("led", f:look(ticket))
    now = now + 0.1
    assert.equal("failed", f:look(ticket))
    assert.equal(0, f:stats().open)
    assert.equal("lead", (f:claim(key, 2, 10)))
    assert.is_false(f:finish(ticket, "kept"))
  end)

  it("are bounded, and give away what is longest over", function()
    f = flights.new { flights = 8, clock = function() return now end }
    local tickets = {}
    for i = 1, 8 do
      local part
      part, tickets[i] = f:claim(cache.key(i, 0), 2, 100)
      assert.equal("lead", part)
    end
    assert.equal("alone", (f:claim(key, 2, 100)))
    f:finish(tickets[3], "kept")
    now = now + 1
    f:finish(tickets[5], "kept")
    assert.equal("lead", (f:claim(key, 2, 100)))
    assert.same({ "gone", "kept", "led" },
      { f:look(tickets[3]), f:look(tickets[5]), f:look(tickets[1]) })
  end)

  it("refuse what makes no sense", function()
    assert.has_error(function() flights.new { flights = 12 } end,
      "flights: a multiple of 8 expected, got 12")
    assert.has_error(function() flights.new { flights = 4 } end)
    assert.has_error(function() flights.new { name = "x" } end)
    assert.has_error(function() f:claim({}, 2, 1) end)
    assert.has_error(function() f:claim(key, 4, 1) end)
    assert.has_error(function() f:claim(key, 2, 0 / 0) end)
    local _, ticket = f:claim(key, 2, 1)
    assert.has_error(function() f:finish(ticket, "led") end)
    for _, wrong in ipairs { 0, -1, 1.5, 2 ^ 53, 2 ^ 60, ticket + 1, ticket + 65536 } do
      assert.equal("gone", f:look(wrong))
      assert.is_false(f:finish(wrong, "kept"))
    end
    assert.equal("led", f:look(ticket))
  end)
end)

describe("flights of a region", function()
  local r, f, children, fork, finish
  after_each(function()
    children:end_all()
    f = nil
    r:close()
    r = nil
    regions.collect()
  end)
  guard.watch(before_each, after_each)
  before_each(function()
    children, fork, finish = regions.family()
    r = assert(region.new { bytes = 1024 * 1024 })
    f = assert(flights.new { region = r, name = "f" })
  end)

  it("are followed by others, at least as urgently, and those are woken", function()
    assert.is_truthy(r:wake_fd())
    local _, ticket = f:claim(key, 2, 100)
    assert.equal("follow led alone", finish(fork(function()
      assert(r:wake_fd())
      local part, theirs = f:claim(key, 2, 100)
      return ("%s %s %s"):format(part, f:look(theirs), (f:claim(key, 1, 100)))
    end)))
    assert.is_false(f:finish(ticket + 1, "kept"))
    local child = fork(function(say)
      assert(r:wake_fd())
      local _, theirs = f:claim(key, 3, 100)
      say "follows"
      regions.wait_for(function() return r:drain() end, "the wake-up")
      return f:look(theirs)
    end)
    child:said "follows"
    f:finish(ticket, "apart")
    assert.equal("apart", finish(child))
    assert.is_false(r:drain())
  end)

  it("are finished by nobody else", function()
    local _, ticket = f:claim(key, 2, 100)
    assert.equal("false", finish(fork(function() return f:finish(ticket, "kept") end)))
    assert.equal("led", f:look(ticket))
  end)

  it("fail when their process is killed, at once for who looks", function()
    local child = fork(function(say)
      f:claim(key, 2, 1000)
      f:claim(other, 2, 1000)
      say "leads"
      regions.wait_for(function() return false end)
    end)
    child:said "leads"
    local part, ticket = f:claim(key, 2, 1000)
    assert.same({ "follow", "led" }, { part, f:look(ticket) })
    children:kill(child)
    assert.equal("failed", f:look(ticket))
    assert.same({ "lead", "gone" }, { (f:claim(key, 2, 1000)), f:look(ticket) })
    regions.wait_for(function()
      r:stats() -- gives back what the dead one held
      return f:stats().open == 1
    end, "its other claim")
    assert.equal(2, f:stats().orphaned)
  end)

  it("fail when their process has closed the region in order", function()
    local path, remove = regions.path()
    local shared = assert(region.new { path = path, bytes = 512 * 1024 })
    local mine = assert(flights.new { region = shared, name = "f" })
    regions.run(([[
      local r = assert(require "unbusy.region".new { path = %q })
      local f = assert(require "unbusy.flights".new { region = r, name = "f" })
      f:claim(require "unbusy.cache".key("a", 1), 2, 1000)
      f = nil
      collectgarbage() collectgarbage()
      r:close()]]):format(path))
    assert.equal("lead", (mine:claim(key, 2, 10)))
    mine = nil -- luacheck: ignore 311
    regions.collect()
    shared:close()
    remove()
  end)

  it("stay sound however often a process is killed while it claims", function()
    local keys = {}
    for i = 1, 40 do keys[i] = cache.key(i, 0) end
    for n = 1, 60 do
      local child = fork(function(say)
        say "begins"
        local held = {}
        while true do
          local i = math.random(40)
          if held[i] then
            f:finish(held[i], "failed")
            held[i] = nil
          else
            local part, ticket = f:claim(keys[i], 2, 1000)
            held[i] = part == "lead" and ticket or nil
          end
        end
      end)
      child:said "begins"
      require("spec.support.fork").nap(n * 37 % 1000)
      children:kill(child)
    end
    regions.wait_for(function()
      r:stats()
      return f:stats().open == 0
    end, "all claims")
    for i = 1, 40 do assert.equal("lead", (f:claim(keys[i], 2, 10))) end
  end)
end)
