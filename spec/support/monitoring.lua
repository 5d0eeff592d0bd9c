--- Prometheus, Alertmanager and node_exporter as deploy/prometheus sets them up, on free ports of
--- loopback; and a webhook that keeps what Alertmanager tells. So that nobody waits, seconds take
--- the place of minutes in these files; but for addresses nothing else is changed. They end with
--- this process.
--
--     local m = monitoring.start("127.0.0.1:8080", "token")  -- the gateway's, and its token
--     m:query 'up{job="unbusy"}'                       -- { { metric = labels, value = 1 }, … }
--     m:told()                                         -- { { receiver, name, status, … }, … }
--     m:stop()
local direct = require "spec.support.direct"
local files = require "spec.support.files"
local json = require "unbusy.json"
local launcher = require "spec.support.launcher"
local served = require "spec.support.served"

local monitoring = {}
monitoring.__index = monitoring

local DIR = "deploy/prometheus/"
local PATIENCE = 1500 -- looks, of 20 ms each
local TRIES = 5       -- for a port that nobody else has taken

-- Writes down what it is told: "/pager {…}" on a line.
local HOOK = [[
${modules}
daemon off;
master_process off;
pid ${dir}/nginx.pid;
error_log ${dir}/error.log warn;
events { worker_connections 64; }
http {
  access_log off;
  ${temp_paths}
  client_body_buffer_size 1m;
  server {
    listen 127.0.0.1:${port};
    location / {
      content_by_lua_block {
        ngx.req.read_body()
        local file = assert(io.open("${dir}/told", "a"))
        file:write(ngx.var.uri, " ", ngx.req.get_body_data() or "", "\n")
        file:close()
      }
    }
  }
}
]]

-- {== The files ===========================================================

-- What is looked at, how often and for how long, in seconds.
local quick = {
  { "%[%d+[mhd]%]", "[4s]" }, { "offset %d+[mhd]", "offset 4s" }, { "for: %d+m", "for: 500ms" },
  { "scrape_interval: %d+s", "scrape_interval: 500ms" },
  { "evaluation_interval: %d+s", "evaluation_interval: 500ms" },
  { "group_wait: %d+[sm]", "group_wait: 100ms" },
  { "group_interval: %d+[sm]", "group_interval: 500ms" },
}

local function copy(self, name, addresses)
  local text = files.text(DIR .. name):gsub("\n    # (authorization:\n)    # ", "\n    %1    ")
  for _, change in ipairs(quick) do text = text:gsub(change[1], change[2]) end
  for from, to in pairs(addresses or {}) do
    local count
    text, count = text:gsub(from:gsub("%p", "%%%0"), to)
    assert(count > 0, name .. " does not name " .. from)
  end
  return self.place:write(name, text)
end

-- }========================================================================

-- {== The programs ========================================================

local function log_of(self, name)
  return files.text(self.place.dir .. "/" .. name .. ".log")
end

-- Becomes the program; its process number is in a file before.
local LINE = "cd %s && echo $$ >%s.pid && exec setpriv --pdeathsig KILL %s >%s.log 2>&1"

local function launch(self, name, command)
  self.pipes[name] = assert(io.popen(LINE:format(files.quote(self.place.dir), name, command, name),
    "w"))
end

local function finish(self, name)
  local pid = files.text(self.place.dir .. "/" .. name .. ".pid"):match "%d+"
  if pid then os.execute("kill -KILL " .. pid .. " 2>/dev/null") end
  self.pipes[name]:close()
  self.pipes[name] = nil
end

-- It answers at `path`: true. It has ended, since somebody has its port: false.
local function wait_until_up(self, name, url)
  for _ = 1, PATIENCE do
    local _, status = direct.ask("GET", url)
    if status == 200 then return true end
    local log = log_of(self, name)
    if log:find("address already in use", 1, true) then return false end
    if log:find "err=" and not log:find "level=warn" then error(name .. ": " .. log, 0) end
    direct.pause(0.02)
  end
  error(("%s does not come up: %s"):format(name, log_of(self, name)), 0)
end

-- Starts a program on a free port: `command` has %d for it. Gives its address.
local function run(self, name, command, ready)
  for _ = 1, TRIES do
    local address = "127.0.0.1:" .. served.free_port()
    launch(self, name, (command:gsub("ADDRESS", address)))
    if wait_until_up(self, name, "http://" .. address .. ready) then return address end
    finish(self, name)
  end
  error(name .. ": no free port", 0)
end

-- }========================================================================

local function start_all(self, gateway, token)
  self.hook = launcher.start { config = HOOK }
  copy(self, "alertmanager.yml", { ["127.0.0.1:9099"] = "127.0.0.1:" .. self.hook.port })
  copy(self, "unbusy.rules.yml")
  copy(self, "unbusy.alerts.yml")
  local node = run(self, "node", "prometheus-node-exporter --web.listen-address=ADDRESS"
    .. " --collector.disable-defaults --collector.cpu", "/metrics")
  local alertmanager = run(self, "alertmanager", "prometheus-alertmanager"
    .. " --config.file=alertmanager.yml --storage.path=notices --cluster.listen-address="
    .. " --web.listen-address=ADDRESS --log.level=warn", "/-/ready")
  copy(self, "prometheus.yml", { ["127.0.0.1:8080"] = gateway,
    ["127.0.0.1:9093"] = alertmanager, ["127.0.0.1:9100"] = node,
    ["/etc/prometheus/unbusy.token"] = self.place:write("token", token) })
  self.address = run(self, "prometheus", "prometheus --config.file=prometheus.yml"
    .. " --storage.tsdb.path=series --web.listen-address=ADDRESS --log.level=warn", "/-/ready")
end

--- Starts all of it.
---@param gateway string address and port of a gateway
---@param token string what its metrics ask for
---@return table monitoring address (of Prometheus), and the methods below; raises when one of the
--- programs does not come up
function monitoring.start(gateway, token)
  local self = setmetatable({ place = served.place(), pipes = {} }, monitoring)
  local ok, message = pcall(start_all, self, gateway, token)
  if not ok then
    self:stop()
    error(message, 2)
  end
  return self
end

--- Ends all of it and removes its files. May be called twice.
function monitoring:stop()
  for _, name in ipairs { "prometheus", "alertmanager", "node" } do
    if self.pipes[name] then finish(self, name) end
  end
  if self.hook then self.hook:stop() end
  self.place:remove()
end

local function escaped(text)
  return (text:gsub("[^%w]", function(c) return ("%%%02X"):format(c:byte()) end))
end

--- Asks Prometheus for what it is now.
---@param expression string
---@return table[] series { metric = labels, value = number }; raises with Prometheus' words
function monitoring:query(expression)
  local body = direct.ask("GET", ("http://%s/api/v1/query?query=%s"):format(self.address,
    escaped(expression)))
  local told = json.decode(body)
  if not told or told.status ~= "success" then
    error(("prometheus: %s: %s"):format(expression, told and told.error or body), 2)
  end
  local out = {}
  for i, series in ipairs(told.data.result) do
    out[i] = { metric = series.metric, value = tonumber(series.value[2]) }
  end
  return out
end

--- The values that a label has, as a variable of a dashboard asks for them.
---@return string[]
function monitoring:values(label, selector)
  local body = direct.ask("GET", ("http://%s/api/v1/label/%s/values?match[]=%s"):format(
    self.address, label, escaped(selector)))
  return json.decode(body).data
end

--- What the webhook was told, oldest first; an alert is told again as it changes.
---@return table[] alerts { receiver =, name =, status = "firing" or "resolved", labels =,
--- annotations = }
function monitoring:told()
  local out = {}
  for receiver, body in files.text(self.hook.dir .. "/told"):gmatch "/(%w+) ([^\n]+)\n" do
    for _, alert in ipairs(json.decode(body).alerts) do
      out[#out + 1] = { receiver = receiver, name = alert.labels.alertname, status = alert.status,
        labels = alert.labels, annotations = alert.annotations }
    end
  end
  return out
end

return monitoring
