-- A forked child has copies of its parent's tickets. In a region it could give them back, as the
-- end of its copy of a stream does: the parent's limiter then let in one more than it may, its
-- breaker counted a call that was still under way, and its own report came too late.
local balancer = require "unbusy.balancer"
local breaker = require "unbusy.breaker"
local budget = require "unbusy.budget"
local guard = require "spec.support.leak_guard"
local limiter = require "unbusy.limiter"
local region = require "unbusy.region"
local regions = require "spec.support.regions"

describe("the parent's tickets in a forked child", function()
  local r
  after_each(function()
    r:close()
    r = nil
    regions.collect()
  end)
  guard.watch(before_each, after_each)
  before_each(function() r = assert(region.new { bytes = 8 * 1024 * 1024 }) end)

  it("come back by the parent alone", function()
    local l = assert(limiter.new { region = r, name = "l" })
    local b = assert(breaker.new { region = r, name = "b" })
    local g = assert(budget.new { region = r, name = "g" })
    local c = assert(balancer.new { region = r, name = "c", targets = { { name = "a" } } })
    local t, k, p, name, n = l:allow(), b:allow(), g:take "retry", c:pick()
    assert.equal("a", name)
    local function report()
      return table.concat({ tostring(l:report(t, "ok", 1)), tostring(b:report(k, "fail", 1)),
        tostring(g:give(p, "ok")), tostring(c:report(n, "ok", 1)) }, " ")
    end
    assert.equal("false false false false", regions.child(report))
    assert.same({ 1, 1, 0, 1 }, { l:in_flight(), b:stats().outstanding, b:stats().failures,
      g:stats().permits })
    assert.equal("true true true true", report())
    assert.same({ 0, 0, 1, 0 }, { l:in_flight(), b:stats().outstanding, b:stats().failures,
      g:stats().permits })
  end)

  it("are not cut by the child while they are out", function()
    local b = assert(breaker.new { region = r, name = "b" })
    local k = b:allow()
    assert.equal("false", regions.child(function() return b:record(k, "fail") end))
    assert.equal(0, b:stats().failures)
    assert.is_true(b:report(k, "ok", 1))
  end)
end)
