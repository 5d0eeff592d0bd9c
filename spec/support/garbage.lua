--- A server on a unix socket that speaks as it is told: see garbage.c.
--
--     local server = garbage.start()
--     server:says("k", "+OK\r\n")   server.path   server:stop()
local direct = require "spec.support.direct"

local garbage = {}
garbage.__index = garbage

local program

-- The program, built when it is first asked for.
local function built()
  if program then return program end
  program = os.tmpname()
  local ok = os.execute(("${CC:-cc} -D_GNU_SOURCE -O1 -Wall -o %s spec/support/garbage.c"):format(
    program))
  assert(ok == true or ok == 0, "garbage.c does not compile")
  return program
end

local function exists(path)
  local ok = os.execute(("test -S '%s'"):format(path))
  return ok == true or ok == 0
end

--- Starts one, which hangs until it is told what to say.
function garbage.start()
  local dir = os.tmpname()
  os.remove(dir)
  assert(os.execute("mkdir -m 700 " .. dir))
  local self = setmetatable({ dir = dir, path = dir .. "/socket" }, garbage)
  self:says "h"
  self.pipe = assert(io.popen(("echo $$ >%s/pid; exec setpriv --pdeathsig KILL %s %s %s/script")
    :format(dir, built(), self.path, dir), "w"))
  for _ = 1, 3000 do
    if exists(self.path) then return self end
    direct.pause(0.02)
  end
  error("garbage: it does not come up", 2)
end

--- From now on it says this.
---@param mode "k"|"c"|"g"|"f"|"h"
---@param bytes string?
function garbage:says(mode, bytes)
  local file = assert(io.open(self.dir .. "/new", "wb"))
  file:write(mode, bytes or "")
  file:close()
  assert(os.rename(self.dir .. "/new", self.dir .. "/script"))
end

--- Ends it. May be called twice.
function garbage:stop()
  if not self.pipe then return end
  os.execute(("kill -KILL $(cat %s/pid)"):format(self.dir))
  self.pipe:close()
  self.pipe = nil
  os.execute("rm -rf " .. self.dir)
end

return garbage
