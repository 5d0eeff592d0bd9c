-- deploy/kubernetes, deploy/istio and deploy/karmada: each is built, its objects are of their
-- types, what they name is there, and the figures are those that the pages tell. Run by
-- `tools/test.sh third`.
local files = require "spec.support.files"
local kubernetes = require "spec.support.kubernetes"
local served = require "spec.support.served"

local find, all, named = kubernetes.find, kubernetes.all, kubernetes.named

local folders = {
  base = "deploy/kubernetes/base",
  edge = "deploy/kubernetes/overlays/edge",
  private = "deploy/kubernetes/overlays/private",
  public = "deploy/kubernetes/overlays/public",
  -- load: made below
  service = "deploy/istio/service",
  mesh = "deploy/istio/gateway",
  karmada = "deploy/karmada",
}
local order = { "base", "edge", "private", "public", "load", "service", "mesh", "karmada" }

local place
local built, path_of = {}, {}

-- A component is for whoever wants it: here in one overlay more, of a copy.
local function with_component(name)
  os.execute(("cp -r deploy %s && mkdir %s/deploy/kubernetes/overlays/more"):format(
    files.quote(place.dir), files.quote(place.dir)))
  place:write("deploy/kubernetes/overlays/more/kustomization.yaml", ("namespace: unbusy\n"
    .. "resources: [../../base]\ncomponents: [../../components/%s]\n"):format(name))
  return place.dir .. "/deploy/kubernetes/overlays/more"
end

setup(function()
  place = served.place()
  folders.load = with_component "autoscale-load"
  for _, name in ipairs(order) do
    path_of[name] = place.dir .. "/" .. name .. ".yaml"
    built[name] = kubernetes.build(folders[name], path_of[name])
  end
end)
teardown(function() if place then place:remove() end end)

local function each(f)
  for _, name in ipairs(order) do f(built[name], name) end
end

describe("the types of Kubernetes, Istio, KEDA and Karmada", function()
  -- A spec that cannot fail would tell nothing: so each kind of fault is planted once.
  local planted = {
    { "private", "    readOnlyRootFilesystem: true", "    readOnlyRootFileSystem: true",
      "readOnlyRootFileSystem" },
    { "private", "maxReplicas: 20", "maxReplicas: many", "HorizontalPodAutoscaler" },
    { "private", "memory: 512Mi", "memory: plenty", "Deployment/unbusy%-gateway" },
    { "private", "kind: PodDisruptionBudget", "kind: DisruptionBudget", "no type of policy/v1" },
    { "public", "maxReplicaCount", "maxReplicas", "ScaledObject" },
    { "public", "podMetricsEndpoints", "metricsEndpoints", "PodMonitor" },
    { "service", "retries:", "retry:", "'\"retry\"' does not exist" },
    { "service", "perTryTimeout", "perTryTimeOut", "perTryTimeOut" },
    { "service", "outlierDetection", "outliers", "DestinationRule" },
    { "karmada", "clusterAffinities", "clusters", "PropagationPolicy" },
  }

  -- The first object that has these words in it, as YAML, and where they are.
  local function object_with(words, name)
    for text in (files.text(path_of[name]) .. "\n---\n"):gmatch "(.-)\n%-%-%-\n" do
      local at, to = text:find(words, 1, true)
      if at then return text .. "\n", at, to end
    end
    error("nowhere: " .. words)
  end

  local faults, objects -- of all files, and of those with a fault, in one run of the compiler

  setup(function()
    local paths = {}
    for i, name in ipairs(order) do paths[i] = path_of[name] end
    for i, fault in ipairs(planted) do
      local text, at, to = object_with(fault[2], fault[1])
      paths[#paths + 1] = place:write(("bad%d.yaml"):format(i),
        text:sub(1, at - 1) .. fault[3] .. text:sub(to + 1))
    end
    faults, objects = kubernetes.faults(paths)
  end)

  it("have all fields of all objects", function()
    local count, wrong = #planted, {}
    each(function(list) count = count + #list end)
    for _, line in ipairs(faults) do
      if not line:find "/bad%d+%.yaml: " then wrong[#wrong + 1] = line end
    end
    assert.same({}, wrong)
    assert.equal(count, objects)
    assert.is_true(count > 80)
  end)

  it("find what is wrong", function()
    for i, fault in ipairs(planted) do
      local found = false
      for _, line in ipairs(faults) do
        found = found or line:find(("/bad%d.yaml: "):format(i), 1, true) and line:find(fault[4])
      end
      assert(found, ("%s in place of %s was not found:\n%s"):format(fault[3], fault[2],
        table.concat(faults, "\n")))
    end
  end)
end)

-- {== What belongs together ===============================================

local function pods_of(list)
  local out = {}
  for _, deployment in ipairs(all(list, "Deployment")) do
    out[#out + 1] = deployment.spec.template
  end
  return out
end

-- The pods that a selector means.
local function selected(list, selector)
  local out = {}
  for _, pod in ipairs(pods_of(list)) do
    if kubernetes.selects(selector, pod.metadata.labels) then out[#out + 1] = pod end
  end
  return out
end

local function has_port(pod, name)
  for _, container in ipairs(pod.spec.containers) do
    if named(container.ports, name) then return true end
  end
end

describe("what an object names is there:", function()
  it("the pods of services, budgets and network policies, and their ports", function()
    each(function(list, where)
      for _, service in ipairs(all(list, "Service")) do
        local pods = selected(list, service.spec.selector)
        assert(#pods > 0, where .. ": " .. service.metadata.name .. " has no pods")
        for _, port in ipairs(service.spec.ports) do
          for _, pod in ipairs(pods) do assert.is_true(has_port(pod, port.targetPort)) end
        end
      end
      for _, budget in ipairs(all(list, "PodDisruptionBudget")) do
        assert.is_true(#selected(list, budget.spec.selector.matchLabels) > 0)
        assert.equal(1, budget.spec.maxUnavailable)
      end
      for _, policy in ipairs(all(list, "NetworkPolicy")) do
        for _, pod in ipairs(selected(list, policy.spec.podSelector.matchLabels)) do
          assert.is_true(has_port(pod, policy.spec.ingress[1].ports[1].port))
        end
      end
    end)
  end)

  it("of a Deployment its own pods, and those of no other", function()
    each(function(list)
      for _, deployment in ipairs(all(list, "Deployment")) do
        local pods = selected(list, deployment.spec.selector.matchLabels)
        assert.same({ deployment.spec.template }, pods)
      end
    end)
  end)

  it("ConfigMaps, accounts and volumes", function()
    each(function(list)
      for _, pod in ipairs(pods_of(list)) do
        for _, volume in ipairs(pod.spec.volumes) do
          if volume.configMap then assert(find(list, "ConfigMap", volume.configMap.name)) end
        end
        if pod.spec.serviceAccountName then
          assert(find(list, "ServiceAccount", pod.spec.serviceAccountName))
        end
        for _, mount in ipairs(pod.spec.containers[1].volumeMounts) do
          assert(named(pod.spec.volumes, mount.name))
        end
        for _, spread in ipairs(pod.spec.topologySpreadConstraints) do
          assert.is_true(kubernetes.selects(spread.labelSelector.matchLabels, pod.metadata.labels))
        end
      end
    end)
  end)

  it("one autoscaler for the service, whose number of replicas is left to it", function()
    for name, count in pairs { base = 0, edge = 0, private = 1, public = 1, load = 1, mesh = 1,
      karmada = 1, service = 0 } do
      local list = built[name]
      local scalers = 0
      for _, kind in ipairs { "HorizontalPodAutoscaler", "ScaledObject", "FederatedHPA" } do
        for _, scaler in ipairs(all(list, kind)) do
          scalers = scalers + 1
          local deployment = find(list, "Deployment", scaler.spec.scaleTargetRef.name)
          assert.is_nil(deployment.spec.replicas)
          assert(deployment.spec.template.spec.containers[1].resources.requests.cpu)
        end
      end
      assert.equal(count, scalers)
    end
  end)

  it("the image of whoever deploys it, not of this repository", function()
    for _, name in ipairs { "edge", "private", "public", "mesh", "karmada" } do
      for _, pod in ipairs(pods_of(built[name])) do
        assert.truthy(pod.spec.containers[1].image:find "^registry%.example/.+:.+")
      end
    end
  end)

  it("subsets and hosts of the mesh, and shares that make up 100", function()
    for _, name in ipairs { "service", "mesh" } do
      local list = built[name]
      for _, virtual in ipairs(all(list, "VirtualService")) do
        local rule = find(list, "DestinationRule", virtual.metadata.name)
        local shares = 0
        assert(find(list, "Service", virtual.spec.hosts[1]))
        for _, route in ipairs(virtual.spec.http[1].route) do
          assert.equal(rule.spec.host, route.destination.host)
          shares = shares + (route.weight or 100)
          local subset = route.destination.subset
          if subset then
            assert.equal(1, #selected(list, named(rule.spec.subsets, subset).labels))
          end
        end
        assert.equal(100, shares)
      end
    end
  end)

  it("what Karmada spreads, and the place of the variable that it changes", function()
    local list = built.karmada
    local spread = {}
    for _, policy in ipairs(all(list, "PropagationPolicy")) do
      for _, selector in ipairs(policy.spec.resourceSelectors) do
        local object = assert(find(list, selector.kind, selector.name))
        assert.equal(object.apiVersion, selector.apiVersion)
        spread[object] = (spread[object] or 0) + 1
      end
    end
    local alone = { Namespace = true, ConfigMap = true, ServiceAccount = true, FederatedHPA = true,
      PropagationPolicy = true, OverridePolicy = true }
    for _, object in ipairs(list) do
      assert.equal(alone[object.kind] and 0 or 1, spread[object] or 0)
    end
    local change = find(list, "OverridePolicy").spec.overrideRules[1].overriders.plaintext[1]
    local index = change.path:match "^/spec/template/spec/containers/0/env/(%d+)/value$"
    local gateway = find(list, "Deployment", "unbusy-gateway").spec.template.spec.containers[1]
    assert.equal("CLOUD_URL", gateway.env[index + 1].name)
  end)
end)

-- }========================================================================

describe("a pod", function()
  it("keeps to the restricted standard, and writes to no file system of its image", function()
    each(function(list)
      for _, pod in ipairs(pods_of(list)) do
        local spec, container = pod.spec, pod.spec.containers[1]
        assert.same({ true, "RuntimeDefault" },
          { spec.securityContext.runAsNonRoot, spec.securityContext.seccompProfile.type })
        assert.is_true(spec.securityContext.runAsUser > 0)
        assert.same({ allowPrivilegeEscalation = false, readOnlyRootFilesystem = true,
          capabilities = { drop = { "ALL" } } }, container.securityContext)
        assert.is_false(spec.automountServiceAccountToken)
        for _, volume in ipairs(spec.volumes) do
          assert(volume.emptyDir or volume.configMap)
        end
        assert.is_nil(spec.hostNetwork)
        assert(container.resources.limits.memory)
      end
    end)
    local namespace = find(built.base, "Namespace")
    assert.equal("restricted", namespace.metadata.labels["pod-security.kubernetes.io/enforce"])
  end)

  it("takes no key from a manifest", function()
    each(function(list)
      assert.same({}, all(list, "Secret"))
      for _, pod in ipairs(pods_of(list)) do
        for _, variable in ipairs(pod.spec.containers[1].env or {}) do
          if variable.name:find "KEY$" or variable.name:find "TOKEN$" then
            assert.is_nil(variable.value)
            assert.equal("unbusy-keys", variable.valueFrom.secretKeyRef.name)
          end
        end
      end
    end)
  end)

  it("wants those keys of the Secret that docs/kubernetes.md names", function()
    local wanted, named_there = {}, {}
    each(function(list)
      for _, pod in ipairs(pods_of(list)) do
        for _, variable in ipairs(pod.spec.containers[1].env or {}) do
          local from = variable.valueFrom and variable.valueFrom.secretKeyRef
          if from then wanted[from.key] = true end
        end
      end
    end)
    local page = files.text "docs/kubernetes.md":match "| key of `unbusy%-keys` .-\n\n"
    for key in page:gmatch "\n| `(%w+)` |" do named_there[key] = true end
    assert.same(named_there, wanted)
  end)

  it("has the time to end that its drain, and what comes before it, may take", function()
    for _, name in ipairs { "base", "edge", "private", "public", "mesh" } do
      local pod = find(built[name], "Deployment", "unbusy-gateway").spec.template.spec
      local container = pod.containers[1]
      local before = tonumber(container.lifecycle.preStop.exec.command[2])
      local drain = tonumber(kubernetes.argument(container.args, "--drain"))
      assert.is_true(before >= 5 and drain >= 120)
      assert.is_true(pod.terminationGracePeriodSeconds >= before + drain + 10)
    end
  end)
end)

describe("the figures:", function()
  local function autoscaler(list, kind)
    return find(list, kind, "deepseek-service").spec
  end

  it("3 to 20 replicas at 70 % CPU, up quickly, down slowly", function()
    local spec = autoscaler(built.private, "HorizontalPodAutoscaler")
    assert.same({ 3, 20, "cpu", 70 }, { spec.minReplicas, spec.maxReplicas,
      spec.metrics[1].resource.name, spec.metrics[1].resource.target.averageUtilization })
    assert.equal("autoscaling/v2", find(built.private, "HorizontalPodAutoscaler").apiVersion)
    local up, down = spec.behavior.scaleUp, spec.behavior.scaleDown
    assert.is_true(up.stabilizationWindowSeconds < down.stabilizationWindowSeconds)
  end)

  it("the same bounds for calls under way and their wait, by both kinds of autoscaler", function()
    local load = autoscaler(built.load, "HorizontalPodAutoscaler")
    local keda = autoscaler(built.public, "ScaledObject")
    assert.same({ 3, 20, 3, 20 },
      { load.minReplicas, load.maxReplicas, keda.minReplicaCount, keda.maxReplicaCount })
    for i, kind in ipairs { "AverageValue", "Value" } do
      local target = load.metrics[i].external.target
      assert.same({ kind, kind }, { target.type, keda.triggers[i].metricType })
      assert.equal(keda.triggers[i].metadata.threshold, target.averageValue or target.value)
    end
    assert.same(load.behavior, keda.advanced.horizontalPodAutoscalerConfig.behavior)
  end)

  it("90 and 10 of 100 calls, two more tries of half a second each", function()
    local http = find(built.service, "VirtualService").spec.http[1]
    assert.same({ "v1", 90, "v2", 10 }, { http.route[1].destination.subset, http.route[1].weight,
      http.route[2].destination.subset, http.route[2].weight })
    assert.same({ 2, "500ms" }, { http.retries.attempts, http.retries.perTryTimeout })
  end)

  it("no try of the mesh's own around the gateway, and no clock", function()
    local virtuals = all(built.mesh, "VirtualService")
    assert.equal(2, #virtuals)
    for _, virtual in ipairs(virtuals) do
      local http = virtual.spec.http[1]
      assert.same({ { attempts = 0 }, "0s" }, { http.retries, http.timeout })
    end
    for _, pod in ipairs(pods_of(built.mesh)) do -- the sidecar ends after all else
      local drain = pod.metadata.annotations["proxy.istio.io/config"]:match "DrainDuration: (%d+)s"
      assert.is_true(tonumber(drain) < pod.spec.terminationGracePeriodSeconds)
      assert.is_true(tonumber(drain) > 120)
    end
    for _, rule in ipairs(all(built.mesh, "DestinationRule")) do
      local outliers = rule.spec.trafficPolicy.outlierDetection
      assert.same({ 0, 0 }, { outliers.consecutive5xxErrors, outliers.consecutiveGatewayErrors })
    end
  end)
end)

describe("the YAML", function()
  it("is in yamllint's order", function()
    local said = files.trimmed("yamllint --strict --config-file deploy/.yamllint deploy/kubernetes"
      .. " deploy/istio deploy/karmada 2>&1; echo $?")
    assert.equal("0", said)
  end)
end)

describe("KEDA's trigger of Prometheus", function()
  -- Its fields are a free map, which no type looks at.
  local known = { serverAddress = true, query = true, threshold = true, ignoreNullValues = true }
  it("has the fields that it needs, and no others", function()
    for _, trigger in ipairs(find(built.public, "ScaledObject").spec.triggers) do
      assert.equal("prometheus", trigger.type)
      for name, value in pairs(trigger.metadata) do
        assert.is_true(known[name])
        assert.equal("string", type(value))
      end
      assert(trigger.metadata.query and tonumber(trigger.metadata.threshold))
      assert.equal("false", trigger.metadata.ignoreNullValues) -- nothing known: nothing done
    end
  end)
end)
