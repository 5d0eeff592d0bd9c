--- `unbusy serve` as a child process, on a free port of loopback; it ends with this process.
--
--     local place = served.place()                     a folder: configurations, temporary files
--     local s = served.start(place, { "--drain", "5", place:write("gw.lua", "return { … }") })
--     s.url  s.pid  s:signal "TERM"  s:ended() -> status  s:said() -> standard error
--     place:remove()                                   ends what still runs there
local direct = require "spec.support.direct"
local files = require "spec.support.files"

local served = {}

local Place, Server = {}, {}
Place.__index, Server.__index = Place, Server

local PATIENCE = 300 -- looks, of 50 ms each
local TRIES = 5      -- for a port that nobody else has taken

local quote = files.quote

--- Waits until `f()` is true, and gives that; an error after a quarter of a minute.
function served.wait(f, what)
  for _ = 1, PATIENCE do
    local value = f()
    if value then return value end
    direct.pause(0.05)
  end
  error("waited in vain for " .. what, 2)
end

function served.free_port()
  local file = assert(io.open("/dev/urandom", "rb"))
  local a, b = file:read(2):byte(1, 2)
  file:close()
  return 10000 + (a * 256 + b) % 22000
end

local top = files.trimmed "pwd"

-- Nothing of the developer's own, nor of a sanitizer.
local function environment(place, more)
  local set = { PATH = os.getenv "PATH", TMPDIR = place.tmp, TERM = "dumb" }
  for name, value in pairs(more or {}) do set[name] = value end
  local words = { "env -i" }
  for name, value in pairs(set) do words[#words + 1] = quote(name .. "=" .. value) end
  return table.concat(words, " ")
end

-- {== Places ==============================================================

-- Workers that are not root have to read what they run, and may not where the clone lies in root's
-- home.
local function is_readable_by_all()
  return files.trimmed "id -u" ~= "0" or files.trimmed(("setpriv --reuid nobody --regid nogroup "
    .. "--clear-groups test -r %s/build/luajit/unbusy/core.so && echo yes"):format(quote(top)))
    == "yes"
end

-- What runs of the clone, in a place of its own.
local COPY = [[for lua in lua5.4 luajit; do
    mkdir -p %s/build/$lua && cp -R build/$lua/unbusy %s/build/$lua/
  done; cp -R bin lua %s/]]

--- A new folder, open to everybody.
function served.place()
  local dir = files.trimmed 'mktemp -d "${TMPDIR:-/tmp}/served.XXXXXX"'
  os.execute(("chmod 755 %s && mkdir -m 1777 %s/tmp"):format(quote(dir), quote(dir)))
  local place = setmetatable({ dir = dir, tmp = dir .. "/tmp", clone = top, servers = {},
    count = 0 }, Place)
  if not is_readable_by_all() then
    place.clone = dir .. "/clone"
    os.execute((COPY:gsub("%%s", (quote(place.clone):gsub("%%", "%%%%")))))
  end
  return place
end

--- Writes a file there; gives its path.
function Place:write(name, text)
  local path = self.dir .. "/" .. name
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  return path
end

--- The temporary folders of `unbusy serve` that are there.
function Place:folders()
  return files.trimmed(("ls %s | grep -c '^unbusy-'"):format(quote(self.tmp)))
end

-- `given`: lua (lua5.4), program (bin/unbusy), env, before (words before the command).
local function command(place, words, given)
  local parts = { given.before or "", environment(place, given.env), given.lua or "lua5.4",
    quote(given.program or place.clone .. "/bin/unbusy"), "serve" }
  for _, word in ipairs(words) do parts[#parts + 1] = quote(word) end
  return table.concat(parts, " ")
end

-- Runs a shell line to its end: { out =, err = what it printed and said, rc = its exit status }.
local function done(place, line, input)
  local dir = quote(place.dir)
  os.execute(("{ %s; } <%s >%s/out 2>%s/err; echo $? >%s/rc"):format(line, input or "/dev/null",
    dir, dir, dir))
  return { out = files.text(place.dir .. "/out"), err = files.text(place.dir .. "/err"),
    rc = tonumber(files.text(place.dir .. "/rc")) }
end

--- Runs `unbusy serve` with these arguments until it ends by itself.
---@return table done { out =, err = what it printed and said, rc = its exit status }
function Place:serve(words, given)
  return done(self, ("cd %s && timeout 60 %s"):format(quote(self.dir),
    command(self, words, given or {})))
end

--- Runs a command of ours in the top folder.
---@param words string[] the command's name and its arguments
---@param more table? { env = "NAME=value …", input = path }
---@return table done { out =, err = what it printed and said, rc = its exit status }
function Place:run(words, more)
  more = more or {}
  local parts = { more.env or "", os.getenv "UNBUSY_LUA" or "lua5.4", "bin/unbusy" }
  for _, word in ipairs(words) do parts[#parts + 1] = quote(word) end
  return done(self, table.concat(parts, " "), more.input)
end

--- Ends what runs there and removes the folder.
function Place:remove()
  for _, server in ipairs(self.servers) do server:stop() end
  os.execute("rm -rf " .. quote(self.dir))
end

-- }========================================================================

-- {== Servers =============================================================

-- The outer shell writes the exit status; the inner one has become the command. Whoever runs the
-- tests may ignore signals (nohup, a job in the background), and a shell cannot trap such a one.
local LINE = [[cd %s && exec setpriv --pdeathsig KILL \
  env --default-signal=HUP,INT,QUIT,TERM sh -c '
  setpriv --pdeathsig TERM sh -c "echo \$\$ >%s.pid; exec \"\$@\"" sh "$@" \
    </dev/null >%s.out 2>%s.err
  echo $? >%s.rc' sh %s]]

-- One that listens there, or has ended.
local function launch(place, words, given)
  place.count = place.count + 1
  local base = ("%s/%d"):format(place.dir, place.count)
  local self = setmetatable({ base = base, port = served.free_port() }, Server)
  local scheme = given and given.tls and "https" or "http"
  self.address = "127.0.0.1:" .. self.port
  self.url = ("%s://%s"):format(scheme, self.address)
  local all = { "--listen", self.address, "--workers", "2" }
  for _, word in ipairs(words) do all[#all + 1] = word end
  self.pipe = assert(io.popen(LINE:format(quote(place.dir), base, base, base, base,
    command(place, all, given or {}))))
  place.servers[#place.servers + 1] = self
  served.wait(function()
    return self:said():find("(process", 1, true) or self:status()
  end, "the gateway")
  self.pid = files.text(base .. ".pid"):match "%d+"
  return self
end

-- Somebody else was quicker to have that port.
local function is_late(server)
  return server:status() and server:said():find(server.address .. " is taken", 1, true) ~= nil
end

--- Starts it and waits until it listens; raises with what it said when it does not.
function served.start(place, words, given)
  local self
  for _ = 1, TRIES do
    self = launch(place, words, given)
    if not is_late(self) then break end
    self:ended()
  end
  if self:status() then error("unbusy serve: " .. self:said(), 2) end
  return self
end

function Server:said() return files.text(self.base .. ".err") end
function Server:logged() return files.text(self.base .. ".out") end
function Server:status() return tonumber(files.text(self.base .. ".rc"):match "^(%d+)\n") end

--- Its nginx's master process.
function Server:nginx()
  return files.trimmed(("pgrep -f -P %s 'nginx: master'"):format(self.pid))
end

function Server:signal(name, pid)
  os.execute(("kill -%s %s 2>/dev/null"):format(name, pid or self.pid))
end

--- Waits until it has said something.
function Server:hears(text)
  served.wait(function() return self:said():find(text, 1, true) end, text)
end

--- Waits until it has ended; gives the exit status.
function Server:ended()
  served.wait(function() return self:status() end, "its end")
  if self.pipe then self.pipe:close() end
  self.pipe = nil
  return self:status()
end

function Server:stop()
  if not self.pipe then return end
  self.pid = self.pid or files.text(self.base .. ".pid"):match "%d+"
  self:signal "TERM"
  self:signal "TERM"
  self:ended()
end

--- Asks it (by curl where there are words for it): the body, and the HTTP status, 0 for no whole
--- answer.
function Server:ask(path, more)
  if not more then return direct.ask("GET", self.url .. path) end
  local said = files.trimmed(("curl -q -sk --noproxy '*' --max-time 30 -w '\\n%%{http_code}' %s %s")
    :format(more, quote(self.url .. path)))
  local body, status = said:match "^(.-)\n?(%d+)$"
  return body, tonumber(status)
end

local ASK = [[%s --data-binary '{"model":"m","stream":%s,"messages":[{"role":"user",]]
  .. [["content":"%s"}]}' -H 'content-type: application/json']]

--- A chat completion.
function Server:chat(text, more)
  return self:ask("/v1/chat/completions", ASK:format(more or "", "false", text))
end

--- Starts a stream into a file; gives a function that reads what has come, and whether it ended.
function Server:stream(text, more)
  self.streams = (self.streams or 0) + 1
  local path = ("%s.stream%d"):format(self.base, self.streams)
  os.execute(("{ curl -q -skN --noproxy '*' --max-time 120 %s %s >%s; echo $? >%s.rc; } &"):format(
    ASK:format(more or "", "true", text), quote(self.url .. "/v1/chat/completions"), path, path))
  return function()
    return files.text(path), tonumber(files.text(path .. ".rc"):match "%d+")
  end
end

-- }========================================================================

return served
