--- Regions for specs: names and files that are nobody else's, and other processes.
local counters = require "unbusy.counters"
local files = require "spec.support.files"
local process = require "spec.support.fork"

local regions = {}

--- Collects all garbage, also what LuaJIT's compiled code holds on to.
function regions.collect()
  if jit then jit.flush() end -- luacheck: ignore 113
  collectgarbage()
  collectgarbage()
end

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
  files.write(path, bytes)
  os.execute(("chmod 600 '%s'"):format(path))
end

--- Takes all the room that there is in a region, as long as what it gives is held.
function regions.filled(r)
  local parts, i, size = {}, 0, 4096
  while size >= 1 do
    i = i + 1
    parts[i] = counters.new { region = r, name = "fill" .. i, counters = size }
    if not parts[i] then
      i, size = i - 1, math.floor(size / 2)
    end
  end
  return parts
end

--- Is there a segment of this name?
function regions.exists(name)
  return files.output(("ls /dev/shm/unbusy-*-%s 2>/dev/null"):format(name)) ~= ""
end

--- Waits until f() gives something true, and gives that; a minute is a failure.
function regions.wait_for(f, what)
  for _ = 1, 60000 do
    local got = f()
    if got then return got end
    process.nap(1000)
  end
  error((what or "it") .. " never came", 2)
end

local child = {}
child.__index = child

-- What the child has said so far, line by line.
local function said(self)
  return files.find(self.path) or ""
end

--- Waits until the child has said this line.
function child:said(line)
  return regions.wait_for(function()
    return ("\n" .. said(self)):find("\n" .. line .. "\n", 1, true)
  end, line)
end

--- Says a line to the child, which waits for it by `told(line)`.
function child:tell(line)
  regions.write(self.path .. ".in", (files.find(self.path .. ".in") or "") .. line .. "\n")
end

--- Waits for its end: what f gave, or an error.
function child:wait()
  process.wait(self.pid)
  local all = said(self)
  self:forget()
  local fine, result = all:match "([+-])([^\n]*)\n$"
  assert(fine == "+", "in the child: " .. all)
  return result
end

function child:forget()
  os.remove(self.path)
  os.remove(self.path .. ".in")
end

--- Kills it; `unwaited` leaves a zombie.
function child:kill(unwaited)
  process.kill(self.pid, 9)
  if not unwaited then process.wait(self.pid) end
  self:forget()
end

--- Runs f(say, told) in a process forked from this one, which ends without finalizers: `say(line)`
--- is for this process, `told(line)` waits for what it tells.
function regions.fork(f)
  local path = os.tmpname()
  local pid = process.fork()
  if pid > 0 then return setmetatable({ pid = pid, path = path }, child) end
  local function say(line)
    local file = assert(io.open(path, "ab"))
    file:write(line, "\n")
    file:close()
  end
  local function told(line)
    regions.wait_for(function()
      return ("\n" .. (files.find(path .. ".in") or "")):find("\n" .. line .. "\n", 1, true)
    end, line)
  end
  local fine, result = pcall(f, say, told)
  pcall(say, (fine and "+" or "-") .. tostring(result):gsub("\n", " "))
  process.leave()
end

local family = {}
family.__index = family

--- The processes of one test: `fork(f)`, `finish(one)` and `kill(one, unwaited)` as below, and
--- `end_all()` for those that are left.
function regions.family()
  local self = setmetatable({}, family)
  return self, function(f) return self:fork(f) end, function(one) return self:finish(one) end
end

function family:fork(f)
  local one = regions.fork(f)
  self[#self + 1] = one
  return one
end

local function let_go(self, one)
  for i, c in ipairs(self) do
    if c == one then table.remove(self, i) end
  end
end

--- Waits for its end, and gives what f gave.
function family:finish(one)
  let_go(self, one)
  return one:wait()
end

function family:kill(one, unwaited)
  let_go(self, one)
  one:kill(unwaited)
end

function family:end_all()
  while self[1] do self:kill(self[1]) end
end

--- Runs f in a forked process to its end: what it gave, as text.
function regions.child(f)
  return regions.fork(f):wait()
end

--- Runs Lua text in a new process of the same Lua; what it printed.
function regions.run(text)
  local path = os.tmpname()
  regions.write(path, text)
  local lua = os.getenv "UNBUSY_LUA" or rawget(_G, "jit") and "luajit" or "lua5.4"
  local out = files.output(("%s %s 2>&1"):format(lua, path))
  os.remove(path)
  return out
end

return regions
