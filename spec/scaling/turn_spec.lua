-- A turn of the program, with an outside that is made up; and what is asked of kubectl, word by
-- word. The same with a real kubectl: scaling_command_third.lua.
local cluster = require "unbusy.scaling.cluster"
local governor = require "unbusy.scaling.governor"
local json = require "unbusy.json"
local options = require "unbusy.scaling.options"
local rules = require "unbusy.scaling.rules"
local turn = require "unbusy.scaling.turn"

describe("a turn of scaling", function()
  local outside, t, now

  local function new(more)
    local r, g = options.read({}, "cpu")
    outside = { replicas = 5, cpu = 8400, told = {}, up = true, scaled = {} }
    local o = { rule = rules.cpu, rule_options = r, governor = governor.new(g),
      wall = function() return 1000 + now end,
      replicas = function() return outside.replicas, outside.fault end,
      look = function() return { cpu = outside.cpu, cpu_whole = 10000, lacks = outside.lacks } end,
      scale = function(from, to)
        if outside.refuse then return nil, outside.refuse end
        outside.scaled[#outside.scaled + 1] = from .. ">" .. to
        outside.replicas = to
        return true
      end,
      tell = function(event)
        if not outside.up then return nil, "connection refused" end
        outside.told[#outside.told + 1] = event.kind
        outside.last = event
        return true
      end }
    for name, value in pairs(more or {}) do o[name] = value end
    t, now = turn.new(o), 0
  end

  local function run(seconds)
    now = now + (seconds or 30)
    return t:run(now)
  end

  before_each(function() new() end)

  it("looks, decides, acts and tells", function()
    local r = run()
    assert.same({ 5, 8, "up" }, { r.replicas, r.wished, r.action })
    assert.same({ { "5>8" }, { "scaled" } }, { outside.scaled, outside.told })
    assert.same({ "scaled", 5, 8, 1030 }, { outside.last.kind, outside.last.from, outside.last.to,
      outside.last.at })
    assert.equal("cooling", run().action)
    assert.equal("up", run(150).action)
    assert.same({ "5>8", "8>11" }, outside.scaled)
  end)

  it("changes nothing and tells nobody when it is dry", function()
    new { dry = true }
    for _ = 1, 3 do assert.equal("would be up", run().action) end
    outside.cpu = nil
    assert.equal("missing", run().action)
    assert.same({ {}, {} }, { outside.scaled, outside.told })
  end)

  it("does not cool down from what was refused, and tells it once in a while", function()
    outside.refuse = "forbidden"
    for _ = 1, 4 do
      local r = run()
      assert.same({ "failed", "forbidden" }, { r.action, r.fault })
    end
    assert.same({ "failed" }, outside.told)
    run(240)
    assert.same({ "failed", "failed" }, outside.told)
    outside.refuse = nil
    assert.equal("up", run().action)
  end)

  it("tells that it is blind, and why, once in a while", function()
    outside.cpu, outside.lacks = nil, "the CPU of node a"
    for _ = 1, 5 do assert.equal("missing", run().action) end
    assert.same({ "blind" }, outside.told)
    assert.matches("the CPU of node a: not known", outside.last.why)
    outside.cpu = 6000
    assert.equal("hold", run().action)
    outside.cpu = nil
    run()
    assert.same({ "blind", "blind" }, outside.told)
  end)

  it("does not know how many there are", function()
    outside.replicas, outside.fault = nil, "no cluster"
    local r = run()
    assert.same({ "missing", "the number of replicas: no cluster: not known, so nothing is done" },
      { r.action, r.why })
    assert.is_nil(r.wished)
  end)

  it("keeps what could not be told, ten at most, and tells it in order", function()
    outside.up = false
    for _ = 1, 14 do
      outside.replicas = 5
      assert.equal("connection refused", run(200).untold)
    end
    assert.equal(14, #outside.scaled)
    outside.up, outside.cpu = true, 6000
    assert.is_nil(run().untold)
    assert.equal(10, #outside.told)
    assert.equal(1000 + 14 * 200, outside.last.at)
  end)
end)

describe("a cluster", function()
  local answers, asked

  local function new(more)
    answers, asked = {}, {}
    local o = { deployment = "deepseek-service", namespace = "ns", kubectl = { "k", "--context=c" },
      wall = function() return 1767225600 end, fresh = 120, run = function(words)
        asked[#asked + 1] = table.concat(words, " ")
        local answer = table.remove(answers, 1)
        return answer, answer == nil and "no answer" or nil
      end }
    for name, value in pairs(more or {}) do o[name] = value end
    return cluster.new(o)
  end

  it("says how many replicas are asked for", function()
    local c = new()
    answers = { '{"kind":"Scale","spec":{"replicas":5}}', '{"kind":"Scale","spec":{}}' }
    assert.equal(5, c:replicas())
    assert.equal("k --context=c --request-timeout=10s get --raw "
      .. "/apis/apps/v1/namespaces/ns/deployments/deepseek-service/scale", asked[1])
    assert.equal(0, c:replicas())
    for _, text in ipairs { "", "7", '{"kind":"Status"}', '{"kind":"Scale"}',
      '{"kind":"Scale","spec":{"replicas":1.5}}', '{"kind":"Scale","spec":{"replicas":-1}}',
      '{"kind":"Scale","spec":{"replicas":null}}', '{"kind":"Scale","spec":7}' } do
      answers = { text }
      local n, message = c:replicas()
      assert.is_nil(n)
      assert.matches("^the API's answer", message)
    end
    assert.same({ nil, "no answer" }, { c:replicas() })
  end)

  it("asks for the nodes with a selector, escaped", function()
    local c = new { selector = "pool in (a,b)" }
    answers = { json.encode { items = json.array() }, json.encode { items = json.array() } }
    assert.equal("a node that is ready", c:cpu().lacks)
    assert.matches("/api/v1/nodes%?labelSelector=pool%%20in%%20%%28a%%2Cb%%29$", asked[1])
    assert.matches("/metrics.k8s.io/v1beta1/nodes%?labelSelector=pool%%20in", asked[2])
    assert.equal("the list of nodes: no answer", c:cpu().lacks)
  end)

  it("changes the number only from the one that was seen", function()
    local c = new()
    answers = { "deployment.apps/deepseek-service scaled" }
    assert.is_true(c:scale(5, 8))
    assert.equal("k --context=c --request-timeout=10s scale deployment/deepseek-service "
      .. "--namespace=ns --current-replicas=5 --replicas=8", asked[1])
    assert.same({ nil, "no answer" }, { c:scale(5, 8) })
  end)
end)
