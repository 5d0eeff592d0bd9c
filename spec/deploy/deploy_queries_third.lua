-- What the autoscalers ask Prometheus: KEDA's queries and those of prometheus-adapter, tried by
-- promtool on series of ours, since a query that says nothing, or nought, is one that never scales.
-- Run by `tools/test.sh third`.
local files = require "spec.support.files"
local json = require "unbusy.json"
local kubernetes = require "spec.support.kubernetes"
local served = require "spec.support.served"

local quote = files.quote

-- { calls =, wait = } of each kind of autoscaler.
local queries = {}

local function read(path)
  return kubernetes.read("deploy/kubernetes/components/" .. path)[1]
end

setup(function()
  local object = read "autoscale-keda/scaledobject.yaml"
  queries.keda = {}
  for _, trigger in ipairs(object.spec.triggers) do
    queries.keda[trigger.name == "calls" and "calls" or "wait"] = trigger.metadata.query
  end
  local values, hpa = read "autoscale-load/adapter-values.yaml", read "autoscale-load/hpa.yaml"
  queries.adapter = {}
  for i, name in ipairs { "calls", "wait" } do
    local metric, rule = hpa.spec.metrics[i].external.metric, values.rules.external[i]
    assert.equal(metric.name, rule.name.as)
    -- the adapter's template: the autoscaler's namespace, and the labels that it asks for
    local labels = 'namespace="unbusy"'
    for label, value in pairs(metric.selector and metric.selector.matchLabels or {}) do
      labels = ('%s,%s="%s"'):format(labels, label, value)
    end
    queries.adapter[name] = rule.metricsQuery:gsub("<<%.LabelMatchers>>", labels)
  end
end)

-- Two gateways of ours, and one in another namespace, which is nobody's business here.
local function series(name, labels, values)
  return { series = ("%s{%s}"):format(name, labels), values = values }
end

local function gauge(name, namespace, more, value)
  return series(name, ('namespace="%s",%s'):format(namespace, more), value .. "+0x20")
end

local calls = {
  gauge("unbusy_target_in_flight", "unbusy", 'pod="a",target="deepseek-service"', 5),
  gauge("unbusy_target_in_flight", "unbusy", 'pod="b",target="deepseek-service"', 7),
  gauge("unbusy_target_in_flight", "unbusy", 'pod="a",target="cloud"', 50),
  gauge("unbusy_target_in_flight", "test", 'pod="c",target="deepseek-service"', 90),
  gauge("unbusy_queue_waiting", "unbusy", 'pod="a",priority="interactive"', 2),
  gauge("unbusy_queue_waiting", "unbusy", 'pod="b",priority="normal"', 4),
  gauge("unbusy_queue_waiting", "test", 'pod="c",priority="normal"', 80),
}

-- Of a hundred calls in each step so many waited no longer than 1, 2.5 and 5 s.
local function waits(one, two, five)
  local list = {}
  for _, pod in ipairs { "a", "b" } do
    for le, n in pairs { ["1"] = one, ["2.5"] = two, ["5"] = five, ["+Inf"] = five } do
      list[#list + 1] = series("unbusy_queue_wait_seconds_bucket",
        ('namespace="unbusy",pod="%s",priority="normal",le="%s"'):format(pod, le),
        ("0+%dx20"):format(n))
    end
  end
  return list
end

-- Whether all these queries say these numbers after four minutes of these series; and what
-- promtool has said.
local function expect(list, input, values)
  local samples, tests = json.array {}, {}
  for i, value in ipairs(values) do samples[i] = { labels = "{}", value = value } end
  for i, query in ipairs(list) do
    tests[i] = { expr = query, eval_time = "4m", exp_samples = samples }
  end
  local place = served.place()
  local path = place:write("test.yml", json.encode { evaluation_interval = "15s",
    rule_files = json.array {}, tests = { { interval = "15s",
      input_series = #input > 0 and input or json.array {}, promql_expr_test = tests } } })
  local said, status = files.trimmed(("promtool test rules %s 2>&1; echo $?"):format(quote(path)))
    :match "^(.-)\n?(%d+)$"
  place:remove()
  return status == "0", said
end

-- Both kinds of autoscaler ask the same.
local function says(name, input, values, form)
  local list = {}
  for i, kind in ipairs { "keda", "adapter" } do
    list[i] = (form or "%s"):format(queries[kind][name])
  end
  local fine, said = expect(list, input, values)
  assert(fine, said)
end

describe("the queries", function()
  it("ask for metrics that there are", function()
    local pages = files.text "docs/metrics.md"
    local count = 0
    for _, kind in ipairs { "keda", "adapter" } do
      for _, query in pairs(queries[kind]) do
        for name in query:gmatch "unbusy_[%w_]+" do
          assert.truthy(pages:find("`" .. name:gsub("_bucket$", "") .. "`", 1, true), name)
          count = count + 1
        end
      end
    end
    assert.equal(6, count)
  end)
end)

describe("the query for calls", function()
  it("counts those at the service and those that wait, of all gateways of the namespace", function()
    says("calls", calls, { 18 })
  end)

  it("would be seen to fail", function()
    assert.is_false((expect({ queries.keda.calls }, calls, { 17 })))
    assert.is_false((expect({ queries.keda.calls .. ")" }, calls, { 18 })))
  end)

  it("says nothing where either is missing, so that nothing is done", function()
    says("calls", {}, {})
    says("calls", { calls[1] }, {})
    says("calls", { calls[5] }, {})
  end)
end)

describe("the query for the wait", function()
  it("says what one call in twenty waits for at least", function()
    -- of 100 calls 90 wait up to 2.5 s, the others up to 5 s: the 95th lies half way between
    says("wait", waits(10, 90, 100), { 1 }, "abs((%s) - 3.75) < bool 0.001")
  end)

  it("is nought where nobody waits, or nobody calls", function()
    says("wait", waits(0, 0, 0), { 0 })
    says("wait", {}, { 0 })
  end)
end)

describe("the scrape job of a Prometheus without the operator", function()
  local function check(text)
    local place = served.place()
    local path = place:write("prometheus.yml", text)
    local status = files.trimmed(("promtool check config --syntax-only %s >%s/out 2>&1; echo $?")
      :format(quote(path), quote(place.dir)))
    place:remove()
    return status
  end

  -- Debian's Prometheus is built without Kubernetes: that block is left out.
  it("is one that Prometheus reads", function()
    local text, n = files.text "deploy/kubernetes/scrape.yaml":gsub(
      "    kubernetes_sd_configs:\n.-(    relabel_configs)", "%1")
    assert.equal(1, n)
    assert.equal("0", check(text))
    assert.equal("1", check((text:gsub("relabel_configs", "relabels"))))
  end)
end)
