-- One limit and one budget for many processes.
local budget = require "unbusy.budget"
local guard = require "spec.support.leak_guard"
local limiter = require "unbusy.limiter"
local region = require "unbusy.region"
local regions = require "spec.support.regions"

describe("processes of one region", function()
  local r, children, fork, finish

  after_each(function()
    children:end_all()
    r:close()
    regions.collect()
  end)
  guard.watch(before_each, after_each)
  before_each(function()
    children, fork, finish = regions.family()
    r = assert(region.new { bytes = 1024 * 1024 })
  end)

  -- As many tickets as there are to be had.
  local function take_all(l)
    local tickets = {}
    repeat
      local ticket = l:allow()
      tickets[#tickets + 1] = ticket
    until not ticket
    return tickets
  end

  describe("have one limit", function()
    local function new_limiter()
      return assert(limiter.new { region = r, name = "l", kind = "fixed", initial = 10 })
    end

    it("which they never exceed together", function()
      local takers = {}
      for i = 1, 4 do
        takers[i] = fork(function(say, told)
          local tickets = take_all(new_limiter())
          say "took"
          told "go" -- all have taken what they could, and hold it
          return #tickets
        end)
      end
      for _, child in ipairs(takers) do child:said "took" end
      assert.is_nil((new_limiter():allow()))
      local sum = 0
      for _, child in ipairs(takers) do
        child:tell "go"
        sum = sum + tonumber(finish(child))
      end
      assert.equal(10, sum)
    end)

    it("of which the others have what one of them leaves", function()
      local l = new_limiter()
      local mine = {}
      for i = 1, 7 do mine[i] = assert(l:allow()) end
      assert.equal("3", finish(fork(function() return #take_all(new_limiter()) end)))
      regions.wait_for(function() return l:in_flight() == 7 end, "what the other one held")
      assert.is_true(l:report(mine[1], "ok", 0.1))
      assert.is_false(l:report(mine[1], "ok", 0.1))
      assert.equal(6, l:in_flight())
    end)

    it("and see one cut of it at once", function()
      local function moving()
        return assert(limiter.new { region = r, name = "m", initial = 100, max = 100 })
      end
      local l = moving()
      assert.equal("100", finish(fork(function() return ("%d"):format(moving():limit()) end)))
      l:report(l:allow(), "fail")
      assert.equal(90, l:limit())
      assert.equal("90", finish(fork(function() return ("%d"):format(moving():limit()) end)))
      assert.equal(1, l:stats().drops)
    end)

    it("and get back what a killed one held", function()
      local child = fork(function(say, told)
        local tickets = take_all(new_limiter())
        say("holds " .. #tickets)
        told "go"
      end)
      child:said "holds 10"
      local l = new_limiter()
      assert.is_nil(l:allow())
      children:kill(child)
      regions.wait_for(function() return l:allow() end, "a ticket")
      assert.equal(1, l:in_flight())
    end)

    it("each of its own where the options differ", function()
      local l = new_limiter()
      take_all(l)
      local other = assert(limiter.new { region = r, name = "l", kind = "fixed", initial = 3 })
      assert.equal(3, #take_all(other))
    end)

    it("until the region has no room", function()
      local ok, message, code = limiter.new { region = r, name = "big", max = 65534 }
      assert.is_nil(ok)
      assert.equal("full", code)
      assert.matches("region", message)
    end)
  end)

  describe("have one budget", function()
    local function new_budget()
      return assert(budget.new { region = r, name = "b", floor = 2, ratio = 0.5, tokens = 100,
        retry_cost = 10 })
    end

    it("of permits and tokens", function()
      local b = new_budget()
      assert(b:take "retry")
      assert.equal("1 80", finish(fork(function()
        local own, count = new_budget(), 0
        while own:take "retry" do count = count + 1 end
        return ("%d %d"):format(count, own:stats().tokens)
      end)))
      regions.wait_for(function() return b:stats().permits == 1 end, "the permit of one that ended")
      assert.equal(80, b:stats().tokens) -- unpaid
    end)

    it("and count the calls of all of them", function()
      local b = new_budget()
      local child = fork(function(say, told)
        local own = new_budget()
        for _ = 1, 8 do own:begin() end
        say "begun"
        told "go"
        for _ = 1, 8 do assert(own:finish "ok") end
        return tostring(own:finish "ok")
      end)
      child:said "begun"
      b:begin()
      assert.equal(9, b:stats().active)
      local permits = 0
      while b:take "retry" do permits = permits + 1 end
      assert.equal(4, permits) -- half of nine
      assert.is_true(b:finish "fail")
      assert.is_false(b:finish "fail") -- the others are not its own
      child:tell "go"
      assert.equal("false", finish(child))
      assert.equal(0, b:stats().active)
    end)

    it("and end the calls of a killed one", function()
      local b = new_budget()
      local child = fork(function(say, told)
        local own = new_budget()
        for _ = 1, 100 do own:begin() end
        own:take "retry"
        say "begun"
        told "go"
      end)
      child:said "begun"
      assert.equal(100, b:stats().active)
      children:kill(child)
      regions.wait_for(function() return b:stats().active == 0 end, "the end of its calls")
      assert.equal(0, b:stats().permits)
    end)
  end)
end)
