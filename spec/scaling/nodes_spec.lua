-- The CPU of the nodes, out of the API's JSON; and figures out of Prometheus'.
local json = require "unbusy.json"
local nodes = require "unbusy.scaling.nodes"
local notice = require "unbusy.scaling.notice"
local prometheus = require "unbusy.scaling.prometheus"

local NOW = 1767225600 -- 2026-01-01T00:00:00Z

describe("a quantity of Kubernetes", function()
  it("is a number with a suffix", function()
    for text, n in pairs { ["8"] = 8, ["250m"] = 0.25, ["1.5"] = 1.5, ["123456789n"] = 0.123456789,
      ["500u"] = 5e-4, ["1k"] = 1000, ["2Ki"] = 2048, ["1e3"] = 1000, ["12E2"] = 1200,
      ["0"] = 0, [".5"] = 0.5, ["3E"] = 3e18 } do
      assert.is_true(math.abs(nodes.quantity(text) - n) <= 1e-12 * n, text)
    end
  end)

  it("is nothing else", function()
    for _, text in ipairs { "", "m", "1x", "1 m", "0x10", "nan", "inf", "1mm", "--1", "." } do
      assert.is_nil(nodes.quantity(text), text)
    end
    assert.is_nil(nodes.quantity {})
    assert.is_nil(nodes.quantity(nil))
  end)
end)

describe("a time of Kubernetes", function()
  it("is in UTC", function()
    assert.equal(NOW, nodes.time "2026-01-01T00:00:00Z")
    assert.equal(NOW, nodes.time "2026-01-01T00:00:00.123456Z")
    assert.equal(951782400, nodes.time "2000-02-29T00:00:00Z")
    assert.is_nil(nodes.time "2026-01-01T00:00:00+08:00")
    assert.is_nil(nodes.time(7))
  end)
end)

local function node(name, cpu, ready)
  return { metadata = { name = name }, status = { allocatable = { cpu = cpu },
    conditions = { { type = "MemoryPressure", status = "False" },
      { type = "Ready", status = ready or "True" } } } }
end

local function use(name, cpu, at)
  return { metadata = { name = name }, usage = { cpu = cpu },
    timestamp = at or "2025-12-31T23:59:30Z" }
end

local function sum(list, usage)
  return nodes.sum(json.encode { items = json.array(list) },
    json.encode { items = json.array(usage) }, { now = NOW, fresh = 120 })
end

describe("the CPU of the nodes", function()
  it("is that of those that are ready", function()
    local seen = sum({ node("a", "4"), node("b", "6000m"), node("c", "8", "False") },
      { use("a", "3500m"), use("b", "4600000000n"), use("c", "1") })
    assert.is_true(math.abs(seen.cpu - 8100) < 1e-6)
    assert.same({ 10000, 2 }, { seen.cpu_whole, seen.nodes })
  end)

  it("is not known where anything of a ready node is missing", function()
    local a = node("a", "4")
    assert.equal("the CPU of node b", sum({ a, node("b", "4") }, { use("a", "1") }).lacks)
    assert.equal("how much CPU node b has",
      sum({ a, node("b", "x") }, { use("a", "1"), use("b", "1") }).lacks)
    assert.equal("the CPU of node a", sum({ a }, { use("a", "-1") }).lacks)
    assert.equal("when the CPU of node a was measured", sum({ a }, { use("a", "1", "now") }).lacks)
    assert.matches("of late %(it is of 121 s ago%)",
      sum({ a }, { use("a", "1", "2025-12-31T23:57:59Z") }).lacks)
    assert.equal("a node that is ready", sum({ node("a", "4", "Unknown") }, {}).lacks)
    assert.equal("a node that is ready", sum({}, {}).lacks)
  end)

  it("is not known where the API says nonsense", function()
    local good = json.encode { items = json.array { node("a", "4") } }
    for _, text in ipairs { "", "{", "[]", "7", '{"items":7}', '{"items":null}' } do
      assert.is_string(nodes.sum(text, good, { now = NOW, fresh = 120 }).lacks, text)
      assert.is_string(nodes.sum(good, text, { now = NOW, fresh = 120 }).lacks, text)
    end
    for _, item in ipairs { "7", '{"metadata":7}', '{"metadata":{"name":7}}', "null", "[]" } do
      local list = ('{"items":[%s]}'):format(item)
      assert.is_string(nodes.sum(list, '{"items":[]}', { now = NOW, fresh = 120 }).lacks, item)
      assert.is_string(nodes.sum(good, list, { now = NOW, fresh = 120 }).lacks, item)
    end
  end)
end)

local function vector(...)
  local result = {}
  for i, text in ipairs { ... } do result[i] = { metric = {}, value = { 1, text } } end
  return json.encode { status = "success",
    data = { resultType = "vector", result = json.array(result) } }
end

describe("a figure of Prometheus", function()
  it("is the one value of a vector or a scalar", function()
    assert.equal(12.5, prometheus.read(vector "12.5"))
    assert.equal(3, prometheus.read
      '{"status":"success","data":{"resultType":"scalar","result":[1,"3"]}}')
  end)

  it("is not known without a series, with several, or as NaN", function()
    assert.same({ nil, "no series" }, { prometheus.read(vector()) })
    assert.same({ nil, "more than one series" }, { prometheus.read(vector("1", "2")) })
    assert.same({ nil, "not a number" }, { prometheus.read(vector "+Inf") })
    for _, text in ipairs { "NaN", "x", "" } do assert.is_nil((prometheus.read(vector(text)))) end
    for _, body in ipairs { "", "{", "[]", '{"status":"success"}', '{"status":"success","data":7}',
      '{"status":"success","data":{"resultType":"vector","result":[7]}}',
      '{"status":"success","data":{"resultType":"matrix","result":[]}}' } do
      assert.is_nil((prometheus.read(body)), body)
    end
    assert.equal("parse error ", (select(2, prometheus.read
      '{"status":"error","errorType":"bad_data","error":"parse error\\u0007"}')))
  end)

  local function look(answers)
    return prometheus.look(function(path)
      for name, body in pairs(answers) do
        if path:find(name, 1, true) then return body end
      end
      return nil, "connection refused"
    end, { down = "DOWN", in_flight = "FLIGHT", waiting = "LINE", wait = "SECONDS" })
  end

  it("is one of four that belong together", function()
    local answers = { DOWN = vector "0", FLIGHT = vector "40", LINE = vector "2",
      SECONDS = vector "0.5" }
    assert.same({ down = 0, in_flight = 40, waiting = 2, wait = 0.5 }, look(answers))
    answers.SECONDS = vector "NaN" -- nobody has waited
    assert.same({ down = 0, in_flight = 40, waiting = 2 }, look(answers))
  end)

  it("is not believed while a gateway is not scraped, or unknown", function()
    local answers = { DOWN = vector "1", FLIGHT = vector "40", LINE = vector "2" }
    assert.equal("what 1 gateways do, which are not scraped", look(answers).lacks)
    answers.DOWN = vector()
    assert.equal("down (DOWN): no series", look(answers).lacks)
    answers.DOWN, answers.LINE = vector "0", nil
    assert.equal("waiting (LINE): connection refused", look(answers).lacks)
  end)

  it("is asked for with names in quotes", function()
    local q = prometheus.queries('a"b', "t\\1")
    assert.equal('sum(up{job="a\\"b"} == bool 0)', q.down)
    assert.equal('sum(avg_over_time(unbusy_target_in_flight{job="a\\"b",target="t\\\\1"}[1m]))',
      q.in_flight)
    assert.equal("/api/v1/query?query=a%7Bb%3D%22%E6%B1%89%22%7D", prometheus.path 'a{b="汉"}')
  end)
end)

describe("a notice to Alertmanager", function()
  it("is an alert that ends by itself", function()
    local body = json.decode(notice.body({ kind = "scaled", deployment = "d", namespace = "ns",
      from = 5, to = 8, why = "CPU", at = NOW }, NOW))
    assert.same({ { labels = { alertname = "UnbusyScaled", severity = "info", deployment = "d",
      namespace = "ns", service = "unbusy-scale", direction = "up" },
      annotations = { summary = "d: 5 to 8 replicas", description = "CPU" },
      startsAt = "2026-01-01T00:00:00Z", endsAt = "2026-01-01T00:15:00Z" } }, body)
  end)
end)
