--- A gateway in an nginx of a test's own, and clients for it.
--
--     local g = gateways.start { config = [[ return { targets = { … ${up} … } } ]], up = busyd }
--     g:ask("/v1/chat/completions", { body = '{"messages":…}' })
--     g:raw "GET / HTTP/1.0\r\n\r\n"                             -- byte for byte
local direct = require "spec.support.direct"
local files = require "spec.support.files"
local json = require "unbusy.json"
local launcher = require "spec.support.launcher"
local raw_client = require "spec.support.raw_client"

local gateways = {}

local CONFIG = [[
${modules}
daemon off;
${user}
pid ${dir}/nginx.pid;
error_log ${dir}/error.log warn;
worker_processes ${workers};
${main}
events { worker_connections 4096; }
http {
  ${temp_paths}
  client_max_body_size 128m;
  lua_package_path "${root}/lua/?.lua;${root}/lua/?/init.lua;;";
  lua_package_cpath "${root}/build/luajit/?.so;;";
  lua_check_client_abort ${abort};
  lua_socket_log_errors off;
  init_by_lua_block { gateway = require("unbusy.gateway").new "${dir}/gateway.lua" }
  log_format unbusy escape=none $unbusy_log;
  access_log ${dir}/access.log unbusy;
  ${http}
  server {
    listen 127.0.0.1:${port} backlog=4096;
    set $unbusy_log "";
    ${server}
    location / { content_by_lua_block { gateway:handle() } }
    location = /__left {
      access_log off;
      content_by_lua_block {
        ngx.print(require("unbusy.core").stats().transfers + gateway.client:status().active)
      }
    }
  }
}
]]

local gateway = {}
gateway.__index = gateway

--- Starts one. `given.config`: a Lua file's text, in which ${name} stands for `given.values[name]`
--- (as in `http` and `server`, more lines of nginx.conf); `workers`, `abort` ("off").
---@param given table
---@return table gateway
function gateways.start(given)
  local function filled(text) return (text or ""):gsub("%${(%w+)}", given.values or {}) end
  local server = launcher.start { config = CONFIG,
    files = { ["gateway.lua"] = filled(given.config) }, values = {
    root = files.output "pwd":gsub("%s+$", ""), workers = tostring(given.workers or 1),
    user = files.output "id -u":match "^0%s" and "user root root;" or "",
    abort = given.abort or "on", http = filled(given.http), server = filled(given.server),
    main = given.main or "",
  } }
  return setmetatable({ server = server, port = server.port, dir = server.dir }, gateway)
end

--- Ends it. May be called twice.
function gateway:stop()
  self.server:stop()
end

-- The answer that curl has printed with its header.
local function parsed(out)
  local answer = { headers = {} }
  local head, rest
  repeat -- 100 Continue goes before
    head, rest = out:match "^(HTTP.-)\r\n\r\n(.*)$"
    if not head then return nil end
    answer.status, answer.body = tonumber(head:match "^HTTP/%S+ (%d+)"), rest
    out = rest
  until answer.status ~= 100
  for name, value in head:gmatch "\r\n([^:\r\n]+):%s*([^\r\n]*)" do
    answer.headers[name:lower()] = value
  end
  return answer
end

-- The lines of a request's header; a body is JSON where they do not say.
local function header_of(given)
  local lines = {}
  for i, line in ipairs(given.headers or {}) do lines[i] = line end
  if (given.body or given.file) and not table.concat(lines, "\n"):lower():find "content%-type:" then
    lines[#lines + 1] = "content-type: application/json"
  end
  return lines
end

--- The shell command that asks.
---@param path string
---@param given table? method, headers (lines), body (text) or file (its name), options (of curl)
function gateway:command(path, given)
  given = given or {}
  local words = { "curl -q -s -i -N --noproxy '*' --max-time 60 --path-as-is" }
  local function add(word) words[#words + 1] = word end
  if given.method then
    add(given.method == "HEAD" and "--head" or "-X " .. given.method)
  end
  if given.body or given.file then
    add("--data-binary " .. (given.file and "@" .. files.quote(given.file) or "@-"))
  end
  for _, line in ipairs(header_of(given)) do add("-H " .. files.quote(line)) end
  if given.options then add(given.options) end
  add(files.quote(("http://127.0.0.1:%d%s"):format(self.port, path)))
  local command = table.concat(words, " ")
  return given.body and ("printf %%s %s | %s"):format(files.quote(given.body), command) or command
end

--- One request: by curl where it has options, a file or dots in its path, which takes ten times the
--- work.
---@return table? answer status, headers (by lower-case name), body; code: why it is not whole
function gateway:ask(path, given)
  given = given or {}
  if given.options or given.file or path:find "%.%." or path:lower():find "%%2e" then
    return parsed(files.output(self:command(path, given))) -- it leaves a path as it is
  end
  return direct.request { method = given.method or given.body and "POST" or "GET",
    url = ("http://127.0.0.1:%d%s"):format(self.port, path), body = given.body,
    headers = header_of(given) }
end

--- A connection: see `spec.support.raw_client`.
function gateway:connect(patience)
  return raw_client.connect(self.port, patience)
end

--- Sends bytes and gives all that comes back until the server closes.
function gateway:raw(bytes, patience)
  return raw_client.ask(self.port, bytes, patience)
end

--- What is in its error log.
function gateway:errors()
  return files.text(self.dir .. "/error.log")
end

--- Waits until `f()` gives something, and gives it.
function gateways.eventually(f)
  for _ = 1, 1000 do
    local value = f()
    if value then return value end
    direct.pause(0.02)
  end
  error("it does not come about", 2)
end

--- Line `number` of the access log, once it is there, as a table.
function gateway:log(number)
  return json.decode(gateways.eventually(function()
    local n = 0
    for line in files.text(self.dir .. "/access.log"):gmatch "([^\n]+)\n" do
      n = n + 1
      if n == number then return line end
    end
  end))
end

--- Waits until none of its calls and transfers is left (of the worker that is asked).
function gateway:settle()
  gateways.eventually(function() return self:ask("/__left").body == "0" end)
end

return gateways
