--- A server that says exactly what it is told: for answers that no HTTP server gives.
--
--     local raw = raw_server.start()
--     -- the body of a request is what its answer will be, byte for byte
--     { method = "POST", url = raw.url, body = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" }
--
-- After the answer the connection is closed. Where the body has the byte 1, the server pauses for
-- 20 ms instead, but for one of /exact. A request for /drop is not read: its connection is reset.
-- `freeze` stops the server: the kernel still takes connections, and nobody ever answers on them;
-- `thaw` lets it go on.
local launcher = require "spec.support.launcher"

local raw_server = {}

local CONFIG = [[
${modules}
daemon off;
master_process off;
pid ${dir}/nginx.pid;
error_log ${dir}/error.log warn;
events { worker_connections 1024; }
http {
  access_log off;
  ${temp_paths}
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
        if ngx.var.uri == "/exact" then return socket:send(answer) end
        for piece in (answer .. "\1"):gmatch "(.-)\1" do
          if not socket:send(piece) then return end
          ngx.sleep(0.02)
        end
      }
    }
  }
}
]]

local TLS = [[listen 127.0.0.1:${port2} ssl;
    ssl_certificate %s/tls.pem;
    ssl_certificate_key %s/tls.key;]]

--- Starts a server on free ports; it ends with this process.
---@param certificates string? folder with tls.pem and tls.key, for a second port with TLS
---@return table server `url`, `tls_url`, and the methods of `spec.support.launcher`
function raw_server.start(certificates)
  local self = launcher.start { config = CONFIG,
    values = { tls = certificates and TLS:format(certificates, certificates) or "" } }
  self.url = ("http://127.0.0.1:%d/"):format(self.port)
  self.tls_port = self.port2
  self.tls_url = certificates and ("https://localhost:%d/"):format(self.port2)
  return self
end

return raw_server
