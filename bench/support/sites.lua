--- Ways from a client to an upstream, each a server of its own with one worker. They are given the
--- upstream's address, and pass a POST for /v1/chat/completions on to `PATH/v1/chat/completions`.
--
--     local site = sites.unbusy(upstream, "/ok")
--     site.url · site.headers (lines that a request needs) · site.pid (of the worker) · site:stop()
--
--   straight     no way at all: the upstream itself
--   proxy_pass   nginx's own, on kept connections: the limit
--   sockets      the least that nginx's Lua can do: lines of one known answer, on kept connections
--   cosocket     an HTTP client of nginx's Lua, on kept connections (see cosocket.lua)
--   unbusy       our gateway with every stage on, a client key, and its log
--   portkey      the Portkey gateway from npm (see portkey.sh)
local files = require "spec.support.files"
local launcher = require "spec.support.launcher"

local sites = {}

-- Of the file descriptors that a worker may have.
sites.FILES = 20000

local CONFIG = [[
${modules}
daemon off;
${user}
pid ${dir}/nginx.pid;
error_log ${dir}/error.log warn;
worker_processes 1;
worker_rlimit_nofile ${files};
events { worker_connections ${connections}; }
http {
  access_log off;
  default_type application/json;
  ${temp_paths}
  client_max_body_size 64m;
  client_body_buffer_size 16m;
  keepalive_timeout 600s;
  keepalive_requests 1000000000;
  lua_check_client_abort on;
  lua_package_path "${root}/lua/?.lua;${root}/lua/?/init.lua;${root}/?.lua;;";
  lua_package_cpath "${root}/build/luajit/?.so;;";
  ${http}
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location = /unrelated { return 200 "hi"; }
    ${server}
  }
}
]]

local PROXY_HTTP = [[
  upstream up {
    server ${address};
    keepalive 1024;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
  }
]]

local PROXY_SERVER = [[
    location /v1/ {
      proxy_pass http://up${path}/v1/;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Authorization "Bearer key-1";
      proxy_buffering ${buffering};
    }
]]

-- Reads an answer's header, then passes on a body of a known length, or one in chunks.
local SOCKETS_HTTP = [[
  lua_socket_pool_size 1024;
  init_by_lua_block {
    local function header_of(socket)
      local status = tonumber(assert(socket:receive "*l"):match "^HTTP/1%.1 (%d+)")
      local header = {}
      while true do
        local line = assert(socket:receive "*l")
        if line == "" then return status, header end
        local name, value = line:match "^([^:]+):%s*(.-)%s*$"
        header[name:lower()] = value
      end
    end
    local function chunks(socket)
      while true do
        local size = tonumber(assert(socket:receive "*l"), 16)
        if size == 0 then return socket:receive(2) end
        ngx.print((assert(socket:receive(size))))
        ngx.flush(true)
        socket:receive(2)
      end
    end
    function pass_on(host, port, path)
      ngx.req.read_body()
      local body = ngx.req.get_body_data()
      local socket = ngx.socket.tcp()
      socket:settimeouts(5000, 60000, 60000)
      assert(socket:connect(host, port))
      assert(socket:send { "POST ", path, "/v1/chat/completions HTTP/1.1\r\nHost: ", host,
        "\r\nAuthorization: Bearer key-1\r\nContent-Type: application/json\r\nContent-Length: ",
        #body, "\r\n\r\n", body })
      local status, header = header_of(socket)
      ngx.status, ngx.header["content-type"] = status, header["content-type"]
      local length = tonumber(header["content-length"])
      if length then ngx.print((assert(socket:receive(length)))) else chunks(socket) end
      socket:setkeepalive(60000, 1024)
    end
  }
]]

local SOCKETS_SERVER = [[
    location /v1/ {
      content_by_lua_block { pass_on("${host}", ${upport}, "${path}") }
    }
]]

local COSOCKET_HTTP = [[
  lua_socket_pool_size 1024;
  init_by_lua_block { pass_on = require("bench.support.cosocket").pass_on }
]]

local UNBUSY_HTTP = [[
  lua_socket_log_errors off;
  init_by_lua_block { gateway = require("unbusy.gateway").new "${dir}/gateway.lua" }
  log_format unbusy escape=none $unbusy_log;
]]

local UNBUSY_SERVER = [[
    set $unbusy_log "";
    location / {
      access_log ${dir}/access.log unbusy buffer=64k flush=1s;
      content_by_lua_block { gateway:handle() }
    }
]]

-- Every stage: breaker, limiter, budget, queue and retries are there without being named. Nothing
-- is in the cache, since all ask the same.
local UNBUSY_CONFIG = [[
return {
  targets = { { name = "up", url = "http://${address}${path}/v1", key = "key-1" } },
  limiter = { kind = "fixed", initial = 10000 },
  clocks = { total = 3600, start = 3600, token = 3600 },
  gateway = { keys = { { key = "sk-client", name = "bench" } }, ping = false },
}
]]

local function descriptors()
  return math.min(sites.FILES, tonumber(files.trimmed "ulimit -Hn") or sites.FILES)
end

local function start(name, upstream, path, given)
  local address = upstream.url:match "//(.*)"
  local open = descriptors()
  local values = { address = address, path = path, host = address:match "^[^:]+",
    upport = address:match ":(%d+)", buffering = path == "/ok" and "on" or "off" }
  local function filled(text) return (text:gsub("%${(%w+)}", values)) end
  local server = launcher.start { config = CONFIG,
    files = { ["gateway.lua"] = filled(given.config or "") }, values = {
    http = filled(given.http), server = filled(given.server), root = files.trimmed "pwd",
    files = tostring(open), connections = tostring(open - 100),
    user = files.trimmed "id -u" == "0" and "user root root;" or "" } }
  local site = { name = name, url = ("http://127.0.0.1:%d/v1/chat/completions"):format(server.port),
    base = ("http://127.0.0.1:%d"):format(server.port), dir = server.dir,
    headers = { "authorization: Bearer sk-client" },
    pid = assert(tonumber(files.trimmed("pgrep -P " .. server.pid)), "no worker") }
  function site.stop() server:stop() end
  return site
end

function sites.straight(upstream, path)
  return { name = "straight", url = upstream.url .. path .. "/v1/chat/completions", headers = {},
    pid = nil, stop = function() end }
end

function sites.proxy_pass(upstream, path)
  return start("proxy_pass", upstream, path, { http = PROXY_HTTP, server = PROXY_SERVER })
end

function sites.sockets(upstream, path)
  return start("sockets", upstream, path, { http = SOCKETS_HTTP, server = SOCKETS_SERVER })
end

function sites.cosocket(upstream, path)
  return start("cosocket", upstream, path, { http = COSOCKET_HTTP, server = SOCKETS_SERVER })
end

function sites.unbusy(upstream, path)
  return start("unbusy", upstream, path,
    { http = UNBUSY_HTTP, server = UNBUSY_SERVER, config = UNBUSY_CONFIG })
end

-- Waits for what portkey.sh says: its process id and its URL, or nil.
local function said(path)
  for _ = 1, 600 do
    local file = assert(io.open(path))
    local text = file:read "*a"
    file:close()
    local pid, url = text:match "^pid (%d+)\nurl (%S+)\n"
    if pid then return tonumber(pid), url end
    if text:find("portkey.sh: ", 1, true) then return nil, text end
    os.execute "sleep 0.1"
  end
  return nil, "it does not start"
end

--- Nil and the reason where it cannot be had.
function sites.portkey(upstream, path)
  local log = os.tmpname()
  local pipe = assert(io.popen("exec sh bench/support/portkey.sh start >" .. log .. " 2>&1", "w"))
  local pid, url = said(log)
  os.remove(log)
  if not pid then
    pipe:close()
    return nil, url
  end
  return { name = "Portkey", url = url .. "/v1/chat/completions", pid = pid, headers = {
      "authorization: Bearer key-1", "x-portkey-provider: openai",
      ("x-portkey-custom-host: %s%s/v1"):format(upstream.url, path) },
    stop = function() pipe:close() end }
end

return sites
