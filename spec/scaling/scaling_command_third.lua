-- `unbusy scale` with a real kubectl, a real Prometheus and a real Alertmanager; the API that
-- kubectl asks is a stand-in (spec/support/kube_api.lua), which writes down what it was asked for.
local direct = require "spec.support.direct"
local files = require "spec.support.files"
local json = require "unbusy.json"
local kube_api = require "spec.support.kube_api"
local served = require "spec.support.served"

local KUBECTL = files.trimmed "pwd" .. "/build/kubernetes/kubectl"

describe("unbusy scale", function()
  local api, place

  setup(function()
    api, place = kube_api.start(), served.place()
  end)
  teardown(function()
    api:stop()
    place:remove()
  end)
  before_each(function() api:set {} end)

  local function scale(...)
    local words = { "scale", "deepseek-service", "--kubectl", KUBECTL, ... }
    return place:run(words, { env = ("env KUBECONFIG=%s HOME=%s"):format(api.kubeconfig,
      place.tmp) })
  end

  local count = 0
  local function once(...)
    count = count + 1
    return scale("--once", "--state", ("%s/state%d"):format(place.dir, count),
      "--alertmanager", api.url, ...)
  end

  -- Nodes with 10000m, of which so many are in use.
  local function nodes(millicores, more)
    local a = { cpu = ("%dm"):format(millicores - 3000), whole = "4" }
    for name, value in pairs(more or {}) do a[name] = value end
    return { a = a, b = { cpu = "3000m", whole = "6" } }
  end

  local function alerts()
    local out = {}
    for i, alert in ipairs(api:state().alerts) do out[i] = alert.labels.alertname end
    return out
  end

  it("adds three replicas over 8000m of 10000m, and tells Alertmanager", function()
    api:set { nodes = nodes(8400) }
    local r = once()
    assert.matches("^%d+%-%d+%-%d+T%d+:%d+:%d+Z deepseek%-service 5 %-> 8 up: "
      .. "CPU 8400m of 10000m %(84 %%%): over 8000m\n$", r.out)
    assert.same({ "", 0 }, { r.err, r.rc })
    local s = api:state()
    assert.same({ 8 }, s.written)
    assert.equal(1, #s.alerts)
    assert.same({ alertname = "UnbusyScaled", severity = "info", direction = "up",
      deployment = "deepseek-service", namespace = "default", service = "unbusy-scale" },
      s.alerts[1].labels)
    assert.equal("deepseek-service: 5 to 8 replicas", s.alerts[1].annotations.summary)
  end)

  it("does nothing at 8000m", function()
    api:set { nodes = nodes(8000) }
    local r = once()
    assert.matches(" 5 hold: CPU", r.out)
    assert.equal(0, r.rc)
    assert.same({ {}, {} }, { api:state().written, alerts() })
  end)

  it("changes nothing and tells nobody in a dry run", function()
    api:set { nodes = nodes(8400) }
    local r = once "--dry-run"
    assert.matches(" 5 %-> 8 would be up: ", r.out)
    assert.same({ {}, {} }, { api:state().written, alerts() })
    for _, request in ipairs(api:state().requests) do assert.matches("^GET ", request) end
  end)

  it("does nothing on what is not known, and says so", function()
    for what, given in pairs {
      ["the CPU of node a of late"] = { nodes = nodes(9900, { age = 1000 }) },
      ["the nodes' CPU: Error from server %(NotFound%)"] = { metrics = false },
      ["the number of replicas: Error from server %(NotFound%)"] = { deployment = "another" },
    } do
      api:set(given)
      local r = once()
      assert.matches(what, r.out)
      assert.matches(" missing: ", r.out)
      assert.equal(1, r.rc)
      assert.same({}, api:state().written)
      assert.same({ "UnbusyScaleBlind" }, alerts())
    end
  end)

  it("stops at the ceiling, and tells of it", function()
    api:set { nodes = nodes(9000), replicas = 15 }
    local r = once()
    assert.matches(" 15 ceiling: .* 15 is the most", r.out)
    assert.same({}, api:state().written)
    assert.same({ "UnbusyScaleCeiling" }, alerts())
  end)

  it("leaves alone what somebody has switched off", function()
    api:set { nodes = nodes(9000), replicas = 0 }
    assert.matches(" 0 off: ", once().out)
    assert.same({}, api:state().written)
  end)

  it("does not undo what somebody else has done meanwhile", function()
    api:set { nodes = nodes(8400), meddle = 9 }
    local r = once()
    assert.matches(" 5 %-> 8 failed: ", r.out)
    assert.matches("[Ee]xpected replicas to be 5, was 9", r.err)
    assert.equal(1, r.rc)
    local s = api:state()
    assert.same({ 9, {} }, { s.replicas, s.written })
    assert.same({ "UnbusyScaleFailed" }, alerts())
  end)

  it("refuses to work beside a HorizontalPodAutoscaler of the same Deployment", function()
    local function hpa(name)
      return { { metadata = { name = "h" }, spec = { scaleTargetRef = { kind = "Deployment",
        name = name } } } }
    end
    api:set { nodes = nodes(8400), hpas = hpa "deepseek-service" }
    local r = once()
    assert.equal(2, r.rc)
    assert.matches("HorizontalPodAutoscaler 'h' scales it too", r.err)
    assert.same({}, api:state().written)
    api:set { nodes = nodes(8400), hpas = false }
    r = once()
    assert.matches("cannot see whether .*you may not see that", r.err)
    assert.same({ 8 }, api:state().written)
  end)

  it("cools down, grows, calms down and shrinks, one look at a time", function()
    local state = place.dir .. "/kept"
    local function turn(millicores)
      api:change { nodes = nodes(millicores) }
      return scale("--once", "--state", state, "--cool-down", "1000", "--calm", "0",
        "--down-every", "0").out:match " (%l+): "
    end
    assert.equal("up", turn(8400))
    assert.equal("cooling", turn(9000))
    assert.equal("down", turn(4000))
    assert.same({ 8, 7 }, api:state().written)
    place:write("kept", "{ no JSON") -- what nobody remembers does not cool down
    assert.equal("up", turn(9000))
    assert.same({ 8, 7, 10 }, api:state().written)
  end)

  it("scales though Alertmanager does not answer, and says so", function()
    api:set { nodes = nodes(8400), alertmanager = false }
    local r = once()
    assert.same({ 8 }, api:state().written)
    assert.matches("Alertmanager was not told yet: status 503 from alertmanager", r.err)
    assert.equal(0, r.rc)
  end)

  it("tells later what Alertmanager has missed, turn by turn", function()
    api:set { nodes = nodes(8400), alertmanager = false }
    local words = ("env KUBECONFIG=%s HOME=%s %s bin/unbusy scale deepseek-service --kubectl %s "
      .. "--every 1 --json --alertmanager %s"):format(api.kubeconfig, place.tmp,
      os.getenv "UNBUSY_LUA" or "lua5.4", KUBECTL, api.url)
    local pipe = assert(io.popen(("exec setpriv --pdeathsig TERM sh -c 'echo $$; exec %s' "
      .. "2>/dev/null"):format(words)))
    local pid = pipe:read "*l"
    local first = assert(json.decode(pipe:read "*l"))
    assert.same({ "up", 5, 8 }, { first.action, first.replicas, first.wished })
    assert.matches("status 503", first.untold)
    api:change { alertmanager = true }
    local second
    repeat second = assert(json.decode(pipe:read "*l")) until not second.untold
    assert.equal("cooling", second.action)
    assert.same({ "UnbusyScaled" }, alerts())
    os.execute("kill " .. pid)
    pipe:close()
  end)

  it("says what is wrong with its arguments, and asks nobody", function()
    for words, message in pairs {
      [{ "--rule", "gpu" }] = "%-%-rule: one of cpu, load expected",
      [{ "--rule", "load", "--once", "--dry-run" }] = "%-%-rule load: %-%-prometheus URL expected",
      [{ "--once" }] = "%-%-once: without %-%-state",
      [{ "--least", "9", "--most", "3", "--once", "--dry-run" }] = "%-%-most: at least as many",
      [{ "--namespace", "a b", "--once", "--dry-run" }] = "%-%-namespace: a name of Kubernetes",
      [{ "--rule", "load", "--prometheus", "ftp://x", "--dry-run" }] = "%-%-prometheus",
      [{ "--rule", "load", "--prometheus", api.url, "--query", "x=1", "--dry-run" }] = "%-%-query",
    } do
      api:set {}
      local r = scale((table.unpack or unpack)(words)) -- luacheck: ignore 143 113
      assert.matches(message, r.err)
      assert.equal(2, r.rc)
      assert.same({}, api:state().written)
    end
    assert.equal(2, place:run({ "scale" }).rc)
    assert.matches("DEPLOYMENT: a name", place:run({ "scale", "a;b" }).err)
  end)

  it("says in a word where there is no kubectl, or no cluster", function()
    local r = place:run({ "scale", "d", "--once", "--dry-run", "--kubectl", "/nowhere/kubectl" })
    assert.matches("missing: the number of replicas: .*nowhere/kubectl", r.out)
    assert.equal(1, r.rc)
    r = place:run({ "scale", "d", "--once", "--dry-run", "--kubectl", KUBECTL, "--context", "no" },
      { env = "env KUBECONFIG=" .. api.kubeconfig })
    assert.matches('context "no" does not exist', r.out)
  end)
end)

describe("unbusy scale, with others' servers", function()
  local api, place, prometheus, alertmanager
  local pipes = {}

  local function start(command, port)
    local pipe = assert(io.popen(("exec setpriv --pdeathsig TERM sh -c 'echo $$; exec %s "
      .. ">%s/%d.log 2>&1'"):format(command, place.dir, port)))
    pipes[#pipes + 1] = { pipe = pipe, pid = pipe:read "*l" }
  end

  local function ready(url)
    served.wait(function() return select(2, direct.ask("GET", url .. "/-/ready")) == 200 end, url)
    return url
  end

  setup(function()
    api, place = kube_api.start(), served.place()
    api:set {}
    place:write("prometheus.yml", ([[
global: { scrape_interval: 1s }
scrape_configs:
  - job_name: unbusy
    static_configs: [{ targets: ["127.0.0.1:%d"] }]
]]):format(api.port))
    place:write("alertmanager.yml",
      "route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n")
    local p, a = served.free_port(), served.free_port()
    start(("prometheus --config.file=%s/prometheus.yml --storage.tsdb.path=%s/tsdb "
      .. "--web.listen-address=127.0.0.1:%d"):format(place.dir, place.tmp, p), p)
    start(("prometheus-alertmanager --config.file=%s/alertmanager.yml --storage.path=%s/am "
      .. "--web.listen-address=127.0.0.1:%d --cluster.listen-address="):format(place.dir,
      place.tmp, a), a)
    prometheus, alertmanager = ready("http://127.0.0.1:" .. p), ready("http://127.0.0.1:" .. a)
  end)
  teardown(function()
    for _, one in ipairs(pipes) do
      os.execute("kill " .. one.pid)
      one.pipe:close()
    end
    api:stop()
    place:remove()
  end)

  local function value(query)
    local path = require("unbusy.scaling.prometheus").path(query)
    return (require("unbusy.scaling.prometheus").read((direct.ask("GET", prometheus .. path))))
  end

  -- What a gateway would say; waits until Prometheus has it.
  local function gateway(in_flight, waiting)
    api:set { exposition = ([[
unbusy_in_flight{account="a"} %d
unbusy_in_flight{account="b"} 4
unbusy_target_in_flight{target="deepseek"} %d
unbusy_queue_waiting{priority="normal"} %d
unbusy_queue_wait_seconds_bucket{priority="normal",le="5"} 0
unbusy_queue_wait_seconds_bucket{priority="normal",le="+Inf"} 0
]]):format(in_flight, in_flight, waiting) }
    served.wait(function() return value "unbusy_queue_waiting" == waiting
      and value 'unbusy_in_flight{account="a"}' == in_flight end, "a scrape")
  end

  before_each(function() gateway(70, 6) end)

  local function scale(...)
    return place:run({ "scale", "deepseek-service", "--kubectl", KUBECTL, "--rule", "load",
      "--prometheus", prometheus, "--alertmanager", alertmanager, "--once", ... },
      { env = ("env KUBECONFIG=%s HOME=%s"):format(api.kubeconfig, place.tmp) })
  end

  it("goes by what Prometheus has scraped, and Alertmanager knows of it", function()
    local r = scale("--state", place.dir .. "/state")
    assert.same({ "", 0 }, { r.err, r.rc })
    assert.matches(" 5 %-> %d+ up: 7%d under way, 6 waiting, 40 places", r.out)
    assert.equal(math.ceil(80 / 7.2), api:state().written[1])
    local told = assert(json.decode((direct.ask("GET", alertmanager .. "/api/v2/alerts"))))
    assert.equal("UnbusyScaled", told[1].labels.alertname)
  end)

  it("can count one target alone", function()
    local r = scale("--target", "deepseek", "--dry-run")
    assert.matches("up: 70 under way", r.out)
    r = scale("--target", "another", "--dry-run")
    assert.matches("missing: in_flight %(.*another.*%): no series", r.out)
  end)

  it("does nothing while a gateway is not scraped, or no job is known", function()
    assert.matches("down %(.*%): no series", scale("--job", "another", "--dry-run").out)
    api:set {}
    served.wait(function() return value 'up{job="unbusy"}' == 0 end, "a failed scrape")
    local r = scale "--dry-run"
    assert.matches("missing: what 1 gateways do, which are not scraped", r.out)
  end)

  it("says what Prometheus has against a query", function()
    local r = scale("--query", "in_flight=sum(", "--dry-run")
    assert.matches("missing: in_flight %(sum%(%): ", r.out)
  end)
end)
