--- A server that says exactly what it is told: for answers that no HTTP server gives.
--
--     local raw = raw_server.start()
--     -- the body of a request is what its answer will be, byte for byte
--     { method = "POST", url = raw.url, body = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" }
--
-- After the answer the connection is closed. Where the body has the byte 1, the server pauses for
-- 20 ms. A request for /drop is not read: its connection is reset. `freeze` stops the server: the
-- kernel still takes connections, and nobody ever answers on them; `thaw` lets it go on.
local raw_server = {}
raw_server.__index = raw_server

local CONFIG = [[
load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;
daemon off;
master_process off;
pid ${dir}/nginx.pid;
error_log ${dir}/error.log warn;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path ${dir}/body;
  proxy_temp_path ${dir}/proxy;
  fastcgi_temp_path ${dir}/fastcgi;
  uwsgi_temp_path ${dir}/uwsgi;
  scgi_temp_path ${dir}/scgi;
  client_body_buffer_size 8m;
  client_max_body_size 64m;
  lingering_close off;
  reset_timedout_connection on;
  server {
    listen 127.0.0.1:${port};
    ${tls}
    location /drop { return 444; }
    location / {
      content_by_lua_block {
        ngx.req.read_body()
        local answer = ngx.req.get_body_data() or ""
        local socket = assert(ngx.req.socket(true))
        for piece in (answer .. "\1"):gmatch "(.-)\1" do
          if not socket:send(piece) then return end
          ngx.sleep(0.02)
        end
      }
    }
  }
}
]]

local function output_of(command)
  local pipe = assert(io.popen(command, "r"))
  local out = pipe:read "*a"
  pipe:close()
  return (out:gsub("%s+$", ""))
end

local function read(path)
  local file = io.open(path, "rb")
  if not file then return "" end
  local content = file:read "*a"
  file:close()
  return content
end

local function random_port()
  local file = assert(io.open("/dev/urandom", "rb"))
  local a, b = file:read(2):byte(1, 2)
  file:close()
  return 10000 + (a * 256 + b) % 22000
end

local function write_config(self, certificates)
  local tls = certificates and ([[listen 127.0.0.1:%d ssl;
    ssl_certificate %s/tls.pem;
    ssl_certificate_key %s/tls.key;]]):format(self.tls_port, certificates, certificates)
  local values = { dir = self.dir, port = tostring(self.port), tls = tls or "" }
  local file = assert(io.open(self.dir .. "/nginx.conf", "wb"))
  file:write((CONFIG:gsub("%${(%w+)}", values)))
  file:close()
end

-- nginx writes its process id once it listens.
local function wait_until_up(self)
  for _ = 1, 500 do
    self.pid = read(self.dir .. "/nginx.pid"):match "%d+"
    if self.pid then return true end
    local log = read(self.dir .. "/error.log") .. read(self.dir .. "/output.log")
    if log:find("[emerg]", 1, true) then return false, log end
    os.execute "sleep 0.02"
  end
  return false, "nginx did not start"
end

local function try_start(certificates)
  local self = setmetatable({
    dir = output_of 'mktemp -d "${TMPDIR:-/tmp}/raw.XXXXXX"', port = random_port(),
    tls_port = random_port(),
  }, raw_server)
  self.url = ("http://127.0.0.1:%d/"):format(self.port)
  self.tls_url = certificates and ("https://localhost:%d/"):format(self.tls_port)
  write_config(self, certificates)
  self.pipe = assert(io.popen(("exec setpriv --pdeathsig TERM sh %s $PPID %s >/dev/null 2>&1")
    :format("spec/support/busyd/supervise.sh", self.dir), "w"))
  local up, log = wait_until_up(self)
  if up then return self end
  self:stop()
  return nil, log
end

--- Starts a server on free ports; it ends with this process.
---@param certificates string? folder with tls.pem and tls.key, for a second port with TLS
---@return table server `url`, `tls_url`, and the methods below
function raw_server.start(certificates)
  local self, log
  for _ = 1, 5 do
    self, log = try_start(certificates)
    if self or not log:find("bind()", 1, true) then break end
  end
  return self or error("raw_server: " .. log, 2)
end

--- From now on nobody answers.
function raw_server:freeze()
  os.execute("kill -STOP " .. self.pid)
end

--- What has come meanwhile is answered.
function raw_server:thaw()
  os.execute("kill -CONT " .. self.pid)
end

--- Ends it and removes its files. May be called twice.
function raw_server:stop()
  if not self.pipe then return end
  if self.pid then self:thaw() end
  local supervisor = read(self.dir .. "/supervisor.pid"):match "%d+"
  if supervisor then os.execute("kill -TERM " .. supervisor .. " 2>/dev/null") end
  self.pipe:close()
  self.pipe = nil
end

return raw_server
