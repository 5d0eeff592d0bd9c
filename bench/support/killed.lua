--- A busy upstream that another process starts, kills and starts again, so that whoever makes calls
--- meanwhile is not held up.
--
--     local server = killed.start { kill = 5, back = 12, programme = { latency = 0.05 } }
--     server.url
--     server:go()     -- from now on the times count
--     server:stop()
--
-- This file is also the script of that process.
local busyd = require "spec.support.busyd"
local direct = require "spec.support.direct"
local json = require "unbusy.json"

local killed = {}
killed.__index = killed

-- {== The process =========================================================

local function run(o)
  local up = busyd.start { workers = 1, port = o.port, programme = o.programme }
  if io.read "*l" then
    direct.pause(o.kill)
    up:stop()
    direct.pause(o.back - o.kill)
    up = busyd.start { workers = 1, port = o.port, programme = o.programme }
    io.read "*a" -- to its end: nobody needs it any more
  end
  up:stop()
end

if arg and arg[0] and arg[0]:find "support/killed%.lua$" then
  run(assert(json.decode(arg[1])))
  return
end

-- }========================================================================

local PATIENCE = 500 -- looks, of 20 ms each

local function wait(self)
  for _ = 1, PATIENCE do
    if select(2, direct.ask("GET", self.url .. "/__busy")) == 200 then return end
    direct.pause(0.02)
  end
  self:stop()
  error("the server that is to be killed does not come up", 0)
end

--- Starts it; returns when it answers.
---@param o table { kill =, back = seconds behind `go`, programme = of busyd }
---@return table server
function killed.start(o)
  local spare = busyd.start { workers = 1 } -- finds a free port
  spare:stop()
  local port = tonumber(spare.url:match ":(%d+)$")
  local given = json.encode { port = port, kill = o.kill, back = o.back, programme = o.programme }
  local self = setmetatable({ url = spare.url }, killed)
  self.pipe = assert(io.popen(("exec %s bench/support/killed.lua '%s'"):format(
    os.getenv "UNBUSY_LUA" or arg and arg[-1] or "lua5.4", given), "w"))
  wait(self)
  return self
end

--- From now on its times count.
function killed:go()
  self.pipe:write "go\n"
  self.pipe:flush()
end

--- Ends it, and waits for that.
function killed:stop()
  if self.pipe then self.pipe:close() end
  self.pipe = nil
end

return killed
