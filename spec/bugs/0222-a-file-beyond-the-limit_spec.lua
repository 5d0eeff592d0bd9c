-- A process that may not make files of a region's size (`ulimit -f`, systemd's LimitFSIZE=) was
-- ended by the system when it made one: SIGXFSZ. It is a failure, as a disk without space is, and
-- what was in the file before stays.
local files = require "spec.support.files"
local regions = require "spec.support.regions"

local TEXT = [[
  local r, message, code = require "unbusy.region".new { path = %q, bytes = %d }
  print(r and "made" or message, code)
  r, message, code = require "unbusy.region".new { name = %q, bytes = %d }
  print(r and "made" or message, code)
  if r then r:close() end
]]

-- What a process prints that may make files of so many blocks of 512 bytes.
local function limited(blocks, text)
  local script = os.tmpname()
  files.write(script, text)
  local lua = os.getenv "UNBUSY_LUA" or rawget(_G, "jit") and "luajit" or "lua5.4"
  local out = files.output(("sh -c 'ulimit -f %d; exec %s %s' 2>&1; echo $?"):format(blocks, lua,
    script))
  os.remove(script)
  return out
end

describe("a region's file that is larger than this process may make one", function()
  local path, remove
  before_each(function() path, remove = regions.path() end)
  after_each(function() remove() end)

  for _, blocks in ipairs { 0, 100 } do
    it(("is not made, and that is told: %d"):format(blocks), function()
      local failed = "region: making the file: File too large\tfull\n"
      local name = regions.name()
      assert.equal(failed .. failed .. "0\n",
        limited(blocks, TEXT:format(path, 2 ^ 20, name, 2 ^ 20)))
      assert.is_false(regions.exists(name))
    end)
  end

  it("is made where it is just as large", function()
    assert.equal("made\tnil\nmade\tnil\n0\n",
      limited(2048, TEXT:format(path, 2 ^ 20, regions.name(), 2 ^ 20)))
    assert.equal(2 ^ 20, #files.read(path))
  end)

  it("keeps what is in it", function()
    assert.equal("made\tnil\nmade\tnil\n0\n",
      limited(2048, TEXT:format(path, 2 ^ 20, regions.name(), 2 ^ 20)))
    local before = files.read(path)
    assert.matches("File too large",
      limited(2048, TEXT:format(path, 2 ^ 21, regions.name(), 2 ^ 20)))
    assert.equal(before, files.read(path))
  end)
end)
