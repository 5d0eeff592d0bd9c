-- A process that was started with its standard output closed (`>&-`, some supervisors) opened the
-- file of a cache, or of a region, as descriptor 1, and then printed into it: `unbusy cache stats
-- --config FILE >&-` left "the file is no region of unbusy" and lost every answer, of all who used
-- it. So did a message to a standard error that was closed.
local files = require "spec.support.files"
local region = require "unbusy.region"
local regions = require "spec.support.regions"

local lua = os.getenv "UNBUSY_LUA" or "lua5.4"

local SCRIPT = [[
local r = require("unbusy.region").new { %s = %q, bytes = 1048576 }
local b = require("unbusy.breaker").new { region = r, name = "b" }
b:force "open"
for _, stream in ipairs { io.stdout, io.stderr } do
  stream:write(("x"):rep(20000))
  stream:flush()
end
local line = io.read()
os.exit(not line and b:state() == "open" and 0 or 7, true)
]]

-- Runs it with that redirection; its exit status.
local function run(where, name, closed)
  local script = os.tmpname()
  files.write(script, SCRIPT:format(where, name))
  local command = "exec 9>&1 </dev/null >/dev/null 2>/dev/null; %s %s %s; echo $? >&9"
  local status = files.trimmed(command:format(lua, files.quote(script), closed))
  os.remove(script)
  return status
end

describe("a process without its standard streams", function()
  for _, closed in ipairs { "<&-", ">&-", "2>&-", "<&- >&- 2>&-" } do
    it("prints into no region: " .. closed, function()
      local path, remove = regions.path()
      assert.equal("0", run("path", path, closed))
      local r, message = region.new { path = path, bytes = 1048576 }
      assert.is_nil(message)
      r:close()
      remove()
      local name = regions.name()
      local kept = region.new { name = name, bytes = 1048576 }
      assert.equal("0", run("name", name, closed))
      local other
      other, message = region.new { name = name, bytes = 1048576 }
      assert.is_nil(message)
      other:close()
      kept:close()
    end)
  end

  it("leaves the file of a cache as it is", function()
    local path, remove = regions.path()
    local config = path .. ".lua"
    files.write(config, ([[return { cache = { path = %q, entries = 10, bytes = 100000 },
      targets = { { name = "a", url = "http://127.0.0.1:1/v1" } } }]]):format(path))
    local command = ("%s bin/unbusy cache %%s --config %s </dev/null %%s; echo $?"):format(lua,
      files.quote(config))
    assert.matches("^0\n", files.output(command:format("stats", ">/dev/null")))
    assert.equal("1\n", files.output(command:format("stats", ">&- 2>/dev/null")))
    assert.equal("3\n", files.output(command:format("get x --model m", ">/dev/null 2>&-")))
    assert.matches("entries\n.*0\n$", files.output(command:format("stats", "2>&1")))
    remove()
  end)
end)
