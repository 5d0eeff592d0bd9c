--- A stand-in for Kubernetes' API, for a real `kubectl` (see kube_api/server.lua), with an
--- Alertmanager and metrics beside it.
--
--     local api = kube_api.start()
--     api:set { replicas = 5, nodes = { a = { cpu = "3500m", whole = "4" } } }
--     api:state().replicas · .written (each number that was asked for) · .alerts · .requests
--     api.url · api.kubeconfig (a path) · api:stop()
local direct = require "spec.support.direct"
local files = require "spec.support.files"
local json = require "unbusy.json"
local launcher = require "spec.support.launcher"

local kube_api = {}
kube_api.__index = kube_api

local CONFIG = [[
${modules}
daemon off;
${user}
pid ${dir}/nginx.pid;
error_log ${dir}/error.log notice;
worker_processes 1;
events { worker_connections 256; }
http {
  access_log off;
  ${temp_paths}
  client_body_buffer_size 1m;
  lua_shared_dict kube_api 2m;
  lua_package_path "${root}/?.lua;${root}/lua/?.lua;;";
  server {
    listen 127.0.0.1:${port};
    listen 127.0.0.1:${port2} ssl;
    ssl_certificate ${dir}/tls.pem;
    ssl_certificate_key ${dir}/tls.pem;
    location / { content_by_lua_block { require("spec.support.kube_api.server").serve() } }
  }
}
]]

local KUBECONFIG = [[
apiVersion: v1
kind: Config
clusters:
  - name: c
    cluster: { server: "https://127.0.0.1:${port2}", certificate-authority: "${dir}/tls.pem" }
users: [{ name: u, user: { token: made-up } }]
contexts: [{ name: test, context: { cluster: c, user: u } }]
current-context: test
]]

-- kubectl sends no token without TLS. A key and a certificate for 127.0.0.1.
local CERTIFICATE = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
  .. "-days 30 -subj /CN=kube-api -addext subjectAltName=IP:127.0.0.1 -keyout - -out - 2>/dev/null"

--- Starts it; it ends with this process.
function kube_api.start()
  local is_root = files.trimmed "id -u" == "0"
  local self = launcher.start { config = CONFIG,
    files = { kubeconfig = KUBECONFIG, ["tls.pem"] = files.trimmed(CERTIFICATE) .. "\n" },
    values = { root = files.trimmed "pwd", user = is_root and "user root root;" or "" } }
  self.url, self.kubeconfig = ("http://127.0.0.1:%d"):format(self.port), self.dir .. "/kubeconfig"
  self.launcher = getmetatable(self)
  return setmetatable(self, kube_api)
end

--- What it knows from now on; the rest is a Deployment `deepseek-service` in `default` with 5
--- replicas.
function kube_api:set(given)
  local s = { deployment = "deepseek-service", namespace = "default", replicas = 5, version = 7,
    nodes = { a = { cpu = "3500m", whole = "4" }, b = { cpu = "3500m", whole = "6" } },
    written = json.array(), alerts = json.array(), requests = json.array() }
  for name, value in pairs(given or {}) do s[name] = value end
  self:write(s)
end

--- Replaces all that it knows.
function kube_api:write(s)
  assert(select(2, direct.ask("POST", self.url .. "/__state", assert(json.encode(s)))) == 200)
end

--- What it knows now.
function kube_api:state()
  return assert(json.decode((direct.ask("GET", self.url .. "/__state"))))
end

--- Changes some of what it knows.
function kube_api:change(given)
  local s = self:state()
  for name, value in pairs(given) do s[name] = value end
  self:write(s)
end

--- Ends it.
function kube_api:stop()
  self.launcher.stop(setmetatable(self, self.launcher))
end

return kube_api
