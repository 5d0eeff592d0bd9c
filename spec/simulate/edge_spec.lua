-- Pools, hard questions and weak answers in the simulator: what a trace says of them is what a
-- client meets.
local figures = require "unbusy.simulate.figures"
local run = require "unbusy.simulate.run"
local setup = require "unbusy.simulate.setup"
local simulate = require "unbusy.simulate"
local trace = require "unbusy.simulate.trace"

local CALLS = 1000

local function trace_of(given)
  local made = trace.new "spec"
  made.calls.hard, made.calls.kind = given.hard or 0.2, given.kind or "chat"
  made.calls.stream = given.stream or 0
  local edge = { target = "near", pool = "edge", latency = 0.1, price = { input = 0, output = 0 } }
  for name, value in pairs(given.edge or {}) do edge[name] = value end
  assert(not trace.declare(made, { target = "far", pool = "centre", latency = 1.2,
    price = { input = 1, output = 4 } }))
  assert(not trace.declare(made, edge))
  for i = 1, CALLS do trace.add(made, i / 10, 1, 1, false, 0) end
  return made
end

local function meet(given)
  local made = trace_of(given)
  local options = assert(setup.options(made))
  options.escalate = given.escalate
  local record = assert(run.meet(made, { name = "edge", policy = "edge" }, options,
    { seed = 1, calls = run.calls(made, 1) }))
  local f = figures.of(record, CALLS)
  assert.same({}, f.policy_faults)
  assert.equal(CALLS, f.answered)
  return record, f
end

local function received(f, name)
  for _, up in ipairs(f.targets) do
    if up.name == name then return up.received end
  end
end

describe("a simulated edge and centre", function()
  it("share the calls by how many are hard", function()
    local _, f = meet {}
    assert.is_true(received(f, "far") > 0.17 * CALLS and received(f, "far") < 0.23 * CALLS)
    assert.equal(CALLS, received(f, "far") + received(f, "near"))
    assert.is_nil(f.escalate)
    _, f = meet { hard = 0 }
    assert.equal(0, received(f, "far"))
    _, f = meet { hard = 1 }
    assert.equal(0, received(f, "near"))
  end)

  for kind in pairs { chat = true, complete = true } do
    it("give weak answers in their share, which are asked again: " .. kind, function()
      local _, f = meet { kind = kind, edge = { weak = 0.1 }, escalate = { most = 1 } }
      local e = f.escalate
      assert.is_true(e.weak.length > 0.07 * e.judged and e.weak.length < 0.13 * e.judged)
      assert.same({ e.weak.length, {} }, { e.replaced, e.kept })
      assert.equal(CALLS + e.replaced, f.upstream_calls)
    end)
  end

  it("stream them, too: marked at their end, or held back", function()
    local _, f = meet { stream = 1, edge = { weak = 0.1, writing = 0.1 }, escalate = {} }
    assert.equal(f.escalate.weak.length, f.escalate.kept.stream)
    assert.equal(0, f.escalate.asked)
    _, f = meet { stream = 1, edge = { weak = 0.1, writing = 0.1 },
      escalate = { hold = true, most = 1 } }
    assert.equal(f.escalate.weak.length, f.escalate.replaced)
  end)

  it("are weak from a time on", function()
    local made = trace_of {}
    assert(not trace.declare(made, { target = "near", at = 50, weak = 1 }))
    local options = assert(setup.options(made))
    options.escalate = { most = 1 }
    local when = {}
    assert(run.meet(made, { name = "edge", policy = "edge" }, options, { seed = 1,
      calls = run.calls(made, 1),
      ended = function(i, reply) if reply.escalated then when[#when + 1] = i end end }))
    assert.is_true(when[1] > 0.49 * CALLS and #when > 0.35 * CALLS)
  end)

  it("are the same under the same seed", function()
    local _, one = meet { edge = { weak = 0.1 }, escalate = {} }
    local _, other = meet { edge = { weak = 0.1 }, escalate = {} }
    assert.same(one.escalate, other.escalate)
  end)

  it("stand in the report, where they are judged", function()
    local made = trace_of { edge = { weak = 0.1 } }
    local report = assert(simulate.compare(made, { { name = "edge", policy = "edge" } },
      { config = { targets = { { name = "near", pool = "edge" }, { name = "far",
        pool = "centre" } }, escalate = true } }))
    local lines = table.concat(require("unbusy.simulate.text").lines(report, "ascii"), "\n")
    local e = report.clients[1].escalate
    assert.is_truthy(lines:find(("edge: of %d answers judged weak: length %d; replaced %d;")
      :format(e.judged, e.weak.length, e.replaced), 1, true), lines)
    local data = require("unbusy.simulate.report").data(report)
    assert.same(e, data.clients[1].escalate)
    assert.is_nil(data.clients[2].escalate)
  end)

  it("are told what is wrong with them", function()
    local made = trace_of {}
    assert.equal("pool: in the first line of the target",
      trace.declare(made, { target = "near", at = 9, pool = "edge" }))
    assert.matches("weak", trace.declare(made, { target = "x", weak = 2 }))
    assert.matches("pool", trace.declare(made, { target = "y", pool = 7 }))
  end)
end)
