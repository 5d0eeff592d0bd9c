-- Where a region's file was made, and there was no room left in the process's memory to map it
-- (`ulimit -v`), the file stayed: of a named region in /dev/shm, in its whole size, for ever, since
-- it goes with its last user, and it had none.
local files = require "spec.support.files"
local regions = require "spec.support.regions"

local BYTES = 256 * 2 ^ 20

local TEXT = [[
  local region = require "unbusy.region"
  print(select(2, region.new { name = %q, bytes = %d }))
  print(select(2, region.new { path = %q, bytes = %d }))
  region.new { bytes = 300000 }:close()
]]

-- What a process prints that may have so many KiB of memory.
local function limited(kib, text)
  local script = os.tmpname()
  files.write(script, text)
  local lua = os.getenv "UNBUSY_LUA" or rawget(_G, "jit") and "luajit" or "lua5.4"
  local out = files.output(("sh -c 'ulimit -v %d; exec %s %s' 2>&1"):format(kib, lua, script))
  os.remove(script)
  return out
end

describe("a region's file that cannot be mapped", function()
  it("gives back the space that it took", function()
    if os.getenv "UNBUSY_SANITIZED" then return pending "a sanitizer takes all addresses" end
    local name, path, remove = regions.name(), regions.path()
    local failed = "region: mmap: Cannot allocate memory\tnomem\n"
    assert.equal(failed .. failed, limited(150000, TEXT:format(name, BYTES, path, BYTES)))
    assert.is_false(regions.exists(name))
    assert.equal("", files.read(path))
    remove()
  end)
end)
