--- `unbusy serve`: the gateway, in an nginx of its own.
--
-- It becomes `serve.sh`, which keeps the process number and hears the signals: Lua has none. That
-- script asks for the configuration (`--print-conf --prefix DIR`) at the start and for each reload,
-- so that a changed file is read by a Lua that knows nothing of the old one.
local address = require "unbusy.cli.address"
local arguments = require "unbusy.cli.arguments"
local config = require "unbusy.config"
local core = require "unbusy.core"
local gateway_options = require "unbusy.gateway.options"
local nginx = require "unbusy.cli.nginx"
local nginx_conf = require "unbusy.cli.nginx_conf"
local settings = require "unbusy.cli.settings"
local shell = require "unbusy.cli.shell"
local terminal = require "unbusy.cli.terminal"

local FAULT, USAGE = 1, 2 -- exit statuses

local MOST_CONNECTIONS = 16384 -- of one worker
local LEAST_CONNECTIONS = 16   -- listening sockets and the wake-up's are some of them
local OTHER_DESCRIPTORS = 128  -- of one worker: logs, listening sockets, the wake-up's
local GRACE = 10               -- seconds an old worker has beyond the longest request

local serve = {
  name = "serve", usage = "[options] [FILE]", most = 1, expects = "one configuration file",
  summary = "runs the gateway that FILE describes",
  about = [[Runs an OpenAI-compatible gateway in an nginx of its own, in the foreground. FILE is a
    Lua file that returns the options of unbusy.new and, as `gateway`, those of the gateway; without
    it UNBUSY_CONFIG or ./unbusy.conf.lua is read.]],
}

serve.options = {
  { name = "listen", value = "ADDRESS", type = "string", default = "127.0.0.1:8080",
    doc = "IP address and port, or a port alone, of loopback" },
  { name = "open", doc = "serve everybody who can reach ADDRESS, though FILE has no client keys" },
  { name = "workers", value = "N", type = "string", default = "auto",
    doc = "processes; auto: one for each processor core" },
  { name = "drain", value = "SECONDS", type = "number", min = 0, max = 86400, default = "30",
    doc = "how long calls under way may go on when it is told to end" },
  { name = "log", value = "PATH", type = "string", default = "-",
    doc = "where each call's line goes; - is standard output, off is nowhere" },
  { name = "cert", value = "FILE", type = "string", doc = "certificate: serve TLS (PEM)" },
  { name = "key", value = "FILE", type = "string", doc = "its key (PEM)" },
  { name = "user", value = "NAME", type = "string",
    doc = "whom the workers run as when started by root (default www-data or nobody)" },
  { name = "nginx", value = "PROGRAM", type = "string",
    doc = "nginx with its Lua module, or OpenResty's; found by default" },
  { name = "print-conf", doc = "print the nginx.conf and end: for an nginx that runs already" },
  { name = "prefix", value = "DIR", type = "string",
    doc = "with --print-conf: stay in the foreground, with all files of nginx in DIR" },
}

--- What a help page says about signals and the exit statuses.
function serve.sections()
  return {
    { "Signals:", arguments.columns {
      { "TERM INT QUIT", "end: no new calls, those under way have --drain; again: at once" },
      { "HUP", "reload FILE; where it is broken, the old configuration stays" },
      { "USR1", "open the log anew" },
    } },
    { "Examples:", "  unbusy serve gateway.lua\n"
      .. "  unbusy serve --listen '*:443' --cert tls.pem --key tls.key gateway.lua\n"
      .. "  unbusy serve --print-conf gateway.lua > /etc/nginx/nginx.conf" },
    { "Exit status:", arguments.columns {
      { "0", "ended by a signal" },
      { "1", "nginx, its Lua module or the core for LuaJIT is missing; the address is taken; "
        .. "nginx has ended by itself" },
      { "2", "wrong arguments or configuration" },
    } },
  }
end

-- {== The file ============================================================

-- Calls `f(…)` and gives what it gives, as `pcall` does; and the names of the environment's
-- variables that were looked up meanwhile.
local function recording(f, ...)
  local getenv, seen = os.getenv, {}
  rawset(os, "getenv", function(name)
    if type(name) == "string" and name:find "^[%a_][%w_]*$" then seen[name] = true end
    return getenv(name)
  end)
  local ok, value, message = pcall(f, ...)
  rawset(os, "getenv", getenv)
  return seen, ok, value, message
end

local function checked(given)
  local options = config.read(given)
  options.gateway = gateway_options.read(given.gateway, 1)
  return options
end

-- The options of a file, checked and filled in, and the variables that it needs.
local function read_file(path)
  local needed, ok, given, message = recording(settings.read, path)
  if not ok then error(given, 0) end
  if not given then return nil, message end
  local more, fine, options = recording(checked, given)
  if not fine then
    return nil, ("%s: %s"):format(path, (tostring(options):gsub("^.-unbusy: ", "")))
  end
  for name in pairs(more) do needed[name] = true end
  return options, needed
end

-- What libcurl looks up.
local OF_LIBCURL = { "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY",
  "no_proxy", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "TMPDIR" }

local function variables(needed)
  local names = {}
  for _, name in ipairs(OF_LIBCURL) do needed[name] = true end
  for name in pairs(needed) do names[#names + 1] = name end
  table.sort(names)
  return names
end

-- }========================================================================

-- {== The plan ============================================================

local function check_tls(values)
  if (values.cert == nil) ~= (values.key == nil) then return nil, "--cert and --key go together" end
  for _, name in ipairs { "cert", "key" } do
    local path = values[name]
    if path and not shell.exists(path) then
      return nil, ("--%s: cannot read %s"):format(name, path)
    end
  end
  return true
end

local function check_workers(text)
  local n = tonumber(text)
  if text == "auto" or text:find "^%d+$" and n >= 1 and n <= 1024 then return text end
  return nil, "--workers: a number from 1 to 1024, or auto"
end

local function descriptors_for(connections)
  return 2 * connections + OTHER_DESCRIPTORS
end

-- Descriptors that a worker may have: two for each client, its own and the upstream's.
local function descriptors()
  local most = tonumber(shell.output "ulimit -Hn") or math.huge
  local least = descriptors_for(LEAST_CONNECTIONS)
  if most < least then
    return nil, ("a process may have %.0f open files here (ulimit -n): at least %.0f expected")
      :format(most, least)
  end
  return math.min(most, descriptors_for(MOST_CONNECTIONS))
end

-- "USER GROUP" for nginx.conf when we are root.
local function user_of(values)
  if shell.output "id -u" ~= "0" then
    if values.user then return nil, "--user: only root can be somebody else" end
    return false
  end
  for _, name in ipairs { values.user or "www-data", not values.user and "nobody" or nil } do
    local group = name:find "^[%w_][%w_.-]*$" and shell.output("id -gn " .. name .. " 2>/dev/null")
    if group and group ~= "" then return name .. " " .. group end
  end
  return nil, "--user: there is no user " .. (values.user or "www-data")
end

-- Modules are also loaded in the workers.
local function check_readable(user, lua)
  if not user then return true end
  for _, path in ipairs { lua.core, (lua.path:gsub("%?%.lua;.*", "unbusy/init.lua")) } do
    if not shell.succeeds(("setpriv --reuid %s --regid %s --clear-groups test -r %s"):format(
      user:match "^%S+", user:match "%S+$", shell.quote(path))) then
      return nil, ("--user: %s may not read %s: put unbusy where others can read it (make "
        .. "install), or say --user root"):format(user:match "^%S+", path)
    end
  end
  return true
end

local function check_paths(plan)
  for _, path in ipairs { plan.config, plan.log, plan.lua.path, plan.lua.cpath, plan.cert or "-",
    plan.key or "-", plan.prefix or "-" } do
    if not nginx_conf.word(path) then
      return nil, "nginx cannot use a path with quotes, backslashes or $ in it: " .. path
    end
  end
  return plan
end

-- Whether the file lets in everybody who can reach the address, and that is not what was asked for.
local function check_open(where, options, values)
  local keys = options.gateway.keys
  if where.loopback or values.open or keys then return true end
  return nil, ("--listen %s: others can reach it, and the configuration has no client keys: add "
    .. "gateway = { keys = { … } }, or --open to serve everybody"):format(where.text)
end

-- Seconds that a request of a client may take: a call, or a batch, whose calls take turns.
local function longest(options)
  local batch = options.gateway.batch
  local turns = batch and math.ceil(batch.requests / batch.at_once) or 1
  return math.ceil(options.clocks.total * turns)
end

local function absolute(path)
  return path and shell.absolute(path)
end

local function log_of(target)
  return (target == "-" or target == "off") and target or shell.absolute(target)
end

-- All that the configuration says; or nil, what is wrong, and the exit status.
local function plan_of(values, where, found)
  local path = settings.path(values[1])
  if not path then return nil, "a configuration file expected: unbusy serve FILE", USAGE end
  local options, needed = read_file(path)
  if not options then return nil, needed, USAGE end
  local fine, message = check_open(where, options, values)
  if not fine then return nil, message, USAGE end
  local user
  user, message = user_of(values)
  if user == nil then return nil, message, USAGE end
  local lua
  lua, message = nginx.lua()
  if not lua then return nil, message, FAULT end
  fine, message = check_readable(user, lua)
  if not fine then return nil, message, USAGE end
  local files, plan
  files, message = descriptors()
  if not files then return nil, message, FAULT end
  plan, message = check_paths {
    modules = found.modules, lua = lua, env = variables(needed), user = user or nil,
    workers = values.workers or "auto", descriptors = ("%.0f"):format(files),
    connections = ("%.0f"):format(math.floor((files - OTHER_DESCRIPTORS) / 2)),
    longest = ("%.0f"):format(longest(options) + GRACE),
    body = ("%.0f"):format(options.gateway.body), config = shell.absolute(path),
    listen = where.text, cert = absolute(values.cert), key = absolute(values.key),
    prefix = absolute(values.prefix), log = log_of(values.log or "-"),
  }
  return plan, message, USAGE
end

-- }========================================================================

-- {== Running =============================================================

local function wrong(message, status)
  terminal.say(message)
  return status or USAGE
end

-- The trial came to nothing. A message that begins with the file's name is about what it says.
local function refused(place, message)
  if message:sub(1, #place) ~= place then return wrong(place .. message, FAULT) end
  return wrong(place .. message:sub(#place + 1):gsub("^unbusy: ", ""))
end

local function print_conf(values, where, found)
  local plan, message, status = plan_of(values, where, found)
  if not plan then return wrong(message, status) end
  local fine
  fine, message = nginx.try(found.path, nginx_conf.trial(plan))
  if not fine then return refused(plan.config .. ": ", message) end
  terminal.write(nginx_conf.text(plan))
  return 0
end

-- Arguments first … last as shell words.
local function words(argv, first, last)
  local out = {}
  for i = first, last do out[#out + 1] = shell.quote(argv[i]) end
  return table.concat(out, " ")
end

-- The command as it was given, the interpreter and its own arguments included: up to "serve", and
-- what follows.
local function command_line(argv)
  local first = 0
  while argv[first - 1] do first = first - 1 end
  return words(argv, first, 1), words(argv, 2, #argv)
end

local function start(values, where, found, argv)
  if address.taken(where) then
    return wrong(("%s is taken by another program (--listen)"):format(where.text), FAULT)
  end
  local script = debug.getinfo(1, "S").source:match "^@(.*)%.lua$" .. ".sh"
  local scheme = values.cert and "https" or "http"
  local program, rest = command_line(argv)
  local _, message = core.exec { "sh", script, found.path, ("%g"):format(values.drain or 30),
    ("%s://%s"):format(scheme, where.text), program, rest }
  return wrong(message, FAULT)
end

--- Runs the command.
---@param values table see `arguments.parse`
---@param argv string[] the program's `arg`
---@return integer exit status; none when it has become the gateway
function serve.run(values, argv)
  local where, message = address.read(values.listen or "127.0.0.1:8080")
  if not where then return wrong("--listen: " .. message) end
  local fine
  fine, message = check_tls(values)
  if not fine then return wrong(message) end
  fine, message = check_workers(values.workers or "auto")
  if not fine then return wrong(message) end
  if values.prefix and not values.print_conf then return wrong "--prefix goes with --print-conf" end
  local found
  found, message = nginx.find(values.nginx)
  if not found then return wrong(message, FAULT) end
  if values.print_conf then return print_conf(values, where, found) end
  return start(values, where, found, argv)
end

-- }========================================================================

return serve
