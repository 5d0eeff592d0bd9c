-- Regions and many processes: one state for all, what the dead held, opening at once, wake-ups.
local breaker = require "unbusy.breaker"
local budget = require "unbusy.budget"
local files = require "spec.support.files"
local guard = require "spec.support.leak_guard"
local process = require "spec.support.fork"
local region = require "unbusy.region"
local regions = require "spec.support.regions"

local LEAST = 256 * 1024
local STOP, CONT = 19, 18

-- Allows and fails until it is refused: how many reports counted.
local function fail_all(b)
  local counted = 0
  while true do
    local ticket, _, code = b:allow()
    if not ticket then
      assert(code == "open")
      return counted
    end
    if b:report(ticket, "fail") then counted = counted + 1 end
  end
end

describe("processes of one region", function()
  local r, children, fork, finish

  after_each(function()
    children:end_all()
    r:close()
    regions.collect()
  end)
  guard.watch(before_each, after_each) -- looks before what follows, and after what stands above
  before_each(function()
    children, fork, finish = regions.family()
    r = assert(region.new { bytes = 2 * LEAST })
  end)

  describe("have one state", function()
    it("and trip a breaker on as many failures as one alone", function()
      local options = { min_calls = 20, failure_rate = 0.5, open_for = 1000 }
      local alone = fail_all(breaker.new(options))
      assert.equal(20, alone)
      for round = 1, 10 do
        options.region, options.name = r, "b" .. round
        local b = assert(breaker.new(options))
        local started = {}
        for i = 1, 4 do
          started[i] = fork(function(say, told)
            say "ready"
            told "go"
            local counted = fail_all(b)
            return counted .. " " .. b:state()
          end)
        end
        for i = 1, 4 do started[i]:said "ready" end
        for i = 1, 4 do started[i]:tell "go" end
        local sum = 0
        for i = 1, 4 do
          local counted, state = finish(started[i]):match "^(%d+) (%l+)$"
          sum = sum + counted
          assert.equal("open", state)
        end
        assert.equal(alone, sum)
        assert.equal("open", b:state())
        assert.equal("open", select(3, b:allow()))
      end
    end)

    it("that all see at their next call", function()
      local b = assert(breaker.new { region = r, name = "b", consecutive = 1, open_for = 1000 })
      local child = fork(function(say, told)
        assert(b:state() == "closed")
        say "closed"
        told "go"
        local _, _, code, detail = b:allow()
        return code .. " " .. (detail.retry_after > 900 and "long" or "short") .. " " .. b:state()
      end)
      child:said "closed"
      fail_all(b)
      child:tell "go"
      assert.equal("open long open", finish(child))
    end)

    it("when they are not related, by name and by file", function()
      local path, remove = regions.path()
      for _, where in ipairs { ("name = %q"):format(regions.name()), ("path = %q"):format(path) } do
        local text = ([[
          local breaker, region = require "unbusy.breaker", require "unbusy.region"
          local r = assert(region.new { %s })
          local b = assert(breaker.new { region = r, name = "b", consecutive = 2, open_for = 1000 })
          b:report(b:allow(), "fail")
          io.write(b:state(), " ", r:process(), "\n")]]):format(where)
        local other = assert((loadstring or load)("return {" .. where .. "}"))() -- luacheck: ignore
        local mine = assert(region.new(other))
        local b = assert(breaker.new { region = mine, name = "b", consecutive = 2,
          open_for = 1000 })
        assert.equal("closed 2\n", regions.run(text))
        assert.equal("open 2\n", regions.run(text))
        assert.equal("open", b:state())
        assert.equal(1, mine:process())
        mine:close()
      end
      regions.collect()
      remove()
    end)

    it("when they open it at the same moment", function()
      local path, remove = regions.path()
      local started = {}
      for i = 1, 6 do
        started[i] = fork(function(say, told)
          say "ready"
          told "go"
          local own = assert(region.new { path = path, bytes = LEAST })
          local b = assert(breaker.new { region = own, name = "b", open_for = 1000 })
          b:report(b:allow(), "ok")
          own:close()
          say "done"
          told "end"
          return b:stats().calls
        end)
      end
      for _, child in ipairs(started) do child:said "ready" end
      for _, child in ipairs(started) do child:tell "go" end
      for _, child in ipairs(started) do child:said "done" end
      for _, child in ipairs(started) do child:tell "end" end
      for _, child in ipairs(started) do assert.equal("6", finish(child)) end
      remove()
    end)
  end)

  describe("hold what comes back when they die:", function()
    local function outstanding_is(b, n)
      regions.wait_for(function() return b:stats().outstanding == n end, n .. " outstanding")
    end

    it("tickets, of the dead one only", function()
      local b = assert(breaker.new { region = r, name = "b" })
      local function take(n)
        return fork(function(say)
          for _ = 1, n do assert(b:allow()) end
          say "taken"
          while true do process.nap(1e5) end
        end)
      end
      local mine = b:allow()
      local one, two, three = take(5), take(7), take(11)
      for _, child in ipairs { one, two, three } do child:said "taken" end
      assert.equal(24, b:stats().outstanding)
      children:kill(two)
      outstanding_is(b, 17)
      process.kill(one.pid, STOP) -- lives, though it does not move
      process.nap(1.2e6)
      assert.equal(17, b:stats().outstanding)
      process.kill(one.pid, CONT)
      children:kill(one, "unwaited")
      outstanding_is(b, 12) -- a zombie is dead
      process.wait(one.pid)
      children:kill(three)
      outstanding_is(b, 1)
      assert.is_true(b:report(mine, "ok"))
      assert.equal(1, r:stats().processes)
      assert.equal(1, b:stats().calls)
    end)

    it("a probe's permit", function()
      local b = assert(breaker.new { region = r, name = "b", open_for = 1000, min_calls = 1 })
      b:force("forced_open", 0)
      assert.equal("half_open", b:state())
      local child = fork(function(say)
        assert(b:allow())
        say "taken"
        while true do process.nap(1e5) end
      end)
      child:said "taken"
      assert.is_nil((b:allow()))
      assert.is_true(b:retry_after() > 900)
      children:kill(child)
      local ticket = regions.wait_for(function() return (b:allow()) end, "the permit")
      assert.is_true(b:report(ticket, "ok"))
      assert.equal("closed", b:state())
    end)

    it("nothing else: its reports stay", function()
      local b = assert(breaker.new { region = r, name = "b" })
      regions.child(function()
        for _ = 1, 9 do b:report(b:allow(), "fail") end
        b:allow()
      end)
      outstanding_is(b, 0)
      assert.equal(9, b:stats().failures)
    end)

    it("their numbers", function()
      local b = assert(breaker.new { region = r, name = "b" })
      assert.equal(1, r:process())
      for _ = 1, 3 do
        assert.equal("2", regions.child(function() return r:process() end))
        regions.wait_for(function() b:allow() return r:stats().processes == 1 end, "the number")
      end
    end)

    it("also when there were more than there are numbers", function()
      local b = assert(breaker.new { region = r, name = "b" })
      local g = assert(budget.new { region = r, name = "g" })
      local crowd, zero = {}, nil
      for i = 1, 511 do
        crowd[i] = fork(function(say)
          b:allow()
          g:begin()
          say(r:process())
          while r:process() == 0 do
            process.nap(1e5)
            r:stats()
          end
          say "numbered"
          while true do process.nap(1e6) end
        end)
      end
      for i = 1, 511 do
        local said = regions.wait_for(function()
          return files.read(crowd[i].path):match "^(%d+)\n"
        end)
        if said == "0" then zero = crowd[i] end
      end
      assert.is_truthy(zero) -- this process has one of the 511
      assert.equal(511, r:stats().processes)
      assert.equal(511, b:stats().outstanding)
      for i = 1, 511 do
        if crowd[i] ~= zero then children:kill(crowd[i]) end
      end
      -- What the one without a number held is not known, and goes as soon as it can have one.
      outstanding_is(b, 0)
      assert.equal(0, g:stats().active)
      zero:said "numbered"
      assert.equal(2, r:stats().processes)
      g:begin()
      assert.is_true(g:finish "ok")
      assert.equal(0, g:stats().active)
    end)
  end)

  describe("that were forked before a reload", function()
    local function open(seconds)
      return assert(breaker.new { region = r, name = "b", open_for = seconds, consecutive = 2 })
    end

    it("go on in the same part when nothing has changed", function()
      local b = open(1000)
      local worker = fork(function(say, told)
        say "ready"
        told "go"
        b:report(b:allow(), "fail")
        return b:state()
      end)
      worker:said "ready"
      local again = open(1000)
      b = nil -- luacheck: ignore 311
      regions.collect()
      again:report(again:allow(), "fail")
      worker:tell "go"
      assert.equal("open", finish(worker))
      assert.equal("open", again:state())
      assert.equal(1, r:stats().parts)
    end)

    it("keep theirs when the options have changed, and its room comes back", function()
      local b = open(1000)
      local worker = fork(function(say, told)
        b:report(b:allow(), "fail")
        say "failed"
        told "go"
        b:report(b:allow(), "fail")
        say(b:state())
        while true do process.nap(1e6) end
      end)
      worker:said "failed"
      b = nil -- luacheck: ignore 311
      regions.collect()
      local new = open(2000)
      worker:tell "go"
      worker:said "open"
      assert.equal("closed", new:state())
      assert.equal(2, r:stats().parts)
      children:kill(worker)
      regions.collect()
      regions.wait_for(function()
        new:allow()
        return r:stats().processes == 1
      end)
      assert.equal("closed", open(3000):state())
      assert.equal(2, r:stats().parts) -- those of 2000 and 3000 seconds
    end)

    it("begin anew when they had not used it and its room was given away", function()
      local b = open(1000)
      local worker = fork(function(say, told)
        say "ready"
        told "go"
        b:report(b:allow(), "fail")
        b:report(b:allow(), "fail")
        return b:state() .. b:stats().failures
      end)
      worker:said "ready"
      b:report(b:allow(), "fail")
      b = nil -- luacheck: ignore 311
      regions.collect()
      local new = open(2000)
      assert.equal(1, r:stats().parts)
      worker:tell "go"
      assert.equal("open2", finish(worker))
      assert.equal("closed", new:state())
      assert.equal(0, new:stats().calls)
    end)

    it("are told so when there is no room for that", function()
      local b = open(1000)
      local worker = fork(function(say, told)
        say "ready"
        told "go"
        local said = {}
        for _, method in ipairs { "allow", "state", "retry_after", "stats" } do
          local value, message, code = b[method](b)
          assert(value == nil and message == "breaker: no place is free")
          said[#said + 1] = code
        end
        assert(select(3, b:report(5, "ok")) == "full")
        assert(select(3, b:record(5, "fail")) == "full")
        assert(select(3, b:force "open") == "full")
        return table.concat(said, " ")
      end)
      worker:said "ready"
      b = nil -- luacheck: ignore 311
      regions.collect()
      local kept = {}
      repeat -- each is held: the collector would give its room away again
        local made = breaker.new { region = r, name = "other" .. #kept }
        kept[#kept + 1] = made
      until not made
      regions.collect()
      worker:tell "go"
      assert.equal("full full full full", finish(worker))
      for _, other in ipairs(kept) do assert.equal(0, other:stats().calls) end
    end)
  end)

  describe("of a named one", function()
    it("keep it until the last has closed it", function()
      local name = regions.name()
      local own = assert(region.new { name = name, bytes = LEAST })
      local child = fork(function(say, told)
        say "ready"
        told "go"
        own:close()
      end)
      child:said "ready"
      own:close()
      assert.is_true(regions.exists(name))
      child:tell "go"
      finish(child)
      assert.is_false(regions.exists(name))
    end)

    it("leave it when all are killed, and the next goes on with it", function()
      local name = regions.name()
      local child = fork(function(say)
        local own = assert(region.new { name = name, bytes = LEAST })
        local b = assert(breaker.new { region = own, name = "b" })
        b:report(b:allow(), "fail")
        b:allow()
        say "ready"
        while true do process.nap(1e6) end
      end)
      child:said "ready"
      children:kill(child)
      assert.is_true(regions.exists(name))
      local own = assert(region.new { name = name })
      local b = assert(breaker.new { region = own, name = "b" })
      assert.equal(1, b:stats().calls)
      assert.equal(0, b:stats().outstanding)
      own:close()
      b = nil -- luacheck: ignore 311
      regions.collect()
      assert.is_false(regions.exists(name))
    end)

    it("cannot have it in another size meanwhile", function()
      local name = regions.name()
      local own = assert(region.new { name = name, bytes = LEAST })
      assert.equal("region: another process uses it, in another size or version invalid\n",
        regions.run(([[
          local _, message, code = require "unbusy.region".new { name = %q, bytes = 2^20 }
          print(message .. " " .. code)]]):format(name)))
      own:close()
    end)
  end)
end)
