--- A site with a client of ours in it: a real nginx, master and workers.
--
--     local site = site.start { targets = { { name = "a", url = up.url .. "/v1" } },
--       locations = [[location /chat { content_by_lua_block { … client:chat … } }]] }
--     site.url · site:get "/chat" · site:status() · site:signal "HUP" · site:stop() · …
--
-- `init_by_lua` has made `client`, `json` and `question(text)`. There is /hi, which needs nobody,
-- /chat (answers with the reply's text, or its code), /stream (passes pieces on), /status.
local cjson = require "cjson"
local core = require "unbusy.core"
local direct = require "spec.support.direct"
local engines = require "spec.support.engines"
local files = require "spec.support.files"
local json = require "unbusy.json"
local launcher = require "spec.support.launcher"

local site = {}
site.__index = site

local CONFIG = [[
${modules}
daemon off;
${user}
pid ${dir}/nginx.pid;
error_log ${dir}/error.log notice;
worker_processes ${workers};
worker_rlimit_nofile 16384;
${main}
events { worker_connections 8192; }
http {
  access_log off;
  ${temp_paths}
  lua_package_path "${root}/lua/?.lua;${root}/lua/?/init.lua;;";
  lua_package_cpath "${root}/build/luajit/?.so;;";
  lua_check_client_abort on;
  keepalive_requests 1000000;
  ${http}
  init_by_lua_block {
    local unbusy = require "unbusy"
    json = require "unbusy.json"
    client = unbusy.new(json.decode ${options})
    function question(text)
      return { model = "m", messages = { { role = "user", content = text or "hi" } } }
    end
    ${init}
  }
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location = /hi { return 200 "hi"; }
    location = /chat { content_by_lua_block {
      local reply, message, code = client:chat(question(ngx.var.arg_q))
      ngx.print(reply and reply.text or code .. ": " .. message)
    } }
    location = /stream { content_by_lua_block {
      local stream, message, code = client:stream(question(ngx.var.arg_q))
      if not stream then return ngx.print(code, ": ", message) end
      while true do
        local piece, why, how = stream:read()
        if how then return ngx.print("[", how, ": ", why, "]") end
        if not piece then return end
        ngx.print(piece.text or "")
        ngx.flush(true)
      end
    } }
    location = /status { content_by_lua_block {
      local status = client:status()
      status.core, status.pid = require("unbusy.core").stats(), ngx.worker.pid()
      status.kb = collectgarbage "count"
      ngx.print(json.encode(status))
    } }
    ${locations}
  }
}
]]

-- A string that a Lua source may hold, whatever is in it.
local function quoted(text)
  local level = ("="):rep(5)
  return "[" .. level .. "[" .. text .. "]" .. level .. "]"
end

--- Starts a site; it ends with this process.
---@param given table options of `unbusy.new`, and `locations`, `http`, `main`, `init`: text of
--- the configuration; `workers`; `as_nobody`: its workers give up being root
function site.start(given)
  local options, is_root = {}, files.output("id -u"):match "^0"
  local values = { workers = tostring(given.workers or 1), main = given.main or "",
    http = given.http or "", init = given.init or "", locations = given.locations or "",
    user = is_root and not given.as_nobody and "user root root;" or "",
    root = files.output("pwd"):match "[^\n]+" }
  for name, value in pairs(given) do
    if not values[name] and name ~= "as_nobody" then options[name] = value end
  end
  values.options = quoted(json.encode(options))
  local self = launcher.start { config = CONFIG, values = values }
  self.url = ("http://127.0.0.1:%d"):format(self.port)
  self.launcher = getmetatable(self)
  setmetatable(self, site)
  site.await("its workers", function() return #self:workers() >= (given.workers or 1) end)
  return self
end

--- Ends it.
function site:stop()
  self.launcher.stop(setmetatable(self, self.launcher))
end

--- One request: the answer's body (and the status); what is wrong as "" and 0.
---@param words string? for curl, which is asked instead; that takes ten times the work
function site:get(path, words)
  if not words then return direct.ask("GET", self.url .. path) end
  local out = files.output(("curl -q -s --noproxy '*' --max-time 60 -w '\n%%{http_code}' %s '%s%s'")
    :format(words, self.url, path))
  local body, status = out:match "^(.*)\n(%d+)$"
  return body, tonumber(status)
end

--- `n` requests at once; %d in the path is the number of each. Gives the bodies in order; what is
--- wrong as its code.
---@param more table? further fields of each request
function site:get_many(n, path, more)
  local e, ids, bodies = core.engine(), {}, {}
  for i = 1, n do
    local r = { url = self.url .. path:gsub("%%d", i), method = "GET", headers = {} }
    for name, value in pairs(more or {}) do r[name] = value end
    ids[i] = assert(e:submit(r))
  end
  for i, got in ipairs(engines.finish_all(e, ids)) do bodies[i] = got.code or got.body end
  e:close()
  return bodies
end

--- What the worker that answers knows of its client: `client:status()`, `core`, `pid`, `kb`.
function site:status()
  return cjson.decode((self:get "/status"))
end

--- Sends the master a signal.
function site:signal(name)
  os.execute(("kill -%s %s"):format(name, self.pid))
end

--- The process ids of the workers.
function site:workers()
  local out = {}
  for pid in files.output("pgrep -P " .. self.pid):gmatch "%d+" do out[#out + 1] = tonumber(pid) end
  return out
end

--- How many descriptors and threads a process has.
function site.of_process(pid)
  local out = files.output(("ls /proc/%d/fd | wc -l; ls /proc/%d/task | wc -l"):format(pid, pid))
  local descriptors, threads = out:match "(%d+)%s+(%d+)"
  return tonumber(descriptors), tonumber(threads)
end

--- Resident memory of a process, in bytes.
function site.memory(pid)
  return 1024 * tonumber(files.output(("cat /proc/%d/status"):format(pid)):match "VmRSS:%s+(%d+)")
end

-- The module's own watcher of timers is never closed when a worker that is about to end makes its
-- first timer: nginx says so and ends well.
local no_faults = { "%[notice%]", "%[info%]", "open socket #%-2 left in connection", ": aborting$" }

local function is_fault(line)
  for _, pattern in ipairs(no_faults) do
    if line:find(pattern) then return false end
  end
  return true
end

--- The log, without what is no fault.
function site:faults()
  local out = {}
  for line in io.lines(self.dir .. "/error.log") do
    if is_fault(line) then out[#out + 1] = line end
  end
  return table.concat(out, "\n")
end

--- Empties the log.
function site:forget_faults()
  assert(io.open(self.dir .. "/error.log", "wb")):close()
end

--- Waits until `is_so()` gives something, and gives that; raises after a minute.
function site.await(what, is_so)
  local limit = core.now() + 60
  repeat
    local answer = is_so()
    if answer then return answer end
    direct.pause(0.05)
  until core.now() > limit
  error("in vain: " .. what, 2)
end

return site
