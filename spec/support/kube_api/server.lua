-- A small part of Kubernetes' API, as much as `kubectl` asks of it to scale a Deployment; inside
-- nginx. What it knows is one table, which the test sets and reads at /__state. Beside it, an
-- Alertmanager that keeps what it is told, and metrics for a real Prometheus.
local json = require "unbusy.json"

local server = {}

local shared = ngx.shared.kube_api
local NOW = "%Y-%m-%dT%H:%M:%SZ"

local function state() return json.decode(shared:get "state") end
local function keep(s) shared:set("state", json.encode(s)) end

local function say(status, value)
  ngx.status = status
  ngx.header["content-type"] = "application/json"
  ngx.print(json.encode(value))
end

local function list(kind, version, items)
  return { kind = kind, apiVersion = version, metadata = { resourceVersion = "1" },
    items = json.array(items) }
end

local function failure(code, reason, message)
  say(code, { kind = "Status", apiVersion = "v1", metadata = {}, status = "Failure",
    message = message, reason = reason, code = code })
end

-- {== What there is =======================================================

local function group(name, version)
  local v = { groupVersion = name .. "/" .. version, version = version }
  return { name = name, versions = { v }, preferredVersion = v }
end

local function resource(name, kind, namespaced, verbs, more)
  local out = { name = name, singularName = "", kind = kind, namespaced = namespaced,
    verbs = verbs }
  for k, v in pairs(more or {}) do out[k] = v end
  return out
end

local function resources(version, items)
  return { kind = "APIResourceList", apiVersion = "v1", groupVersion = version, resources = items }
end

local GET, CHANGE = { "get", "list" }, { "get", "list", "update", "patch" }
local SCALE = { group = "autoscaling", version = "v1" }

local documents = {
  ["/api"] = { kind = "APIVersions", versions = { "v1" } },
  ["/apis"] = { kind = "APIGroupList", apiVersion = "v1", groups = { group("apps", "v1"),
    group("autoscaling", "v1"), group("metrics.k8s.io", "v1beta1") } },
  ["/api/v1"] = resources("v1", { resource("nodes", "Node", false, GET) }),
  ["/apis/apps/v1"] = resources("apps/v1", {
    resource("deployments", "Deployment", true, CHANGE),
    resource("deployments/scale", "Scale", true, CHANGE, SCALE) }),
  ["/apis/autoscaling/v1"] = resources("autoscaling/v1", {
    resource("horizontalpodautoscalers", "HorizontalPodAutoscaler", true, GET) }),
  ["/apis/metrics.k8s.io/v1beta1"] = resources("metrics.k8s.io/v1beta1", {
    resource("nodes", "NodeMetrics", false, GET) }),
}

local function deployment_of(s, name)
  return { kind = "Deployment", apiVersion = "apps/v1",
    metadata = { name = name, namespace = s.namespace, resourceVersion = tostring(s.version) },
    spec = { replicas = s.replicas, selector = { matchLabels = { app = name } },
      template = { metadata = { labels = { app = name } },
        spec = { containers = { { name = "c", image = "i" } } } } },
    status = { replicas = s.replicas } }
end

local function scale_of(s, name)
  return { kind = "Scale", apiVersion = "autoscaling/v1",
    metadata = { name = name, namespace = s.namespace, resourceVersion = tostring(s.version) },
    spec = { replicas = s.replicas },
    status = { replicas = s.replicas, selector = "app=" .. name } }
end

-- }========================================================================

-- {== What may be changed =================================================

-- Somebody else is quicker, once: so many replicas are there before the next reading by name.
local function meddle(s)
  if type(s.meddle) ~= "number" then return end
  s.replicas, s.version, s.meddle = s.meddle, s.version + 1, nil
  keep(s)
end

local function put_scale(s, name, body)
  local given = json.decode(body)
  local version = type(given.metadata) == "table" and given.metadata.resourceVersion
  if type(version) == "string" and version ~= "" and version ~= tostring(s.version) then
    return failure(409, "Conflict", "the object has been modified")
  end
  s.replicas, s.version = given.spec.replicas or 0, s.version + 1
  s.written[#s.written + 1] = s.replicas
  keep(s)
  say(200, scale_of(s, name))
end

local function serve_deployment(s, method, name, part, body)
  if name ~= s.deployment then
    return failure(404, "NotFound", ('deployments.apps "%s" not found'):format(name))
  end
  if method ~= "GET" then return put_scale(s, name, body) end
  -- kubectl reads the scale itself before it changes it, with no word of "raw": so whoever is
  -- quicker comes when the number has been read twice.
  s.reads = (s.reads or 0) + 1
  keep(s)
  if s.reads > 1 then meddle(s) end
  return say(200, part == "/scale" and scale_of(s, name) or deployment_of(s, name))
end

-- }========================================================================

local function node_of(name, n)
  return { kind = "Node", apiVersion = "v1", metadata = { name = name },
    status = { allocatable = { cpu = n.whole }, conditions = { { type = "Ready",
      status = n.ready == false and "False" or "True" } } } }
end

local function metrics_of(name, n)
  return { metadata = { name = name }, window = "20s", usage = { cpu = n.cpu, memory = "1Gi" },
    timestamp = os.date("!" .. NOW, os.time() - (n.age or 10)) }
end

local function nodes_of(s, make)
  local out = {}
  for name, n in pairs(s.nodes) do
    if make == node_of or n.cpu then out[#out + 1] = make(name, n) end
  end
  return out
end

local function serve_api(s, method, path, body)
  local name, part = path:match("^/apis/apps/v1/namespaces/" .. s.namespace
    .. "/deployments/([%w-]+)(.*)$")
  if name and (part == "" or part == "/scale") then
    return serve_deployment(s, method, name, part, body)
  elseif documents[path] then
    return say(200, documents[path])
  elseif path == "/api/v1/nodes" then
    return say(200, list("NodeList", "v1", nodes_of(s, node_of)))
  elseif path == "/apis/metrics.k8s.io/v1beta1/nodes" and s.metrics ~= false then
    return say(200, list("NodeMetricsList", "metrics.k8s.io/v1beta1", nodes_of(s, metrics_of)))
  elseif path:find "/horizontalpodautoscalers$" then
    if s.hpas == false then return failure(403, "Forbidden", "you may not see that") end
    return say(200, list("HorizontalPodAutoscalerList", "autoscaling/v1", s.hpas or {}))
  end
  failure(404, "NotFound", "the server could not find the requested resource")
end

--- One request.
function server.serve()
  local method, path = ngx.req.get_method(), ngx.var.uri
  ngx.req.read_body()
  local body = ngx.req.get_body_data() or ""
  if path == "/__state" then
    if method == "POST" then shared:set("state", body) end
    return ngx.print(shared:get "state")
  end
  local s = state()
  if path == "/metrics" then
    if s.exposition then return ngx.print(s.exposition) end
    return ngx.exit(503)
  end
  if path == "/api/v2/alerts" then
    if s.alertmanager == false then return failure(503, "Unavailable", "no") end
    for _, alert in ipairs(json.decode(body)) do s.alerts[#s.alerts + 1] = alert end
    keep(s)
    return say(200, {})
  end
  if ngx.req.get_headers().authorization ~= "Bearer made-up" then
    return failure(401, "Unauthorized", "Unauthorized")
  end
  if s.slow then ngx.sleep(s.slow) end
  s.requests[#s.requests + 1] = method .. " " .. path
  keep(s)
  return serve_api(s, method, path, body)
end

return server
