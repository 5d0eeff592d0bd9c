--- Others' software from npm (see third_party.sh, which installs it): starts and steers the mock
--- server, and runs the scripts that use OpenAI's SDK.
--
--     local server = third_party.start()
--     server.url, server.key                     -- for a target
--     server:chaos("a test", { dropRate = 0.2 }) -- faults for requests with "x-test-id: a test"
--     server:journal "a test"                    -- what it has received from them
--     server:stop()
--     third_party.sdk("chat", { url = url, key = key })  -- what openai/chat.mjs has seen
--     third_party.model().url                            -- examples/edge's model, in llama.cpp
local cjson = require "cjson"
local direct = require "spec.support.direct"
local files = require "spec.support.files"

local quote = files.quote

local third_party = {}

local root = (debug.getinfo(1, "S").source:match "^@(.*)spec/support/" or "")
local PATIENCE = 20 -- seconds that Node.js may take to start

local Server = {}
Server.__index = Server

-- What the server says goes to a file: nobody empties a pipe while the tests run.
local function launch(self, words)
  local command = "AIMOCK_API_KEYS=%s exec sh %s %s >%s 2>&1"
  self.pipe = assert(io.popen(command:format(quote(self.key),
    quote(root .. "spec/support/third_party.sh"), words, quote(self.dir .. "/log")), "w"))
end

-- It has said where it listens (`pattern`): true. It never will: false.
local function wait_until_up(self, pattern)
  local deadline = os.time() + PATIENCE
  repeat
    local log = files.text(self.dir .. "/log")
    self.pid = log:match "^(%d+)\n"
    self.url = log:match(pattern)
    if self.url then return true end
    direct.pause(0.02)
  until os.time() > deadline or log:find "\n%s+at " or log:find "third_party.sh: "
  return false
end

local function start(into, words, pattern)
  local dir = files.trimmed("mktemp -d " .. quote(root .. into) .. "/run.XXXXXX")
  local self = setmetatable({ dir = dir, key = "sk-third-party-0123456789" }, Server)
  launch(self, words)
  if not wait_until_up(self, pattern) then
    local log = files.text(dir .. "/log")
    self:stop()
    error("third_party: the server did not start: " .. log, 3)
  end
  return self
end

--- Starts a server on a free port of 127.0.0.1; returns when it answers. It takes requests with
--- its key only, and is gone when this process is.
---@return table server url, key, pid, and the methods below; raises with what the server said
function third_party.start()
  local fixtures = quote(root .. "spec/support/third_party/fixtures.json")
  return (start("build/third_party", "start " .. fixtures,
    "listening on (http://127%.0%.0%.1:%d+)\n"))
end

--- Starts the model of examples/edge in llama.cpp, in the same way; whoever comes is answered.
---@return table server url (with /v1), pid, stop()
function third_party.model()
  return (start("build/edge_model", "model", "bigram: (http://127%.0%.0%.1:%d+/v1)\n"))
end

--- Ends it, waits until it is gone and removes its files. May be called twice.
function Server:stop()
  if not self.pipe then return end
  if self.pid then os.execute("kill -KILL " .. self.pid .. " 2>/dev/null") end
  self.pipe:close()
  self.pipe = nil
  os.execute("rm -rf " .. quote(self.dir))
end

-- One control request with the curl tool; gives the body.
local function control(self, method, path, body, test)
  local command = "curl -q -s -S --fail-with-body --noproxy '*' --max-time 30 -X " .. method ..
    " -H " .. quote("Authorization: Bearer " .. self.key)
  if test then command = command .. " -H " .. quote("X-Test-Id: " .. test) end
  if body then
    local file = self.dir .. "/request.json"
    files.write(file, cjson.encode(body))
    command = command .. " -H 'Content-Type: application/json' --data-binary @" .. quote(file)
  end
  local out = files.trimmed(command .. " " .. quote(self.url .. path) .. " 2>&1; echo; echo $?")
  local reply, status = out:match "^(.-)\n?(%d+)$"
  if status ~= "0" then error(("third_party: %s %s: %s"):format(method, path, reply), 3) end
  return reply
end

--- Faults from now on, for one test's requests, in place of those set before.
---@param test string
---@param rates table dropRate (500), malformedRate, rateLimitRate (429), disconnectRate: 0 to 1,
---drawn in this order, each only where none before it hit
function Server:chaos(test, rates)
  control(self, "POST", "/__aimock/chaos", rates, test)
end

--- No more faults for that test.
function Server:calm(test)
  control(self, "DELETE", "/__aimock/chaos", nil, test)
end

--- Adds answers, as in fixtures.json.
function Server:add(fixtures)
  control(self, "POST", "/__aimock/fixtures", { fixtures = fixtures })
end

--- The requests of one test, oldest first: method, path, headers, body, and `response` with
--- `status` (0 when the connection was broken off) and `chaosAction`.
---@return table[]
function Server:journal(test)
  local query = test:gsub("[^%w]", function(c) return ("%%%02X"):format(c:byte()) end)
  return cjson.decode(control(self, "GET", "/__aimock/journal?testId=" .. query))
end

--- One of its counters: the labels as they are written = the count.
---@return table
function Server:metric(name)
  local counts = {}
  for line in control(self, "GET", "/metrics"):gmatch "[^\n]+" do
    local found, labels, value = line:match "^([%w_]+){(.-)} (%d+)$"
    if found == name then counts[labels] = tonumber(value) end
  end
  return counts
end

--- Runs a script of `third_party/openai`.
---@param name string
---@param where table url, key; given = what the script is given
---@return any told what it prints, decoded; raises with all of its words when that is no JSON
function third_party.sdk(name, where)
  local command = "OPENAI_BASE_URL=%s OPENAI_API_KEY=%s sh %s sdk %s %s 2>&1"
  local out = files.trimmed(command:format(quote(where.url), quote(where.key),
    quote(root .. "spec/support/third_party.sh"), quote(name),
    quote(where.given and cjson.encode(where.given) or "{}")))
  local ok, told = pcall(cjson.decode, out)
  if not ok then error(("third_party: %s.mjs: %s"):format(name, out), 2) end
  return told
end

--- Runs a script of `third_party/browser`, which drives Chromium.
---@param name string
---@param given table what the script is given
---@return any told what it prints, decoded; raises with all of its words when that is no JSON
function third_party.browser(name, given)
  local out = files.trimmed(("sh %s browser %s %s 2>&1"):format(
    quote(root .. "spec/support/third_party.sh"), quote(name), quote(cjson.encode(given))))
  local ok, told = pcall(cjson.decode, out)
  if not ok then error(("third_party: %s.mjs: %s"):format(name, out), 2) end
  return told
end

-- The numbers of its sockets, as a set.
local function sockets_of(pid)
  local inodes = {}
  for inode in files.trimmed("ls -l /proc/" .. pid .. "/fd"):gmatch "socket:%[(%d+)%]" do
    inodes[inode] = true
  end
  return inodes
end

--- Where it listens: addresses as the kernel writes them ("0100007F:1F90" is 127.0.0.1:8080).
---@return string[]
function Server:listening()
  local mine, found = sockets_of(self.pid), {}
  for line in (files.text "/proc/net/tcp" .. files.text "/proc/net/tcp6"):gmatch "[^\n]+" do
    local address, inode = line:match "^%s*%d+: (%x+:%x+) %x+:%x+ 0A %S+ %S+ %S+ +%d+ +%d+ (%d+)"
    if address and mine[inode] then found[#found + 1] = address end
  end
  return found
end

return third_party
