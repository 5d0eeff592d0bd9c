-- deploy/autoscale: its objects are of their types, its arguments are those of the command, and it
-- may do what it does and no more. Run by `tools/test.sh third`.
local arguments = require "unbusy.cli.arguments"
local command = require "unbusy.cli.scale"
local files = require "spec.support.files"
local kube_api = require "spec.support.kube_api"
local kubernetes = require "spec.support.kubernetes"
local served = require "spec.support.served"

local find = kubernetes.find

describe("deploy/autoscale", function()
  local place, built, path_of = nil, {}, {}

  setup(function()
    place = served.place()
    for name, folder in pairs { cpu = "deploy/autoscale/cpu", load = "deploy/autoscale/load" } do
      path_of[name] = place.dir .. "/" .. name .. ".yaml"
      built[name] = kubernetes.build(folder, path_of[name])
    end
  end)
  teardown(function() if place then place:remove() end end)

  local function args_of(name)
    local pod = find(built[name], "Deployment").spec.template.spec
    return pod.containers[1].args
  end

  it("is built of objects that have their types' fields", function()
    local faults, objects = kubernetes.faults { path_of.cpu, path_of.load }
    assert.same({}, faults)
    assert.equal(#built.cpu + #built.load, objects)
    assert.equal(6, #built.cpu)
  end)

  it("says what the command understands", function()
    for name in pairs(built) do
      local args = args_of(name)
      assert.equal("scale", args[1])
      local values = assert(arguments.parse(command, args, 2))
      assert.same({ "deepseek-service", name, "unbusy", 3, 15 }, { values[1], values.rule,
        values.namespace, values.least, values.most })
    end
  end)

  it("runs one at a time, as nobody", function()
    local deployment = find(built.cpu, "Deployment")
    assert.equal(1, deployment.spec.replicas)
    assert.equal("Recreate", deployment.spec.strategy.type)
    local pod = deployment.spec.template.spec
    assert.is_true(pod.securityContext.runAsNonRoot)
    assert.is_true(pod.containers[1].securityContext.readOnlyRootFilesystem)
  end)

  -- {== Its rights =========================================================

  local verbs = { GET = "get", PUT = "update", PATCH = "patch" }

  -- What of Kubernetes' rights a request needs: a verb, a group, a resource and a name.
  local function need_of(request)
    local method, path = request:match "^(%u+) (%S+)$"
    local group, version, rest = path:match "^/apis/([^/]+)/([^/]+)/(.+)$"
    if not group then group, rest = "", path:match "^/api/v1/(.+)$" end
    if not rest then return nil, version end -- what there is: everybody may see that
    rest = rest:gsub("^namespaces/[^/]+/", "")
    local resource, name, part = rest:match "^([^/]+)/?([^/]*)/?(.*)$"
    local verb = method == "GET" and name == "" and "list" or verbs[method]
    if part ~= "" then resource = resource .. "/" .. part end
    return { verb = verb, group = group, resource = resource, name = name }
  end

  local function has(list, value)
    for _, one in ipairs(list or {}) do
      if one == value then return true end
    end
    return false
  end

  local function allowed(need)
    for _, kind in ipairs { "Role", "ClusterRole" } do
      for _, rule in ipairs(find(built.cpu, kind).rules) do
        if has(rule.apiGroups, need.group) and has(rule.resources, need.resource)
          and has(rule.verbs, need.verb)
          and (not rule.resourceNames or has(rule.resourceNames, need.name)) then
          return true
        end
      end
    end
    return false
  end

  it("may do what it does", function()
    local api = kube_api.start()
    api:set { nodes = { a = { cpu = "9", whole = "10" } } }
    local kubectl = files.trimmed "pwd" .. "/build/kubernetes/kubectl"
    local r = place:run({ "scale", "deepseek-service", "--once", "--state", place.dir .. "/state",
      "--kubectl", kubectl }, { env = ("env KUBECONFIG=%s HOME=%s"):format(api.kubeconfig,
      place.tmp) })
    assert.same({ "", 0 }, { r.err, r.rc })
    local state, checked = api:state(), 0
    api:stop()
    assert.same({ 8 }, state.written)
    for _, request in ipairs(state.requests) do
      local need = need_of(request)
      if need then
        checked = checked + 1
        assert(allowed(need), request)
      end
    end
    assert.is_true(checked >= 5)
    assert.is_false(allowed { verb = "delete", group = "apps", resource = "deployments",
      name = "deepseek-service" })
    assert.is_false(allowed { verb = "patch", group = "apps", resource = "deployments/scale",
      name = "another" })
  end)

  -- }=======================================================================

  it("has a Dockerfile that the linters accept", function()
    assert.same({}, kubernetes.lint "deploy/autoscale/Dockerfile")
  end)
end)
