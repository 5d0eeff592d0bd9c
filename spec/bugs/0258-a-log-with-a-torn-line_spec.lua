-- One line of a log that was torn (a full disk, a machine that lost its power, two writers of one
-- file) made `unbusy diagnose` and `unbusy trace` refuse all of it: weeks of calls for one of them.
local access_log = require "unbusy.simulate.access_log"
local files = require "spec.support.files"
local log = require "unbusy.diagnose.log"

local lua = os.getenv "UNBUSY_LUA" or "lua5.4"

local CALL = '{"time":"2026-01-31T12:00:01+00:00","kind":"chat","target":"a","source":"upstream",'
  .. '"tries":1,"queued":0,"start":0.1,"seconds":0.2}\n'
local TORN = '{"time":"2026-01-31T12:0{"time":"2026-01-31T12:00:01+00:00","kind":"chat"\n'

describe("a log with a torn line", function()
  local path

  before_each(function() path = os.tmpname() end)
  after_each(function() os.remove(path) end)

  it("is read for the others", function()
    files.write(path, CALL .. TORN .. CALL .. '{"time":7}\n' .. CALL)
    local f = assert(log.read(path))
    assert.equal(3, f.calls)
    assert.matches("^2 lines make no sense and are left out; the first is line 2: not JSON",
      f.damage)
    local made = assert(access_log.read(path, {}))
    assert.equal(3, made.asked)
    assert.matches("^2 lines make no sense and are left out; the first is line 2: not JSON",
      made.remarks[2])
  end)

  it("is said to be one", function()
    files.write(path, CALL .. TORN .. CALL)
    for _, words in ipairs { "diagnose --log ", "diagnose --json --log ", "trace --from-log " } do
      local said = files.output(("%s bin/unbusy %s %s 2>&1 >/dev/null"):format(lua, words, path))
      assert.matches("^unbusy: 1 line makes no sense and is left out; the first is line 2: not J",
        said)
    end
  end)

  it("is none where more lines make no sense than do", function()
    files.write(path, CALL .. TORN .. TORN)
    for _, read in ipairs { log.read, access_log.read } do
      local f, message = read(path, {})
      assert.is_nil(f)
      assert.matches(":2: not JSON", message)
    end
  end)

  it("is not read on for ever where it is none", function()
    local command = "yes x | timeout 10 %s bin/unbusy diagnose --log - 2>&1; echo $?"
    assert.matches("^unbusy: /dev/stdin:1: not JSON.*\n2\n$", files.output(command:format(lua)))
  end)
end)
