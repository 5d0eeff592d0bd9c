-- One routing for all processes of a region.
local balancer = require "unbusy.balancer"
local guard = require "spec.support.leak_guard"
local region = require "unbusy.region"
local regions = require "spec.support.regions"
local unbusy = require "unbusy"

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
    r = assert(region.new { bytes = 4 * 1024 * 1024 })
  end)

  describe("have one balancer", function()
    local function new(kind)
      return assert(balancer.new { region = r, name = "b", kind = kind, seed = 1, targets = {
        { name = "a", weight = 90 }, { name = "b", weight = 10 } } })
    end

    it("whose weights are smooth over all of them", function()
      local b, got = new "weighted", {}
      for i = 1, 50 do
        got[#got + 1] = b:choose()
        if i % 5 == 0 then
          for place in finish(fork(function()
            local own, out = new "weighted", {}
            for n = 1, 5 do out[n] = own:choose() end
            return table.concat(out, " ")
          end)):gmatch "%d" do got[#got + 1] = tonumber(place) end
        end
      end
      local run, second = 0, 0
      for _, place in ipairs(got) do
        run = place == 1 and run + 1 or 0
        second = second + (place == 2 and 1 or 0)
        assert.is_true(run <= 10)
      end
      assert.equal(10, second)
    end)

    it("whose calls and costs are those of all, and a killed one's come back", function()
      local b = new "p2c"
      local child = fork(function(say, told)
        local own = new "p2c"
        for _ = 1, 7 do own:begin(1) end
        own:report(own:begin(2), "ok", 3)
        say "begun"
        told "go"
      end)
      child:said "begun"
      assert.equal(7, b:stats().a.pending)
      assert.equal(3, b:stats().b.cost)
      local mine = b:begin(1)
      children:kill(child)
      regions.wait_for(function() return b:stats().a.pending == 1 end, "what it had begun")
      assert.is_true(b:report(mine, "ok", 1))
      assert.equal(1, b:stats().a.cost)
    end)

    it("whose targets come back for all of them", function()
      local b = new "weighted"
      b:back(1)
      assert.equal("0.1", finish(fork(function() return new("weighted"):stats().a.share end)))
    end)

    it("each of its own where the options differ", function()
      new("p2c"):begin(1)
      assert.equal(0, new("weighted"):stats().a.pending)
    end)
  end)

  describe("have one client", function()
    local function new(more)
      local o = { region = r, queue = { max_wait = 0 }, retry = false,
        targets = { { name = "near", url = "http://127.0.0.1:1", pool = "private" },
          { name = "far", url = "http://127.0.0.1:1", pool = "cloud" } } }
      for name, value in pairs(more or {}) do o[name] = value end
      return assert(unbusy.new(o))
    end

    local question = { messages = { { role = "user", content = "hi" } } }

    -- How a call to the first target ends, and after how long it may be made again.
    local function refusal(client)
      local _, _, code, detail = client:chat(question, { target = "near" })
      return code, detail.retry_after
    end

    it("which leaves a target alone for the longest time that it has asked of any of them",
      function()
      local client = new()
      local function in_child(seconds)
        return finish(fork(function()
          local own = new()
          own.targets[1]:rest(seconds, own.now())
          own:close()
          return "rests"
        end))
      end
      assert.equal("network", (refusal(client)))
      assert.equal("rests", in_child(100))
      local seconds = regions.wait_for(function()
        local code, seconds = refusal(client)
        return code == "open" and seconds > 5 and seconds -- (5: the breaker's own rest)
      end, "its rest")
      assert.is_true(seconds > 95 and seconds <= 100, seconds)
      -- one that was told less does not shorten it, here or there
      in_child(5)
      client.targets[1]:rest(1, client.now())
      unbusy.sleep(0.06)
      assert.is_true(select(2, refusal(client)) > 95)
      assert.equal("open", finish(fork(function()
        local own = new()
        return (refusal(own))
      end)))
      -- and one that was told more lengthens it
      in_child(500)
      regions.wait_for(function() return select(2, refusal(client)) > 400 end, "the longer rest")
      -- all other calls go elsewhere at once
      assert.is_true(client:status().targets[1].away)
      local _, message = client:chat(question)
      assert.matches("^far:", message)
      client:close()
    end)

    it("which spills for all of them", function()
      local o = { pools = { private = { priority = 1, spill = { hold = 60 } },
        cloud = { priority = 2 } } }
      local client = new(o)
      assert.is_false(client:status().pools.private.spills)
      assert.equal("sent on", finish(fork(function()
        local own = new(o)
        own.targets[1].breaker:force("open", 60)
        own:chat(question)
        assert(own:status().pools.private.spills)
        return "sent on"
      end)))
      regions.wait_for(function() return client:status().pools.private.spills end, "the spill")
      assert.equal(1, client:status().pools.private.sent_on)
      client:close()
    end)

    it("and is another one where the servers are others", function()
      local o = { pools = { private = { priority = 1 }, cloud = { priority = 2 } } }
      local client = new(o)
      client.router.spill:answered("private", 3)
      assert.equal(1, client:status().pools.private.answers)
      local targets = { { name = "near", url = "http://127.0.0.1:2", pool = "private" },
        { name = "far", url = "http://127.0.0.1:1", pool = "cloud" } }
      local other = new { pools = o.pools, targets = targets }
      assert.equal(0, other:status().pools.private.answers)
      local same = new(o)
      assert.equal(3, same:status().pools.private.cost)
      same:close()
      other:close()
      client:close()
    end)

    it("and says so where the region has no room for its balancer", function()
      local small = assert(region.new { bytes = 300 * 1024 })
      local targets = {}
      for i = 1, 3 do
        targets[i] = { name = "t" .. i, url = "http://127.0.0.1:1" }
      end
      local made, message, code = unbusy.new { region = small, targets = targets }
      assert.is_nil(made)
      assert.equal("full", code)
      assert.is_string(message)
      small:close()
    end)
  end)
end)
