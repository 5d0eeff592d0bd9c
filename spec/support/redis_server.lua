--- A Redis server of a test's own: on a unix socket in a folder of its own, and on a free port of
--- loopback where that is asked for. It ends with this process, however that ends.
--
--     local server = redis_server.start { port = true, args = "--maxmemory 2mb" }
--     server.path  server.port  server.dir
--     server:cli "DBSIZE"          what redis-cli prints
--     server:freeze()  server:thaw()  server:kill()  server:restart()  server:stop()
local direct = require "spec.support.direct"
local files = require "spec.support.files"
local served = require "spec.support.served"

local redis_server = {}
redis_server.__index = redis_server

local output_of = files.trimmed

local function is_alive(pid)
  return output_of(("kill -0 %d 2>/dev/null && echo yes"):format(pid)) == "yes"
end

local function wait_until_up(self)
  for _ = 1, 3000 do
    local said = self:cli "PING"
    if said == "PONG" or said:find "^NOAUTH" then return true end
    if not is_alive(self.pid) then return false end
    direct.pause(0.02)
  end
  return false
end

local function launch(self)
  self.pipe = assert(io.popen(([[cd %s && echo $$ >pid && exec setpriv --pdeathsig KILL redis-server
    --port %d --bind 127.0.0.1 --unixsocket %s --save '' --appendonly no --daemonize no --dir %s
    --enable-debug-command yes %s >>log 2>&1]]):gsub("%s+", " ")
    :format(self.dir, self.port, self.path, self.dir, self.args), "w"))
  repeat
    local file = io.open(self.dir .. "/pid")
    self.pid = file and file:read "*n"
    if file then file:close() end
    if not self.pid then direct.pause(0.005) end
  until self.pid
  return wait_until_up(self)
end

--- Starts one; raises when it does not come up.
---@param given table? { port = true, args = text }
function redis_server.start(given)
  given = given or {}
  local self = setmetatable({ args = given.args or "", port = 0,
    dir = output_of 'mktemp -d "${TMPDIR:-/tmp}/redis.XXXXXX"' }, redis_server)
  self.path = self.dir .. "/socket"
  for _ = 1, 5 do
    if given.port then self.port = served.free_port() end
    if launch(self) then return self end
    self:kill()
  end
  local log = output_of(("tail -n 20 %s/log"):format(self.dir))
  self:stop()
  error("redis_server: " .. log, 2)
end

--- What redis-cli prints for a command; the options go before it.
function redis_server:cli(command, more)
  return output_of(("timeout 60 redis-cli -s %s %s %s 2>&1"):format(self.path, more or "", command))
end

--- From now on nobody answers.
function redis_server:freeze()
  os.execute(("kill -STOP %d"):format(self.pid))
end

function redis_server:thaw()
  if self.pid then os.execute(("kill -CONT %d 2>/dev/null"):format(self.pid)) end
end

--- It dies, and its socket refuses.
function redis_server:kill()
  if not self.pipe then return end
  os.execute(("kill -KILL %d 2>/dev/null"):format(self.pid))
  self.pipe:close() -- when it has ended
  self.pipe, self.pid = nil, nil
  os.remove(self.dir .. "/pid")
end

--- It is there again, at the same place, with nothing in it.
function redis_server:restart()
  assert(launch(self), "redis_server: it does not come up again")
end

--- Ends it and removes its files. May be called twice.
function redis_server:stop()
  if not self.dir then return end
  self:thaw()
  self:kill()
  os.execute(("rm -rf '%s'"):format(self.dir))
  self.dir = nil
end

return redis_server
