-- Ctrl-C sets a hook that raises an error. In a decision that error was caught with those of the
-- script, told as its fault, and `unbusy check` went on: of a script that takes its time the first
-- Ctrl-C did nothing.
local core = require "unbusy.core"
local files = require "spec.support.files"

local lua = os.getenv "UNBUSY_LUA" or "lua5.4"
local COLLECTOR = os.getenv "UNBUSY_COLLECTOR"

-- As the interpreter does when it is told to stop.
local function interrupt()
  debug.sethook(function()
    debug.sethook()
    error("interrupted!", 0)
  end, "crl", 1)
end

describe("Ctrl-C in a script", function()
  it("is no fault of it", function()
    if COLLECTOR then return end -- which has a hook of its own
    local ok, message = pcall(core.guarded, 1e6, 1e6, function()
      interrupt()
      for i = 1, 10 do tostring(i) end
    end)
    assert.same({ false, "interrupted!" }, { ok, message })
    assert.is_nil((debug.gethook()))
    assert.same({ true, 1 }, { core.guarded(1e6, 1e6, function() return 1 end) })
  end)

  it("ends `unbusy check`", function()
    local path = os.tmpname()
    finally(function() os.remove(path) end)
    local f = assert(io.open(path, "wb"))
    f:write [[local function f() local x for i = 1, 150000 do x = i end end
      return { retry = f, classify = f, route = f, cache = f, accept = f }]]
    f:close()
    local said = files.output(("timeout --preserve-status -k 20 -s INT 0.7 %s bin/unbusy check %s; "
      .. "echo $?"):format(lua, path))
    assert.equal("130\n", said)
  end)
end)
