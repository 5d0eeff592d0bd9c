-- Some methods are served by the FFI on LuaJIT (lua/unbusy/ffi). What they give, right use and
-- wrong, must be what the C methods give, to the letter.
local files = require "spec.support.files"

local HEAD = [[
local breaker, limiter = require "unbusy.breaker".new(), require "unbusy.limiter".new()
local budget, sse = require "unbusy.budget".new(), require "unbusy.sse".new()
local balancer = require "unbusy.balancer".new { targets = { { name = "a" } } }
local now = require "unbusy.clock"
]]

-- Runs a script in a process of its own; `off` keeps the FFI out of it. Gives what it printed.
local function output(off, arguments)
  local lua = os.getenv "UNBUSY_LUA" or rawget(_G, "jit") and "luajit" or "lua5.4"
  return files.output(("UNBUSY_FFI=%s %s %s 2>&1"):format(off and "off" or "on", lua, arguments))
end

-- Runs Lua text; gives its output.
local function run(off, text)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
  local out = output(off, path)
  os.remove(path)
  return out
end

-- Who serves the methods that the FFI may serve: "C" or "Lua".
local function served(off, before)
  return run(off, (before or "") .. HEAD .. [[
    local kinds = {}
    for _, f in ipairs { breaker.allow, breaker.report, limiter.allow, limiter.report,
      balancer.choose, balancer.begin, balancer.report, budget.begin, budget.finish, sse.feed,
      now } do
      kinds[#kinds + 1] = debug.getinfo(f, "S").what
    end
    io.write(table.concat(kinds, " "), " ")
  ]])
end

local C, LUA = ("C "):rep(11), ("Lua "):rep(11)

describe("the FFI", function()
  it("serves on LuaJIT, and only there", function()
    assert.equal(rawget(_G, "jit") and LUA or C, served())
  end)

  it("stays out of the way when told to, with the JIT off, and where it is missing", function()
    assert.equal(C, served(true))
    assert.equal(C, served(false, "if jit then jit.off() end "))
    assert.equal(C, served(false, "package.preload.ffi = function() error 'none' end "
      .. "package.loaded.ffi = nil "))
    assert.equal(C, served(false, "debug.getregistry = nil "))
  end)

  it("serves again when the modules are loaded again", function()
    local again = "for name in pairs(package.loaded) do if name:find '^unbusy' then "
      .. "package.loaded[name] = nil end end "
    assert.equal(served(), served(false, HEAD:gsub("local", "") .. again))
  end)

  it("gives what C gives for every use, right or wrong, alone or in a compiled loop", function()
    local with, without = output(false, "spec/support/ffi_uses.lua"),
      output(true, "spec/support/ffi_uses.lua")
    local lines = {}
    for line in without:gmatch "[^\n]+" do lines[#lines + 1] = line end
    assert.is_true(#lines > 280, without)
    local i = 0
    for line in with:gmatch "[^\n]+" do
      i = i + 1
      assert.equal(lines[i], line)
    end
    assert.equal(#lines, i)
    assert.equal(("%d\ttrue\tnil\tsse: it is closed\tclosed"):format(i), lines[i])
  end)
end)
