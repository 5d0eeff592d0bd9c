--- Starts and steers busy upstreams: OpenAI-compatible servers that are busy as told.
-- See README.md in this folder for the programme's fields.
local cjson = require "cjson"
local files = require "spec.support.files"

local quote = files.quote

local here = debug.getinfo(1, "S").source:match "^@(.*/)" or "./"
local text = dofile(here .. "server/text.lua")

local busyd = { null = cjson.null, expected = text.answer, embedding = text.embedding }

local ATTEMPTS = 5      -- at finding a port that nobody takes meanwhile
local PATIENCE = 10     -- seconds that nginx may take to answer

local Upstream = {}
Upstream.__index = Upstream

local function random_integer(low, high)
  local file = assert(io.open("/dev/urandom", "rb"))
  local a, b, c = file:read(3):byte(1, 3)
  file:close()
  return low + (a * 65536 + b * 256 + c) % (high - low + 1)
end

-- The TCP ports in use on this machine, as a set.
local function used_ports()
  local used = {}
  for line in (files.find "/proc/net/tcp" or ""):gmatch "[^\n]+" do
    local port = line:match "^%s*%d+: %x+:(%x+)"
    if port then used[tonumber(port, 16)] = true end
  end
  return used
end

-- A port below the range the kernel gives to outgoing connections.
local function free_port(used)
  local port
  repeat port = random_integer(10000, 32000) until not used[port]
  used[port] = true
  return port
end

-- A CA of its own and a certificate for localhost; the CA's key is thrown away.
local function make_certificates(dir)
  local script = [[set -e; cd %s
    new="req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    openssl $new -x509 -days 30 -subj "/CN=busyd test CA" -keyout ca.key -out ca.pem
    openssl $new -subj /CN=localhost -keyout tls.key -out tls.csr
    printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\n' > tls.ext
    openssl x509 -req -in tls.csr -CA ca.pem -CAkey ca.key -set_serial 2 -days 30 \
      -extfile tls.ext -out tls.pem
    rm ca.key tls.csr tls.ext]]
  local ok = os.execute("( " .. script:format(quote(dir)) .. " ) >" ..
    quote(dir .. "/openssl.log") .. " 2>&1")
  if ok ~= true and ok ~= 0 then
    local log = files.find(dir .. "/openssl.log") or ""
    error("busyd: openssl could not make a certificate:\n" .. log)
  end
end

local function write_config(self)
  local uid = files.trimmed "id -u"
  local tls = self.tls_port and ([[listen 127.0.0.1:%d ssl http2 backlog=4096;
    ssl_certificate %s/tls.pem;
    ssl_certificate_key %s/tls.key;]]):format(self.tls_port, self.dir, self.dir)
  local limit = tonumber(files.trimmed "ulimit -n") or 4096
  local values = {
    dir = self.dir, root = self.root, name = self.dir, port = self.port, workers = self.workers,
    user = uid == "0" and "user root root;" or "", tls = tls or "",
    connections = math.min(16384, limit - 64),
  }
  local template = assert(files.find(self.root .. "/nginx.conf"))
  files.write(self.dir .. "/nginx.conf", (template:gsub("%${(%w+)}", function(name)
    return tostring(values[name])
  end)))
end

-- Starts the supervisor; closing 'self.pipe' ends it and waits for it.
local function launch(self)
  local command = "exec setpriv --pdeathsig TERM sh %s $PPID %s >/dev/null 2>&1"
  self.pipe = assert(io.popen(command:format(quote(self.root .. "/supervise.sh"),
    quote(self.dir)), "w"))
end

-- One control request by the curl tool: the body, and the HTTP status; "" and 0 for no answer.
local function ask_by_curl(method, url, body)
  local file = body and os.tmpname()
  local command = "curl -q -s --noproxy '*' --max-time 30 -w '\\n%{http_code}' -X " .. method
  if file then
    files.write(file, body)
    command = command .. " -H 'Expect:' -H 'Content-Type: application/json' --data-binary @" .. file
  end
  local out = files.trimmed(command .. " " .. quote(url))
  if file then os.remove(file) end
  local reply, status = out:match "^(.-)\n?(%d%d%d)$"
  return reply or "", tonumber(status) or 0
end

-- Where the core is at hand it asks, and waits, which is much quicker.
local direct = select(2, pcall(require, "spec.support.direct"))
if type(direct) ~= "table" then
  direct = { ask = ask_by_curl, pause = function() os.execute "sleep 0.02" end }
end

local function control(self, method, path, body)
  return direct.ask(method, self.url .. path, body)
end

-- What nginx had to say, for error messages.
local function log_tail(self)
  local log = (files.find(self.dir .. "/error.log") or "")
    .. (files.find(self.dir .. "/output.log") or "")
  return log:sub(-2000)
end

-- Waits until *this* server answers: true, or false and what nginx said.
local function wait_until_up(self)
  local deadline = os.time() + PATIENCE
  repeat
    local reply, status = control(self, "GET", "/__busy/name")
    if status == 200 and reply == self.dir then return true end
    local log = log_tail(self)
    if log:find("[emerg]", 1, true) then return false, log end
    direct.pause(0.02)
  until os.time() > deadline
  return false, "no answer after " .. PATIENCE .. " s\n" .. log_tail(self)
end

local function try_start(options)
  local used = used_ports()
  local self = setmetatable({
    root = files.trimmed("cd " .. quote(here) .. " && pwd"),
    dir = files.trimmed 'mktemp -d "${TMPDIR:-/tmp}/busyd.XXXXXX"',
    workers = options.workers or 2,
    port = options.port or free_port(used),
    tls_port = options.tls and free_port(used) or nil,
  }, Upstream)
  self.url = "http://127.0.0.1:" .. self.port
  if options.tls then
    make_certificates(self.dir)
    self.tls_url = "https://localhost:" .. self.tls_port
    self.ca = self.dir .. "/ca.pem"
  end
  write_config(self)
  launch(self)
  local up, log = wait_until_up(self)
  if up then return self end
  self:stop()
  return nil, log
end

local OPTIONS = { workers = "number", tls = "boolean", port = "number", programme = "table" }

--- Starts a busy upstream on free loopback ports; returns when it answers.
---@param options? table  workers (2), tls (false), port (a free one), programme
---@return table upstream  url, tls_url, ca, and the methods below; raises with nginx's words
function busyd.start(options)
  options = options or {}
  for name, value in pairs(options) do
    if OPTIONS[name] ~= type(value) then
      error("busyd.start: " .. tostring(name) .. ": " ..
        (OPTIONS[name] and OPTIONS[name] .. " expected" or "unknown option"), 2)
    end
  end
  local self, log
  for _ = 1, ATTEMPTS do
    self, log = try_start(options)
    if self or options.port or not log:find("bind()", 1, true) then break end
  end
  if not self then error("busyd: nginx did not start: " .. log, 2) end
  if options.programme then
    local ok, message = pcall(self.programme, self, options.programme)
    if not ok then
      self:stop()
      error(message, 2)
    end
  end
  return self
end

--- Replaces the programme. Counters stay unless it says `reset = true`.
---@param programme table  see README.md; `busyd.null` in a schedule's entry takes a field away
function Upstream:programme(programme)
  local body = next(programme) == nil and "{}" or cjson.encode(programme)
  local reply, status = control(self, "POST", "/__busy", body)
  if status ~= 200 then
    error(("busyd: programme refused (%d): %s"):format(status, reply), 2)
  end
end

local function ask(self, method, path)
  local reply, status = control(self, method, path)
  if status ~= 200 then
    error(("busyd: %s %s: status %d: %s"):format(method, path, status, reply), 3)
  end
  return cjson.decode(reply)
end

--- The counters; see README.md for their names.
function Upstream:counts()
  return ask(self, "GET", "/__busy/counts")
end

--- The same once nobody is served and nobody waits any more; after two seconds as they are then.
function Upstream:settled_counts()
  for _ = 1, 40 do
    local counts = self:counts()
    if counts.in_service + counts.queued == 0 then return counts end
    os.execute "sleep 0.05"
  end
  return self:counts()
end

--- Sets the counters to zero, forgets the log and starts the script again.
function Upstream:reset()
  ask(self, "POST", "/__busy/reset")
end

--- The last requests, oldest first: { method, path, headers, body, at }.
function Upstream:log()
  return ask(self, "GET", "/__busy/log")
end

--- Ends nginx, waits until it is gone and removes its files. May be called twice.
function Upstream:stop()
  if not self.pipe then return end
  local supervisor = files.find(self.dir .. "/supervisor.pid")
  if supervisor then os.execute("kill -TERM " .. supervisor:match "%d+" .. " 2>/dev/null") end
  self.pipe:close()
  self.pipe = nil
end

Upstream.__close = Upstream.stop

--- Waits until somebody else ends it, or Ctrl-C does.
function Upstream:wait()
  local supervisor = files.find(self.dir .. "/supervisor.pid")
  if not supervisor then return end
  os.execute("exec setpriv --pdeathsig TERM tail -f /dev/null --pid=" .. supervisor)
end

return busyd
