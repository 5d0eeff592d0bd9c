-- docs/openresty.md sends standard output and standard error to one file (`>>FILE 2>&1`), and
-- `kubectl logs` gives both as one. The first line of that is what `unbusy serve` says of itself:
-- neither `unbusy diagnose` nor `unbusy trace` read any further.
local access_log = require "unbusy.simulate.access_log"
local log = require "unbusy.diagnose.log"

local CALL = '{"time":"2026-01-31T12:00:01+00:00","kind":"chat","target":"a","source":"upstream",'
  .. '"tries":1,"queued":0,"start":0.1,"seconds":0.2}\n'

local TEXT = table.concat({
  "unbusy: http://127.0.0.1:8080 (process 7: TERM or Ctrl-C ends it, HUP reloads)\n",
  "2026/01/31 12:00:02 [warn] 12#12: *3 [lua] trace.lua:7: a fault, client: 127.0.0.1\n",
  "nginx: [emerg] open() failed\n", "" }, CALL)

local function with_file(text, f)
  local path = os.tmpname()
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  local a, b = f(path)
  os.remove(path)
  return a, b
end

describe("a log in which nginx's errors stand, too", function()
  it("is read for its calls", function()
    local f = assert(with_file(TEXT, log.read))
    assert.same({ 3, 3 }, { f.calls, f.skipped })
    local made = assert(with_file(TEXT, function(path)
      return access_log.read(path, { seed = 1 })
    end))
    assert.same({ "3 calls of a gateway's log", "3 lines were no calls and are left out" },
      made.remarks)
  end)

  it("may have no others", function()
    local f = with_file(CALL .. "unbusy is here\n" .. CALL, log.read)
    assert.matches("line 2: not JSON", f.damage)
  end)
end)
