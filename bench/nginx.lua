-- Calls from a content handler of nginx, one worker: requests a second, p99 and the worker's CPU,
-- at 1, 32 and 256 connections.
--
--   proxy_pass       nginx's own, with kept connections: the floor
--   bare             a cosocket, kept: a request that is one constant, and the answer's length
--   cosocket         what a client for general use does on one (bench/support/cosocket.lua):
--                    options copied, headers in a table, the body in parts; JSON in and out
--   client:post      our client with every stage on, a body and an answer that are text
--   client:chat      the same with JSON in and out
--
-- Needs wrk (Debian: wrk). The server that is asked is another nginx; wrk is a third process.
local files = require "spec.support.files"
local launcher = require "spec.support.launcher"
local measure = require "bench.support.measure"
local nginx = require "bench.support.nginx"

local SECONDS = tonumber(os.getenv "UNBUSY_BENCH_SECONDS") or 3
local TURNS = tonumber(os.getenv "UNBUSY_BENCH_TURNS") or 3

local CONFIG = [[
${modules}
daemon off;
user root;
pid ${dir}/nginx.pid;
error_log ${dir}/error.log crit;
worker_processes 1;
worker_rlimit_nofile 20000;
events { worker_connections 8192; }
http {
  access_log off;
  ${temp_paths}
  keepalive_requests 1000000000;
  lua_package_path "${root}/lua/?.lua;${root}/lua/?/init.lua;${root}/?.lua;;";
  lua_package_cpath "${root}/build/luajit/?.so;;";
  lua_check_client_abort on;
  upstream server { server ${host}; keepalive 512; keepalive_requests 1000000000; }
  init_by_lua_block {
    local unbusy = require "unbusy"
    question = { model = "m", temperature = 0.7, messages = {
      { role = "system", content = "You are a helpful assistant." },
      { role = "user", content = ("word "):rep(73) } } }
    body = require("unbusy.json").encode(question)
    client = unbusy.new { targets = { { name = "a", url = "http://${host}/ok/v1", key = "key-1" } },
      limiter = { initial = 1000, max = 1000 } }
    request = "POST /ok/v1/chat/completions HTTP/1.1\r\nHost: ${host}\r\n"
      .. "Authorization: Bearer key-1\r\nContent-Type: application/json\r\n"
      .. "Content-Length: " .. #body .. "\r\n\r\n"
    function bare(socket)
      socket:settimeouts(1000, 10000, 10000)
      assert(socket:connect(unpack(address)))
      assert(socket:send { request, body })
      local status, length = socket:receive(), 0
      repeat
        local line = assert(socket:receive())
        local name, value = line:match "^([^:]+): (.*)$"
        if name and name:lower() == "content-length" then length = tonumber(value) end
      until line == ""
      local answer = assert(socket:receive(length))
      socket:setkeepalive(60000, 512)
      return status and answer
    end
    ${cosocket}
    address = { ("${host}"):match "([^:]+):(%d+)" }
    address[2] = tonumber(address[2])
  }
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location = /floor { content_by_lua_block { ngx.print "hi" } }
    location = /proxy {
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Authorization "Bearer key-1";
      proxy_method POST;
      proxy_set_body '${question}';
      proxy_pass http://server/ok/v1/chat/completions;
    }
    location = /bare { content_by_lua_block { ngx.print(bare(ngx.socket.tcp())) } }
    location = /cosocket { content_by_lua_block {
      ngx.print(ask(address[1], address[2], question).raw)
    } }
    location = /post { content_by_lua_block {
      ngx.print(assert(client:post("/chat/completions", body)).raw)
    } }
    location = /chat { content_by_lua_block {
      ngx.print(assert(client:chat(question)).raw)
    } }
  }
}
]]

local COSOCKET = [[
    local cosocket, json = require "bench.support.cosocket", require "unbusy.json"
    function ask(host, port, request)
      local answer = cosocket.request { host = host, port = port, method = "POST",
        path = "/ok/v1/chat/completions", body = json.encode(request), headers = {
          ["Authorization"] = "Bearer key-1", ["Content-Type"] = "application/json",
          ["Accept"] = "application/json" } }
      local parts = {}
      for part in answer.part do parts[#parts + 1] = part end
      answer.keep()
      answer.raw = table.concat(parts)
      answer.body = json.decode(answer.raw)
      return answer
    end
]]

assert(files.output "command -v wrk" ~= "", "bench: wrk is missing")

local server = nginx.start()
local json = require "unbusy.json"
local site = launcher.start { config = CONFIG, values = {
  cosocket = COSOCKET, host = server.url:match "//(.*)$", root = files.output("pwd"):match "[^\n]+",
  question = json.encode { model = "m", messages = { { role = "user",
    content = ("word "):rep(73) } } } } }
local base = ("http://127.0.0.1:%d"):format(site.port)
local worker = tonumber(files.output("pgrep -P " .. site.pid))
local ticks = tonumber(files.output "getconf CLK_TCK")

-- Seconds of CPU that the worker (all its threads) has taken.
local function cpu()
  local file = assert(io.open(("/proc/%d/stat"):format(worker)))
  local fields = {}
  for field in file:read("*a"):match("%) (.*)$"):gmatch "%S+" do fields[#fields + 1] = field end
  file:close()
  return (tonumber(fields[12]) + tonumber(fields[13])) / ticks -- user and system
end

local units = { us = 1e-3, ms = 1, s = 1e3 }

-- One run of wrk: requests a second, p50 and p99 in milliseconds, microseconds of CPU a request.
local function run(path, connections, seconds)
  local before = cpu()
  local out = files.output(("wrk -t1 -c%d -d%ds --latency '%s%s'"):format(connections, seconds,
    base, path))
  local taken = cpu() - before
  local count = tonumber(out:match "(%d+) requests in")
  local function ms(share)
    local value, unit = out:match("%s" .. share .. "%%%s+([%d.]+)(%a+)")
    return tonumber(value) * units[unit]
  end
  assert(not out:find "Non%-2xx", out)
  return { rate = tonumber(out:match "Requests/sec:%s+([%d.]+)"), p50 = ms "50", p99 = ms "99",
    us = taken / count * 1e6 }
end

local contestants = { "proxy", "bare", "cosocket", "post", "chat", "floor" }
local shown = { proxy = "proxy_pass", bare = "a bare cosocket", cosocket = "a cosocket client",
  post = "client:post", chat = "client:chat", floor = "no upstream at all" }

local function race(connections)
  print(("%d connections"):format(connections))
  local best = {}
  for _, name in ipairs(contestants) do run("/" .. name, connections, 1) end
  for _ = 1, TURNS do
    for _, name in ipairs(contestants) do
      local r = run("/" .. name, connections, SECONDS)
      local b = best[name] or r
      best[name] = { rate = math.max(b.rate, r.rate), p50 = math.min(b.p50, r.p50),
        p99 = math.min(b.p99, r.p99), us = math.min(b.us, r.us) }
    end
  end
  for _, name in ipairs(contestants) do
    local b = best[name]
    print(("  %-8s %8.0f requests/s   p50 %7.2f ms   p99 %7.2f ms   %6.1f us of CPU  x %.2f")
      :format(name, b.rate, b.p50, b.p99, b.us, b.us / best.bare.us))
  end
  local title, rows = ("CPU of the worker for a request, %d connections"):format(connections), {}
  for i, name in ipairs(contestants) do rows[i] = { shown[name], best[name].us } end
  measure.rows(title, rows, "us")
  measure.goal("CPU of client:chat against a cosocket client", best.chat.us / best.cosocket.us,
    1.5, "x")
  local what = ("CPU of client:post in nginx, %d connections"):format(connections)
  measure.peer("nginx proxy_pass", what, best.post.us / best.proxy.us)
  measure.peer("a cosocket client", what, best.post.us / best.cosocket.us)
  return best
end

for _, connections in ipairs { 1, 32, 256 } do race(connections) end

site:stop()
server:stop()
