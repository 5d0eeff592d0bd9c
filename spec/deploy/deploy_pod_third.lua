-- The gateway's pods, as far as they can be had without a cluster: what kustomize has built says
-- which arguments, variables and files there are, and `unbusy serve` runs with them as another
-- user, without capabilities, on read-only file systems. Run by `tools/test.sh third`, as root.
local busyd = require "spec.support.busyd"
local files = require "spec.support.files"
local kubernetes = require "spec.support.kubernetes"
local served = require "spec.support.served"

local top = files.trimmed "pwd"
local may = files.trimmed("sh spec/support/pod.sh may && echo yes") == "yes" -- be another user

local secrets = { client = "sk-of-a-client", operator = "token-of-operators", centre = "sk-centre",
  cloud = "sk-cloud", service = "sk-service" }

local CLIENT = "-H 'authorization: Bearer " .. secrets.client .. "'"
local OPERATOR = "-H 'authorization: Bearer " .. secrets.operator .. "'"

local up
setup(function() up = busyd.start { workers = 1 } end)
teardown(function() if up then up:stop() end end)

-- The variables of a container; every server is ours.
local function environment(container)
  local out = { TMPDIR = "/tmp" }
  for _, variable in ipairs(container.env) do
    local from = variable.valueFrom and variable.valueFrom.secretKeyRef
    if not from then
      out[variable.name] = variable.name:find "_URL$" and up.url .. "/v1" or variable.value
    elseif not from.optional then
      out[variable.name] = assert(secrets[from.key], from.key)
    end
  end
  return out
end

-- Where the configuration is seen, and all arguments but for the address and the workers, which
-- whoever starts it for us says.
local function arguments(container)
  local out, args = {}, container.args
  local i = 2 -- behind "serve"
  while i <= #args do
    if args[i] == "--listen" or args[i] == "--workers" then
      i = i + 2
    else
      out[#out + 1], i = args[i]:gsub("^/etc/unbusy/", "/mnt/"), i + 1
    end
  end
  return out
end

local built = {} -- by folder

-- The gateway of a folder with a kustomization: its container and rights; its files are written.
local function read(place, folder)
  local objects = built[folder] or kubernetes.build(folder, place.dir .. "/built.yaml")
  built[folder] = objects
  local pod = kubernetes.find(objects, "Deployment", "unbusy-gateway").spec.template.spec
  local container = pod.containers[1]
  local texts = kubernetes.find(objects, "ConfigMap", kubernetes.named(pod.volumes,
    "config").configMap.name).data
  os.execute("mkdir " .. files.quote(place.dir .. "/config"))
  for name, text in pairs(texts) do place:write("config/" .. name, text) end
  return container, pod.securityContext
end

local function start(place, container, security)
  local before = ("sh %s/spec/support/pod.sh %d %d %s %s %s"):format(files.quote(top),
    security.runAsUser, security.runAsGroup, files.quote(top),
    files.quote(place.dir .. "/config"), files.quote(place.tmp))
  local server = served.start(place, arguments(container),
    { before = before, env = environment(container), program = "/srv/bin/unbusy" })
  -- signals go to the first process inside, as the kubelet's do
  server.pid = files.trimmed("pgrep -P " .. server.pid)
  return server
end

for _, name in ipairs { "base", "overlays/edge", "overlays/private", "overlays/public" } do
  describe("the gateway's pod of " .. name, function()
    local place, server, container, security

    setup(function()
      if not may then return end
      up:programme { reset = true, log = true }
      place = served.place()
      container, security = read(place, "deploy/kubernetes/" .. name)
      server = start(place, container, security)
    end)
    teardown(function() if place then place:remove() end end)

    local function example(what, f)
      it(what, function()
        if not may then return pending "needs root, and namespaces" end
        f()
      end)
    end

    example("runs as another user, who may do nothing and write nowhere else", function()
      local status = files.text(("/proc/%s/status"):format(server.pid))
      assert.equal(security.runAsUser, tonumber(status:match "\nUid:%s+(%d+)"))
      assert.truthy(security.runAsUser > 0)
      assert.equal("0000000000000000", status:match "\nCapEff:%s+(%x+)")
      assert.equal("1", status:match "\nNoNewPrivs:%s+(%d)")
      local mounts = files.text(("/proc/%s/mountinfo"):format(server.pid))
      assert.truthy(mounts:find "%d+ %d+ %S+ %S+ / ro[,%s]")
      assert.equal("1", (place:folders())) -- nginx's files, in /tmp
    end)

    example("answers the probes without a key", function()
      for _, probe in ipairs { "startupProbe", "readinessProbe", "livenessProbe" } do
        local _, status = server:ask(container[probe].httpGet.path)
        assert.equal(200, status)
      end
    end)

    example("answers those who have the client key", function()
      assert.equal(401, (select(2, server:chat "nobody")))
      local body, status = server:chat("explain why the harbour freezes", CLIENT)
      assert.equal(200, status)
      assert.truthy(body:find("echo: explain why the harbour freezes", 1, true))
    end)

    example("shows operators, and nobody else, what goes on", function()
      for _, path in ipairs { "/status", "/metrics" } do
        assert.equal(401, (select(2, server:ask(path))))
        assert.equal(401, (select(2, server:ask(path, CLIENT))))
        assert.equal(200, (select(2, server:ask(path, OPERATOR))))
      end
    end)

    -- Also before the first call: to an autoscaler a number that is missing is not nought.
    example("counts what the autoscalers ask for", function()
      local text = server:ask("/metrics", OPERATOR)
      for _, series in ipairs { 'unbusy_target_in_flight{target="%s"} 0',
        'unbusy_queue_waiting{priority="normal"} 0' } do
        local wanted = series:format(name == "overlays/edge" and "small" or "deepseek-service")
        assert.truthy(text:find("\n" .. wanted .. "\n", 1, true), wanted)
      end
      local values = files.text "deploy/kubernetes/components/autoscale-load/adapter-values.yaml"
      for metric in values:gmatch "seriesQuery: (unbusy_[%w_]+)" do
        assert.truthy(text:find("# TYPE " .. metric .. " ", 1, true), metric)
      end
    end)

    example("ends what is under way, then itself, when it is told to", function()
      up:programme { reset = true, token_interval = 0.05, answer = { tokens = 20 } }
      local stream = server:stream("explain it at length", CLIENT)
      served.wait(function() return stream():find("data:", 1, true) end, "the first piece")
      server:signal "TERM"
      assert.equal(0, server:ended())
      local text, status = stream()
      assert.equal(0, status)
      assert.truthy(text:find("data: [DONE]", 1, true))
      assert.equal("0", (place:folders()))
      local said = server:said()
      for _, word in ipairs { "[emerg]", "[alert]", "[crit]", "[error]", "do not share" } do
        assert.is_nil(said:find(word, 1, true), said)
      end
    end)
  end)
end

describe("the gateway's pod, while its service turns all calls away,", function()
  it("is not taken out, and answers with the fallback", function()
    if not may then return pending "needs root, and namespaces" end
    local place = served.place()
    finally(function() place:remove() end)
    local container, security = read(place, "deploy/kubernetes/base")
    local server = start(place, container, security)
    up:programme { reset = true, script = { { preset = "busy_503", retry_after = 300 } } }
    local body, status = server:chat("anybody there?", CLIENT)
    assert.equal(200, status)
    assert.truthy(body:find("系统繁忙", 1, true))
    served.wait(function() -- all workers know before long that nobody may be asked now
      return select(2, server:ask "/readyz") == 503
    end, "the gateway's word that nobody may be asked")
    assert.equal(200, (select(2, server:ask(container.readinessProbe.httpGet.path))))
  end)
end)

describe("the gateway's configuration", function()
  it("may listen where everybody can reach it, since it has client keys", function()
    for _, name in ipairs { "base", "overlays/edge", "overlays/private", "overlays/public" } do
      local place = served.place()
      local container = read(place, "deploy/kubernetes/" .. name)
      local env = {}
      for variable, value in pairs(environment(container)) do
        env[#env + 1] = variable .. "=" .. files.quote(value)
      end
      local words = { "serve", "--print-conf", "--listen",
        kubernetes.argument(container.args, "--listen"), "--workers",
        kubernetes.argument(container.args, "--workers"), place.dir .. "/config/gateway.lua" }
      if files.trimmed "id -u" == "0" then -- nobody else may be able to read a clone of root's
        for _, word in ipairs { "root", "--user" } do table.insert(words, 2, word) end
      end
      local done = place:run(words, { env = table.concat(env, " ") })
      place:remove()
      assert.same({ "", 0 }, { done.err, done.rc })
      assert.truthy(done.out:find("listen 0.0.0.0:8080", 1, true))
      assert.truthy(done.out:find("worker_processes 2;", 1, true))
    end
  end)

  it("gives no call more time than its pod has to end", function()
    for _, name in ipairs { "base", "overlays/edge", "overlays/private", "overlays/public" } do
      local place = served.place()
      local container = read(place, "deploy/kubernetes/" .. name)
      local getenv = os.getenv
      rawset(os, "getenv", function(variable) return environment(container)[variable] end)
      local options = dofile(place.dir .. "/config/gateway.lua")
      rawset(os, "getenv", getenv)
      place:remove()
      assert.is_true(options.clocks.total
        <= tonumber(kubernetes.argument(container.args, "--drain")))
    end
  end)
end)
