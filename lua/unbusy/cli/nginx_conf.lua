--- The nginx.conf of a gateway, as text.
--
-- With `prefix` it is whole and private: process id and temporary files lie there, and nginx stays
-- in the foreground. Without, those are left to whoever runs nginx.
local nginx_conf = {}

--- A text as one word of nginx.conf; nil for one that cannot be written there safely.
---@param text string
---@return string?
function nginx_conf.word(text)
  if text:find '[%c"\'\\$]' then return nil end
  return '"' .. text .. '"'
end

-- Where the template names a value that is missing, the line goes.
local function fill(template, values)
  return (template:gsub("[^\n]*\n", function(line)
    local name = line:match "%${([%w_]+)}"
    if not name then return nil end
    local value = values[name]
    if not value or value == "" then return "" end
    return (line:gsub("%${([%w_]+)}", function(other) return tostring(values[other] or "") end))
  end))
end

local function lines(names, form)
  local out = {}
  for i, name in ipairs(names) do out[i] = form:format(name) end
  return table.concat(out, "\n")
end

local MAIN = [[
# written by unbusy serve
${modules}
${foreground}
${pid}
${user}
worker_processes ${workers};
worker_rlimit_nofile ${descriptors};
# a reload lets calls under way end; this is the longest that one may take
worker_shutdown_timeout ${longest}s;
error_log stderr warn;
# nginx clears the environment but for these
${env}

events {
  worker_connections ${connections};
}

http {
${folders}
${lua}
  init_by_lua_block {
    unbusy_gateway = require("unbusy.gateway").new ${config}
  }
  init_worker_by_lua_block { unbusy_gateway:begin() }
${log}
  # who sends a request too slowly, or does not read the answer, is let go
  client_header_timeout 15s;
  client_body_timeout 30s;
  send_timeout 60s;
  keepalive_timeout 75s;
  keepalive_requests 100000;
  reset_timedout_connection on;
  # who is turned down while still sending gets to read why
  lingering_close always;
  lingering_timeout 2s;
  large_client_header_buffers 4 16k;
  # a body is kept in memory, whole
  client_max_body_size ${body};
  client_body_buffer_size ${body};

  server {
    listen ${listen}${tls} so_keepalive=60s:10s:3;
    ssl_certificate ${cert};
    ssl_certificate_key ${key};
    ssl_protocols ${protocols};
    server_tokens off;
    default_type application/json;
    set $unbusy_log "";
    location / {
      content_by_lua_block { unbusy_gateway:handle() }
    }
    # what nginx itself refuses is told as an OpenAI server would
${refusals}
  }
}
]]

local LUA = [[
  lua_package_path ${path};
  lua_package_cpath ${cpath};
  # whoever goes away ends the call made for them
  lua_check_client_abort on;
  lua_socket_log_errors off;
]]

local FOLDERS = { "client_body", "proxy", "fastcgi", "uwsgi", "scgi" }

-- What is written to standard output at once: a pipe keeps so much of several writers apart.
local PIPE, FILE = "4k", "64k"

-- Not one of our lines: nginx refused the request before Lua saw it. Lines are written many at a
-- time, at the latest after a second, and when a worker ends.
local LOG = [[
  map $unbusy_log $unbusy_line {
    "" '{"time":"$time_iso8601","status":$status,"seconds":$request_time}';
    default $unbusy_log;
  }
  uninitialized_variable_warn off;
  log_format unbusy escape=none $unbusy_line;
  access_log ${target} unbusy buffer=${size} flush=1s;
]]

-- By a path: a request whose first line made no sense has none, and nginx would find no location
-- with a name for it.
local REFUSAL = [[
    error_page %s = /.refused/%d;
    location = /.refused/%d {
      internal;
      return %d '{"error":{"message":"%s",%s,"code":%s}}';
    }]]

local KIND = '"type":"invalid_request_error","param":null'

local function refusal_lines(plan)
  local refusals = {
    { "400 494 497", 400, "this is no HTTP request, or its header is too long", "null" },
    { "413", 413, ("the request is larger than %s bytes"):format(plan.body),
      '"request_too_large"' },
    { "405", 405, "this method is served nowhere", '"method_not_supported"' },
    { "414", 414, "the path is too long", "null" },
    { "501", 501, "a body comes with its length, or in chunks", "null" },
    { "505", 505, "HTTP/1.0 or HTTP/1.1 expected", "null" },
  }
  local out = {}
  for i, r in ipairs(refusals) do
    out[i] = REFUSAL:format(r[1], r[2], r[2], r[2], r[3], KIND, r[4])
  end
  return table.concat(out, "\n")
end

local function folder_lines(prefix)
  local out = {}
  for i, name in ipairs(FOLDERS) do
    out[i] = ("  %s_temp_path %s;"):format(name, nginx_conf.word(prefix .. "/" .. name))
  end
  return table.concat(out, "\n")
end

local function log_lines(target)
  if target == "off" then return "  access_log off;" end
  local to_pipe = target == "-"
  return (fill(LOG, { target = to_pipe and "/dev/stdout" or nginx_conf.word(target),
    size = to_pipe and PIPE or FILE }):gsub("\n$", ""))
end

local function lua_lines(lua)
  return (fill(LUA, { path = nginx_conf.word(lua.path .. ";;"),
      cpath = nginx_conf.word(lua.cpath .. ";;") })
    :gsub("\n$", ""))
end

--- The configuration of a gateway.
---@param plan table modules (files), lua { path, cpath }, env (names), user, workers, connections,
---  descriptors, longest (seconds), config (path), body (bytes), log (path, "-", "off"), listen,
---  cert, key, prefix; texts are safe in the sense of `word`
---@return string
function nginx_conf.text(plan)
  local quoted = function(text) return text and nginx_conf.word(text) end
  return fill(MAIN, {
    modules = lines(plan.modules, "load_module %s;"), env = lines(plan.env, "env %s;"),
    foreground = plan.prefix and "daemon off;", user = plan.user and ("user %s;"):format(plan.user),
    pid = plan.prefix and ("pid %s;"):format(quoted(plan.prefix .. "/nginx.pid")),
    folders = plan.prefix and folder_lines(plan.prefix), lua = lua_lines(plan.lua),
    log = log_lines(plan.log), config = quoted(plan.config), refusals = refusal_lines(plan),
    workers = plan.workers, descriptors = plan.descriptors, connections = plan.connections,
    longest = plan.longest, body = plan.body, listen = plan.listen,
    tls = plan.cert and " ssl", cert = quoted(plan.cert), key = quoted(plan.key),
    protocols = plan.cert and "TLSv1.2 TLSv1.3",
  })
end

local TRIAL = [[
${modules}
daemon off;
master_process off;
pid nginx.pid;
events {}
http {
${lua}
  init_by_lua_block {
    require("unbusy.gateway").new(${config}).client:close()
    collectgarbage() -- what it shared with other processes goes with its parts
    collectgarbage()
    os.exit(0)
  }
}
]]

--- The configuration of an nginx that makes the gateway and ends: see `nginx.try`.
---@param plan table as of `text`
---@return string
function nginx_conf.trial(plan)
  return fill(TRIAL, { modules = lines(plan.modules, "load_module %s;"), lua = lua_lines(plan.lua),
    config = nginx_conf.word(plan.config) })
end

return nginx_conf
