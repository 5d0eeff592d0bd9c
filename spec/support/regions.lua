--- Regions for specs: names and files that are nobody else's, and other processes.
local process = require "spec.support.fork"

local regions = {}

local count = 0

--- A name that no other test has, now or before.
function regions.name()
  count = count + 1
  return ("spec-%d-%d-%d"):format(process.pid(), os.time(), count)
end

--- A path in a new directory of its own, and a function that removes it.
function regions.path()
  local dir = os.tmpname()
  os.remove(dir)
  assert(os.execute(("mkdir -m 700 '%s'"):format(dir)))
  return dir .. "/region", function() os.execute(("rm -rf '%s'"):format(dir)) end
end

function regions.write(path, bytes)
  local file = assert(io.open(path, "wb"))
  file:write(bytes)
  file:close()
  os.execute(("chmod 600 '%s'"):format(path))
end

function regions.read(path)
  local file = assert(io.open(path, "rb"))
  local bytes = file:read "*a"
  file:close()
  return bytes
end

--- Is there a segment of this name?
function regions.exists(name)
  local pipe = io.popen(("ls /dev/shm/unbusy-*-%s 2>/dev/null"):format(name))
  local found = pipe:read "*a"
  pipe:close()
  return found ~= ""
end

--- Runs f in a process forked from this one; it ends without finalizers. Waits for it: what f gave
--- (a string), or an error.
function regions.child(f)
  local path = os.tmpname()
  local pid = process.fork()
  if pid == 0 then
    local fine, said = pcall(f)
    regions.write(path, (fine and "+" or "-") .. tostring(said))
    process.leave()
  end
  process.wait(pid)
  local said = regions.read(path)
  os.remove(path)
  assert(said:sub(1, 1) == "+", "in the child: " .. said)
  return said:sub(2)
end

--- As `child`, but goes on at once: gives a table with the process's `pid` and `wait()`.
function regions.start(f)
  local path = os.tmpname()
  local pid = process.fork()
  if pid == 0 then
    local fine, said = pcall(f)
    regions.write(path, (fine and "+" or "-") .. tostring(said))
    process.leave()
  end
  return { pid = pid,
    wait = function()
      process.wait(pid)
      local said = regions.read(path)
      os.remove(path)
      return said
    end }
end

--- Runs Lua text in a new process of the same Lua; what it printed.
function regions.run(text)
  local path = os.tmpname()
  regions.write(path, text)
  local pipe = io.popen(("%s %s 2>&1"):format(os.getenv "UNBUSY_LUA" or arg[-1], path))
  local said = pipe:read "*a"
  pipe:close()
  os.remove(path)
  return said
end

return regions
