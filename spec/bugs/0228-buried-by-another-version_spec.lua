-- While a new version of unbusy is rolled out, processes of both share a region, with parts of
-- their own. When one of the old ones was killed, and one of the new ones came by first, this one
-- took the dead one's number back, and could not give back what it held in parts that only the old
-- ones know: they went without those places from then on.
local breaker = require "unbusy.breaker"
local core = require "unbusy.core"
local files = require "spec.support.files"
local guard = require "spec.support.leak_guard"
local process = require "spec.support.fork"
local region = require "unbusy.region"
local regions = require "spec.support.regions"

local LUA = os.getenv "UNBUSY_LUA" or rawget(_G, "jit") and "luajit" or "lua5.4"

-- A limiter that says how many are in flight whenever it is asked to by a file.
local TEXT = [[
  local process = require "spec.support.fork"
  local r = assert(require "unbusy.region".new { name = %q })
  local l = assert(require "unbusy.limiter".new { region = r, name = "l" })
  local path, holds = %q, %s
  local function say(what)
    local file = assert(io.open(path, "ab"))
    file:write(what, "\n")
    file:close()
  end
  if holds then assert(l:allow()) end
  say "ready"
  while true do
    process.nap(20000)
    local asked = io.open(path .. ".ask", "rb")
    if asked then
      asked:close()
      say("in flight: " .. l:in_flight())
    end
  end
]]

describe("a process that was killed beside others of its version", function()
  local dir, remove, pids, r

  after_each(function()
    for pid in pairs(pids) do
      process.kill(pid, 9)
      process.wait(pid)
    end
    r:close()
    regions.collect()
    remove()
  end)
  guard.watch(before_each, after_each)
  before_each(function()
    dir, remove = regions.path()
    dir = dir:match "^(.*)/"
    pids = {}
  end)

  -- The core of another version: its limiters are laid out otherwise.
  local function other_core()
    local path = package.searchpath("unbusy.core", package.cpath) -- luacheck: ignore 143
    local bytes, count = files.read(path):gsub("limiter%z[\1-\31]%z%z%z", "limiter\0\99\0\0\0")
    assert.equal(1, count)
    assert(os.execute(("mkdir -p '%s/other/unbusy'"):format(dir)))
    files.write(dir .. "/other/unbusy/core.so", bytes)
  end

  local function start(name, what, holds)
    local out, script = dir .. what, dir .. what .. ".lua"
    files.write(script, TEXT:format(name, out, tostring(holds)))
    local pid = process.fork()
    if pid == 0 then
      core.exec { "env", ("LUA_CPATH=%s/other/?.so;;"):format(dir), LUA, script }
      process.leave()
    end
    pids[pid] = true
    regions.wait_for(function() return files.text(out):find "ready" end)
    return pid, out
  end

  it("is left to these, who know what it held", function()
    other_core()
    local name = regions.name()
    r = assert(region.new { name = name, bytes = 2 ^ 20 })
    local b = assert(breaker.new { region = r, name = "b" })
    local _, out = start(name, "/living", false)
    local holder = start(name, "/holder", true)
    process.kill(holder, 9)
    process.wait(holder)
    pids[holder] = nil
    for _ = 1, 150 do -- this process comes by first
      b:report(b:allow(), "ok")
      process.nap(10000)
    end
    files.write(out .. ".ask", "")
    regions.wait_for(function() return files.text(out):find "in flight: 0" end, "its place")
  end)
end)
