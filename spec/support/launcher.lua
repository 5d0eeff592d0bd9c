--- An nginx of a test's own: on free ports of loopback, in a folder of its own, and it ends with
--- this process, however that ends.
--
--     local server = launcher.start { config = "listen 127.0.0.1:${port}; …", values = { … } }
--     server.port  server.port2                   free ports: ${port} and ${port2} in the config
--     server.dir   server.pid                     ${dir}: nginx.conf, nginx.pid, error.log
--     server:stop()
--
-- ${modules} stands for the lines that load nginx's Lua module, ${temp_paths} for those that keep
-- its temporary files in ${dir}.
local direct = require "spec.support.direct"
local files = require "spec.support.files"

local launcher = {}
launcher.__index = launcher

local function random_port()
  local file = assert(io.open("/dev/urandom", "rb"))
  local a, b = file:read(2):byte(1, 2)
  file:close()
  return 10000 + (a * 256 + b) % 22000
end

local MODULES = [[
load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;]]

local TEMP_PATHS = [[
client_body_temp_path ${dir}/body;
  proxy_temp_path ${dir}/proxy;
  fastcgi_temp_path ${dir}/fastcgi;
  uwsgi_temp_path ${dir}/uwsgi;
  scgi_temp_path ${dir}/scgi;]]

local DEPTH = 3 -- values may have names of values in them

local function filled(text, values)
  for _ = 1, DEPTH do text = text:gsub("%${([%w_]+)}", values) end
  return text
end

local function write_config(self, given)
  local values = { dir = self.dir, port = tostring(self.port), port2 = tostring(self.port2),
    modules = MODULES, temp_paths = TEMP_PATHS }
  for name, value in pairs(given.values or {}) do values[name] = value end
  files.write(self.dir .. "/nginx.conf", filled(given.config, values))
  for name, text in pairs(given.files or {}) do
    files.write(self.dir .. "/" .. name, filled(text, values))
  end
end

-- nginx writes its process id once it listens.
local function wait_until_up(self)
  for _ = 1, 500 do
    self.pid = files.text(self.dir .. "/nginx.pid"):match "%d+"
    if self.pid then return true end
    local log = files.text(self.dir .. "/error.log") .. files.text(self.dir .. "/output.log")
    if log:find("[emerg]", 1, true) or log:find "init_by_lua error" then return false, log end
    direct.pause(0.02)
  end
  return false, "nginx did not start"
end

local function try_start(given)
  local self = setmetatable({ dir = files.trimmed 'mktemp -d "${TMPDIR:-/tmp}/nginx.XXXXXX"',
    port = random_port(), port2 = random_port() }, launcher)
  write_config(self, given)
  self.pipe = assert(io.popen(("exec setpriv --pdeathsig TERM sh %s $PPID %s >/dev/null 2>&1")
    :format("spec/support/busyd/supervise.sh", self.dir), "w"))
  local up, log = wait_until_up(self)
  if up then return self end
  self:stop()
  return nil, log
end

--- Starts nginx; raises when it does not come up.
---@param given table { config = text, values = name -> text, for ${name} in the config;
---  files = name -> text, put beside it }
---@return table server
function launcher.start(given)
  local self, log
  for _ = 1, 5 do
    self, log = try_start(given)
    if self or not log:find("bind()", 1, true) then break end -- a port was taken: others
  end
  return self or error("launcher: " .. log, 2)
end

--- From now on nobody answers.
function launcher:freeze()
  os.execute("kill -STOP " .. self.pid)
end

--- What has come meanwhile is answered.
function launcher:thaw()
  os.execute("kill -CONT " .. self.pid .. " 2>/dev/null")
end

--- Ends it and removes its files. May be called twice.
function launcher:stop()
  if not self.pipe then return end
  if self.pid then self:thaw() end
  local supervisor = files.text(self.dir .. "/supervisor.pid"):match "%d+"
  if supervisor then os.execute("kill -TERM " .. supervisor .. " 2>/dev/null") end
  self.pipe:close()
  self.pipe = nil
end

return launcher
